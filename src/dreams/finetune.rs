//! `reverie finetune`: a policy improved by reinforcement, in dreams or in simulation.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{Checkpoint, DecoderConfig, checkpoint::TuningRecord};
use reverie_schema::{Clock, derive_seed};
use reverie_sim::{Task, steps_taken};
use reverie_world_model::Tensor;
use reverie_world_model::{
    B2, Beside, Conditioner, D3po, Dream, Forkable, GuardedWorld, Iteration, Judge, Method, Noise, ParetoJudge, PlayData, Ppo,
    SuccessCheckpoint, SuccessClassifier, SuccessJudge, TrainedWorldModel, TuneConfig, Tuner, starts,
};
use serde::{Deserialize, Serialize};

use super::{Folders, ensure_told_by_scene, load_world_model, moments, recorded, reward, simulation::Simulation, state_file};
use crate::{actor::Actor, attempt::attempt, clock::WallClock, config::Config, models, parallel, report, report::Rate, rig::Rig};

/// Where dreams begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Starts {
    /// At moments of recordings: strictly offline
    Data,
    /// At fresh starts of the simulation, of which one observation each is taken
    Simulation,
}

/// What episodes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Where {
    /// The world model
    Dream,
    /// The rapier simulation (online DPPO)
    Simulation,
}

/// Who prefers one of two rollouts, for D3PO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Prefer {
    /// The success classifier: success, and the sooner one
    Success,
    /// Pareto dominance of success, the sooner the better, and smoothness
    Pareto,
    /// You: pairs are shown in the rerun viewer and asked for in the terminal (fewer by `--set finetune.d3po.pairs=8`)
    #[cfg(feature = "view")]
    Person,
}

#[derive(clap::Args)]
pub struct Args {
    /// The task
    #[arg(long)]
    task: Task,
    /// Folder of the policy to begin with
    #[arg(long, default_value = "models/dreams/base")]
    policy: PathBuf,
    /// What episodes are made of
    #[arg(long = "in", value_enum, default_value = "dream")]
    place: Where,
    #[command(flatten)]
    folders: Folders,
    /// Where dreams begin
    #[arg(long, value_enum, default_value = "data")]
    starts: Starts,
    /// Who prefers, for D3PO
    #[arg(long, value_enum, default_value = "success")]
    prefer: Prefer,
    /// Folder for the tuned policy [default: runs/finetune/TASK]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Iterations between two checks in simulation, of which nothing is learned; 0: none
    #[arg(long, default_value_t = 20)]
    check_every: u64,
    /// Episodes of a check
    #[arg(long, default_value_t = 24)]
    check_episodes: usize,
    /// torch-cpu (or cpu) or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of libtorch [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Begin anew even if there is a state to resume from
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    curves: crate::curves::Args,
}

#[cfg(feature = "view")]
const PLOTS: &[reverie_rerun::CurvePlot] = &[
    reverie_rerun::CurvePlot { title: "Success", lines: &[("imagined", 0x66_CCEE), ("in simulation", 0xCC_BB44)] },
    reverie_rerun::CurvePlot { title: "Reward of a chunk", lines: &[("reward", 0x22_8833)] },
    reverie_rerun::CurvePlot { title: "Divergence from the base, nats a decision", lines: &[("divergence", 0xEE_6677)] },
    reverie_rerun::CurvePlot { title: "Loss", lines: &[("policy", 0x66_CCEE), ("critic", 0xAA_3377), ("cloning", 0xBB_BBBB)] },
    reverie_rerun::CurvePlot { title: "Denoising steps tuned", lines: &[("window", 0x44_77AA)] },
];

/// Seeds of checks: none that results are reported on.
const CHECK_SEED: u64 = 5_000;
/// Moments of play that dreams begin at.
const PLAY_STARTS: usize = 1000;
/// Steps of a demonstration whose moments dreams begin at.
const DEMO_STEPS: usize = 3;

/// A check in simulation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Check {
    iteration: u64,
    success: f64,
    episodes: u64,
    /// Of the iterations since the last check.
    imagined: Option<f64>,
}

