//! Bad input through the command line: the error names file, key or value, the exit code is not 0, and nothing half-written is left.
#![cfg(feature = "learn")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn reverie(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reverie")).args(args).current_dir(root()).stdin(Stdio::null()).output().unwrap()
}

/// Runs it and checks that it fails with one `error:` line that holds all `words`.
fn refuses(args: &[&str], words: &[&str]) {
    let output = reverie(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{args:?} succeeded");
    let line = text.lines().find(|line| line.starts_with("error:")).unwrap_or_else(|| panic!("{args:?}: {text}"));
    for word in words {
        assert!(text.contains(word), "{args:?}: '{word}' is not in: {line}\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// A copy of the shipped checkpoint, changed by `change` (policy.json as JSON, bytes of the tensors file).
fn spoilt(change: impl FnOnce(&mut serde_json::Value, &mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = root().join("models/state");
    let mut info = serde_json::from_slice(&fs::read(from.join("policy.json")).unwrap()).unwrap();
    let mut tensors = fs::read(from.join("policy.safetensors")).unwrap();
    change(&mut info, &mut tensors);
    fs::write(folder.path().join("policy.json"), serde_json::to_vec(&info).unwrap()).unwrap();
    fs::write(folder.path().join("policy.safetensors"), tensors).unwrap();
    folder
}

/// The tensors file with the first tensor replaced, and the hash made to fit, as a careless tool would write it.
fn with_first_tensor(
    info: &mut serde_json::Value,
    bytes: &mut Vec<u8>,
    replace: impl FnOnce(&mut Vec<usize>, &mut Vec<u8>),
) -> String {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let mut all: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec())).collect();
    all.sort();
    let name = all[0].0.clone();
    let (_, shape, data) = &mut all[0];
    replace(shape, data);
    let views: Vec<(String, TensorView<'_>)> =
        all.iter().map(|(name, shape, data)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())).collect();
    *bytes = safetensors::serialize(views, None).unwrap();
    let digest: String = Sha256::digest(&*bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    info["tensors_sha256"] = digest.into();
    name
}

fn eval(policy: &Path) -> [String; 5] {
    ["eval", "--episodes", "1", "--policy", &policy.to_string_lossy()].map(str::to_owned)
}

fn eval_refuses(policy: &Path, words: &[&str]) {
    refuses(&eval(policy).each_ref().map(String::as_str), words);
}

#[test]
fn a_missing_checkpoint_is_named() {
    eval_refuses(Path::new("models/nowhere"), &["models/nowhere", "policy.json"]);
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let folder = spoilt(|_, bytes| bytes.truncate(bytes.len() / 2));
    eval_refuses(folder.path(), &["policy.safetensors"]);
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let mut name = String::new();
    let folder = spoilt(|info, bytes| {
        name = with_first_tensor(info, bytes, |shape, data| {
            data.truncate(data.len() / shape[0] * (shape[0] - 1));
            shape[0] -= 1;
        });
    });
    eval_refuses(folder.path(), &[&name, "expected"]);
}

#[test]
fn nan_in_a_weight_is_named_with_its_place() {
    let mut name = String::new();
    let folder = spoilt(|info, bytes| {
        name = with_first_tensor(info, bytes, |_, data| data[8..12].copy_from_slice(&f32::NAN.to_le_bytes()));
    });
    eval_refuses(folder.path(), &[&name, "NaN", "2"]);
}

#[test]
fn an_unknown_key_in_a_checkpoint_is_named() {
    let folder = spoilt(|info, _| info["colour"] = "blue".into());
    eval_refuses(folder.path(), &["policy.json", "colour"]);
}

#[test]
fn an_unknown_task_lists_the_known() {
    let output = reverie(&["eval", "--task", "open_window"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("open_window") && text.contains("turn_off_led"), "{text}");
}

#[test]
fn a_task_that_the_policy_does_not_know_is_named() {
    let folder = spoilt(|info, _| info["tasks"].as_array_mut().unwrap()[0] = "juggle".into());
    eval_refuses(folder.path(), &["open_drawer"]);
}

#[test]
fn bad_configuration_is_named() {
    refuses(&["--set", "decode.max_stepz=3", "eval", "--episodes", "1"], &["max_stepz"]);
    refuses(&["--set", "servo.period_ns=0", "demo", "--episodes", "1", "--no-rerun"], &["period_ns", "0"]);
    refuses(&["--set", "sim.solver_iterations=0", "eval", "--episodes", "1"], &["solver_iterations"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, "[sim]\nfriction = 3\n").unwrap();
    refuses(&["--config", &path.to_string_lossy(), "eval"], &["mine.toml", "friction"]);
    refuses(&["--config", "no.toml", "eval"], &["no.toml"]);
}

#[test]
fn a_data_set_that_is_not_there_is_named() {
    refuses(&["train", "policy", "--data", "no/data", "--out", "no/out"], &["no/data", "reverie collect"]);
}

/// A file-size limit stands for a full disk: the write fails in the middle.
#[test]
fn a_full_disk_while_recording_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.rrd");
    let command = format!(
        "trap '' XFSZ; ulimit -f 40; exec '{}' demo --task turn_on_led --episodes 2 --rrd '{}'",
        env!("CARGO_BIN_EXE_reverie"),
        path.display()
    );
    let output = Command::new("bash").args(["-c", &command]).current_dir(root()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("error:") && text.contains("full.rrd"), "{text}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn results_are_written_whole_or_not_at_all() {
    let output = reverie(&[
        "eval",
        "--episodes",
        "1",
        "--task",
        "turn_on_led",
        "--decoder",
        "rti",
        "--results",
        "/proc/nowhere/results.json",
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("/proc/nowhere/results.json"), "{text}");
}
