//! `reverie import`: other programs' data sets, in our form.

use std::{ops::ControlFlow, path::PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_calvin::{Annotation, CalvinFolder, CalvinFrame, ImageArray, ImageKind};
use reverie_schema::{CONTROL_PERIOD_NS, Frame, Observation, Stamp};
use reverie_sim::SceneId;
use serde::Serialize;

use crate::{
    config::Config,
    dataset::{self, About, Beside, ImageFeature, Label, Recording},
    parallel,
};

/// Frames of an imported episode at most: CALVIN's longest recording is 20 minutes, and is cut here.
const EPISODE_FRAMES: usize = 3600;
/// Frames that are read and decoded together.
const BATCH: usize = 64;

#[derive(clap::Subcommand)]
pub enum What {
    /// A folder of CALVIN's data set, `training` or `validation`, with its `episode_*.npz`
    Calvin(CalvinArgs),
}

#[derive(clap::Args)]
pub struct CalvinArgs {
    /// The folder
    folder: PathBuf,
    /// Folder for the data set [default: data/calvin]; if it holds one that was begun by the same command, it is gone on with
    #[arg(long, default_value = "data/calvin")]
    out: PathBuf,
    /// Camera to import, for example static; may be given more than once [default: all that are there]
    #[arg(long = "camera", value_name = "NAME", conflicts_with = "no_images")]
    cameras: Vec<String>,
    /// State only
    #[arg(long)]
    no_images: bool,
}

pub fn run(config: &Config, what: &What) -> Result<()> {
    let What::Calvin(args) = what;
    calvin(config, args)
}

/// A part of a recording that becomes an episode.
struct Part {
    first: u32,
    last: u32,
    scene: Option<SceneId>,
}

/// Camera and array of what is imported. Depth and tactile arrays stay behind: a data set of ours holds colour images.
fn arrays(folder: &CalvinFolder, args: &CalvinArgs) -> Result<Vec<ImageArray>> {
    if args.no_images {
        return Ok(Vec::new());
    }
    let there = folder.cameras()?;
    let colour: Vec<ImageArray> =
        there.into_iter().filter(|array| array.kind == ImageKind::Color && array.channels == 3).collect();
    if args.cameras.is_empty() {
        return Ok(colour);
    }
    let wanted = args.cameras.iter().map(|name| {
        colour.iter().find(|array| array.camera() == name).cloned().with_context(|| {
            let known: Vec<&str> = colour.iter().map(ImageArray::camera).collect();
            format!("{} has no camera {name}; there are: {}", args.folder.display(), known.join(", "))
        })
    });
    wanted.collect()
}

/// Cuts recordings, between annotated segments where there is such a place.
fn parts(folder: &CalvinFolder, annotations: &[Annotation]) -> Vec<Part> {
    let mut parts = Vec::new();
    for recording in folder.recordings() {
        let (first, last) = (*recording.frames.start(), *recording.frames.end());
        let scene = recording.scene.and_then(|letter| letter.to_string().parse().ok());
        let mut from = first;
        while from <= last {
            let longest = last.min(from.saturating_add(EPISODE_FRAMES as u32 - 1));
            let mut to = longest;
            while let Some(across) = annotations.iter().find(|a| to < last && a.frames.start <= to && to + 1 < a.frames.end) {
                if across.frames.start <= from {
                    to = longest;
                    break;
                }
                to = across.frames.start - 1;
            }
            parts.push(Part { first: from, last: to, scene });
            let Some(next) = to.checked_add(1) else { break };
            from = next;
        }
    }
    parts
}

#[derive(Serialize)]
struct Recipe {
    kind: &'static str,
    folder: PathBuf,
    cameras: Vec<String>,
}

fn calvin(config: &Config, args: &CalvinArgs) -> Result<()> {
    let folder = CalvinFolder::open(&args.folder)?;
    let arrays = arrays(&folder, args)?;
    let annotations = folder.annotations()?;
    let images: Vec<ImageFeature> = arrays.iter().map(|array| (array.camera().to_owned(), [array.height, array.width])).collect();
    let recipe =
        Recipe { kind: "calvin", folder: args.folder.clone(), cameras: images.iter().map(|(name, _)| name.clone()).collect() };
    let about = About::new(config, &recipe)?;
    let mut recording = Recording::open(&args.out, &images, &about)?;
    let parts = parts(&folder, &annotations);
    ensure!(recording.episodes() <= parts.len(), "{} holds more episodes than {}", args.out.display(), args.folder.display());

    let bar = ProgressBar::new(folder.frame_count() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} frames, {eta} left").context("progress bar")?);
    bar.set_position(recording.frames() as u64);
    bar.reset_eta();
    let mut labels_kept: usize = dataset::read_beside(&args.out)?.iter().map(|(_, beside)| beside.labels.len()).sum();
    for part in &parts[recording.episodes()..] {
        let labels = labels_within(&annotations, part);
        import_part(&folder, &arrays, part, &labels, &mut recording, &bar)?;
        labels_kept += labels.len();
        let beside = Beside { seed: None, success: None, scene: part.scene, labels };
        recording.finish_episode(&beside)?;
    }
    bar.finish_and_clear();
    println!(
        "{} episodes, {} frames, {labels_kept} of {} annotated segments in {}",
        recording.episodes(),
        recording.frames(),
        annotations.len(),
        args.out.display()
    );
    recording.finish()
}

fn labels_within(annotations: &[Annotation], part: &Part) -> Vec<Label> {
    let inside = annotations.iter().filter(|annotation| {
        annotation.frames.start >= part.first && annotation.frames.end <= part.last + 1 && !annotation.frames.is_empty()
    });
    inside
        .map(|annotation| Label {
            from: (annotation.frames.start - part.first) as usize,
            to: (annotation.frames.end - 1 - part.first) as usize,
            task: annotation.task.clone(),
            text: annotation.text.clone(),
        })
        .collect()
}

fn import_part(
    folder: &CalvinFolder,
    arrays: &[ImageArray],
    part: &Part,
    labels: &[Label],
    recording: &mut Recording,
    bar: &ProgressBar,
) -> Result<()> {
    let length = (part.last - part.first + 1) as usize;
    let texts = dataset::texts(length, labels);
    let mut pushed = 0;
    parallel::in_order(
        0,
        parallel::cores(),
        || Ok(()),
        |(), batch| {
            let from = part.first + (batch * BATCH) as u32;
            let to = (from + BATCH as u32 - 1).min(part.last);
            (from..=to).map(|id| Ok(folder.read_frame(id, arrays)?)).collect::<Result<Vec<CalvinFrame>>>()
        },
        |_, frames| {
            for frame in frames {
                let observation = Observation {
                    seq: pushed as u64,
                    stamp: Stamp(pushed as i64 * CONTROL_PERIOD_NS),
                    robot: frame.robot_obs,
                    scene: frame.scene_obs,
                };
                let pixels = arrays.iter().filter_map(|array| frame.images.get(&array.key).map(Vec::as_slice));
                recording.push(texts[pushed], &Frame { observation, action: frame.action() }, pixels)?;
                pushed += 1;
                bar.inc(1);
            }
            Ok(if pushed < length { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        },
    )?;
    ensure!(pushed == length, "interrupted; finished episodes are kept, and the same command goes on");
    Ok(())
}
