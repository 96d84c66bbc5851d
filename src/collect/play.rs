//! `reverie collect play`.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;
use reverie_sim::{Annotator, SceneId, Segment, Task};
use serde::Serialize;

use super::{
    Common, scene_of,
    session::{self, Played},
};
use crate::{
    config::Config,
    dataset::{self, About, Beside, FPS, Label, PLAY, Recording},
    eyes::CameraName,
    parallel,
};

#[derive(clap::Args)]
pub struct Args {
    /// How much play, hours
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Length of an episode, minutes
    #[arg(long, default_value_t = 2.0)]
    episode_minutes: f64,
    /// Scene; may be given more than once, the episodes take turns [default: sim.scene]
    #[arg(long = "scene", value_name = "A-D")]
    scenes: Vec<SceneId>,
    /// Give each label the phrasing of its task that is held out for validation
    #[arg(long)]
    validation: bool,
    #[command(flatten)]
    common: Common,
}

/// What makes a recording what it is.
#[derive(Serialize)]
struct Recipe<'a> {
    kind: &'static str,
    seed: u64,
    steps_per_episode: usize,
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
    let recipe = Recipe { kind: "play", seed: *seed, steps_per_episode, scenes: &scenes, cameras, validation: args.validation };
    let about = About::new(config, &recipe)?;
    let images = args.common.images(config);
    let mut recording = Recording::open(&out, &images, &about)?;
    let mut labeller = Labeller::resume(&out, *seed, args.validation)?;

    let first = recording.episodes();
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
                let steps = steps_per_episode.min(frames.saturating_sub(index * steps_per_episode).max(1));
                let episode_seed = seed.wrapping_add(index as u64);
                let mut config = config.clone();
                config.sim.scene = scene_of(&scenes, index);
                let config = config.randomise.episode(&config, episode_seed);
                let played = session::play(&config, cameras, episode_seed, steps);
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
    Ok(())
}

fn write(recording: &mut Recording, played: &Played, labels: &[Label]) -> Result<()> {
    let mut texts = vec![PLAY; played.frames.len()];
    for label in labels {
        texts[label.from..=label.to].fill(&label.text);
    }
    for ((frame, images), text) in played.frames.iter().zip(&played.images).zip(texts) {
        recording.push(text, frame, images.iter().map(Vec::as_slice))?;
    }
    Ok(())
}

/// CALVIN's automatic annotation, with a sentence for each label.
struct Labeller {
    annotator: Annotator,
    rng: ChaCha8Rng,
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
        Ok(Self {
            annotator: Annotator::resume(seed, &lengths, counts),
            rng: ChaCha8Rng::seed_from_u64(0),
            seed,
            validation,
            recordings: lengths.len() as u64,
        })
    }

    fn label(&mut self, played: &Played) -> Vec<Label> {
        self.rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, &format!("phrases {}", self.recordings)));
        self.recordings += 1;
        let segments = self.annotator.annotate(&played.states);
        segments.iter().map(|segment| self.sentence(segment)).collect()
    }

    fn sentence(&mut self, &Segment { from, to, task }: &Segment) -> Label {
        let text = if self.validation { Some(task.validation_phrase()) } else { task.phrases().choose(&mut self.rng).copied() };
        Label { from, to, task: task.name().into(), text: text.unwrap_or_else(|| task.name()).into() }
    }

    /// Labels so far.
    fn count(&self) -> usize {
        self.annotator.counts().iter().sum()
    }
}
