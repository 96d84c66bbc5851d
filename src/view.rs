//! `reverie view`: a recording in the rerun viewer.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail, ensure};

/// A viewer opens only recordings of its own version.
const VERSION: &str = "0.36.3";

#[derive(clap::Args)]
pub struct Args {
    /// The recording, for example demo.rrd
    recording: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(args.recording.is_file(), "no recording {}; `reverie demo` makes demo.rrd", args.recording.display());
    for program in ["rerun", ".venv-rerun/bin/rerun"] {
        let Ok(output) = Command::new(program).arg("--version").output() else { continue };
        if !String::from_utf8_lossy(&output.stdout).contains(VERSION) {
            continue;
        }
        let status = Command::new(program).args(["--bind", "127.0.0.1"]).arg(&args.recording).status()?;
        ensure!(status.success(), "{program} ended with {status}");
        return Ok(());
    }
    bail!(
        "no rerun viewer {VERSION} on the PATH; `cargo xtask view {}` installs one and opens the recording",
        args.recording.display()
    )
}
