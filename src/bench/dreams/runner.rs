//! Tunings as processes of their own, side by side, and their evaluation. What is finished is not made again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
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
    dreams::{Folders, ModelSight, reward},
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

/// Successes, and network evaluations: of a plan, mean and most, and of a control step.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Outcome {
    pub rate: Rate,
    pub evaluations: f64,
    pub most: u32,
    pub per_step: f64,
}

/// What a model's tensors hash to, of the file that describes it.
fn tensors_hash(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    let hash = json["tensors_sha256"].as_str().with_context(|| format!("{}: no tensors_sha256", path.display()))?;
    Ok(hash.to_owned())
}

/// A file beside a tuned policy's folder.
fn beside(folder: &Path, extension: &str) -> PathBuf {
    PathBuf::from(format!("{}.{extension}", folder.display()))
}

/// Iterations at the end that imagined success is taken over.
const LAST: usize = 5;

pub struct Runner<'a> {
    pub config: &'a Config,
    pub args: &'a Args,
    program: PathBuf,
    settings: PathBuf,
    commit: String,
    journal: Journal,
}

/// What was found, on disk from one find to the next.
struct Journal {
    path: PathBuf,
    found: Mutex<BTreeMap<String, serde_json::Value>>,
}

impl Journal {
    fn open(path: PathBuf) -> Result<Self> {
        let found = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{}; remove it", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { path, found: Mutex::new(found) })
    }

    /// What `find` finds, or has found when this was asked before.
    fn once<T: Serialize + DeserializeOwned>(&self, key: String, find: impl FnOnce() -> Result<T>) -> Result<T> {
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = found().get(&key) {
            return serde_json::from_value(value.clone()).with_context(|| format!("{}", self.path.display()));
        }
        let value = find()?;
        let mut found = found();
        found.insert(key, serde_json::to_value(&value)?);
        crate::report::write_atomically(&self.path, &serde_json::to_vec_pretty(&*found)?)?;
        Ok(value)
    }
}

impl<'a> Runner<'a> {
    pub fn new(config: &'a Config, args: &'a Args) -> Result<Self> {
        std::fs::create_dir_all(&args.work).with_context(|| format!("cannot make the folder {}", args.work.display()))?;
        let settings = args.work.join("config.toml");
        let text = toml::to_string_pretty(config).context("the configuration as TOML")?;
        // What was tuned under other settings must not be taken for these.
        if let Ok(before) = std::fs::read_to_string(&settings) {
            ensure!(
                before == text,
                "{} holds tunings under another configuration; choose another --work folder, or remove it",
                args.work.display()
            );
        }
        crate::report::write_atomically(&settings, text.as_bytes())?;
        models::set_threads(1);
        let program = std::env::current_exe().context("this program's own path")?;
        let journal = Journal::open(args.work.join("episodes.json"))?;
        Ok(Self { config, args, program, settings, commit: crate::report::commit(), journal })
    }

