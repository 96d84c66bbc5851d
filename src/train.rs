//! `reverie train`: a diffusion policy from demonstrations, or a drafter for one.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{
    Checkpoint, DraftConfig, TrainConfig,
    train::{Outcome, Provenance, Trainer, TrainingData},
};
use reverie_schema::{Clock, Episode};
use reverie_sim::Task;

use crate::{clock::WallClock, config::Config, dataset, models, parallel, report};

/// What to train.
#[derive(clap::Subcommand)]
pub enum What {
    /// A diffusion policy, by behaviour cloning of demonstrations
    Policy(Args),
    /// A drafter for a policy: one pass from the observation to a chunk, for warm starts without a previous chunk
    Draft(DraftArgs),
    /// A world model, from play
    WorldModel(crate::dreams::WorldModelArgs),
    /// A classifier that tells from a world model's latents whether a task is done
    Reward(crate::dreams::RewardArgs),
}

#[derive(clap::Args)]
pub struct DraftArgs {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Width of the drafter's hidden layers
    #[arg(long, default_value_t = DraftConfig::default().hidden)]
    hidden: usize,
    /// Residual blocks of the drafter
    #[arg(long, default_value_t = DraftConfig::default().blocks)]
    blocks: usize,
    #[command(flatten)]
    run: Args,
}

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the data set
    #[arg(long, default_value = "data/demos")]
    data: PathBuf,
    /// Folder for the checkpoint; the state to resume from lies beside it
    #[arg(long)]
    out: PathBuf,
    /// torch-cpu (or cpu) or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Begin anew even if there is a state to resume from
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    curves: crate::curves::Args,
}

pub fn run(config: &Config, what: &What, interrupted: &AtomicBool) -> Result<()> {
    match what {
        What::Policy(args) => policy(config, args, interrupted),
        What::Draft(args) => draft(config, args, interrupted),
        What::WorldModel(args) => crate::dreams::train_world_model(config, args, interrupted),
        What::Reward(args) => crate::dreams::train_reward(config, args, interrupted),
    }
}

fn policy(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    let train = config.train.clone();
    let episodes = demonstrations(args)?;
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
    let provenance = provenance(&episodes);
    drop(episodes);
    let trainer = Trainer::new(train, data, models::torch_device(&args.device)?)?;
    let trained = finish(trainer, args, "train policy", interrupted)?;
    save(&trained.checkpoint(config.decode.rti.clone(), provenance)?, args)
}

fn draft(config: &Config, args: &DraftArgs, interrupted: &AtomicBool) -> Result<()> {
    let checkpoint = models::load(&args.policy)?;
    let info = &checkpoint.info;
    let train = TrainConfig {
        network: info.network.clone(),
        horizon: info.horizon,
        n_obs: info.n_obs,
        noise_steps: info.schedule.n_steps,
        gripper_factor: info.action_normaliser.discrete.factor,
        ..config.train.clone()
    };
    let mut episodes = demonstrations(&args.run)?;
    episodes.retain(|episode| info.tasks.contains(&episode.task));
    let data = TrainingData::for_checkpoint(&episodes, &checkpoint, &train)?;
    eprintln!("{} episodes of {} tasks, {} windows", episodes.len(), info.tasks.len(), data.len());
    let provenance = provenance(&episodes);
    drop(episodes);
    let drafter = DraftConfig { hidden: args.hidden, blocks: args.blocks };
    let trainer = Trainer::drafter(train, drafter, data, models::torch_device(&args.run.device)?)?;
    let trained = finish(trainer, &args.run, "train draft", interrupted)?;
    save(&trained.add_draft(&checkpoint, provenance)?, &args.run)
}

/// The successful episodes of the data set.
fn demonstrations(args: &Args) -> Result<Vec<Episode>> {
    let mut episodes = dataset::read(&args.data)?;
    episodes.retain(|episode| episode.success);
    Ok(episodes)
}

/// Where the state to resume from lies.
fn state_file(args: &Args) -> PathBuf {
    let mut state = args.out.clone().into_os_string();
    state.push(".state");
    state.into()
}

fn save(checkpoint: &Checkpoint, args: &Args) -> Result<()> {
    checkpoint.save(&args.out)?;
    // Done: the next run under this name begins anew, perhaps on other demonstrations.
    let state = state_file(args);
    std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    println!("wrote {}", args.out.display());
    Ok(())
}

/// Takes all steps that are left, from the state that an interrupted run has left.
fn finish(mut trainer: Trainer, args: &Args, title: &str, interrupted: &AtomicBool) -> Result<Trainer> {
    models::set_threads(parallel::cores());
    let state = state_file(args);
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    if state.exists() && !args.fresh {
        trainer.resume(&state).context("cannot resume; --fresh begins anew")?;
        eprintln!("resuming at step {}", trainer.step());
    }
    let train = trainer.config().clone();
    let bar = ProgressBar::new(train.steps)
        .with_style(ProgressStyle::with_template("{bar:30} step {pos}/{len}, {eta} left  {msg}").context("progress bar")?);
    let mut curves = args.curves.open(
        title,
        #[cfg(feature = "view")]
        PLOTS,
    )?;
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
        curves.point(progress.step, &[progress.loss, progress.learning_rate]);
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    curves.finish()?;
    if outcome == Outcome::Interrupted {
        bail!("interrupted at step {}; the same command goes on from there", trainer.step());
    }
    Ok(trainer)
}

#[cfg(feature = "view")]
const PLOTS: &[reverie_rerun::CurvePlot] = &[
    reverie_rerun::CurvePlot { title: "Loss", lines: &[("loss", 0x66_CCEE)] },
    reverie_rerun::CurvePlot { title: "Learning rate", lines: &[("learning rate", 0xCC_BB44)] },
];

fn provenance(episodes: &[Episode]) -> Provenance {
    let seeds = episodes.iter().map(|episode| episode.seed);
    Provenance {
        command: format!("reverie {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        commit: report::commit(),
        dataset: format!(
            "{} demonstrations by the scripted experts, seeds {} to {}",
            episodes.len(),
            seeds.clone().min().unwrap_or_default(),
            seeds.max().unwrap_or_default()
        ),
    }
}