/// What is written beside a tuned policy.
#[derive(Default, Serialize, Deserialize)]
struct History {
    iterations: Vec<Iteration>,
    checks: Vec<Check>,
    /// Control steps of the simulation that were learned from.
    environment_steps: u64,
    /// Control steps that were imagined in branches.
    #[serde(default)]
    branch_steps: u64,
    /// Minutes of tuning, checks left out.
    minutes: f64,
    /// What it is a history of; a run goes on with nothing else.
    #[serde(default)]
    subject: String,
}

/// A policy being tuned.
struct Run<'a> {
    config: &'a Config,
    args: &'a Args,
    out: PathBuf,
    base: Checkpoint,
    tuner: Box<dyn Tuner>,
    history: History,
}

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    let tune = &config.finetune;
    tune.validate().context("config section finetune")?;
    ensure!(
        tune.method == Method::D3po || args.prefer == Prefer::Success,
        "--prefer is for finetune.method = \"d3po\"; the others ask nobody"
    );
    ensure_told_by_scene(args.task)?;
    models::set_threads(args.threads.unwrap_or_else(parallel::cores));
    let device = models::torch_device(&args.device)?;
    let base = models::load(&args.policy)?;
    let conditioner = Conditioner::new(&base, args.task.name(), device)?;
    match args.place {
        Where::Simulation => {
            ensure!(tune.method == Method::Ppo, "finetune.method = {:?}: in simulation there is PPO alone", tune.method);
            let mut simulation = Simulation::new(config, args.task, &conditioner, device, tune.dream.dreams, tune.seed)?;
            let run = Run::new(config, args, base, conditioner.width(), device, format!("{} in simulation", args.task))?;
            run.go(&mut InSimulation(&mut simulation), interrupted)
        }
        Where::Dream => {
            let world = load_world_model(&args.folders.world_model, &args.device)?;
            let folder = reward::folder(&args.folders.reward, args.task);
            ensure!(
                folder.join("success.json").exists(),
                "no success classifier in {}; make one with `reverie train reward --task {}`",
                folder.display(),
                args.task
            );
            let success = SuccessCheckpoint::load(&folder).with_context(|| format!("success classifier {}", folder.display()))?;
            ensure!(
                success.info.task == args.task.name(),
                "{}: it tells {}, not {}",
                folder.display(),
                success.info.task,
                args.task
            );
            let classifier = success.identity()?;
            let success = SuccessClassifier::new(&success, device)?;
            super::ensure_leash(config)?;
            let guarded = GuardedWorld::new(&world, &success, &tune.dream)?;
            let starts = begin_at(config, args, &world)?;
            let latent = world.info.config.latent();
            let mut dream = Dream::new(&guarded, &conditioner, &starts, &tune.dream, tune.seed)?;
            let subject = format!("{} in {} by {}, {:?}", args.task, world.identity, classifier, args.starts);
            let run = Run::new(config, args, base, latent, device, subject)?;
            run.go(&mut InDream { dream: &mut dream, seed: tune.seed }, interrupted)
        }
    }
}

/// An environment that a run can leave and go back to.
trait Place {
    fn environment(&mut self) -> &mut dyn Forkable;
    /// Makes the chance of an iteration its own.
    fn begin(&mut self, iteration: u64);
    fn snapshot(&self) -> Tensor;
    fn restore(&mut self, snapshot: &Tensor, steps: u64) -> Result<()>;
    /// Control steps so far.
    fn steps(&self) -> u64;
    /// Whether they are of the simulation.
    fn is_simulation(&self) -> bool;
}

struct InDream<'d, 'a> {
    dream: &'d mut Dream<'a>,
    seed: u64,
}

impl Place for InDream<'_, '_> {
    fn environment(&mut self) -> &mut dyn Forkable {
        self.dream
    }

    fn begin(&mut self, iteration: u64) {
        self.dream.restart_noise(self.seed, iteration);
    }

