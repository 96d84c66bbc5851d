//! `reverie train reward`: a success classifier for one task, from demonstrations and play.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_schema::derive_seed;
use reverie_sim::Task;
use reverie_world_model::{Noise, PlayData, Subject, label_windows, train_success};

use super::{WORLD_MODEL, ensure_told_by_scene, load_world_model, moments, provenance, recorded};
use crate::{config::Config, models, parallel};

/// Steps of a window of play.
const STEPS: usize = 24;
/// Windows of play in which the task is done; as many in which it is not.
const WINDOWS: usize = 600;

#[derive(clap::Args)]
pub struct Args {
    /// The task; may be given more than once
    #[arg(long = "task", value_name = "TASK", required = true)]
    tasks: Vec<crate::tasks::Selection>,
    /// Folder of the world model
    #[arg(long, default_value = WORLD_MODEL)]
    world_model: PathBuf,
    /// Folder of demonstrations
    #[arg(long, default_value = "data/demos")]
    demos: PathBuf,
    /// Folder of play
    #[arg(long, default_value = "data/play")]
    play: PathBuf,
    /// Folder under which each task has its own
    #[arg(long, default_value = "runs/reward")]
    out: PathBuf,
    /// torch-cpu (or cpu) or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    curves: crate::curves::Args,
}

#[cfg(feature = "view")]
const PLOTS: &[reverie_rerun::CurvePlot] =
    &[reverie_rerun::CurvePlot { title: "Loss, one member and task after the other", lines: &[("loss", 0x66_CCEE)] }];

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    let tasks = crate::tasks::Selection::tasks(&args.tasks);
    config.success.validate().context("config section success")?;
    for &task in &tasks {
        ensure_told_by_scene(task)?;
    }
    models::set_threads(parallel::cores());
    let world = load_world_model(&args.world_model, &args.device)?;
    let pictures = world.info.config.inputs.has_cameras();
    let data = |folder: &PathBuf| -> Result<(recorded::Recorded, PlayData)> {
        let mut recorded = recorded::read(folder, pictures, config.sim.scene)?;
        let data = recorded.data_for(&world).with_context(|| format!("data set {}", folder.display()))?;
        Ok((recorded, data))
    };
    let (demos, demo_data) = data(&args.demos)?;
    let (play, play_data) = data(&args.play)?;
    let stride = world.info.config.actions_per_step;
    let success = &config.success;
    let updates = success.members as u64 * success.updates;
    let mut curves = args.curves.open(
        "train reward",
        #[cfg(feature = "view")]
        PLOTS,
    )?;
    for (number, task) in tasks.into_iter().enumerate() {
        let mut noise = Noise::new(success.seed, &format!("success latents {task}"), world.device());
        let windows = moments::demonstration_windows(&demos, task, stride);
        ensure!(!windows.is_empty(), "data set {}: no demonstration of {task}", args.demos.display());
        let mut labelled = label_windows(&world.model, &demo_data, &windows, &demos.oracle(task, stride), success, &mut noise);
        let seed = derive_seed(success.seed, &format!("success windows {task}"));
        let sought = moments::Sought { task, scene: config.sim.scene, stride, count: WINDOWS, seed };
        let of_play = moments::play_windows(&play, &demos, sought, STEPS);
        labelled.extend(label_windows(&world.model, &play_data, &of_play, &play.oracle(task, stride), success, &mut noise));
        let sources = format!("{} demonstrations and {} windows of play", windows.len(), of_play.len());
        let subject = Subject {
            task: task.name().to_owned(),
            world_model: world.identity.clone(),
            provenance: provenance(sources.clone()),
        };
        let bar = ProgressBar::new(updates)
            .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} updates, {eta} left  {msg}").context("progress bar")?);
        let trained = train_success(&labelled, success, subject, |member, update, loss| {
            let done = member as u64 * success.updates + update;
            curves.point(number as u64 * updates + done, &[loss]);
            bar.set_position(done);
            bar.set_message(format!("loss {loss:.3}"));
            if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        bar.finish_and_clear();
        let out = folder(&args.out, task);
        trained.save(&out)?;
        let info = &trained.info;
        println!(
            "{task:<22} threshold {:.3}  recorded: precision {:.3} recall {:.3}  dreamt: precision {:.3} recall {:.3}  foretold: precision {:.3} recall {:.3}  ({sources})",
            info.threshold,
            info.recorded.precision,
            info.recorded.recall,
            info.dreamt.precision,
            info.dreamt.recall,
            info.foretold.precision,
            info.foretold.recall
        );
        if info.dreamt.successes == 0 {
            tracing::warn!(
                "{task}: no held-out dream shows it, so that the threshold is of recorded frames; train the world model longer"
            );
            continue;
        }
        if info.foretold.precision < success.precision {
            tracing::warn!(
                "{task}: of what the world model dreams of it, {:.0} % of the moments came true under the same actions",
                100.0 * info.foretold.precision
            );
        }
        if info.dreamt.precision < success.precision {
            tracing::warn!("{task}: no threshold tells dreamt successes with the precision asked for, {}", success.precision);
        }
    }
    curves.finish()?;
    println!("wrote {}", args.out.display());
    Ok(())
}

/// Where the classifier of a task lies.
pub fn folder(out: &std::path::Path, task: Task) -> PathBuf {
    out.join(task.name())
}
