//! `reverie train policy`: a diffusion policy from demonstrations.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::train::{Outcome, Provenance, Trainer, TrainingData};
use reverie_schema::Clock;
use reverie_sim::Task;

use crate::{clock::WallClock, config::Config, dataset, models, parallel, report};

/// What to train.
#[derive(clap::Subcommand)]
pub enum What {
    /// A diffusion policy, by behaviour cloning of demonstrations
    Policy(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the data set
    #[arg(long, default_value = "data/demos")]
    data: PathBuf,
    /// Folder for the checkpoint; the state to resume from lies beside it
    #[arg(long)]
    out: PathBuf,
    /// cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Begin anew even if there is a state to resume from
    #[arg(long)]
    fresh: bool,
    /// Record the loss curve to this .rrd file
    #[cfg(feature = "view")]
    #[arg(long, value_name = "FILE")]
    rrd: Option<PathBuf>,
    /// Show the loss curve live in the rerun viewer at this address, for example rerun+http://127.0.0.1:9876/proxy
    #[cfg(feature = "view")]
    #[arg(long, value_name = "URL", conflicts_with = "rrd")]
    connect: Option<String>,
}

pub fn run(config: &Config, what: &What, interrupted: &AtomicBool) -> Result<()> {
    let What::Policy(args) = what;
    let train = config.train.clone();
    let mut episodes = dataset::read(&args.data)?;
    episodes.retain(|episode| episode.success);
    // The order of the one-hot encoding; the shipped checkpoints begin with the mechanisms.
    let others = Task::ALL.into_iter().filter(|task| !Task::MECHANISM.contains(task));
    let tasks: Vec<String> = Task::MECHANISM
        .into_iter()
        .chain(others)
        .map(|task| task.name().to_owned())
        .filter(|name| episodes.iter().any(|e| e.task == *name))
        .collect();
    let data = TrainingData::from_episodes(&episodes, &tasks, &train)?;
    eprintln!("{} episodes of {} tasks, {} windows", episodes.len(), tasks.len(), data.len());
    let provenance = Provenance {
        command: format!("reverie {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        commit: report::commit(),
        dataset: describe(&episodes),
    };
    drop(episodes);

    models::set_threads(parallel::cores());
    let device = models::torch_device(&args.device)?;
    let mut state = args.out.clone().into_os_string();
    state.push(".state");
    let state = PathBuf::from(state);
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut trainer = if state.exists() && !args.fresh {
        let trainer = Trainer::resume(train.clone(), data, device, &state).context("cannot resume; --fresh begins anew")?;
        eprintln!("resuming at step {}", trainer.step());
        trainer
    } else {
        Trainer::new(train.clone(), data, device)?
    };

    let bar = ProgressBar::new(train.steps)
        .with_style(ProgressStyle::with_template("{bar:30} step {pos}/{len}, {eta} left  {msg}").context("progress bar")?);
    #[cfg(feature = "view")]
    let mut curves = curves(args)?;
    let mut since = (WallClock.now(), trainer.step());
    let outcome = trainer.run(Some(&state), |progress| {
        let now = WallClock.now();
        let rate = (progress.step - since.1) as f64 / (now.since(since.0) as f64 * 1e-9).max(1e-9);
        since = (now, progress.step);
        bar.set_position(progress.step);
        bar.set_message(format!("loss {:.4}  {rate:.0} steps/s", progress.loss));
        if bar.is_hidden() && progress.step.is_multiple_of(train.report_every * 20) {
            tracing::info!(
                "step {} loss {:.5} lr {:.2e} {rate:.0} steps/s",
                progress.step,
                progress.loss,
                progress.learning_rate
            );
        }
        #[cfg(feature = "view")]
        if let Err(error) = curves.point(reverie_rerun::TrainPoint {
            step: progress.step,
            loss: progress.loss,
            learning_rate: progress.learning_rate,
        }) {
            tracing::warn!("loss curve: {error}");
        }
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    #[cfg(feature = "view")]
    curves.finish()?;
    if outcome == Outcome::Interrupted {
        bail!("interrupted at step {}; the same command goes on from there", trainer.step());
    }
    trainer.checkpoint(config.decode.rti.clone(), provenance)?.save(&args.out)?;
    // Done: the next run under this name begins anew, perhaps on other demonstrations.
    std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    println!("wrote {}", args.out.display());
    Ok(())
}

#[cfg(feature = "view")]
fn curves(args: &Args) -> Result<reverie_rerun::Curves> {
    Ok(match (&args.rrd, &args.connect) {
        (Some(path), _) => reverie_rerun::Curves::to_file(path, "train policy")?,
        (None, Some(url)) => reverie_rerun::Curves::connect(url, "train policy")?,
        (None, None) => reverie_rerun::Curves::disabled(),
    })
}

fn describe(episodes: &[reverie_schema::Episode]) -> String {
    let seeds = episodes.iter().map(|episode| episode.seed);
    format!(
        "{} demonstrations by the scripted experts, seeds {} to {}",
        episodes.len(),
        seeds.clone().min().unwrap_or_default(),
        seeds.max().unwrap_or_default()
    )
}
