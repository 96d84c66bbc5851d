//! Tunings as processes of their own, side by side, and their evaluation. What is finished is not made again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_sim::Task;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Args;
use crate::{
    actor::Actor,
    attempt::attempt,
    config::Config,
    dreams::{Folders, ModelSight},
    models, parallel,
    report::Rate,
};

/// A way of tuning that is compared with others.
pub struct Cell {
    pub name: String,
    /// `--set` overlays.
    pub sets: Vec<String>,
    /// Further arguments of `reverie finetune`.
    pub arguments: Vec<String>,
    /// World model, classifiers and recordings, where they are not the common ones.
    pub folders: Option<Folders>,
}

/// A tuned policy.
pub struct Tuned {
    pub checkpoint: Checkpoint,
    pub minutes: f64,
    pub environment_steps: u64,
    pub steps: u64,
    /// Mean over the last iterations.
    pub imagined: f64,
    pub divergence: f64,
    /// Control steps learned from until each check in simulation, and what it said.
    pub checks: Vec<(u64, f64)>,
}

#[derive(Deserialize)]
struct History {
    iterations: Vec<reverie_world_model::Iteration>,
    checks: Vec<Check>,
    environment_steps: u64,
    minutes: f64,
}

#[derive(Deserialize)]
struct Check {
    iteration: u64,
    success: f64,
}

/// Successes, and mean and most network evaluations of a plan.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Outcome {
    pub rate: Rate,
    pub evaluations: f64,
    pub most: u32,
}

/// What a model's tensors hash to, of the file that describes it.
fn tensors_hash(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    let hash = json["tensors_sha256"].as_str().with_context(|| format!("{}: no tensors_sha256", path.display()))?;
    Ok(hash.to_owned())
}

/// Iterations at the end that imagined success is taken over.
const LAST: usize = 5;

pub struct Runner<'a> {
    pub config: &'a Config,
    pub args: &'a Args,
    program: PathBuf,
    settings: PathBuf,
    commit: String,
    /// What was found before, by commit, policy's hash and what was asked.
    found: Mutex<BTreeMap<String, serde_json::Value>>,
}

