//! `reverie collect`: demonstrations by the scripted experts, judged by the oracles.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_schema::{Episode, Frame, derive_seed};
use reverie_sim::{Expert, Task};

use crate::{config::Config, dataset, parallel, rig::Rig};

/// Seeds of demonstrations begin here, those of evaluations at 0, so that they never meet.
pub const FIRST_DEMONSTRATION_SEED: u64 = 1_000_000;
/// Control steps that a demonstrator has.
const MAX_STEPS: u32 = 240;
/// Control steps recorded beyond the success, so that a policy sees what follows it.
const STEPS_AFTER_SUCCESS: u32 = 6;

/// Control steps of the unrecorded way to where a demonstration begins near the work.
const STRAY_STEPS: usize = 40;

#[derive(clap::Args)]
pub struct Args {
    /// Task to demonstrate; may be given more than once [default: the eight of drawer, slider, bulb and LED]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Task>,
    /// Successful episodes of each task
    #[arg(long, default_value_t = 250)]
    episodes: usize,
    /// First seed
    #[arg(long, default_value_t = FIRST_DEMONSTRATION_SEED)]
    seed: u64,
    /// Folder for the data set
    #[arg(long, default_value = "data/demos")]
    out: PathBuf,
}

/// One demonstration.
pub fn demonstrate(config: &Config, task: Task, seed: u64) -> Result<Episode> {
    let mut rig = Rig::new(config, task, seed)?;
    let mut expert = Expert::new(task, seed);
    if (derive_seed(seed, "stray") as f64 / u64::MAX as f64) < config.collect.stray_share {
        stray(&mut rig, &mut expert)?;
        if !rig.begin_here() {
            // The stray has done the task, or undone what it begins with.
            rig = Rig::new(config, task, seed)?;
            expert = Expert::new(task, seed);
        }
    }
    let mut frames = Vec::new();
    let (mut success, mut left) = (false, STEPS_AFTER_SUCCESS);
    let last = rig.steps() + MAX_STEPS;
    while rig.steps() < last && left > 0 {
        let observation = rig.observe();
        let action = expert.act(&observation);
        frames.push(Frame { observation, action });
        rig.offer_action(observation.seq + 1, action)?;
        rig.step()?;
        success |= rig.solved();
        left -= u32::from(success);
    }
    Ok(Episode { task: task.name().into(), seed, success, frames })
}

/// Brings the fingers near the work, unrecorded, so that demonstrations begin where a failed try would have ended.
fn stray(rig: &mut Rig, expert: &mut Expert) -> Result<()> {
    let point = expert.stray(&rig.observe());
    for _ in 0..STRAY_STEPS {
        let observation = rig.observe();
        rig.offer_action(observation.seq + 1, Expert::towards(point, &observation))?;
        rig.step()?;
    }
    Ok(())
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let tasks = if args.tasks.is_empty() { Task::MECHANISM.to_vec() } else { args.tasks.clone() };
    let bar = ProgressBar::new((tasks.len() * args.episodes) as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} demonstrations, {eta} left").context("progress bar")?);
    // One in twenty may fail; failed ones are counted and left out.
    let tries = args.episodes + args.episodes / 10 + 2;
    let mut kept = Vec::new();
    for &task in &tasks {
        let recorded = parallel::map(
            tries,
            parallel::cores(),
            || Ok(()),
            |(), index| {
                let episode = demonstrate(config, task, args.seed + index as u64)?;
                bar.inc(1);
                Ok(episode)
            },
        )?;
        let successes = recorded.iter().filter(|episode| episode.success).count();
        bar.suspend(|| eprintln!("{task:<20} {successes}/{tries} demonstrations succeeded"));
        let good = recorded.into_iter().filter(|episode| episode.success).take(args.episodes).collect::<Vec<_>>();
        ensure!(
            good.len() == args.episodes,
            "{task}: only {} of {} demonstrations succeeded in {tries} tries",
            good.len(),
            args.episodes
        );
        kept.extend(good);
    }
    bar.finish_and_clear();
    dataset::write(&args.out, &kept, config)?;
    let frames: usize = kept.iter().map(|episode| episode.frames.len()).sum();
    println!("wrote {} episodes, {frames} frames to {}", kept.len(), args.out.display());
    Ok(())
}
