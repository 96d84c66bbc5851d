//! Data sets through the command line: repeatable, unharmed by a kill or a failing disk, imported, shown.
#![cfg(feature = "learn")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use reverie_lerobot::Reader;
use serde_json::Value;

const REVERIE: &str = env!("CARGO_BIN_EXE_reverie");

fn reverie(folder: &Path, args: &[&str]) -> Output {
    Command::new(REVERIE).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = reverie(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refuses(folder: &Path, args: &[&str], words: &[&str]) {
    let output = reverie(folder, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(text.lines().any(|line| line.starts_with("error:")) && !text.contains("panicked"), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: '{word}' is not in: {text}");
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, bytes) in &a {
        assert!(*bytes == b[path], "{} differs", path.display());
    }
}

/// Play in episodes of 15 s, with a small camera.
const PLAY: [&str; 12] = [
    "--set",
    "cameras.static_px=24",
    "collect",
    "play",
    "--camera",
    "static",
    "--episode-minutes",
    "0.25",
    "--out",
    "play",
    "--hours",
    "0.025",
];

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folders = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let demos = ["collect", "demos", "--task", "stack_block", "--task", "open_drawer", "--episodes", "3", "--out", "demos"];
    for folder in &folders {
        succeeds(folder.path(), &PLAY);
        succeeds(folder.path(), &demos);
    }
    assert_same(folders[0].path(), folders[1].path());
    let play = Reader::open(folders[0].path().join("play")).unwrap();
    assert_eq!((play.episodes().len(), play.frames()), (6, 2700));
    // Another seed gives other play.
    let mut other = PLAY.to_vec();
    other.extend(["--seed", "5", "--set", "decode.max_steps=150"]);
    other[9] = "other";
    succeeds(folders[0].path(), &other);
    let first = |name: &str| {
        let reader = Reader::open(folders[0].path().join(name)).unwrap();
        reader.read_episode(0).unwrap().columns[0].as_f32().unwrap()[..15].to_vec()
    };
    assert_ne!(first("play"), first("other"));
}

#[test]
fn killed_play_opens_and_goes_on_to_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    succeeds(whole.path(), &PLAY);
    let info = killed.path().join("play/meta/info.json");
    let episodes = |path: &Path| -> usize {
        let text = fs::read(path).unwrap_or_default();
        let info: Value = serde_json::from_slice(&text).unwrap_or_default();
        info["total_episodes"].as_u64().unwrap_or(0) as usize
    };
    for delay_ms in [0, 40, 15] {
        let mut child = Command::new(REVERIE)
            .args(PLAY)
            .current_dir(killed.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = episodes(&info);
        let deadline = Instant::now() + Duration::from_secs(120);
        // Once another episode is there, at some moment of the next.
        while episodes(&info) == before && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let reader = Reader::open(killed.path().join("play")).unwrap();
        assert!(reader.episodes().len() >= episodes(&info).max(1));
        for episode in 0..reader.episodes().len() {
            assert_eq!(reader.read_episode(episode).unwrap().tasks.len(), 450);
        }
    }
    succeeds(killed.path(), &PLAY);
    assert_same(whole.path(), killed.path());
}

/// State alone, in episodes of a minute: enough windows for labels.
fn labelled(hours: &'static str) -> [&'static str; 8] {
    ["collect", "play", "--episode-minutes", "1", "--out", "play", "--hours", hours]
}

#[test]
fn play_that_is_gone_on_with_has_the_labels_of_play_in_one_go() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    succeeds(whole.path(), &labelled("0.1"));
    succeeds(parts.path(), &labelled("0.05"));
    succeeds(parts.path(), &labelled("0.1"));
    for folder in [whole.path(), parts.path()] {
        fs::remove_file(folder.join("play/meta/reverie.json")).unwrap();
    }
    assert_same(whole.path(), parts.path());
    let reader = Reader::open(whole.path().join("play")).unwrap();
    let labels: Vec<Value> =
        reader.episodes().iter().flat_map(|e| e.extra.as_ref().unwrap()["labels"].as_array().unwrap().clone()).collect();
    // 10,400 windows allow three segments a task.
    assert!(labels.len() > 20, "{} labels", labels.len());
    for label in &labels {
        let text = label["text"].as_str().unwrap();
        assert!(reader.tasks().iter().any(|task| task == text), "{text}");
        let task: reverie_sim::Task = label["task"].as_str().unwrap().parse().unwrap();
        assert!(task.phrases().contains(&text) && text != task.validation_phrase());
    }
}

#[test]
fn play_keeps_to_the_tasks_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut drawer = labelled("0.05").to_vec();
    drawer.extend(["--task", "open_drawer", "--task", "close_drawer"]);
    succeeds(folder.path(), &drawer);
    let reader = Reader::open(folder.path().join("play")).unwrap();
    let labels = reader.episodes().iter().flat_map(|e| e.extra.as_ref().unwrap()["labels"].as_array().unwrap().clone());
    let labels: Vec<String> = labels.map(|label| label["task"].as_str().unwrap().to_owned()).collect();
    for told in ["open_drawer", "close_drawer"] {
        assert!(labels.iter().any(|task| task == told), "{labels:?}");
    }
    // A hand that wanders may touch a button.
    let others = labels.iter().filter(|task| !task.ends_with("_drawer")).count();
    assert!(others <= 1, "{labels:?}");
}

#[test]
fn play_that_ended_in_half_an_episode_goes_on_with_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &labelled("0.025"));
    succeeds(folder.path(), &labelled("0.05"));
    let reader = Reader::open(folder.path().join("play")).unwrap();
    let lengths: Vec<usize> = reader.episodes().iter().map(|episode| episode.length).collect();
    assert_eq!(lengths, [1800, 900, 1800, 900]);
}