    fn snapshot(&self) -> Tensor {
        self.dream.snapshot()
    }

    fn restore(&mut self, snapshot: &Tensor, steps: u64) -> Result<()> {
        self.dream.restore(snapshot, steps);
        Ok(())
    }

    fn steps(&self) -> u64 {
        self.dream.imagined()
    }

    fn is_simulation(&self) -> bool {
        false
    }
}

struct InSimulation<'s, 'a>(&'s mut Simulation<'a>);

impl Place for InSimulation<'_, '_> {
    fn environment(&mut self) -> &mut dyn Forkable {
        self.0
    }

    fn begin(&mut self, _: u64) {}

    fn snapshot(&self) -> Tensor {
        Tensor::from_slice(&[0.0_f32])
    }

    /// Episodes that were under way are lost: a resumed run goes on with fresh ones.
    fn restore(&mut self, _: &Tensor, steps: u64) -> Result<()> {
        self.0.go_on_after(steps)
    }

    fn steps(&self) -> u64 {
        self.0.control_steps
    }

    fn is_simulation(&self) -> bool {
        true
    }
}

/// Latents at which dreams begin.
fn begin_at(config: &Config, args: &Args, world: &TrainedWorldModel) -> Result<Tensor> {
    let tune = &config.finetune;
    let mut noise = Noise::new(tune.seed, "starts", world.device());
    let stride = world.info.config.actions_per_step;
    if args.starts == Starts::Simulation {
        ensure!(!world.info.config.inputs.has_cameras(), "--starts simulation is for world models of the state");
        let rigs = parallel::map(
            PLAY_STARTS / 2,
            parallel::cores(),
            || Ok(()),
            |(), index| {
                let seed = derive_seed(tune.seed, "start of a dream").wrapping_add(index as u64);
                Ok(Rig::new(config, args.task, seed)?.observe())
            },
        )?;
        let mut raw = reverie_world_model::RawPlay::default();
        for (index, observation) in rigs.iter().enumerate() {
            raw.state.extend_from_slice(&reverie_policy::state_features(observation));
            raw.actions.extend([0.0; reverie_schema::N_ACT]);
            raw.episodes.push(index..index + 1);
        }
        let firsts: Vec<i64> = (0..rigs.len() as i64).collect();
        let data = PlayData::new(raw, Some(world.info.observation_normaliser.clone()), world.device())?;
        return Ok(starts(world, &data, &firsts, 1, &mut noise));
    }
    let pictures = world.info.config.inputs.has_cameras();
    let mut demos = recorded::read(&args.folders.demos, pictures, config.sim.scene)?;
    let episodes = demos.episodes_of(args.task);
    ensure!(!episodes.is_empty(), "data set {}: no demonstration of {}", args.folders.demos.display(), args.task);
    let demo_data = demos.data_for(world).with_context(|| format!("data set {}", args.folders.demos.display()))?;
    let mut parts = Vec::new();
    for step in 0..DEMO_STEPS {
        let firsts: Vec<i64> = episodes.iter().filter(|e| e.len() > (step + 2) * stride).map(|e| e.start as i64).collect();
        parts.push(starts(world, &demo_data, &firsts, step + 1, &mut noise));
    }
    let mut play = recorded::read(&args.folders.play, pictures, config.sim.scene)?;
    let seed = derive_seed(tune.seed, "moments of play");
    let sought = moments::Sought { task: args.task, scene: config.sim.scene, stride, count: PLAY_STARTS, seed };
    let firsts = moments::play_starts(&play, &demos, sought);
    let data = play.data_for(world).with_context(|| format!("data set {}", args.folders.play.display()))?;
    parts.push(starts(world, &data, &firsts, moments::CONTEXT + 1, &mut noise));
    let all = Tensor::cat(&parts, 0);
    eprintln!("{}: dreams begin at {} moments of recordings", args.task, all.size()[0]);
    Ok(all)
}

