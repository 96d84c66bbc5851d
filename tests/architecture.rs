//! Holds the arrows between crates, and the rules for files, to the design.
//!
//! `schema` <- `policy`, `sim`, `control` ; `policy` <- `world_model` ; `bridges/*` use `schema` only; the program `reverie` may use all. A heavy
//! dependency is touched by one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For each package, those of ours that it may use. A package that is not here fails the test: decide where it belongs.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("reverie-schema", &[]),
    ("reverie-policy", &["reverie-schema"]),
    ("reverie-world-model", &["reverie-schema", "reverie-policy"]),
    ("reverie-control", &["reverie-schema"]),
    ("reverie-sim", &["reverie-schema"]),
    ("reverie-camera", &["reverie-schema"]),
    ("reverie-zenoh", &["reverie-schema"]),
    ("reverie-rerun", &["reverie-schema"]),
    ("reverie-lerobot", &["reverie-schema"]),
    ("reverie-calvin", &["reverie-schema"]),
    (
        "reverie",
        &[
            "reverie-schema",
            "reverie-policy",
            "reverie-world-model",
            "reverie-control",
            "reverie-sim",
            "reverie-camera",
            "reverie-zenoh",
            "reverie-rerun",
            "reverie-lerobot",
            "reverie-calvin",
        ],
    ),
    ("xtask", &[]),
];

/// For each heavy dependency, the packages that may name it. Who names torch-sys beside tch does so to find libtorch's folder.
const HEAVY: [(&str, &[&str]); 7] = [
    ("tch", &["reverie-policy", "reverie-world-model"]),
    ("torch-sys", &["reverie-policy", "reverie-world-model", "reverie"]),
    ("rapier3d", &["reverie-sim"]),
    ("zenoh", &["reverie-zenoh"]),
    ("rerun", &["reverie-rerun"]),
    ("parquet", &["reverie-lerobot"]),
    ("zip", &["reverie-calvin"]),
];

/// What a package must not reach, however many steps away.
const NEVER_REACHES: [(&str, &[&str], &[&str]); 9] = [
    ("reverie", &["--no-default-features", "--features", "robot"], &["tch", "torch-sys", "rerun", "parquet", "zip"]),
    ("reverie-schema", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("reverie-control", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("reverie-sim", &[], &["tch", "torch-sys", "zenoh", "rerun", "tokio"]),
    ("reverie-camera", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("reverie-lerobot", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("reverie-calvin", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("reverie-policy", &["--no-default-features"], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
    ("xtask", &[], &["tch", "torch-sys", "rapier3d", "zenoh", "rerun", "tokio"]),
];

/// Folders whose code is given the time by its caller (`Clock`).
const WITHOUT_SYSTEM_CLOCK: [&str; 5] = ["schema/src", "policy/src", "world_model/src", "sim/src", "control/src"];

const MAX_LINES: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of cargo, which is told to stay off the network and off the lock file.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(args).args(["--offline", "--locked"]).output();
    let output = output.expect("cargo runs this test, so it starts");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// For each package of the workspace, the names of its direct normal and build dependencies; those for tests are free.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            (name(package), dependencies.iter().filter(|dependency| dependency["kind"] != "dev").map(name).collect())
        })
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of the repository").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn crates_use_only_what_the_design_allows() {
    let packages = direct_dependencies();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(package, _)| *package).collect();
    assert_eq!(packages.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "MAY_USE lists the workspace's packages");
    for (package, allowed) in MAY_USE {
        for dependency in packages[package].iter().filter(|dependency| known.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not use {dependency}");
        }
    }
}

#[test]
fn each_heavy_dependency_is_touched_by_one_crate() {
    let packages = direct_dependencies();
    for (dependency, allowed) in HEAVY {
        let users: Vec<&str> =
            packages.iter().filter(|(_, uses)| uses.contains(dependency)).map(|(name, _)| name.as_str()).collect();
        assert!(!users.is_empty(), "nobody uses {dependency}: remove it from HEAVY");
        for user in users {
            assert!(allowed.contains(&user), "{user} must not use {dependency}, only {allowed:?}");
        }
    }
}

#[test]
fn light_builds_stay_light() {
    for (package, features, never) in NEVER_REACHES {
        let mut args = vec!["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
        args.extend(features);
        let tree = cargo(&args);
        let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(reached.contains(package), "cargo tree names the package itself: {tree}");
        for dependency in never {
            assert!(!reached.contains(dependency), "{package} {features:?} reaches {dependency}");
        }
    }
}

#[test]
fn files_are_short() {
    let mut files = Vec::new();
    rust_files(root(), &mut files);
    assert!(files.len() > 20, "the walk finds the repository's files, not only {files:?}");
    for file in files {
        let lines = fs::read_to_string(&file).expect("a source file").lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, at most {MAX_LINES}: split it", file.display());
    }
}

#[test]
fn time_is_injected() {
    for folder in WITHOUT_SYSTEM_CLOCK {
        let mut files = Vec::new();
        rust_files(&root().join(folder), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let reads_clock = ["Instant::now", "SystemTime", "clock_gettime"].iter().any(|call| code.contains(call));
                assert!(!reads_clock, "{}:{}: take a Clock instead of the system clock", file.display(), number + 1);
            }
        }
    }
}
