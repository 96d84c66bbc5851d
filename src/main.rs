//! Reverie's command line: runs, trains and checks diffusion policies on a robot arm in real time.
//!
//! Standard output carries results, standard error progress and problems. The exit code is 0 only when the work was done.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod actor;
mod attempt;
mod bench;
mod clock;
#[cfg(feature = "data")]
mod collect;
mod config;
#[cfg(feature = "learn")]
mod curves;
#[cfg(feature = "data")]
mod dataset;
mod demo;
mod doctor;
#[cfg(feature = "learn")]
mod dreams;
mod eval;
mod eyes;
#[cfg(feature = "data")]
mod import;
mod models;
mod parallel;
mod pilot;
mod planner;
#[cfg(feature = "robot")]
mod policy_process;
mod randomise;
mod realtime;
mod recorder;
mod report;
mod rig;
mod robot;
#[cfg(feature = "robot")]
mod robot_process;
#[cfg(all(feature = "data", feature = "view"))]
mod show;
mod tasks;
#[cfg(feature = "learn")]
mod train;
mod tune;
mod view;

use std::{
    io::IsTerminal,
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
    /// Run simulation, policy and controller together in real time, for all tasks
    Demo(demo::Args),
    /// Be the simulated robot with its servo, talking over zenoh
    #[cfg(feature = "robot")]
    Sim(robot_process::Args),
    /// Be the policy of a robot that talks over zenoh
    #[cfg(feature = "robot")]
    Run(policy_process::Args),
    /// Record what the scripted experts do: demonstrations, or play
    #[cfg(feature = "data")]
    #[command(subcommand)]
    Collect(collect::What),
    /// Bring another program's data set into our form
    #[cfg(feature = "data")]
    #[command(subcommand)]
    Import(import::What),
    /// Train networks
    #[cfg(feature = "learn")]
    #[command(subcommand)]
    Train(train::What),
    /// Improve a policy by reinforcement, in dreams or in simulation
    #[cfg(feature = "learn")]
    Finetune(dreams::FinetuneArgs),
    /// Evaluate a policy or the scripted experts, in lockstep
    Eval(eval::Args),
    /// Measure speed
    #[command(subcommand)]
    Bench(bench::What),
    /// Find the noise levels of RTI's warm start for a policy, from held-out episodes
    Tune(tune::Args),
    /// Open a recording, or an episode of a data set, in the rerun viewer
    View(view::Args),
    /// Report what this machine has and lacks
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Set by the first Ctrl-C; the second ends the program at once.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,reverie=info".into()))
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
    watch_interrupts()?;
    match &cli.verb {
        Verb::Demo(args) => demo::run(&config, args, &INTERRUPTED),
        #[cfg(feature = "robot")]
        Verb::Sim(args) => robot_process::run(&config, args, &INTERRUPTED),
        #[cfg(feature = "robot")]
        Verb::Run(args) => policy_process::run(&config, args, &INTERRUPTED),
        #[cfg(feature = "data")]
        Verb::Collect(what) => collect::run(&config, what),
        #[cfg(feature = "data")]
        Verb::Import(what) => import::run(&config, what),
        #[cfg(feature = "learn")]
        Verb::Train(what) => {
            report::commit();
            train::run(&config, what, &INTERRUPTED)
        }
        #[cfg(feature = "learn")]
        Verb::Finetune(args) => {
            report::commit();
            dreams::finetune::run(&config, args, &INTERRUPTED)
        }
        Verb::Eval(args) => eval::run(&config, args),
        Verb::Bench(what) => {
            report::commit();
            bench::run(&config, what)
        }
        Verb::Tune(args) => tune::run(&config, args),
        Verb::View(args) => view::run(&config, args),
        Verb::Doctor { json } => doctor::run(*json),
    }
}

/// Long work looks at [`INTERRUPTED`] and ends in good order; a second Ctrl-C does not wait for it.
fn watch_interrupts() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    })?;
    Ok(())
}
