//! `reverie eval`: a policy on random starts, in lockstep, judged by the oracles.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_sim::Task;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    clock::WallClock,
    config::Config,
    models, parallel,
    planner::Planner,
    report::{Rate, Samples, write_results},
    rig::Rig,
};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Task; may be given more than once [default: the eight of drawer, slider, bulb and LED]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Task>,
    /// Decoder: ddpm, rti or cold-ddim; may be given more than once [default: all]
    #[arg(long = "decoder", value_name = "NAME")]
    decoders: Vec<Name>,
    /// Episodes of each task and decoder
    #[arg(long, default_value_t = 50)]
    episodes: u64,
    /// First seed of the starts; demonstrations begin at 1000000
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the rows, with command, commit, machine and the claims of the main job, to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Print JSON rows instead of a table
    #[arg(long)]
    json: bool,
}

/// The decoders that the main job compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// All ancestral steps from noise
    Ddpm,
    /// Warm start from the previous chunk, planned again every control step
    Rti,
    /// As many evaluations as RTI from noise, planned again every control step
    ColdDdim,
}

impl Name {
    pub const ALL: [Self; 3] = [Self::Ddpm, Self::Rti, Self::ColdDdim];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Rti => "rti",
            Self::ColdDdim => "cold-ddim",
        }
    }

    pub fn config(self, config: &Config) -> &DecoderConfig {
        match self {
            Self::Ddpm => &config.decode.ddpm,
            Self::Rti => &config.decode.rti,
            Self::ColdDdim => &config.decode.cold_ddim,
        }
    }

    /// Rows played before the next plan, in lockstep.
    pub fn rows(self, config: &Config) -> usize {
        match self {
            Self::Ddpm => config.decode.ddpm_rows,
            Self::Rti | Self::ColdDdim => config.decode.few_step_rows,
        }
    }
}

/// One attempt.
struct Attempt {
    success: bool,
    steps: u32,
    nfe: Samples,
    decode_us: Samples,
}

/// A line of the report: one task under one decoder.
#[derive(Serialize)]
pub struct Row {
    task: &'static str,
    decoder: Name,
    episodes: u64,
    successes: u64,
    success_rate: f64,
    wilson95: [f64; 2],
    /// Network evaluations of a plan, cold starts included.
    nfe_mean: f64,
    decode_us_mean: f64,
    decode_us_p50: f64,
    decode_us_p99: f64,
    /// Control steps of a successful episode.
    steps_mean: f64,
    plans: u64,
}

fn attempt(config: &Config, planner: &mut Planner, name: Name, task: Task, seed: u64) -> Result<Attempt> {
    let mut rig = Rig::new(config, task, seed)?;
    planner.reset(task.name(), seed)?;
    let rows = name.rows(config);
    let (mut nfe, mut decode_us) = (Samples::default(), Samples::default());
    let mut success = false;
    while !success && rig.steps() < config.decode.max_steps {
        let observation = rig.observe();
        planner.observe(&observation)?;
        if (rig.steps() as usize).is_multiple_of(rows) {
            let (chunk, report) = planner.plan(&observation, rows, &WallClock)?;
            nfe.push(report.nfe.into());
            decode_us.push(report.decode_us);
            rig.offer(&chunk)?;
        }
        rig.step()?;
        success = rig.solved();
    }
    Ok(Attempt { success, steps: rig.steps(), nfe, decode_us })
}

