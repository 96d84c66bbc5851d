//! The rerun viewer, of the version that wrote the recording: another version does not open it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::bail;

use crate::cargo::replace_by;
use crate::venv;

/// The version of the `rerun` crate in `Cargo.toml`.
const RERUN_VERSION: &str = "0.36.3";
const VENV: &str = ".venv-rerun";

/// Opens a recording in a window.
pub fn open(root: &Path, recording: &Path) -> anyhow::Result<ExitCode> {
    check_recording(recording)?;
    let viewer = if is_right_version(Path::new("rerun")) { "rerun".into() } else { installed(root)?.join("bin/rerun") };
    replace_by(Command::new(viewer).arg(recording))
}

/// Writes a picture of the viewer that shows the recording.
pub fn screenshot(root: &Path, recording: &Path, png: &Path) -> anyhow::Result<ExitCode> {
    check_recording(recording)?;
    let python = installed(root)?.join("bin/python");
    replace_by(Command::new(python).arg(root.join("docs/screenshot.py")).arg(recording).arg(png))
}

fn check_recording(recording: &Path) -> anyhow::Result<()> {
    if !recording.is_file() {
        bail!("{} is not a file: make a recording with `cargo xtask demo`, which writes demo.rrd", recording.display());
    }
    Ok(())
}

fn is_right_version(viewer: &Path) -> bool {
    let version = Command::new(viewer).arg("--version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == RERUN_VERSION))
}

/// The folder of a virtual environment with the viewer, made at the first call.
fn installed(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join(VENV);
    if folder.exists() {
        if !is_right_version(&folder.join("bin/rerun")) {
            bail!("{} holds no rerun {RERUN_VERSION}: remove the folder and call again", folder.display());
        }
        return Ok(folder);
    }
    eprintln!("xtask: installing rerun {RERUN_VERSION} in {} (once; downloads about 250 MB)", folder.display());
    venv::make(&folder, &[&format!("rerun-sdk=={RERUN_VERSION}")], || {
        if !is_right_version(&folder.join("bin/rerun")) {
            bail!("rerun {RERUN_VERSION} is installed, but does not start");
        }
        Ok(())
    })?;
    Ok(folder)
}
