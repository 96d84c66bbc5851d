//! A recorder that dies, or whose disk fails, loses no finished episode.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod fixture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fixture::{contents, differing, length, push, record, restore, spec, write};
use reverie_lerobot::{Error, Reader, Writer};

/// The data set opens with `episodes` episodes, and goes on to the same bytes as one that was never disturbed.
fn survives(folder: &Path, episodes: usize, case: &str) {
    let reader = Reader::open(folder).unwrap_or_else(|e| panic!("{case}: {e}"));
    assert_eq!(reader.episodes().len(), episodes, "{case}");
    for (i, info) in reader.episodes().iter().enumerate() {
        assert_eq!(reader.read_episode(i).unwrap().tasks.len(), length(i), "{case}");
        assert_eq!(info.extra.as_ref().unwrap()["seed"], i, "{case}");
    }
    let stats = reader.stats().unwrap();
    assert_eq!(stats[0].1.count as usize, reader.frames(), "{case}");
    let mut writer = Writer::append(folder).unwrap_or_else(|e| panic!("{case}: {e}"));
    assert_eq!(writer.episodes(), episodes, "{case}");
    for episode in episodes..episodes + 2 {
        record(&mut writer, episode).unwrap();
    }
    drop(writer);
    let undisturbed = tempfile::tempdir().unwrap();
    write(undisturbed.path(), episodes + 2);
    let different = differing(&contents(folder), &contents(undisturbed.path()));
    assert!(different.is_empty(), "{case}: {different:?}");
}

/// The files that the third episode adds or changes, in the order in which the writer finishes them.
fn steps() -> Vec<&'static str> {
    vec![
        "data/chunk-000/file-002.parquet",
        "meta/episodes/chunk-000/file-002.parquet",
        "meta/tasks.parquet",
        "meta/reverie.jsonl",
        "meta/stats.json",
    ]
}

#[test]
fn a_process_that_ends_between_any_two_steps_of_the_commit_keeps_what_was_finished() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(before.path(), 2);
    write(after.path(), 3);
    let (before, after) = (contents(before.path()), contents(after.path()));
    let changed = differing(&before, &after);
    assert_eq!(changed.len(), steps().len() + 1, "{changed:?}");
    for done in 0..=steps().len() {
        let mut state: BTreeMap<PathBuf, Vec<u8>> = before.clone();
        for step in &steps()[..done] {
            state.insert(step.into(), after[Path::new(step)].clone());
        }
        let folder = tempfile::tempdir().unwrap();
        restore(folder.path(), &state);
        survives(folder.path(), 2, &format!("{done} steps"));
    }
}

#[test]
fn a_process_that_ends_within_a_step_keeps_what_was_finished() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(before.path(), 2);
    write(after.path(), 3);
    let (before, after) = (contents(before.path()), contents(after.path()));
    for (done, next) in steps().into_iter().chain(["meta/info.json"]).enumerate() {
        let bytes = &after[Path::new(next)];
        let old = before.get(Path::new(next)).map_or(0, Vec::len);
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let mut state = before.clone();
            for step in &steps()[..done] {
                state.insert(step.into(), after[Path::new(step)].clone());
            }
            // The side file grows in place, all others under another name.
            let name = if next.ends_with("jsonl") { next.to_owned() } else { format!("{next}.partial") };
            let length = if next.ends_with("jsonl") { length.max(old) } else { length };
            state.insert(name.into(), bytes[..length].to_vec());
            let folder = tempfile::tempdir().unwrap();
            restore(folder.path(), &state);
            survives(folder.path(), 2, &format!("{next} to byte {length}"));
        }
    }
}

#[test]
fn a_writer_dropped_within_an_episode_leaves_no_trace_of_it() {
    for frames in [1, 3] {
        let (folder, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(folder.path(), 2);
        write(whole.path(), 2);
        let mut writer = Writer::append(folder.path()).unwrap();
        for frame in 0..frames {
            push(&mut writer, 2, frame).unwrap();
        }
        drop(writer);
        assert!(differing(&contents(folder.path()), &contents(whole.path())).is_empty());
        survives(folder.path(), 2, "dropped");
    }
}

#[test]
fn a_killed_process_keeps_every_episode_that_it_reported() {
    if let Some(folder) = std::env::var_os("REVERIE_TEST_RECORDS_INTO") {
        let mut writer = Writer::create(PathBuf::from(folder), spec()).unwrap();
        for episode in 0.. {
            record(&mut writer, episode).unwrap();
        }
    }
    for run in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("set");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_keeps_every_episode_that_it_reported"])
            .env("REVERIE_TEST_RECORDS_INTO", &folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !folder.join("meta/stats.json").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(20_000 + 7_919 * run));
        child.kill().unwrap();
        child.wait().unwrap();
        // The first episode may have been between its statistics and info.json.
        let episodes = Reader::open(&folder).unwrap().episodes().len();
        survives(&folder, episodes, &format!("killed in run {run}"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_with_the_file_and_costs_only_the_open_episode() {
    // /dev/full takes nothing. Each name is that of an incomplete file of episode 1.
    for blocked in
        ["data/chunk-000/file-001.parquet", "meta/episodes/chunk-000/file-001.parquet", "meta/stats.json", "meta/info.json"]
    {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let mut writer = Writer::append(folder.path()).unwrap();
        let partial = folder.path().join(format!("{blocked}.partial"));
        std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
        let error = record(&mut writer, 1).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == partial), "{error:?}");
        assert!(error.to_string().contains("No space left"), "{error}");
        let _ = std::fs::remove_file(&partial);
        assert_eq!(Reader::open(folder.path()).unwrap().episodes().len(), 1);
        // The same writer goes on when there is room again.
        writer.discard_episode();
        record(&mut writer, 1).unwrap();
        drop(writer);
        let whole = tempfile::tempdir().unwrap();
        write(whole.path(), 2);
        assert_eq!(differing(&contents(folder.path()), &contents(whole.path())), Vec::<PathBuf>::new(), "{blocked}");
    }
}

#[test]
fn one_data_set_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1);
    let writer = Writer::append(folder.path()).unwrap();
    assert!(matches!(Writer::append(folder.path()), Err(Error::Busy { .. })));
    drop(writer);
    assert!(Writer::append(folder.path()).is_ok());
    assert!(matches!(Writer::create(folder.path(), spec()), Err(Error::Occupied { .. })));
}