/// Runs `episodes` attempts on all cores.
fn cell(
    config: &Config,
    checkpoint: &Checkpoint,
    args: &Args,
    name: Name,
    task: Task,
    bar: &ProgressBar,
) -> Result<(Row, Vec<bool>)> {
    let attempts = parallel::map(
        args.episodes as usize,
        parallel::cores(),
        || models::planner(checkpoint, name.config(config), &args.device),
        |planner, index| {
            let attempt = attempt(config, planner, name, task, args.seed + index as u64)
                .with_context(|| format!("{task} with seed {}", args.seed + index as u64))?;
            bar.inc(1);
            Ok(attempt)
        },
    )?;
    let (mut nfe, mut decode_us, mut steps) = (Samples::default(), Samples::default(), Samples::default());
    let mut rate = Rate::default();
    let outcomes = attempts.iter().map(|attempt| attempt.success).collect();
    for attempt in attempts {
        rate += Rate { successes: attempt.success.into(), trials: 1 };
        if attempt.success {
            steps.push(attempt.steps.into());
        }
        nfe.extend(attempt.nfe);
        decode_us.extend(attempt.decode_us);
    }
    let row = Row {
        task: task.name(),
        decoder: name,
        episodes: rate.trials,
        successes: rate.successes,
        success_rate: rate.mean(),
        wilson95: rate.wilson95(),
        nfe_mean: nfe.mean(),
        decode_us_mean: decode_us.mean(),
        decode_us_p50: decode_us.quantile(0.5),
        decode_us_p99: decode_us.quantile(0.99),
        steps_mean: steps.mean(),
        plans: nfe.len() as u64,
    };
    Ok((row, outcomes))
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    ensure!(
        config.decode.ddpm_rows > 0 && config.decode.few_step_rows > 0,
        "config keys decode.ddpm_rows and decode.few_step_rows must be at least 1"
    );
    let checkpoint = models::load(&args.policy)?;
    models::set_threads(1);
    let tasks = if args.tasks.is_empty() { Task::MECHANISM.to_vec() } else { args.tasks.clone() };
    let names = if args.decoders.is_empty() { Name::ALL.to_vec() } else { args.decoders.clone() };
    for &task in &tasks {
        checkpoint.task_index(task.name())?;
    }

    let bar = ProgressBar::new((tasks.len() * names.len()) as u64 * args.episodes)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left  {msg}").context("progress bar")?);
    let mut rows = Vec::new();
    let mut outcomes = BTreeMap::new();
    for &task in &tasks {
        for &name in &names {
            bar.set_message(format!("{task} {}", name.label()));
            let (row, success) = cell(config, &checkpoint, args, name, task, &bar)?;
            bar.suspend(|| print(&row, args.json))?;
            rows.push(row);
            outcomes.insert(
                format!("{task}/{}", name.label()),
                success.iter().map(|&s| if s { '1' } else { '0' }).collect::<String>(),
            );
        }
    }
    bar.finish_and_clear();
    let claims = claims(&rows);
    if !args.json {
        println!("{}", serde_json::to_string_pretty(&claims)?);
    }
    if let Some(path) = &args.results {
        let data = json!({
            "policy": args.policy, "tensors_sha256": checkpoint.info.tensors_sha256, "first_seed": args.seed,
            "decoders": names.iter().map(|name| (name.label(), json!(name.config(config)))).collect::<BTreeMap<_, _>>(),
            "rows": rows, "successes_by_seed": outcomes, "config": config,
        });
        write_results(path, &claims, &data)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn print(row: &Row, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(row)?);
    } else {
        let [low, high] = row.wilson95.map(|bound| 100.0 * bound);
        println!(
            "{:<20} {:<10} {:>4}/{:<4} {:>5.1} % [{low:.1}, {high:.1}]  nfe {:>5.1}  decode p50 {:>7.0} us p99 {:>7.0} us  {:>5.1} steps",
            row.task,
            row.decoder.label(),
            row.successes,
            row.episodes,
            100.0 * row.success_rate,
            row.nfe_mean,
            row.decode_us_p50,
            row.decode_us_p99,
            row.steps_mean
        );
    }
    Ok(())
}

/// The figures that the README quotes; only those whose rows were run.
fn claims(rows: &[Row]) -> Value {
    let of = |name: Name| rows.iter().filter(move |row| row.decoder == name);
    let mean = |name: Name, value: fn(&Row) -> f64| {
        let values: Vec<f64> = of(name).map(value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    // Over all plans, whatever the task.
    let per_plan = |name: Name, value: fn(&Row) -> f64| {
        let plans: u64 = of(name).map(|row| row.plans).sum();
        (plans > 0).then(|| of(name).map(|row| value(row) * row.plans as f64).sum::<f64>() / plans as f64)
    };
    let success = |row: &Row| row.success_rate;
    let mut claims = serde_json::Map::new();
    let mut claim = |key: String, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            claims.insert(key, json!(value));
        }
    };
    for name in Name::ALL {
        let key = name.label().replace('-', "_");
        claim(format!("{key}_success_mean"), mean(name, success));
        claim(format!("{key}_success_min"), of(name).map(success).min_by(f64::total_cmp));
        claim(format!("{key}_nfe_mean"), per_plan(name, |row| row.nfe_mean));
        claim(format!("{key}_decode_us_mean"), per_plan(name, |row| row.decode_us_mean));
        for row in of(name) {
            claim(format!("{key}_{}", row.task), Some(row.success_rate));
        }
    }
    let ratio = per_plan(Name::Rti, |row| row.decode_us_mean)
        .zip(per_plan(Name::Ddpm, |row| row.decode_us_mean))
        .map(|(rti, ddpm)| rti / ddpm);
    claim("rti_over_ddpm_decode_time".into(), ratio);
    Value::Object(claims)
}