impl<'a> Run<'a> {
    fn new(
        config: &'a Config,
        args: &'a Args,
        base: Checkpoint,
        n_value: usize,
        device: reverie_policy::Device,
        subject: String,
    ) -> Result<Self> {
        let tune: &TuneConfig = &config.finetune;
        let n = tune.dream.dreams as i64;
        let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs/finetune").join(args.task.name()));
        let tuner: Box<dyn Tuner> = match tune.method {
            Method::Ppo => Box::new(Ppo::new(&base, tune, n, n_value, device)?),
            Method::B2 => Box::new(B2::new(&base, tune, device)?),
            Method::D3po => {
                let judge: Box<dyn Judge> = match args.prefer {
                    Prefer::Success => Box::new(SuccessJudge),
                    Prefer::Pareto => Box::new(ParetoJudge),
                    #[cfg(feature = "view")]
                    Prefer::Person => {
                        let scene = config.sim.scene;
                        Box::new(super::person::Person::new(scene, &base, tune.chain.rows, &out.join("pairs"))?)
                    }
                };
                Box::new(D3po::new(&base, tune, judge, device)?)
            }
        };
        Ok(Self { config, args, out, base, tuner, history: History { subject, ..History::default() } })
    }

    fn go(mut self, place: &mut dyn Place, interrupted: &AtomicBool) -> Result<()> {
        let tune = &self.config.finetune;
        let state = state_file(&self.out);
        if let Some(folder) = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let mut first = 0;
        if state.exists() && !self.args.fresh {
            let beside = self.tuner.resume(&state).context("cannot resume; --fresh begins anew")?;
            let history: History =
                serde_json::from_value(beside.notes).with_context(|| format!("{}: history", state.display()))?;
            ensure!(
                history.subject == self.history.subject,
                "{} was begun with another task, world model, classifier or place; --fresh begins anew",
                state.display()
            );
            place.restore(&beside.environment, beside.steps)?;
            self.history = history;
            first = beside.iteration;
            eprintln!("resuming at iteration {first}");
        }
        let bar = ProgressBar::new(tune.iterations).with_style(
            ProgressStyle::with_template("{bar:30} iteration {pos}/{len}, {eta} left  {msg}").context("progress bar")?,
        );
        let mut curves = self.args.curves.open(
            &format!("finetune {}", self.args.task),
            #[cfg(feature = "view")]
            PLOTS,
        )?;
        // An interrupt may have come between an iteration and its check.
        self.check_if_due(first, &mut curves)?;
        for iteration in first..tune.iterations {
            let (begin, before, physics) = (WallClock.now(), place.steps(), steps_taken());
            place.begin(iteration);
            let mut stats = self.tuner.iterate(place.environment(), iteration).map_err(|error| self.keep(error.into()))?;
            self.history.branch_steps += stats.beside;
            stats.steps = place.steps() + self.history.branch_steps;
            if place.is_simulation() {
                self.history.environment_steps += stats.steps - before;
            } else {
                ensure!(steps_taken() == physics, "a dream has stepped the simulation: this is a defect");
            }
            self.history.minutes += WallClock.now().since(begin) as f64 / 60e9;
            self.history.iterations.push(stats);
            let done = iteration + 1;
            let stop = interrupted.load(Ordering::Relaxed) && done < tune.iterations;
            if stop || self.is_due(done) || done == tune.iterations || done.is_multiple_of(tune.save_every) {
                let beside = Beside {
                    iteration: done,
                    environment: place.snapshot(),
                    steps: place.steps(),
                    notes: serde_json::to_value(&self.history)?,
                };
                self.tuner.save_state(&state, &beside)?;
                self.save(place)?;
            }
            if stop {
                bail!("interrupted at iteration {done}; the same command goes on from there");
            }
            self.check_if_due(done, &mut curves)?;
            self.show(&stats, &bar, &mut curves);
        }
        self.save(place)?;
        bar.finish_and_clear();
        curves.finish()?;
        std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
        println!("wrote {}", self.out.display());
        Ok(())
    }

    /// Says where the last good policy is.
    fn keep(&self, error: anyhow::Error) -> anyhow::Error {
        if self.out.join("policy.json").exists() {
            error.context(format!("stopped; the last good policy is in {}", self.out.display()))
        } else {
            error
        }
    }

