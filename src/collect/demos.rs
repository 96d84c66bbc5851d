//! `reverie collect demos`: demonstrations by the scripted experts, judged by the oracles.

use std::{ops::ControlFlow, path::PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::{Frame, derive_seed};
use reverie_sim::{Expert, SceneId, Task};
use serde::Serialize;

use super::{Clumsiness, Common, Pictures, scene_of};
use crate::{
    config::Config,
    dataset::{self, About, Beside, Label, Recording},
    eyes::CameraName,
    parallel,
    rig::{EXPERT_STEPS, NoStart, Rig},
    tasks::Selection,
};

/// Control steps recorded beyond the success, so that a policy sees what follows it.
const STEPS_AFTER_SUCCESS: u32 = 6;
/// Control steps of the unrecorded way to where a demonstration begins near the work.
const STRAY_STEPS: usize = 40;

#[derive(clap::Args)]
pub struct Args {
    /// Task to demonstrate, `mechanism` (the eight of drawer, slider, bulb and LED) or `all` (34); may be given more than once
    #[arg(long = "task", value_name = "TASK", default_value = "mechanism")]
    tasks: Vec<Selection>,
    /// Successful episodes of each task
    #[arg(long, default_value_t = 250)]
    episodes: usize,
    /// Scene; may be given more than once, the episodes take turns [default: sim.scene]
    #[arg(long = "scene", value_name = "A-D")]
    scenes: Vec<SceneId>,
    #[command(flatten)]
    common: Common,
}

/// What makes a recording what it is.
#[derive(Serialize)]
struct Recipe<'a> {
    kind: &'static str,
    seed: u64,
    tasks: Vec<&'static str>,
    episodes: usize,
    scenes: &'a [SceneId],
    cameras: &'a [CameraName],
}

/// One attempt.
struct Attempt {
    success: bool,
    scene: SceneId,
    frames: Vec<Frame>,
    images: Vec<Vec<Vec<u8>>>,
}

fn attempt(config: &Config, cameras: &[CameraName], task: Task, seed: u64) -> Result<Attempt> {
    let scene = config.sim.scene;
    let mut rig = match Rig::new(config, task, seed) {
        Err(error) if error.is::<NoStart>() => {
            return Ok(Attempt { success: false, scene, frames: Vec::new(), images: Vec::new() });
        }
        rig => rig?,
    };
    let mut expert = Expert::new(task, scene, seed);
    if (derive_seed(seed, "stray") as f64 / u64::MAX as f64) < config.collect.stray_share
        && let Some(point) = expert.stray(&rig.observe())
    {
        // Unrecorded: the demonstration begins where a failed try would have ended.
        for _ in 0..STRAY_STEPS {
            let observation = rig.observe();
            rig.act(Expert::towards(point, &observation))?;
        }
        if rig.solved() || !task.is_possible_from(scene, &rig.world.scene_state()) {
            rig = Rig::new(config, task, seed)?;
            expert = Expert::new(task, scene, seed);
        } else {
            rig.begin(task);
        }
    }
    let noise = config.collect.action_noise as f32;
    let mut clumsiness = Clumsiness::new(seed);
    let mut pictures = Pictures::new(config, cameras, &rig.world, seed)?;
    let (mut frames, mut images) = (Vec::new(), Vec::new());
    let (mut success, mut left) = (false, STEPS_AFTER_SUCCESS);
    while rig.task_steps() < EXPERT_STEPS && left > 0 {
        let observation = rig.observe();
        let mut action = expert.act(&observation);
        if noise > 0.0 {
            clumsiness.shake(&mut action, noise);
        }
        images.push(pictures.look(&rig.world)?);
        frames.push(Frame { observation, action });
        rig.act(action)?;
        success |= rig.solved();
        left -= u32::from(success);
    }
    Ok(Attempt { success, scene, frames, images })
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let tasks = Selection::tasks(&args.tasks);
    let Common { seed, cameras, out } = &args.common;
    let out = out.clone().unwrap_or_else(|| PathBuf::from("data/demos"));
    let scenes = if args.scenes.is_empty() { vec![config.sim.scene] } else { args.scenes.clone() };
    let recipe = Recipe {
        kind: "demos",
        seed: *seed,
        tasks: tasks.iter().map(|task| task.name()).collect(),
        episodes: args.episodes,
        scenes: &scenes,
        cameras,
    };
    let about = About::new(config, &recipe)?;
    let mut recording = Recording::open(&out, &args.common.images(config), &about)?;
    let before = dataset::read_beside(&out)?;
    let bar = ProgressBar::new((tasks.len() * args.episodes) as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} demonstrations, {eta} left").context("progress bar")?);
    bar.set_position(recording.episodes() as u64);
    bar.reset_eta();
    // Failed attempts are counted and left out: one in seven may fail, physics makes some tasks harder.
    let tries = args.episodes + args.episodes / 6 + 3;
    for &task in &tasks {
        let done: Vec<u64> = before
            .iter()
            .filter(|(_, beside)| beside.labels.iter().any(|label| label.task == task.name()))
            .filter_map(|(_, beside)| beside.seed)
            .collect();
        let mut kept = done.len();
        let first = done.last().map_or(0, |last| (last.wrapping_sub(*seed) + 1) as usize);
        let mut tried = first;
        if kept < args.episodes {
            parallel::in_order(
                first,
                parallel::cores(),
                || Ok(()),
                |(), index| {
                    let episode_seed = seed.wrapping_add(index as u64);
                    let mut config = config.clone();
                    config.sim.scene = scene_of(&scenes, index);
                    let config = config.randomise.episode(&config, episode_seed);
                    attempt(&config, cameras, task, episode_seed).with_context(|| format!("{task}, seed {episode_seed}"))
                },
                |index, attempt| {
                    tried = index + 1;
                    if attempt.success {
                        keep(&mut recording, task, seed.wrapping_add(index as u64), &attempt)?;
                        kept += 1;
                        bar.inc(1);
                    }
                    Ok(if kept >= args.episodes || tried >= tries { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                },
            )?;
        }
        ensure!(
            !crate::INTERRUPTED.load(std::sync::atomic::Ordering::Relaxed) || kept >= args.episodes,
            "interrupted: {} holds {} finished episodes; the same command goes on",
            out.display(),
            recording.episodes()
        );
        bar.suspend(|| eprintln!("{task:<28} {kept} demonstrations in {tried} attempts"));
        ensure!(kept >= args.episodes, "{task}: only {kept} of {} demonstrations succeeded in {tries} attempts", args.episodes);
    }
    bar.finish_and_clear();
    println!("{} episodes, {} frames in {}", recording.episodes(), recording.frames(), out.display());
    recording.finish()
}

fn keep(recording: &mut Recording, task: Task, seed: u64, attempt: &Attempt) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, task.name()));
    let text = task.phrases().choose(&mut rng).copied().unwrap_or_else(|| task.name());
    for (frame, images) in attempt.frames.iter().zip(&attempt.images) {
        recording.push(text, frame, images.iter().map(Vec::as_slice))?;
    }
    let to = attempt.frames.len().saturating_sub(1);
    recording.finish_episode(&Beside {
        seed: Some(seed),
        success: Some(true),
        scene: Some(attempt.scene),
        labels: vec![Label { from: 0, to, task: task.name().into(), text: text.into() }],
    })
}
