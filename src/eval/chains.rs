//! LH-MTLC, CALVIN's long-horizon protocol: chains of five tasks, 360 control steps each, the oracle after every step, no reset of the
//! robot inside a chain, which ends at its first failure (`calvin_agent/evaluation/evaluate_policy.py`).

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_schema::derive_seed;
use reverie_sim::{CHAIN_LENGTH, Chain, ChainReport, SceneId, StartState, Task, TaskSet, chains};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Args, Name, Subject, subjects};
use crate::{
    actor::Actor,
    config::Config,
    parallel,
    report::{Rate, write_results},
    rig::Rig,
};

/// Control steps that a sub-task may take (CALVIN: `EP_LEN`).
const SUBTASK_STEPS: u32 = 360;

/// The first line of a journal: what must be the same to go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    protocol: String,
    commit: String,
    seed: u64,
    chains: usize,
    subject: String,
    decoder: String,
    config: Value,
}

/// A finished chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    chain: usize,
    /// Tasks solved in a row.
    solved: usize,
    /// Control steps of each sub-task that was begun.
    steps: Vec<u32>,
}

/// Chains that were finished, on disk in the order of their numbers.
struct Journal {
    path: PathBuf,
    file: File,
    outcomes: Vec<Outcome>,
}

impl Journal {
    fn open(path: PathBuf, header: &Header, fresh: bool) -> Result<Self> {
        let outcomes = if fresh || !path.exists() { Vec::new() } else { Self::read(&path, header)? };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // Written anew, so that half a line from a killed run goes.
        let mut text = serde_json::to_string(header)? + "\n";
        for outcome in &outcomes {
            text += &(serde_json::to_string(outcome)? + "\n");
        }
        crate::report::write_atomically(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        ensure!(file.try_lock().is_ok(), "the journal {} is in use by another evaluation", path.display());
        Ok(Self { path, file, outcomes })
    }

    fn read(path: &Path, header: &Header) -> Result<Vec<Outcome>> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read the journal {}", path.display()))?;
        let mut lines = text.lines();
        let first: Option<Header> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        ensure!(
            first.as_ref() == Some(header),
            "the journal {} belongs to another evaluation (commit, seed, chains, policy, decoder or configuration differ): give --fresh to \
             begin anew, or another --journal",
            path.display()
        );
        let mut outcomes: Vec<Outcome> = Vec::new();
        let lines: Vec<&str> = lines.collect();
        for (number, line) in lines.iter().enumerate() {
            match serde_json::from_str::<Outcome>(line) {
                Ok(outcome) if outcome.chain < header.chains && outcome.solved <= CHAIN_LENGTH => {
                    if outcomes.iter().all(|known| known.chain != outcome.chain) {
                        outcomes.push(outcome);
                    }
                }
                // The last line of a killed run may be half written.
                Err(_) if number + 1 == lines.len() => {}
                _ => bail!("the journal {} is damaged in line {}: give --fresh to begin anew", path.display(), number + 2),
            }
        }
        Ok(outcomes)
    }

    fn add(&mut self, outcome: Outcome) -> Result<()> {
        let line = serde_json::to_string(&outcome)? + "\n";
        self.file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.outcomes.push(outcome);
        Ok(())
    }
}

