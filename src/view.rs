//! `reverie view`: a recording, or an episode of a data set, in the rerun viewer.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::config::Config;

/// A viewer opens only recordings of its own version.
const VERSION: &str = "0.36.3";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[cfg(all(feature = "learn", feature = "view"))]
    #[command(subcommand)]
    made: Option<Made>,
    /// A recording, for example demo.rrd, or the folder of a data set
    #[arg(required = true)]
    what: Option<PathBuf>,
    /// Episode of the data set
    #[cfg(all(feature = "data", feature = "view"))]
    #[arg(long, default_value_t = 0)]
    episode: usize,
    /// Write the episode as a recording to this file instead of opening the viewer
    #[cfg(all(feature = "data", feature = "view"))]
    #[arg(long, value_name = "FILE")]
    rrd: Option<PathBuf>,
}

/// What is made to be looked at.
#[cfg(all(feature = "learn", feature = "view"))]
#[derive(clap::Subcommand)]
enum Made {
    /// An imagined rollout beside the simulated one from the same start
    Dream(crate::dreams::ViewArgs),
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    #[cfg(all(feature = "learn", feature = "view"))]
    if let Some(Made::Dream(args)) = &args.made {
        return crate::dreams::view(config, args);
    }
    let _ = config;
    let what = args.what.as_deref().context("what is to be viewed")?;
    if !what.is_dir() {
        ensure!(what.is_file(), "no recording {}; `reverie demo` makes demo.rrd, `reverie collect` data sets", what.display());
        return open(what);
    }
    #[cfg(all(feature = "data", feature = "view"))]
    return episode(args, what);
    #[cfg(not(all(feature = "data", feature = "view")))]
    bail!("this program was built without the features `data` and `view`, which show data sets");
}

#[cfg(all(feature = "data", feature = "view"))]
fn episode(args: &Args, what: &Path) -> Result<()> {
    use crate::show;
    if let Some(path) = &args.rrd {
        show::write_episode(what, args.episode, path)?;
        println!("wrote {}", path.display());
        return Ok(());
    }
    // The viewer reads the file while it is open.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(format!("episode_{}.rrd", args.episode));
    show::write_episode(what, args.episode, &path)?;
    open(&path)
}

/// Opens a recording in the viewer, and waits until it is closed.
pub fn open(recording: &Path) -> Result<()> {
    for program in ["rerun", ".venv-rerun/bin/rerun"] {
        let Ok(output) = Command::new(program).arg("--version").output() else { continue };
        if !String::from_utf8_lossy(&output.stdout).contains(VERSION) {
            continue;
        }
        let status = Command::new(program).args(["--bind", "127.0.0.1"]).arg(recording).status()?;
        ensure!(status.success(), "{program} ended with {status}");
        return Ok(());
    }
    bail!(
        "no rerun viewer {VERSION} on the PATH; `cargo xtask view FILE` installs one and opens a recording{}",
        if recording.starts_with(std::env::temp_dir()) { "; write the episode to one with --rrd FILE" } else { "" }
    )
}
