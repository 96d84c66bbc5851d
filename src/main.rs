//! Reverie's command line: runs, trains and checks diffusion policies on a robot arm in real time.
//!
//! Standard output carries results, standard error progress and problems. The exit code is 0 only when the work was done.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod collect;
mod config;
mod dataset;
mod eval;
mod models;
mod parallel;
mod planner;
mod report;
mod rig;
#[cfg(feature = "learn")]
mod train;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "reverie", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    overlays: config::Overlays,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Record demonstrations by the scripted experts
    Collect(collect::Args),
    /// Train networks
    #[cfg(feature = "learn")]
    #[command(subcommand)]
    Train(train::What),
    /// Evaluate a policy on random starts, in lockstep
    Eval(eval::Args),
}

/// Set by the first Ctrl-C; the second ends the program at once.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,reverie=info".into()),
        )
        .init();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let config = cli.overlays.resolve()?;
    match &cli.verb {
        Verb::Collect(args) => collect::run(&config, args),
        #[cfg(feature = "learn")]
        Verb::Train(what) => train::run(&config, what, &INTERRUPTED),
        Verb::Eval(args) => eval::run(&config, args),
    }
}
