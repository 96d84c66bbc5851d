//! `reverie tune`: the noise levels of RTI's warm start, found from held-out episodes.
//!
//! The full chain plans at every control step of episodes in the simulation, closed loop; how far plans move from step to step, and
//! how far they spread from one condition, decide where a warm start may begin and how short it may be
//! ([`reverie_policy::decode::calibrate`]).

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{
    Checkpoint, DecoderConfig, NoiseSource,
    decode::calibrate::{CalibrationConfig, HeldOut, calibrate},
};
use reverie_schema::derive_seed;
use reverie_sim::Task;
use serde_json::json;

use crate::{
    clock::WallClock,
    config::Config,
    models, parallel,
    planner::{PlanRows, Planner},
    report::Rate,
    rig::Rig,
};

/// Every so many plans, more are drawn for the same condition ...
const REPEAT_EVERY: usize = 8;
/// ... so many.
const REPEATS: usize = 6;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Held-out episodes of each task that the policy knows
    #[arg(long, default_value_t = 8)]
    episodes: u64,
    /// First seed of their starts: demonstrations begin at 1000000, evaluations at 0
    #[arg(long, default_value_t = 600_000)]
    seed: u64,
    /// The most network evaluations of a warm start
    #[arg(long, default_value_t = CalibrationConfig::default().max_evaluations)]
    max_evaluations: usize,
    /// Largest lag behind the full chain's plan, action units (1 is 2 cm or 0.05 rad a control step)
    #[arg(long, default_value_t = CalibrationConfig::default().tolerance)]
    tolerance: f32,
    /// Write the checkpoint with what was found to this folder; it may be the policy's own
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// cpu (the decode engine), torch-cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Plans of one episode, and several for some of its conditions.
struct Episode {
    success: bool,
    plans: Vec<f32>,
    repeats: Vec<Vec<f32>>,
}

fn episode(config: &Config, planner: &mut Planner, task: Task, seed: u64) -> Result<Episode> {
    let mut rig = Rig::new(config, task, seed)?;
    planner.reset(task.name(), seed)?;
    let mut noise = NoiseSource::new(derive_seed(seed, "repeats"), 1);
    let mut episode = Episode { success: false, plans: Vec::new(), repeats: Vec::new() };
    for tick in 0..config.decode.max_steps as usize {
        let observation = rig.observe();
        planner.observe(&observation)?;
        let rows = PlanRows { executed: usize::from(tick > 0), committed: 0, needed: 1 };
        let (chunk, _) = planner.plan(&observation, rows, &WallClock)?;
        episode.plans.extend_from_slice(planner.normalised());
        if tick.is_multiple_of(REPEAT_EVERY) {
            let n = planner.normalised().len();
            let mut samples = vec![0.0; REPEATS * n];
            for sample in samples.chunks_exact_mut(n) {
                planner.sample(&mut noise, sample)?;
            }
            episode.repeats.push(samples);
        }
        rig.offer(&chunk)?;
        rig.step()?;
        episode.success = rig.solved();
        if episode.success {
            break;
        }
    }
    Ok(episode)
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let mut checkpoint = models::load(&args.policy)?;
    let tasks = checkpoint.info.tasks.iter().map(|name| name.parse::<Task>()).collect::<Result<Vec<_>, _>>()?;
    models::set_threads(1);
    let count = tasks.len() * args.episodes as usize;
    let bar = ProgressBar::new(count as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} held-out episodes, {eta} left").context("progress bar")?);
    let episodes = parallel::map(
        count,
        parallel::cores(),
        || models::planner(config, &checkpoint, &DecoderConfig::ddpm(), &args.device),
        |planner, index| {
            let (task, seed) = (tasks[index % tasks.len()], args.seed + (index / tasks.len()) as u64);
            let episode = episode(config, planner, task, seed).with_context(|| format!("{task} with seed {seed}"))?;
            bar.inc(1);
            Ok(episode)
        },
    )?;
    bar.finish_and_clear();
    let solved = Rate { successes: episodes.iter().filter(|e| e.success).count() as u64, trials: episodes.len() as u64 };
    // What a policy does once it has lost its way is no measure of how plans move.
    let (plans, repeats): (Vec<_>, Vec<_>) = episodes.into_iter().filter(|e| e.success).map(|e| (e.plans, e.repeats)).unzip();
    ensure!(!plans.is_empty(), "the policy solved none of {count} held-out episodes: there is nothing to measure");
    let repeats = repeats.concat();
    let settings = CalibrationConfig {
        max_evaluations: args.max_evaluations,
        tolerance: args.tolerance,
        discrete: discrete(config, &checkpoint),
    };
    let held_out = HeldOut { episodes: &plans, repeats: &repeats };
    let info = &checkpoint.info;
    let found = calibrate(&held_out, &settings, &checkpoint.schedule()?, checkpoint.shape(), &info.action_normaliser)?;
    if args.json {
        println!("{}", json!({ "calibration": found, "solved": solved, "settings": settings }));
    } else {
        println!("solved by the full chain       {} of {}", solved.successes, solved.trials);
        println!("drift of plans a step, q95     {:.4} (normalised)", found.drift_q95);
        println!("spread of plans, one condition {:.4} (normalised)", found.posterior_std);
        println!("entry level                    {}", found.entry_level);
        if let Some(threshold) = found.discrete_threshold {
            println!("gripper turns at log-odds      {threshold:.2}");
        }
        println!("labels                         {:?}", found.labels);
        println!("share of error kept a step     {:.3}", found.kappa);
        let verdict = if found.within_tolerance { "within" } else { "beyond" };
        println!("lag behind the full chain      {:.4} action units, {verdict} the tolerance of {}", found.lag, found.tolerance);
    }
    if let Some(folder) = &args.write {
        checkpoint.info.rti = Some(found);
        checkpoint.save(folder)?;
        eprintln!("wrote {}", folder.display());
    }
    Ok(())
}

/// The gripper's treatment that the configured RTI uses, or, if the policy was trained otherwise, the one that fits it.
fn discrete(config: &Config, checkpoint: &Checkpoint) -> reverie_policy::DiscreteTreatment {
    use reverie_policy::DiscreteTreatment;
    match (&config.decode.rti, checkpoint.info.action_normaliser.discrete.factor) {
        (DecoderConfig::Rti { discrete: DiscreteTreatment::Clip { factor }, .. }, 1.0) => {
            DiscreteTreatment::Clip { factor: *factor }
        }
        (_, 1.0) => DiscreteTreatment::None,
        _ => DiscreteTreatment::Scale {},
    }
}
