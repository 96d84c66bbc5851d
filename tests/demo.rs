//! The main job as a user runs it, and lockstep evaluation that repeats.
#![cfg(all(feature = "learn", feature = "view"))]
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

fn reverie(args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reverie"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn rows(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Two tasks in real time: a row for each task and decoder, a servo that ran at 1 kHz, and a recording.
#[test]
fn the_demo_plays_tasks_in_real_time_and_records_them() {
    let folder = tempfile::tempdir().unwrap();
    let rrd = folder.path().join("demo.rrd");
    let tasks = ["--task", "turn_on_led", "--task", "close_drawer"];
    let path = rrd.to_string_lossy();
    let args = [&["demo", "--episodes", "2", "--json", "--rrd", &path], &tasks[..]].concat();
    let (success, out, err) = reverie(&args);
    assert!(success, "{err}");
    let rows = rows(&out);
    let names: Vec<_> = rows.iter().map(|row| (row["task"].as_str().unwrap(), row["decoder"].as_str().unwrap())).collect();
    assert_eq!(names, [("turn_on_led", "ddpm"), ("turn_on_led", "rti"), ("close_drawer", "ddpm"), ("close_drawer", "rti")]);
    for row in &rows {
        let ticks = row["servo"]["ticks"].as_u64().unwrap();
        assert!(ticks > 300, "two episodes are longer than 0.3 s: {row}");
        let nfe = row["nfe_mean"].as_f64().unwrap();
        assert!(if row["decoder"] == "ddpm" { nfe == 100.0 } else { nfe < 10.0 }, "{row}");
    }
    // Of eight episodes at success rates above 0.9, fewer than four succeed once in ten thousand runs.
    let successes: u64 = rows.iter().map(|row| row["successes"].as_u64().unwrap()).sum();
    assert!(successes >= 4, "{rows:#?}");
    assert_eq!(&std::fs::read(&rrd).unwrap()[..4], b"RRF2");
    assert!(err.contains("cargo xtask view"), "{err}");
}

#[test]
fn evaluation_repeats_and_has_the_promised_keys() {
    let run = || {
        let (success, out, err) =
            reverie(&["eval", "--task", "move_slider_left", "--decoder", "rti", "--episodes", "4", "--json"]);
        assert!(success, "{err}");
        rows(&out).remove(0)
    };
    let (first, second) = (run(), run());
    for key in ["task", "decoder", "episodes", "successes", "nfe_mean", "decode_us_p50", "decode_us_p99", "steps_mean"] {
        assert!(first.get(key).is_some(), "{key}");
    }
    for key in ["successes", "nfe_mean", "steps_mean", "plans"] {
        assert_eq!(first[key], second[key], "{key}");
    }
}
