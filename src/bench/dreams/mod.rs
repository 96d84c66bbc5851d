//! `reverie bench dreams`: what fine-tuning in dreams is worth, judged by the simulation alone, and what it costs.

mod cells;
mod runner;
mod speed;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, Result, ensure};
use reverie_sim::Task;
use serde_json::{Value, json};

use crate::{config::Config, dreams::Folders, models, report::write_results, tasks::Selection};
use runner::Runner;

#[derive(clap::Args)]
pub struct Args {
    /// What is measured
    #[arg(long, value_enum)]
    part: Part,
    /// Folder of the policy that tuning begins with
    #[arg(long, default_value = "models/dreams/base")]
    policy: PathBuf,
    #[command(flatten)]
    folders: Folders,
    /// Folder with `world_model`, `reward`, `demos` and `play` of pictures alone, for `ablation`
    #[arg(long, value_name = "FOLDER")]
    vision: Option<PathBuf>,
    /// The same of pictures and state
    #[arg(long, value_name = "FOLDER")]
    hybrid: Option<PathBuf>,
    /// Folder for tuned policies and the journal: finished ones are not made again
    #[arg(long, default_value = "runs/dreams")]
    work: PathBuf,
    /// Task, or `mechanism` for all eight; may be given more than once
    #[arg(long = "task", value_name = "TASK", default_value = "mechanism")]
    tasks: Vec<Selection>,
    /// Seeds of tuning
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Episodes of each task and seed
    #[arg(long, default_value_t = 300)]
    episodes: u64,
    /// First seed of the starts; checks while developing used 5000 to 5999
    #[arg(long, default_value_t = 30_000)]
    seed: u64,
    /// Tunings side by side [default: cores]
    #[arg(long)]
    jobs: Option<usize>,
    /// Cells of the ablation to run, by the names in the table; `none`: only those of --vision and --hybrid
    #[arg(long, value_delimiter = ',', value_name = "CELL")]
    only: Vec<String>,
    /// Run an equivalent PyTorch script beside ours with this Python, for `speed`
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Write the figures, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Draw cost against batch and horizon into this SVG file, for `speed`
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Before and after, all tasks and seeds
    Main,
    /// Weights of cloning, guards, algorithms, diversity
    Ablation,
    /// The tuned policies by few-step decoders
    Fast,
    /// Imagined steps, updates, and peers
    Speed,
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    let tasks = Selection::tasks(&args.tasks);
    ensure!(args.episodes > 0 && args.seeds > 0, "--episodes and --seeds must be at least 1");
    let (claims, data) = match args.part {
        Part::Speed => speed::run(config, args).context("bench dreams --part speed")?,
        part => {
            let runner = Runner::new(config, args)?;
            let outcome = match part {
                Part::Main => main_table(&runner, &tasks),
                Part::Fast => cells::fast(&runner, &tasks),
                _ => cells::ablation(&runner, &tasks, &args.only),
            };
            outcome.context("bench dreams")?
        }
    };
    println!("{}", serde_json::to_string_pretty(&claims)?);
    if let Some(path) = &args.results {
        write_results(path, &claims, &json!({ "rows": data, "config": config }))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// Before and after for each task.
fn main_table(runner: &Runner<'_>, tasks: &[Task]) -> Result<(Value, Value)> {
    let cell = cells::plain();
    let seeds: Vec<u64> = (0..runner.args.seeds).collect();
    runner.tune(&[&cell], tasks, &seeds)?;
    let base = models::load(&runner.args.policy)?;
    let mut rows = Vec::new();
    println!("{:<22} {:>24} {:>24} {:>7} {:>9} {:>11}", "task", "before", "after", "gain", "minutes", "steps");
    for &task in tasks {
        let (mut before, mut after) = (crate::report::Rate::default(), crate::report::Rate::default());
        let (mut minutes, mut environment_steps, mut imagined_steps) = (0.0_f64, 0, 0);
        let mut commits = BTreeSet::new();
        for &seed in &seeds {
            let first = runner.args.seed + seed * runner.args.episodes;
            before += runner.success(&base, task, first, runner.args.episodes)?;
            let tuned = runner.load(&cell, task, seed)?;
            after += runner.success(&tuned.checkpoint, task, first, runner.args.episodes)?;
            minutes = minutes.max(tuned.minutes);
            commits.extend(tuned.checkpoint.info.tuning.as_ref().map(|tuning| tuning.commit.clone()));
            environment_steps += tuned.environment_steps;
            imagined_steps += tuned.steps;
        }
        let percent = |rate: crate::report::Rate| {
            let [low, high] = rate.wilson95();
            format!("{:5.1} % [{:.1}, {:.1}]", 100.0 * rate.mean(), 100.0 * low, 100.0 * high)
        };
        let gain = after.mean() - before.mean();
        println!(
            "{:<22} {:>24} {:>24} {:>+7.1} {:>9.1} {:>11}",
            task.name(),
            percent(before),
            percent(after),
            100.0 * gain,
            minutes,
            imagined_steps / seeds.len() as u64
        );
        rows.push(json!({
            "task": task.name(), "before": before.mean(), "before_wilson95": before.wilson95(), "after": after.mean(),
            "after_wilson95": after.wilson95(), "episodes": after.trials, "gain": gain, "minutes_finetune_most": minutes,
            "environment_steps": environment_steps, "imagined_steps": imagined_steps, "tuned_by_commits": commits,
        }));
    }
    let of = |key: &str| -> Vec<f64> { rows.iter().filter_map(|row| row[key].as_f64()).collect() };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let world = reverie_world_model::WorldModelCheckpoint::load(&runner.args.folders.world_model)?;
    let mut claims = json!({
        "base_mean": mean(&of("before")), "tuned_mean": mean(&of("after")),
        "tasks_improved": of("gain").iter().filter(|gain| **gain > 0.0).count(),
        "min_gain": of("gain").into_iter().fold(f64::INFINITY, f64::min),
        "environment_steps": of("environment_steps").iter().sum::<f64>(),
        "minutes_world_model": world.info.minutes,
        "minutes_finetune_per_task": of("minutes_finetune_most").into_iter().fold(0.0, f64::max),
    });
    // How far off the last of 80 control steps is that were foretold without seeing.
    for (name, error) in ["model", "constant", "mlp"].iter().zip(&world.info.open_loop) {
        claims[format!("open_loop_tcp_m_{name}")] = json!(error.tcp_m.last());
        claims[format!("open_loop_mechanisms_m_{name}")] = json!(error.mechanisms_m.last());
        claims[format!("open_loop_moves_precision_{name}")] = json!(error.moves.precision());
        claims[format!("open_loop_moves_recall_{name}")] = json!(error.moves.recall());
    }
    for row in &rows {
        let task = row["task"].as_str().unwrap_or_default();
        claims[format!("base_{task}")] = row["before"].clone();
        claims[format!("tuned_{task}")] = row["after"].clone();
    }
    Ok((claims, json!(rows)))
}
