//! Single tasks from random starts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_sim::Task;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Args, Name, Subject, subjects};
use crate::{
    attempt::attempt,
    config::Config,
    parallel,
    report::{Rate, Samples, write_results},
    tasks::Selection,
};

/// A line of the report: one task under one decoder.
#[derive(Serialize)]
struct Row {
    task: &'static str,
    decoder: &'static str,
    episodes: u64,
    successes: u64,
    success_rate: f64,
    wilson95: [f64; 2],
    /// Network evaluations of a plan, cold starts included; none for experts.
    nfe_mean: Option<f64>,
    decode_us_mean: Option<f64>,
    decode_us_p50: Option<f64>,
    decode_us_p99: Option<f64>,
    /// Control steps of a successful episode.
    steps_mean: Option<f64>,
    plans: u64,
}

/// Runs `episodes` attempts on all cores.
fn cell(config: &Config, args: &Args, subject: &Subject, task: Task, bar: &ProgressBar) -> Result<(Row, Vec<bool>)> {
    let attempts = parallel::map(
        args.episodes as usize,
        parallel::cores(),
        || subject.actor(config),
        |actor, index| {
            let attempt = attempt(config, actor, task, args.seed + index as u64)
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
        for report in attempt.plans {
            nfe.push(report.nfe.into());
            decode_us.push(report.decode_us);
        }
    }
    let finite = |value: f64| value.is_finite().then_some(value);
    let row = Row {
        task: task.name(),
        decoder: subject.label(),
        episodes: rate.trials,
        successes: rate.successes,
        success_rate: rate.mean(),
        wilson95: rate.wilson95(),
        nfe_mean: finite(nfe.mean()),
        decode_us_mean: finite(decode_us.mean()),
        decode_us_p50: finite(decode_us.quantile(0.5)),
        decode_us_p99: finite(decode_us.quantile(0.99)),
        steps_mean: finite(steps.mean()),
        plans: nfe.len() as u64,
    };
    Ok((row, outcomes))
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let tasks = Selection::tasks(&args.tasks);
    let subjects = subjects(config, args, &Name::ALL)?;
    for subject in &subjects {
        if let Subject::Policy { checkpoint, .. } = subject {
            for &task in &tasks {
                checkpoint.task_index(task.name())?;
            }
        }
    }
    let bar = ProgressBar::new((tasks.len() * subjects.len()) as u64 * args.episodes)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left  {msg}").context("progress bar")?);
    let mut rows = Vec::new();
    let mut outcomes = BTreeMap::new();
    for &task in &tasks {
        for subject in &subjects {
            bar.set_message(format!("{task} {}", subject.label()));
            let (row, success) = cell(config, args, subject, task, &bar)?;
            bar.suspend(|| print(&row, args.json))?;
            rows.push(row);
            outcomes.insert(
                format!("{task}/{}", subject.label()),
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
            "subject": subjects.first().map(Subject::identity), "first_seed": args.seed, "decoders": decoders(config, &subjects),
            "rows": rows, "successes_by_seed": outcomes, "config": config,
        });
        write_results(path, &claims, &data)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn decoders(config: &Config, subjects: &[Subject]) -> BTreeMap<&'static str, Value> {
    let names = subjects.iter().filter_map(|subject| match subject {
        Subject::Experts => None,
        Subject::Policy { name, .. } => Some((name.label(), json!(name.config(config)))),
    });
    names.collect()
}

fn print(row: &Row, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let [low, high] = row.wilson95.map(|bound| 100.0 * bound);
    print!(
        "{:<28} {:<10} {:>4}/{:<4} {:>5.1} % [{low:.1}, {high:.1}]",
        row.task,
        row.decoder,
        row.successes,
        row.episodes,
        100.0 * row.success_rate
    );
    if let (Some(nfe), Some(p50), Some(p99)) = (row.nfe_mean, row.decode_us_p50, row.decode_us_p99) {
        print!("  nfe {nfe:>5.1}  decode p50 {p50:>7.0} us p99 {p99:>7.0} us");
    }
    match row.steps_mean {
        Some(steps) => println!("  {steps:>5.1} steps"),
        None => println!(),
    }
    Ok(())
}

/// The figures that the README quotes; only those whose rows were run.
fn claims(rows: &[Row]) -> Value {
    let of = |label: &'static str| rows.iter().filter(move |row| row.decoder == label);
    let mean = |label: &'static str, value: fn(&Row) -> f64| {
        let values: Vec<f64> = of(label).map(value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    // Over all plans, whatever the task.
    let per_plan = |label: &'static str, value: fn(&Row) -> Option<f64>| {
        let plans: u64 = of(label).map(|row| row.plans).sum();
        let sum = || of(label).filter_map(|row| Some(value(row)? * row.plans as f64)).sum::<f64>();
        (plans > 0).then(|| sum() / plans as f64)
    };
    let success = |row: &Row| row.success_rate;
    let mut claims = serde_json::Map::new();
    let mut claim = |key: String, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            claims.insert(key, json!(value));
        }
    };
    let labels = ["expert"].into_iter().chain(Name::ALL.map(Name::label));
    for label in labels.filter(|label| of(label).next().is_some()) {
        let key = label.replace('-', "_");
        claim(format!("{key}_success_mean"), mean(label, success));
        claim(format!("{key}_success_min"), of(label).map(success).min_by(f64::total_cmp));
        claim(format!("{key}_nfe_mean"), per_plan(label, |row| row.nfe_mean));
        claim(format!("{key}_decode_us_mean"), per_plan(label, |row| row.decode_us_mean));
        for row in of(label) {
            claim(format!("{key}_{}", row.task), Some(row.success_rate));
        }
        if label == "expert" {
            claim("tasks".into(), Some(of(label).count() as f64));
        }
    }
    let ratio =
        per_plan("rti", |row| row.decode_us_mean).zip(per_plan("ddpm", |row| row.decode_us_mean)).map(|(rti, ddpm)| rti / ddpm);
    claim("rti_over_ddpm_decode_time".into(), ratio);
    Value::Object(claims)
}