    fn show(&self, stats: &Iteration, bar: &ProgressBar, curves: &mut crate::curves::Curves) {
        let check = self.history.checks.last();
        let message = format!(
            "imagined {:.0} %  simulated {}  from base {:.2} nats",
            100.0 * stats.success,
            check.map_or_else(|| "-".into(), |check| format!("{:.0} % at {}", 100.0 * check.success, check.iteration)),
            stats.divergence_from_base
        );
        let checked = check.is_some_and(|check| check.iteration == stats.iteration + 1);
        if bar.is_hidden() && (checked || stats.iteration.is_multiple_of(10)) {
            tracing::info!("{} iteration {} {message}", self.args.task, stats.iteration + 1);
        }
        bar.set_position(stats.iteration + 1);
        bar.set_message(message);
        let Iteration { policy_loss, value_loss, cloning_loss, .. } = *stats;
        curves.point(
            stats.iteration + 1,
            &[
                stats.success,
                f64::NAN,
                stats.reward,
                stats.divergence_from_base,
                policy_loss,
                value_loss,
                cloning_loss,
                stats.window as f64,
            ],
        );
    }

    /// Whether a check is to be made: before the first iteration, every so many, and after the last, once each.
    fn is_due(&self, iteration: u64) -> bool {
        let every = self.args.check_every;
        let made = self.history.checks.last().is_some_and(|check| check.iteration == iteration);
        every > 0 && (iteration.is_multiple_of(every) || iteration == self.config.finetune.iterations) && !made
    }

    /// Attempts in simulation, for the record. What was tuned is saved before: an interrupt costs the check alone.
    fn check_if_due(&mut self, iteration: u64, curves: &mut crate::curves::Curves) -> Result<()> {
        if !self.is_due(iteration) {
            return Ok(());
        }
        let tuned = self.checkpoint(0)?;
        let (config, task) = (self.config, self.args.task);
        let rows = config.finetune.chain.rows;
        let attempts = parallel::map(
            self.args.check_episodes,
            parallel::cores(),
            || Actor::policy(config, &tuned, &DecoderConfig::ddpm(), rows, "cpu"),
            |actor, index| Ok(attempt(config, actor, task, CHECK_SEED + index as u64)?.success),
        )
        .with_context(|| format!("the check at iteration {iteration}; the same command goes on from there"))?;
        let rate = Rate { successes: attempts.iter().filter(|s| **s).count() as u64, trials: attempts.len() as u64 };
        let last = self.history.checks.last().map_or(0, |check| check.iteration);
        let since: Vec<f64> =
            self.history.iterations.iter().filter(|stats| stats.iteration >= last).map(|stats| stats.success).collect();
        let imagined = (!since.is_empty()).then(|| since.iter().sum::<f64>() / since.len() as f64);
        self.history.checks.push(Check { iteration, success: rate.mean(), episodes: rate.trials, imagined });
        curves.point(iteration, &[f64::NAN, rate.mean()]);
        Ok(())
    }

    fn checkpoint(&self, steps: u64) -> Result<Checkpoint> {
        let mut info = self.base.info.clone();
        (info.draft, info.draft_training, info.rti) = (None, None, None);
        info.tuning = Some(TuningRecord {
            command: format!("reverie {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
            commit: report::commit(),
            task: self.args.task.name().to_owned(),
            base: self.base.info.tensors_sha256.clone(),
            iterations: self.history.iterations.len() as u64,
            steps,
            environment_steps: self.history.environment_steps,
        });
        Ok(Checkpoint::new(info, self.tuner.learner().weights())?)
    }

    fn save(&self, place: &dyn Place) -> Result<()> {
        self.checkpoint(place.steps() + self.history.branch_steps)?.save(&self.out)?;
        write_json(&self.out.join("history.json"), &self.history)
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    report::write_atomically(path, serde_json::to_string_pretty(value)?.as_bytes())
}
