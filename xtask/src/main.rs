//! What a person types on a fresh machine: `cargo xtask setup`, `demo`, `test`, `view`, `peers`.
//!
//! Everything that is said goes to standard error, so that `cargo xtask demo --json` leaves standard output to the demo.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cargo;
mod janitor;
mod libtorch;
mod peers;
mod python;
mod venv;
mod viewer;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, demo and test for a fresh machine")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find libtorch, or make it once in `.libtorch/` from wheels.
    Setup {
        /// Make libtorch with its CUDA libraries: about 2.5 GB of downloads. Not tried on a GPU by this project's own checks.
        #[arg(long)]
        cuda: bool,
    },
    /// Set up, build, and run `reverie demo`.
    Demo {
        /// What `reverie demo` takes, e.g. `--task open_drawer --episodes 2 --json`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Set up, and run all tests of the workspace.
    Test {
        /// What `cargo test` takes, e.g. `-p reverie-sim` or `-- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Open a recording in the rerun viewer, which is installed in `.venv-rerun/` if it is not on the PATH.
    View {
        /// The recording, e.g. `demo.rrd`.
        recording: PathBuf,
        /// Write a picture of the viewer to this file instead of opening a window.
        #[arg(long, value_name = "PNG")]
        screenshot: Option<PathBuf>,
    },
    /// Install the foreign programs that results are compared with, in `.venv-peers/`, and run them.
    Peers(peers::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let root = repository_root()?;
    match verb {
        Verb::Setup { cuda } => libtorch::ensure(&root, cuda)?,
        Verb::Demo { args } => {
            libtorch::ensure(&root, false)?;
            return cargo::demo(&root, &args);
        }
        Verb::Test { args } => {
            libtorch::ensure(&root, false)?;
            return cargo::test(&root, &args);
        }
        Verb::View { recording, screenshot: None } => return viewer::open(&root, &recording),
        Verb::Peers(options) => return peers::run(&root, &options),
        Verb::View { recording, screenshot: Some(png) } => return viewer::screenshot(&root, &recording, &png),
    }
    Ok(ExitCode::SUCCESS)
}

/// Cargo names the package's folder when it runs us; the repository is its parent.
fn repository_root() -> anyhow::Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package.parent().unwrap_or(Path::new("."));
    root.canonicalize().with_context(|| format!("the repository {} is not there", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_demo_are_handed_on() {
        let cli = Cli::try_parse_from(["xtask", "demo", "--task", "open_drawer", "--json"]).unwrap();
        assert!(matches!(cli.verb, Verb::Demo { args } if args == ["--task", "open_drawer", "--json"]));
    }

    #[test]
    fn options_behind_two_dashes_reach_the_peer() {
        let cli = Cli::try_parse_from(["xtask", "peers", "pybullet", "--", "--steps", "100"]).unwrap();
        let Verb::Peers(options) = cli.verb else { panic!("not the verb peers") };
        assert!(matches!(options.peer, Some(peers::Peer::Pybullet { args }) if args == ["--steps", "100"]));
    }

    #[test]
    fn options_behind_two_dashes_reach_the_test_programs() {
        let cli = Cli::try_parse_from(["xtask", "test", "-p", "reverie-sim", "--", "--nocapture"]).unwrap();
        assert!(matches!(cli.verb, Verb::Test { args } if args == ["-p", "reverie-sim", "--", "--nocapture"]));
    }
}