    /// What `find` finds of a policy, or has found when the same program was asked this before: results are written with the commit that made them.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        checkpoint: &Checkpoint,
        what: &str,
        find: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        // The same name may stand for other programs then.
        if self.commit.ends_with("-dirty") || self.commit == "unknown" {
            return find();
        }
        self.journal.once(format!("{} {} {what}", self.commit, checkpoint.info.tensors_sha256), find)
    }

    fn folder(&self, cell: &Cell, task: Task, seed: u64) -> PathBuf {
        self.args.work.join(&cell.name).join(format!("{task}_{seed}"))
    }

    fn folders<'b>(&'b self, cell: &'b Cell) -> &'b Folders {
        cell.folders.as_ref().unwrap_or(&self.args.folders)
    }

    /// The command line of a tuning, less the threads it may use.
    fn words(&self, cell: &Cell, task: Task, seed: u64) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--config".into(), self.settings.clone().into()];
        for set in cell.sets.iter().cloned().chain([format!("finetune.seed={seed}")]) {
            words.extend(["--set".into(), set.into()]);
        }
        words.extend(["finetune".into(), "--task".into(), task.name().into()]);
        let folder = self.folder(cell, task, seed);
        let paths = [("--policy", self.args.policy.as_path()), ("--out", &folder)].into_iter();
        for (name, path) in paths.chain(self.folders(cell).options()) {
            words.extend([name.into(), path.into()]);
        }
        if !cell.arguments.iter().any(|argument| argument == "--check-every") {
            words.extend(["--check-every".into(), "0".into()]);
        }
        words.extend(cell.arguments.iter().map(Into::into));
        words
    }

    /// What a tuning is made of: its command line, and the models that this names.
    fn asked(&self, cell: &Cell, task: Task, seed: u64) -> Result<String> {
        let folders = self.folders(cell);
        let reward = reward::folder(&folders.reward, task);
        let models = [(&self.args.policy, "policy.json"), (&folders.world_model, "world_model.json"), (&reward, "success.json")];
        let words = self.words(cell, task, seed).into_iter().map(|word| Ok(word.to_string_lossy().into_owned()));
        let hashes = models.into_iter().map(|(folder, file)| tensors_hash(folder, file));
        Ok(words.chain(hashes).collect::<Result<Vec<String>>>()?.join("\n"))
    }

    /// Whether a tuning was begun; none of other things under the same name is taken for it.
    fn ensure_asked(&self, cell: &Cell, task: Task, seed: u64) -> Result<bool> {
        let folder = self.folder(cell, task, seed);
        let path = beside(&folder, "asked");
        match std::fs::read_to_string(&path) {
            Ok(before) => {
                let same = before == self.asked(cell, task, seed)?;
                ensure!(
                    same,
                    "{} asks for another tuning than is asked for now; choose another --work folder, or remove that file",
                    path.display()
                );
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Makes what is missing of all these, side by side.
    pub fn tune(&self, cells: &[&Cell], tasks: &[Task], seeds: &[u64]) -> Result<()> {
        let mut missing = Vec::new();
        for cell in cells {
            for &task in tasks {
                for &seed in seeds {
                    let folder = self.folder(cell, task, seed);
                    let begun = self.ensure_asked(cell, task, seed)?;
                    if !begun || !folder.join("policy.json").exists() || beside(&folder, "state").exists() {
                        missing.push((*cell, task, seed));
                    }
                }
            }
        }
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
        if !self.ensure_asked(cell, task, seed)? {
            // What an older run has left is not of what is asked now.
            let left = [folder.join("policy.json"), folder.join("history.json"), beside(&folder, "state")];
            for path in left.iter().filter(|path| path.exists()) {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
            crate::report::write_atomically(&beside(&folder, "asked"), self.asked(cell, task, seed)?.as_bytes())?;
        }
        let log = std::fs::File::create(beside(&folder, "log"))?;
        let mut command = Command::new(&self.program);
        command.args(self.words(cell, task, seed)).arg("--threads").arg(threads.to_string());
        let output = command.stdout(Stdio::from(log)).stderr(Stdio::piped()).output()?;
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
            let steps: u64 = attempts.iter().map(|attempt| u64::from(attempt.steps)).sum();
            let all: u64 = attempts.iter().flat_map(|attempt| &attempt.plans).map(|plan| u64::from(plan.nfe)).sum();
            let rate = Rate { successes, trials: episodes };
            let per_step = all as f64 / steps.max(1) as f64;
            Ok(Outcome { rate, evaluations: sum as f64 / count.max(1) as f64, most, per_step })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_answers_what_it_was_asked_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("episodes.json");
        let open = || Journal::open(path.clone()).expect("a journal");
        let rate = Rate { successes: 3, trials: 4 };
        let outcome = Outcome { rate, evaluations: 2.5, most: 3, per_step: 1.25 };
        open().once("a policy".into(), || Ok(outcome)).expect("found");
        let failed = open().once::<Outcome>("another".into(), || bail!("no simulation")).map(|_| ());
        assert!(failed.is_err(), "what failed is not answered later");
        let again: Outcome = open().once("a policy".into(), || panic!("found before")).expect("kept");
        assert_eq!((again.rate.successes, again.most, again.per_step), (3, 3, 1.25));
        open().once::<u32>("another".into(), || Ok(7)).expect("found now");

        std::fs::write(&path, "{").expect("written");
        let said = Journal::open(path.clone()).map(|_| ()).expect_err("half a file").to_string();
        assert!(said.contains("episodes.json"), "{said}");
    }
}