/// Runs one chain.
fn run_chain(config: &Config, actor: &mut Actor, unknown: TaskSet, chain: &Chain, index: usize, seed: u64) -> Result<Outcome> {
    let placement = chain.initial.placement(seed).context("a chain begins in one of the 192 initial states")?;
    let start = StartState::from_placement(&placement);
    let mut rig = Rig::from_start(config, &start, chain.tasks[0])?.context("the arm does not reach its neutral pose")?;
    let mut outcome = Outcome { chain: index, solved: 0, steps: Vec::new() };
    for (step, &task) in chain.tasks.iter().enumerate() {
        if unknown.contains(task) {
            break;
        }
        rig.begin(task);
        actor.begin(task, config.sim.scene, derive_seed(seed, &format!("chain {index} task {step}")))?;
        let mut solved = false;
        while !solved && rig.task_steps() < SUBTASK_STEPS {
            actor.step(&mut rig)?;
            solved = rig.solved();
        }
        outcome.steps.push(rig.task_steps());
        if !solved {
            break;
        }
        outcome.solved += 1;
    }
    Ok(outcome)
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.chains > 0, "--chains must be at least 1");
    ensure!(config.sim.scene == SceneId::D, "the long-horizon protocol is defined in scene D, sim.scene is {}", config.sim.scene);
    let subjects = subjects(config, args, &[Name::Rti])?;
    ensure!(subjects.len() == 1, "the long-horizon protocol takes one --decoder at a time");
    let subject = &subjects[0];
    let unknown: TaskSet = match subject {
        Subject::Experts => TaskSet::EMPTY,
        Subject::Policy { checkpoint, .. } => {
            Task::ALL.into_iter().filter(|task| checkpoint.task_index(task.name()).is_err()).collect()
        }
    };
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|task| task.name()).collect();
        eprintln!(
            "the policy does not know {} of the 34 tasks; a chain ends where it meets one: {}",
            names.len(),
            names.join(", ")
        );
    }
    let header = Header {
        protocol: "calvin".into(),
        commit: crate::report::commit(),
        seed: args.seed,
        chains: args.chains,
        subject: subject.identity(),
        decoder: subject.label().into(),
        config: serde_json::to_value(config)?,
    };
    let path = args.journal.clone().unwrap_or_else(|| {
        let identity = subject.identity();
        let short = &identity[..identity.len().min(12)];
        PathBuf::from(format!("runs/long_horizon/{short}-{}-{}.jsonl", subject.label(), args.seed))
    });
    let mut journal = Journal::open(path, &header, args.fresh)?;
    let chains = chains(args.chains, args.seed);
    let done: BTreeSet<usize> = journal.outcomes.iter().map(|outcome| outcome.chain).collect();
    let open: Vec<usize> = (0..chains.len()).filter(|index| !done.contains(index)).collect();
    let bar = ProgressBar::new(chains.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} chains, {eta} left  {msg}").context("progress bar")?);
    bar.set_position(done.len() as u64);
    bar.reset_eta();
    parallel::in_order(
        0,
        parallel::cores(),
        || subject.actor(config),
        |actor, position| {
            let Some(&index) = open.get(position) else { return Ok(None) };
            run_chain(config, actor, unknown, &chains[index], index, args.seed)
                .map(Some)
                .with_context(|| format!("chain {index}"))
        },
        |_, outcome| {
            let Some(outcome) = outcome else { return Ok(ControlFlow::Break(())) };
            journal.add(outcome)?;
            bar.inc(1);
            bar.set_message(format!("average length {:.2}", report(&chains, &journal.outcomes).average_length()));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    bar.finish_and_clear();
    let finished = journal.outcomes.len();
    ensure!(
        finished == chains.len(),
        "interrupted: {finished} of {} chains are in {}; the same command goes on",
        chains.len(),
        journal.path.display()
    );
    journal.outcomes.sort_by_key(|outcome| outcome.chain);
    tell(config, args, subject, &chains, &journal.outcomes)
}

fn report(chains: &[Chain], outcomes: &[Outcome]) -> ChainReport {
    let mut report = ChainReport::default();
    for outcome in outcomes {
        report.add(&chains[outcome.chain], outcome.solved);
    }
    report
}

fn tell(config: &Config, args: &Args, subject: &Subject, chains: &[Chain], outcomes: &[Outcome]) -> Result<()> {
    let report = report(chains, outcomes);
    let [low, high] = report.average_length_interval();
    let shares: Vec<f64> = (1..=CHAIN_LENGTH).map(|tasks| report.share_at_least(tasks)).collect();
    let mut claims = json!({
        "chains": report.chains(),
        "average_length": report.average_length(),
        "average_length_low": low,
        "average_length_high": high,
    });
    for (index, share) in shares.iter().enumerate() {
        claims[format!("success_{}", index + 1)] = json!(share);
    }
    let rows: Vec<(Task, Rate)> = Task::ALL
        .into_iter()
        .map(|task| {
            let [trials, successes] = report.task(task);
            (task, Rate { successes, trials })
        })
        .collect();
    if args.json {
        println!("{}", serde_json::to_string(&claims)?);
    } else {
        println!("{} chains, {}", report.chains(), subject.label());
        println!("tasks in a row      1      2      3      4      5   average length");
        let shares: Vec<String> = shares.iter().map(|share| format!("{:>5.1}%", 100.0 * share)).collect();
        println!("share           {}   {:.3} [{low:.3}, {high:.3}]", shares.join(" "), report.average_length());
        for (task, rate) in &rows {
            let [low, high] = rate.wilson95().map(|bound| 100.0 * bound);
            if rate.trials > 0 {
                println!(
                    "{:<28} {:>4}/{:<4} {:>5.1} % [{low:.1}, {high:.1}]",
                    task.name(),
                    rate.successes,
                    rate.trials,
                    100.0 * rate.mean()
                );
            }
        }
    }
    if let Some(path) = &args.results {
        let table: Vec<Value> = rows
            .iter()
            .map(|(task, rate)| {
                json!({"task": task.name(), "attempts": rate.trials, "successes": rate.successes, "wilson95": rate.wilson95()})
            })
            .collect();
        let lengths: Vec<usize> = outcomes.iter().map(|outcome| outcome.solved).collect();
        let data = json!({
            "subject": subject.identity(), "decoder": subject.label(), "seed": args.seed, "lengths": report.lengths(),
            "tasks": table, "solved_by_chain": lengths, "config": config,
        });
        write_results(path, &claims, &data)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seed: u64) -> Header {
        let (protocol, subject, decoder) = ("calvin".into(), "experts".into(), "expert".into());
        Header { protocol, commit: "abc".into(), seed, chains: 10, subject, decoder, config: Value::Null }
    }

    #[test]
    fn a_journal_goes_on_after_a_kill_and_refuses_another_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/journal.jsonl");
        let mut journal = Journal::open(path.clone(), &header(1), false).unwrap();
        for chain in [3, 1] {
            journal.add(Outcome { chain, solved: 2, steps: vec![40, 50, 360] }).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        // Killed in the middle of the last line, at each place.
        let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        for end in last..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let journal = Journal::open(path.clone(), &header(1), false).unwrap();
            assert_eq!(journal.outcomes.len(), if end + 1 >= whole.len() { 2 } else { 1 });
        }
        let error = format!("{:#}", Journal::open(path.clone(), &header(2), false).err().unwrap());
        assert!(error.contains("another evaluation") && error.contains("--fresh"), "{error}");
        assert!(Journal::open(path, &header(2), true).unwrap().outcomes.is_empty());
    }
}
