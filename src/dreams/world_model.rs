//! `reverie train world-model`: a world model from play, then the discriminators that tell its dreams from the data.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_schema::Clock;
use reverie_world_model::{
    DynamicsReward, Ended, MlpDynamics, OpenLoop, PlayData, Stored, WorldModelConfig, WorldModelInfo, WorldModelProgress,
    WorldModelTrainer, open_loop, plausibility, train_dynamics_reward, usual_disagreement,
};

use super::{WORLD_MODEL, provenance, recorded, state_file};
use crate::{clock::WallClock, config::Config, models, parallel};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the play data
    #[arg(long, default_value = "data/play")]
    data: PathBuf,
    /// Folder for the world model; the state to resume from lies beside it
    #[arg(long, default_value = WORLD_MODEL)]
    out: PathBuf,
    /// torch-cpu (or cpu) or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Begin anew even if there is a state to resume from
    #[arg(long)]
    fresh: bool,
    /// Take no further updates: make a world model of the state that an interrupted run has left
    #[arg(long, conflicts_with = "fresh")]
    finish: bool,
    #[command(flatten)]
    curves: crate::curves::Args,
}

#[cfg(feature = "view")]
const PLOTS: &[reverie_rerun::CurvePlot] = &[
    reverie_rerun::CurvePlot { title: "Loss, nats", lines: &[("loss", 0x66_CCEE)] },
    reverie_rerun::CurvePlot { title: "State, nats", lines: &[("state", 0xCC_BB44)] },
    reverie_rerun::CurvePlot { title: "Divergence, nats", lines: &[("kl", 0xEE_6677)] },
    reverie_rerun::CurvePlot { title: "Pictures, squared error", lines: &[("pictures", 0x22_8833)] },
];

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    let settings = config.world_model.clone();
    settings.validate().context("config section world_model")?;
    super::ensure_leash(config)?;
    config.dynamics_reward.validate().context("config section dynamics_reward")?;
    let play = recorded::read(&args.data, settings.inputs.has_cameras(), config.sim.scene)?;
    let (frames, episodes) = (play.frames(), play.raw.episodes.len());
    models::set_threads(parallel::cores());
    let device = models::torch_device(&args.device)?;
    let data = PlayData::new(play.raw, None, device).with_context(|| format!("data set {}", args.data.display()))?;
    let mut trainer =
        WorldModelTrainer::new(settings.clone(), data).with_context(|| format!("data set {}", args.data.display()))?;
    // Found before hours of training, not after.
    let need = settings.actions_per_step * (6 + config.dynamics_reward.depth.max(FORETOLD.div_ceil(settings.actions_per_step)));
    for (what, part) in [("learned from", trainer.train_episodes()), ("held out", trainer.held_out())] {
        let longest = trainer.data().episodes()[part].iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        ensure!(
            longest > need,
            "data set {}: of the episodes {what} the longest has {longest} frames, {need} are needed; record longer ones, or more",
            args.data.display()
        );
    }
    eprintln!("{frames} frames in {episodes} episodes; {} parameters", trainer.parameters().numel());
    let state = state_file(&args.out);
    if let Some(folder) = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    // Time of runs before is kept with their state.
    let clock_file = PathBuf::from(format!("{}.minutes", state.display()));
    let mut minutes_before = 0.0;
    if state.exists() && !args.fresh {
        trainer.resume(&state).context("cannot resume; --fresh begins anew")?;
        minutes_before = std::fs::read_to_string(&clock_file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
        eprintln!("resuming at update {}", trainer.progress().update);
    }
    ensure!(!args.finish || state.exists(), "--finish: there is no state of an interrupted run at {}", state.display());
    let begin = WallClock.now();
    let minutes = || minutes_before + WallClock.now().since(begin) as f64 / 60e9;
    let bar = ProgressBar::new(settings.updates)
        .with_style(ProgressStyle::with_template("{bar:30} update {pos}/{len}, {eta} left  {msg}").context("progress bar")?);
    let mut curves = args.curves.open(
        "world model",
        #[cfg(feature = "view")]
        PLOTS,
    )?;
    let mut since = (WallClock.now(), trainer.progress().update);
    let mut report = |progress: &WorldModelProgress| {
        let now = WallClock.now();
        let rate = (progress.update - since.1) as f64 / (now.since(since.0) as f64 * 1e-9).max(1e-9);
        since = (now, progress.update);
        bar.set_position(progress.update);
        let message = format!("state {:.1} kl {:.2} nats  {rate:.1} updates/s", progress.state, progress.kl);
        if bar.is_hidden() && progress.update.is_multiple_of(settings.report_every * 10) {
            tracing::info!("update {} {message}", progress.update);
        }
        bar.set_message(message);
        curves.point(progress.update, &[progress.loss, progress.state, progress.kl, progress.pictures]);
        if progress.update.is_multiple_of(settings.save_every) {
            // A lost note costs the claim of how long it took, nothing else.
            let _ = std::fs::write(&clock_file, minutes().to_string());
        }
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ended = if args.finish { Ended::Finished } else { trainer.run(Some(&state), &mut report)? };
    bar.finish_and_clear();
    curves.finish()?;
    if ended == Ended::Interrupted {
        let _ = std::fs::write(&clock_file, minutes().to_string());
        bail!("interrupted at update {}; the same command goes on from there", trainer.progress().update);
    }

    let reward = config.dynamics_reward.clone();
    let total = reward.snapshots as u64 * reward.updates_each;
    let bar = ProgressBar::new(total).with_style(
        ProgressStyle::with_template("{bar:30} discriminator update {pos}/{len}, {eta} left  {msg}").context("progress bar")?,
    );
    let discriminators =
        train_dynamics_reward(trainer.model(), trainer.data(), &trainer.train_episodes(), &reward, |update, loss| {
            bar.set_position(update);
            bar.set_message(format!("loss {loss:.3}"));
            if !interrupted.load(Ordering::Relaxed) {
                return ControlFlow::Continue(());
            }
            let _ = std::fs::write(&clock_file, minutes().to_string());
            ControlFlow::Break(())
        })
        .context(FINISHED)?;
    bar.finish_and_clear();
    let foretold = foretell(&trainer, &settings)?;
    let rewards = DynamicsReward::from_trained(&discriminators, &settings, &reward, device);
    let (plausibility, dreamt) = plausibility(trainer.model(), &rewards, trainer.data(), &trainer.held_out(), &reward)?;
    println!(
        "how real recorded steps look (1: as usual, 0: as dreamt ones): 2 of 1000 below {:.2}, 1 of 100 below {:.2}, half below {:.2}; half of the dreamt ones below {dreamt:.2}",
        plausibility.at(0.002),
        plausibility.at(0.01),
        plausibility.at(0.5)
    );
    let (mut tensors, snapshots) = discriminators;
    let parameters = trainer.parameters();
    tensors.extend(parameters.named(&parameters.copy()));
    let info = WorldModelInfo {
        usual: usual_disagreement(trainer.model(), trainer.data(), &trainer.held_out())?,
        observation_normaliser: trainer.data().normaliser().clone(),
        updates: trainer.progress().update,
        minutes: minutes(),
        dynamics_reward: reward,
        open_loop: foretold,
        plausibility,
        snapshots,
        provenance: provenance(format!("{frames} frames of play in {episodes} episodes")),
        config: settings,
    };
    ensure!(
        info.snapshots.iter().all(|s| s.real.is_finite() && s.dreamt.is_finite()),
        "a discriminator's verdicts are not finite"
    );
    println!(
        "{} updates in {:.1} minutes, state {:.1} nats, kl {:.2} nats",
        info.updates,
        info.minutes,
        trainer.progress().state,
        trainer.progress().kl
    );
    for (name, errors) in ["model", "constant", "mlp"].iter().zip(&info.open_loop) {
        let last = |values: &[f64]| 1e3 * values.last().copied().unwrap_or(f64::NAN);
        println!(
            "{FORETOLD} control steps ahead by {name:<8}  mean error {:.3} half-ranges; in the end TCP {:.1} mm, door and drawer {:.1} mm; \
             moves of door, drawer and lamps foretold with precision {:.2}, recall {:.2} of {}",
            errors.mean(),
            last(&errors.tcp_m),
            last(&errors.mechanisms_m),
            errors.moves.precision(),
            errors.moves.recall(),
            errors.moves.seen
        );
    }
    Stored::new(info, tensors.into_iter().collect())?.save(&args.out)?;
    std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    let _ = std::fs::remove_file(&clock_file);
    println!("wrote {}", args.out.display());
    Ok(())
}

/// Said of errors after the updates.
const FINISHED: &str = "the world model itself is finished; the same command goes on with what guards its dreams";
/// Control steps that are foretold without seeing.
const FORETOLD: usize = 80;
/// Windows of held-out play that are foretold.
const WINDOWS: usize = 512;
/// Updates of the plain network that is compared with.
const MLP_UPDATES: u64 = 2000;

/// Open-loop errors on held-out play: of the model, of holding what was last seen, and of a plain network.
fn foretell(trainer: &WorldModelTrainer, settings: &WorldModelConfig) -> Result<[OpenLoop; 3]> {
    let data = trainer.data();
    eprintln!("a plain network for comparison, {MLP_UPDATES} updates");
    let mlp = MlpDynamics::train(data, &trainer.train_episodes(), settings, MLP_UPDATES)?;
    let steps = FORETOLD.div_ceil(settings.actions_per_step);
    Ok(open_loop(trainer.model(), &mlp, data, &trainer.held_out(), steps, WINDOWS)?)
}
