//! The long-horizon protocol through the command line: it repeats, goes on after an interruption, and names what is wrong.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn eval(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reverie"))
        .args(["eval", "--policy", "experts", "--protocol", "calvin"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn claims(folder: &Path, args: &[&str]) -> Value {
    let output = eval(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_interrupted_evaluation_goes_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--chains", "12", "--json", "--journal", "j.jsonl"];
    let whole = claims(folder.path(), &args);
    assert_eq!(whole["chains"], 12);
    // Far below what is seen over 1000 chains, far above what an expert that does not work would reach.
    assert!(whole["average_length"].as_f64().unwrap() > 3.5, "{whole}");
    let journal = folder.path().join("j.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 13);
    // Killed in the middle of the sixth chain's line.
    let half = lines[..6].join("\n") + "\n" + &lines[6][..lines[6].len() / 2];
    fs::write(&journal, half).unwrap();
    assert_eq!(claims(folder.path(), &args), whole);
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |args: &[&str], words: &[&str]| {
        let output = eval(folder.path(), args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !text.contains("panicked"), "{args:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{args:?}: '{word}' is not in: {text}");
        }
    };
    refuses(&["--chains", "0"], &["--chains"]);
    refuses(&["--set", "sim.scene='A'"], &["scene D", "sim.scene is A"]);
    refuses(&["--decoder", "rti"], &["--decoder", "experts"]);
    claims(folder.path(), &["--chains", "2", "--json", "--journal", "j.jsonl"]);
    refuses(&["--chains", "3", "--journal", "j.jsonl"], &["j.jsonl", "another evaluation", "--fresh"]);
    let text = fs::read_to_string(folder.path().join("j.jsonl")).unwrap();
    fs::write(folder.path().join("j.jsonl"), text.replacen("\"solved\"", "\"solvd\"", 1)).unwrap();
    refuses(&["--chains", "2", "--journal", "j.jsonl"], &["j.jsonl", "damaged in line 2"]);
}