#[test]
fn a_failing_disk_is_told_and_finished_episodes_stay() {
    let (whole, failing) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    succeeds(whole.path(), &PLAY);
    // Half of it first.
    let mut half = PLAY;
    half[11] = "0.0125";
    succeeds(failing.path(), &half);
    // From here on no file may grow beyond 16 KiB, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"";
    let output = Command::new("bash")
        .args(["-c", script, REVERIE])
        .args(PLAY)
        .current_dir(failing.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("error:") && text.contains("play"), "{text}");
    let reader = Reader::open(failing.path().join("play")).unwrap();
    assert_eq!(reader.episodes().len(), 3);
    assert_eq!(reader.read_episode(2).unwrap().tasks.len(), 450);
    succeeds(failing.path(), &PLAY);
    // The command of the first call stands beside it; everything else is the same.
    for folder in [whole.path(), failing.path()] {
        fs::remove_file(folder.join("play/meta/reverie.json")).unwrap();
    }
    assert_same(whole.path(), failing.path());
}

#[test]
fn another_recipe_does_not_touch_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = PLAY;
    short[11] = "0.004";
    succeeds(folder.path(), &short);
    let before = files(folder.path());
    let mut other = short.to_vec();
    other.extend(["--seed", "5"]);
    refuses(folder.path(), &other, &["play", "another recipe", "empty folder"]);
    refuses(folder.path(), &["collect", "demos", "--out", "play", "--episodes", "1"], &["another recipe"]);
    refuses(folder.path(), &["collect", "play", "--hours", "0"], &["--hours"]);
    refuses(folder.path(), &["collect", "play", "--episode-minutes", "99"], &["--episode-minutes"]);
    assert!(files(folder.path()) == before, "the data set was touched");
}

#[test]
fn an_episode_becomes_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = PLAY;
    short[11] = "0.004";
    succeeds(folder.path(), &short);
    succeeds(folder.path(), &["view", "play", "--episode", "0", "--rrd", "e.rrd"]);
    assert_eq!(&fs::read(folder.path().join("e.rrd")).unwrap()[..4], b"RRF2");
    refuses(folder.path(), &["view", "play", "--episode", "7", "--rrd", "f.rrd"], &["play", "1 episodes", "no episode 7"]);
    refuses(folder.path(), &["view", ".", "--rrd", "f.rrd"], &["meta/info.json"]);
    assert!(!folder.path().join("f.rrd").exists());
}

fn calvin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bridges/calvin/tests/golden/training")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn calvin_folders_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let golden = calvin();
    let text = succeeds(folder.path(), &["import", "calvin", &golden.to_string_lossy(), "--out", "set"]);
    let reader = Reader::open(folder.path().join("set")).unwrap();
    assert!(text.contains(&format!("{} episodes, {} frames", reader.episodes().len(), reader.frames())), "{text}");
    let source = reverie_calvin::CalvinFolder::open(&golden).unwrap();
    assert_eq!(reader.frames(), source.frame_count());
    let mut ids = source.recordings().iter().flat_map(|recording| recording.frames.clone());
    let image = reader.spec().position("observation.images.static").unwrap();
    let cameras = source.cameras().unwrap();
    for episode in 0..reader.episodes().len() {
        let read = reader.read_episode(episode).unwrap();
        for frame in 0..read.tasks.len() {
            let expected = source.read_frame(ids.next().unwrap(), &cameras).unwrap();
            assert_eq!(read.columns[0].as_f32().unwrap()[15 * frame..15 * frame + 15], expected.robot_obs);
            assert_eq!(read.columns[2].as_f32().unwrap()[7 * frame..7 * frame + 7], expected.rel_actions);
            let pixels = &expected.images["rgb_static"];
            let size = pixels.len();
            assert!(read.columns[image].as_image().unwrap()[size * frame..size * (frame + 1)] == pixels[..]);
        }
    }
    let labels: usize =
        reader.episodes().iter().map(|episode| episode.extra.as_ref().unwrap()["labels"].as_array().unwrap().len()).sum();
    assert_eq!(labels, source.annotations().unwrap().len());
}

#[test]
fn damaged_calvin_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("training");
    let frames = || -> Vec<PathBuf> {
        let mut frames: Vec<PathBuf> = fs::read_dir(calvin()).unwrap().map(|entry| entry.unwrap().path()).collect();
        frames.retain(|path| path.extension().is_some_and(|extension| extension == "npz"));
        frames.sort();
        frames
    };
    let victim = frames()[2].file_name().unwrap().to_owned();
    let import = ["import", "calvin", "training", "--out", "set"];

    copy(&calvin(), &broken);
    let bytes = fs::read(broken.join(&victim)).unwrap();
    fs::write(broken.join(&victim), &bytes[..bytes.len() / 2]).unwrap();
    refuses(folder.path(), &import, &[&victim.to_string_lossy()]);
    fs::remove_file(broken.join(&victim)).unwrap();
    refuses(folder.path(), &import, &[&victim.to_string_lossy()]);
    fs::write(broken.join(&victim), &bytes).unwrap();
    refuses(folder.path(), &["import", "calvin", "training", "--out", "set", "--camera", "wrist"], &["wrist", "static"]);
    refuses(folder.path(), &["import", "calvin", ".", "--out", "set"], &["training"]);
    // Mended, the same command goes on.
    succeeds(folder.path(), &import);
}