impl<'a> Runner<'a> {
    pub fn new(config: &'a Config, args: &'a Args) -> Result<Self> {
        std::fs::create_dir_all(&args.work).with_context(|| format!("cannot make the folder {}", args.work.display()))?;
        let settings = args.work.join("config.toml");
        let mut text = toml::to_string_pretty(config).context("the configuration as TOML")?;
        for (_, path) in [("--policy", args.policy.as_path())].into_iter().chain(args.folders.options()) {
            text += &format!("# {}\n", path.display());
        }
        for (folder, file) in [(&args.policy, "policy.json"), (&args.folders.world_model, "world_model.json")] {
            text += &format!("# {}\n", tensors_hash(folder, file)?);
        }
        // What was tuned under other settings must not be taken for these.
        if let Ok(before) = std::fs::read_to_string(&settings) {
            ensure!(
                before == text,
                "{} holds tunings of other things, or under another configuration; choose another --work folder, or remove it",
                args.work.display()
            );
        }
        crate::report::write_atomically(&settings, text.as_bytes())?;
        let journal = Self::journal(args);
        let found = match std::fs::read(&journal) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{}; remove it", journal.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", journal.display())),
        };
        models::set_threads(1);
        let program = std::env::current_exe().context("this program's own path")?;
        Ok(Self { config, args, program, settings, commit: crate::report::commit(), found: Mutex::new(found) })
    }

    fn journal(args: &Args) -> PathBuf {
        args.work.join("episodes.json")
    }

    /// What `find` finds, or has found when the same program was asked this before: results are written with the commit that made them.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        checkpoint: &Checkpoint,
        what: &str,
        find: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let key = format!("{} {} {what}", self.commit, checkpoint.info.tensors_sha256);
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = found().get(&key) {
            return serde_json::from_value(value.clone()).with_context(|| format!("{}", Self::journal(self.args).display()));
        }
        let value = find()?;
        let mut found = found();
        found.insert(key, serde_json::to_value(&value)?);
        crate::report::write_atomically(&Self::journal(self.args), &serde_json::to_vec_pretty(&*found)?)?;
        Ok(value)
    }

    fn folder(&self, cell: &Cell, task: Task, seed: u64) -> PathBuf {
        self.args.work.join(&cell.name).join(format!("{task}_{seed}"))
    }

    /// Makes what is missing of all these, side by side.
    pub fn tune(&self, cells: &[&Cell], tasks: &[Task], seeds: &[u64]) -> Result<()> {
        let all =
            cells.iter().flat_map(|cell| tasks.iter().flat_map(move |&task| seeds.iter().map(move |&seed| (*cell, task, seed))));
        let missing: Vec<_> = all
            .filter(|&(cell, task, seed)| {
                let folder = self.folder(cell, task, seed);
                !folder.join("policy.json").exists() || Path::new(&format!("{}.state", folder.display())).exists()
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let jobs = self.args.jobs.unwrap_or_else(parallel::cores).min(missing.len());
        let threads = (parallel::cores() / jobs).max(1);
        let bar = ProgressBar::new(missing.len() as u64)
            .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} tunings, {eta} left  {msg}").context("progress bar")?);
        parallel::map(
            missing.len(),
            jobs,
            || Ok(()),
            |(), index| {
                let (cell, task, seed) = missing[index];
                self.child(cell, task, seed, threads).with_context(|| format!("{} {task} seed {seed}", cell.name))?;
                bar.inc(1);
                bar.set_message(format!("{} {task}", cell.name));
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        Ok(())
    }

    fn child(&self, cell: &Cell, task: Task, seed: u64, threads: usize) -> Result<()> {
        let folder = self.folder(cell, task, seed);
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let log = std::fs::File::create(format!("{}.log", folder.display()))?;
        let mut command = Command::new(&self.program);
        command.args(["--config".as_ref(), self.settings.as_os_str()]);
        for set in &cell.sets {
            command.args(["--set", set]);
        }
        command.arg("--set").arg(format!("finetune.seed={seed}"));
        command.args(["finetune", "--task", task.name()]).arg("--threads").arg(threads.to_string());
        let paths = [("--policy", self.args.policy.as_path()), ("--out", &folder)].into_iter();
        for (name, path) in paths.chain(cell.folders.as_ref().unwrap_or(&self.args.folders).options()) {
            command.arg(name).arg(path);
        }
        if !cell.arguments.iter().any(|argument| argument == "--check-every") {
            command.args(["--check-every", "0"]);
        }
        let output = command.args(&cell.arguments).stdout(Stdio::from(log)).stderr(Stdio::piped()).output()?;
        if crate::INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted; the same command goes on");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", said.lines().last().unwrap_or("it said nothing"));
        Ok(())
    }

    pub fn load(&self, cell: &Cell, task: Task, seed: u64) -> Result<Tuned> {
        let folder = self.folder(cell, task, seed);
        let checkpoint = models::load(&folder)?;
        let path = folder.join("history.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let history: History = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let last = &history.iterations[history.iterations.len().saturating_sub(LAST)..];
        let mean = |f: fn(&reverie_world_model::Iteration) -> f64| last.iter().map(f).sum::<f64>() / last.len().max(1) as f64;
        let steps_until = |check: &Check| match check.iteration.checked_sub(1) {
            None => Ok((0, check.success)),
            Some(last) => {
                let last = history.iterations.get(last as usize);
                let last = last.with_context(|| format!("{}: no iteration {}", path.display(), check.iteration))?;
                Ok((last.steps, check.success))
            }
        };
        Ok(Tuned {
            checks: history.checks.iter().map(steps_until).collect::<Result<_>>()?,
            minutes: history.minutes,
            environment_steps: history.environment_steps,
            steps: history.iterations.last().map_or(0, |i| i.steps),
            imagined: mean(|i| i.success),
            divergence: mean(|i| i.divergence_from_base),
            checkpoint,
        })
    }

    /// Success under full decoding, in simulation.
    pub fn success(&self, checkpoint: &Checkpoint, task: Task, first: u64, episodes: u64) -> Result<Rate> {
        let decoder = (DecoderConfig::ddpm(), self.config.finetune.chain.rows);
        Ok(self.attempts(checkpoint, &decoder, None, task, first, episodes)?.rate)
    }

    /// Episodes in simulation; the state is told by the world model in `eyes`, if there is one.
    pub fn attempts(
        &self,
        checkpoint: &Checkpoint,
        (decoder, rows): &(DecoderConfig, usize),
        eyes: Option<&Path>,
        task: Task,
        first: u64,
        episodes: u64,
    ) -> Result<Outcome> {
        let seen_by = eyes.map(|folder| tensors_hash(folder, "world_model.json")).transpose()?.unwrap_or_default();
        let what = format!("{task} {first}+{episodes} {rows} {} {seen_by}", serde_json::to_string(decoder)?);
        self.once(checkpoint, &what, || {
            let attempts = parallel::map(
                episodes as usize,
                parallel::cores(),
                || {
                    let actor = Actor::policy(self.config, checkpoint, decoder, *rows, "cpu")?;
                    match eyes {
                        Some(folder) => Ok(actor.seeing(ModelSight::load(self.config, folder, *rows)?)),
                        None => Ok(actor),
                    }
                },
                |actor, index| attempt(self.config, actor, task, first + index as u64),
            )?;
            let successes = attempts.iter().filter(|attempt| attempt.success).count() as u64;
            // The first plan of an episode begins from nothing; what a tick takes afterwards is what counts.
            let later = attempts.iter().flat_map(|attempt| attempt.plans.iter().skip(1)).map(|plan| plan.nfe);
            let (count, sum, most) =
                later.fold((0_u64, 0_u64, 0), |(n, sum, most), nfe| (n + 1, sum + u64::from(nfe), most.max(nfe)));
            let rate = Rate { successes, trials: episodes };
            Ok(Outcome { rate, evaluations: sum as f64 / count.max(1) as f64, most })
        })
    }
}
