//! `reverie collect play`.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;
use reverie_sim::{Annotator, SceneId, Segment, Task};
use serde::Serialize;
use serde_json::json;

use super::{
    Common, scene_of,
    session::{self, Played},
};
use crate::{
    config::Config,
    dataset::{self, About, Beside, FPS, Label, Recording},
    eyes::CameraName,
    parallel,
    report::write_results,
    tasks::Selection,
};

/// Longest episode with cameras.
const MINUTES_WITH_CAMERAS: f64 = 4.0;

#[derive(clap::Args)]
pub struct Args {
    /// How much play, hours
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Length of an episode, minutes
    #[arg(long, default_value_t = 2.0)]
    episode_minutes: f64,
    /// Task that is played with, `mechanism` (the eight of drawer, slider, bulb and LED) or `all` (34); may be given more than once
    #[arg(long = "task", value_name = "TASK", default_value = "all")]
    tasks: Vec<Selection>,
    /// Scene; may be given more than once, the episodes take turns [default: sim.scene]
    #[arg(long = "scene", value_name = "A-D")]
    scenes: Vec<SceneId>,
    /// Give each label the phrasing of its task that is held out for validation
    #[arg(long)]
    validation: bool,
    /// Write time, memory and sizes, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What makes a recording what it is.
#[derive(Serialize)]
struct Recipe<'a> {
    kind: &'static str,
    seed: u64,
    steps_per_episode: usize,
    tasks: Vec<&'static str>,
    scenes: &'a [SceneId],
    cameras: &'a [CameraName],
    validation: bool,
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.hours.is_finite() && args.hours > 0.0, "--hours is {}, must be positive", args.hours);
    ensure!(
        (0.1..=30.0).contains(&args.episode_minutes),
        "--episode-minutes is {}, must be within 0.1 and 30",
        args.episode_minutes
    );
    let Common { seed, cameras, out } = &args.common;
    let out = out.clone().unwrap_or_else(|| PathBuf::from("data/play"));
    let scenes = if args.scenes.is_empty() { vec![config.sim.scene] } else { args.scenes.clone() };
    let steps_per_episode = (args.episode_minutes * 60.0 * f64::from(FPS)).round() as usize;
    let frames = (args.hours * 3600.0 * f64::from(FPS)).round() as usize;
    ensure!(frames > 0, "--hours is {}, which is less than one frame", args.hours);
    ensure!(
        cameras.is_empty() || args.episode_minutes <= MINUTES_WITH_CAMERAS,
        "--episode-minutes is {}, must be at most {MINUTES_WITH_CAMERAS} with cameras: an episode's pictures wait in memory, 0.25 GB a minute",
        args.episode_minutes
    );
    let tasks = Selection::tasks(&args.tasks);
    let names = tasks.iter().map(|task| task.name()).collect();
    let recipe = Recipe {
        kind: "play",
        seed: *seed,
        steps_per_episode,
        tasks: names,
        scenes: &scenes,
        cameras,
        validation: args.validation,
    };
    let about = About::new(config, &recipe)?;
    let images = args.common.images(config);
    let mut recording = Recording::open(&out, &images, &about)?;
    let mut labeller = Labeller::resume(&out, *seed, args.validation)?;

    let first = recording.episodes();
    let (begin, frames_before) = (Instant::now(), recording.frames());
    // The last episode of a shorter recording may have been cut short: what is left counts from here.
    let left = frames.saturating_sub(frames_before);
    let mut early_bytes = None;
    let bar = ProgressBar::new(frames as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} frames, {eta} left").context("progress bar")?);
    bar.set_position(recording.frames() as u64);
    bar.reset_eta();
    if recording.frames() < frames {
        parallel::in_order(
            first,
            parallel::cores(),
            || Ok(()),
            |(), index| {
                let steps = steps_per_episode.min(left.saturating_sub((index - first) * steps_per_episode).max(1));
                let episode_seed = seed.wrapping_add(index as u64);
                let mut config = config.clone();
                config.sim.scene = scene_of(&scenes, index);
                let config = config.randomise.episode(&config, episode_seed);
                let played = session::play(&config, &tasks, cameras, episode_seed, steps);
                played.with_context(|| format!("episode {index}, seed {episode_seed}"))
            },
            |index, played| {
                let labels = labeller.label(&played);
                write(&mut recording, &played, &labels)?;
                recording.finish_episode(&Beside {
                    seed: Some(seed.wrapping_add(index as u64)),
                    success: None,
                    scene: Some(scene_of(&scenes, index)),
                    labels,
                })?;
                bar.set_position(recording.frames() as u64);
                if early_bytes.is_none() && recording.frames() * 10 >= frames {
                    early_bytes = Some(peak_memory_bytes()?);
                }
                Ok(if recording.frames() >= frames { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )?;
    }
    bar.finish_and_clear();
    let (episodes, written) = (recording.episodes(), recording.frames());
    recording.finish()?;
    ensure!(
        written >= frames,
        "interrupted: {} holds {episodes} finished episodes, {written} of {frames} frames; the same command goes on",
        out.display()
    );
    println!("{episodes} episodes, {written} frames, {} labelled segments in {}", labeller.count(), out.display());
    if let Some(path) = &args.results {
        let seconds = begin.elapsed().as_secs_f64();
        let claims = json!({
            "frames": written - frames_before, "seconds": seconds, "labels": labeller.count(),
            "peak_memory_mb": peak_memory_bytes()? / 1e6,
            "peak_memory_after_a_tenth_mb": early_bytes.map_or(f64::NAN, |bytes| bytes / 1e6),
        });
        write_results(path, &claims, &json!({ "episodes": episodes, "config": config }))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// The most memory that this process has held.
fn peak_memory_bytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("/proc/self/status has no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("/proc/self/status, VmHWM")?;
    Ok(kib * 1024.0)
}

fn write(recording: &mut Recording, played: &Played, labels: &[Label]) -> Result<()> {
    let texts = dataset::texts(played.frames.len(), labels);
    for ((frame, images), text) in played.frames.iter().zip(&played.images).zip(texts) {
        recording.push(text, frame, images.iter().map(Vec::as_slice))?;
    }
    Ok(())
}

/// CALVIN's automatic annotation, with a sentence for each label.
struct Labeller {
    annotator: Annotator,
    seed: u64,
    validation: bool,
    recordings: u64,
}

impl Labeller {
    /// Goes on behind what `folder` holds.
    fn resume(folder: &Path, seed: u64, validation: bool) -> Result<Self> {
        let before = dataset::read_beside(folder)?;
        let lengths: Vec<usize> = before.iter().map(|(length, _)| *length).collect();
        let mut counts = [0; Task::ALL.len()];
        for label in before.iter().flat_map(|(_, beside)| &beside.labels) {
            counts[label.task.parse::<Task>().with_context(|| format!("{}: labels", folder.display()))?.index()] += 1;
        }
        Ok(Self { annotator: Annotator::resume(seed, &lengths, counts), seed, validation, recordings: lengths.len() as u64 })
    }

    fn label(&mut self, played: &Played) -> Vec<Label> {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, &format!("phrases {}", self.recordings)));
        self.recordings += 1;
        let segments = self.annotator.annotate(&played.states);
        segments.iter().map(|segment| self.sentence(segment, &mut rng)).collect()
    }

    fn sentence(&self, &Segment { from, to, task }: &Segment, rng: &mut ChaCha8Rng) -> Label {
        let text = if self.validation { Some(task.validation_phrase()) } else { task.phrases().choose(rng).copied() };
        Label { from, to, task: task.name().into(), text: text.unwrap_or_else(|| task.name()).into() }
    }

    /// Labels so far.
    fn count(&self) -> usize {
        self.annotator.counts().iter().sum()
    }
}
