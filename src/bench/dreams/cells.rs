//! What is compared with what.

use anyhow::{Result, bail};
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_sim::Task;
use reverie_world_model::TuneConfig;
use serde_json::{Value, json};

use super::runner::{Cell, Runner};
use crate::{actor::Actor, attempt::attempt_with_noise, dreams::Folders, models, parallel, report::Rate};

/// Tries of each start for success@16.
const TRIES: usize = 16;
/// Starts of each task for success@16.
const STARTS: usize = 50;

/// Cells that are tried more than once from each start: those that hold on to the base not at all, as usual and most, and the algorithms.
const DIVERSE: [&str; 5] = ["ppo", "bc0", "bc05", "b2", "d3po"];

/// The cell that needs interactions.
const ONLINE: &str = "online";

/// Tasks that world models that look are tried on.
const SEEING: [Task; 2] = [Task::OpenDrawer, Task::TurnOnLightbulb];

/// As many iterations of an algorithm that branches, into `branches` episodes an iteration, as take the steps of PPO's. Branches are lived
/// through side by side until the last is over.
fn as_many_steps(config: &TuneConfig, branches: usize) -> String {
    let (dream, rows) = (&config.dream, config.chain.rows);
    let ppo = config.iterations as usize * config.ppo.decisions * dream.dreams * rows;
    format!("finetune.iterations={}", (ppo as f64 / (branches * dream.max_steps) as f64).round().max(1.0))
}

/// As configured.
pub fn plain() -> Cell {
    cell("ppo", &[], &[])
}

fn cell(name: &str, sets: &[&str], arguments: &[&str]) -> Cell {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Cell { name: name.into(), sets: own(sets), arguments: own(arguments), folders: None }
}

/// All cells of the ablation, the algorithms at equal imagined steps.
fn all(config: &TuneConfig) -> Vec<Cell> {
    let b2 = as_many_steps(config, config.b2.groups * config.b2.branches);
    let d3po = as_many_steps(config, 2 * config.d3po.pairs);
    vec![
        plain(),
        cell("bc0", &["finetune.cloning=0.0"], &[]),
        cell("bc0025", &["finetune.cloning=0.025"], &[]),
        cell("bc01", &["finetune.cloning=0.1"], &[]),
        cell("bc05", &["finetune.cloning=0.5"], &[]),
        cell("morec_off", &["finetune.dream.candidates=0"], &[]),
        cell("truncation_on", &["finetune.dream.implausible_share=0.002"], &[]),
        cell("penalty_off", &["finetune.dream.penalty=0.0"], &[]),
        cell(
            "guards_off",
            &[
                "finetune.dream.candidates=0",
                "finetune.dream.penalty=0.0",
                "finetune.dream.jitter=0.0",
                "finetune.dream.successes_in_a_row=1",
            ],
            &[],
        ),
        cell("jitter_off", &["finetune.dream.jitter=0.0"], &[]),
        cell("average_off", &["finetune.average=0.0"], &[]),
        cell("risk_min", &["finetune.dream.risk=min", "finetune.dream.penalty=0.2"], &[]),
        cell("b2", &["finetune.method=b2", &b2], &[]),
        cell("d3po", &["finetune.method=d3po", &d3po], &[]),
        cell("d3po_pareto", &["finetune.method=d3po", &d3po], &["--prefer", "pareto"]),
        cell(
            ONLINE,
            &["finetune.dream.dreams=50", "finetune.iterations=60"],
            &["--in", "simulation", "--check-every", "5", "--check-episodes", "100"],
        ),
    ]
}

/// Tuned in the dreams of world models that look, each beside the base policy. Where pictures are all there is, both are judged with the state
/// told from them.
fn seeing(runner: &Runner<'_>, tasks: &[Task], seeds: &[u64], rows: &mut Vec<Value>) -> Result<serde_json::Map<String, Value>> {
    let mut claims = serde_json::Map::new();
    if tasks.is_empty() {
        return Ok(claims);
    }
    let base = models::load(&runner.args.policy)?;
    for (name, folder) in [("vision", &runner.args.vision), ("hybrid", &runner.args.hybrid)] {
        let Some(folder) = folder else { continue };
        let cell = Cell { folders: Some(Folders::under(folder)), ..cell(name, &[], &[]) };
        runner.tune(&[&cell], tasks, seeds)?;
        let eyes = (name == "vision").then(|| folder.join("world_model"));
        let decoder = (DecoderConfig::ddpm(), runner.config.finetune.chain.rows);
        let judge = |checkpoint: &Checkpoint, task, first| {
            Ok::<_, anyhow::Error>(
                runner.attempts(checkpoint, &decoder, eyes.as_deref(), task, first, runner.args.episodes)?.rate,
            )
        };
        let (mut before, mut after) = (Rate::default(), Rate::default());
        let (mut imagined, mut divergence, mut steps, mut count) = (0.0, 0.0, 0, 0.0);
        for &task in tasks {
            for &seed in seeds {
                let first = runner.args.seed + seed * runner.args.episodes;
                before += judge(&base, task, first)?;
                let tuned = runner.load(&cell, task, seed)?;
                after += judge(&tuned.checkpoint, task, first)?;
                imagined += tuned.imagined;
                divergence += tuned.divergence;
                steps += tuned.steps;
                count += 1.0;
            }
        }
        let none = [Rate::default(); 2];
        rows.push(row(&format!("{name}_base"), None, before, none, 0.0, 0));
        rows.push(row(name, Some(imagined / count), after, none, divergence / count, steps / count as u64));
        claims.insert(format!("{name}_base"), json!(before.mean()));
        claims.insert(format!("{name}_gain"), json!(after.mean() - before.mean()));
    }
    Ok(claims)
}

/// One table: what each cell imagines, what the simulation says, how far it went from the base, and how diverse it still is.
pub fn ablation(runner: &Runner<'_>, tasks: &[Task], only: &[String]) -> Result<(Value, Value)> {
    let mut cells = all(&runner.config.finetune);
    if let Some(name) = only.iter().find(|name| *name != "none" && cells.iter().all(|cell| cell.name != **name)) {
        let known: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        bail!("--only {name}: there is no such cell; there are {}, and none", known.join(", "));
    }
    cells.retain(|cell| only.is_empty() || only.contains(&cell.name));
    let seeds: Vec<u64> = (0..runner.args.seeds).collect();
    runner.tune(&cells.iter().collect::<Vec<_>>(), tasks, &seeds)?;
    let base = models::load(&runner.args.policy)?;
    let mut rows = Vec::new();
    println!(
        "{:<14} {:>9} {:>24} {:>6} {:>9} {:>10} {:>11}",
        "cell", "imagined", "simulated", "gap", "success@1", "success@16", "from base"
    );
    let (mut rate, mut diverse) = (Rate::default(), [Rate::default(); 2]);
    for &task in tasks {
        for &seed in &seeds {
            rate += runner.success(&base, task, runner.args.seed + seed * runner.args.episodes, runner.args.episodes)?;
        }
        tries(runner, &base, task, &mut diverse)?;
    }
    rows.push(row("base", None, rate, diverse, 0.0, 0));
    for cell in &cells {
        let (mut rate, mut diverse) = (Rate::default(), [Rate::default(); 2]);
        let (mut imagined, mut divergence, mut steps, mut count) = (0.0, 0.0, 0, 0.0);
        for &task in tasks {
            for &seed in &seeds {
                let tuned = runner.load(cell, task, seed)?;
                let first = runner.args.seed + seed * runner.args.episodes;
                rate += runner.success(&tuned.checkpoint, task, first, runner.args.episodes)?;
                if DIVERSE.contains(&cell.name.as_str()) {
                    tries(runner, &tuned.checkpoint, task, &mut diverse)?;
                }
                imagined += tuned.imagined;
                divergence += tuned.divergence;
                steps += tuned.steps;
                count += 1.0;
            }
        }
        // What is tuned in simulation imagines nothing.
        let imagined = (cell.name != ONLINE).then_some(imagined / count);
        rows.push(row(&cell.name, imagined, rate, diverse, divergence / count, steps / count as u64));
    }
    let matched = if cells.iter().any(|cell| cell.name == ONLINE) && cells.iter().any(|cell| cell.name == plain().name) {
        steps_to_match(runner, tasks, &seeds)?
    } else {
        Vec::new()
    };
    let seeing_tasks: Vec<Task> = tasks.iter().copied().filter(|task| SEEING.contains(task)).collect();
    let mut claims = seeing(runner, &seeing_tasks, &seeds, &mut rows)?;
    for (task, steps) in matched {
        if let Some(steps) = steps {
            claims.insert(format!("online_steps_to_match_{task}"), json!(steps));
        }
    }
    let of = |cell: &str, key: &str| rows.iter().find(|row| row["cell"] == cell).and_then(|row| row[key].as_f64());
    let mut claim = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            claims.insert(name.into(), json!(value));
        }
    };
    for (name, cell, key) in [
        ("bc0_imagined_minus_simulated", "bc0", "imagined_minus_simulated"),
        ("bc05_imagined_minus_simulated", "bc05", "imagined_minus_simulated"),
        ("morec_on", "ppo", "simulated"),
        ("morec_off", "morec_off", "simulated"),
        ("ppo", "ppo", "simulated"),
        ("b2", "b2", "simulated"),
        ("d3po", "d3po", "simulated"),
        ("base", "base", "simulated"),
        ("online", ONLINE, "simulated"),
        ("base_success_at_16", "base", "success_at_16"),
        ("ppo_success_at_16", "ppo", "success_at_16"),
    ] {
        claim(name, of(cell, key));
    }
    Ok((Value::Object(claims), json!(rows)))
}

fn row(cell: &str, imagined: Option<f64>, simulated: Rate, [once, ever]: [Rate; 2], divergence: f64, steps: u64) -> Value {
    let [low, high] = simulated.wilson95();
    let gap = imagined.map(|imagined| imagined - simulated.mean());
    let tried = |rate: Rate| (rate.trials > 0).then(|| rate.mean());
    let shown = |rate: Rate| tried(rate).map_or_else(|| "-".into(), |v| format!("{v:.3}"));
    println!(
        "{cell:<14} {:>9} {:>24} {:>6} {:>9} {:>10} {divergence:>11.2}",
        imagined.map_or_else(|| "-".into(), |v| format!("{:.1} %", 100.0 * v)),
        format!("{:5.1} % [{:.1}, {:.1}]", 100.0 * simulated.mean(), 100.0 * low, 100.0 * high),
        gap.map_or_else(|| "-".into(), |v| format!("{:+.1}", 100.0 * v)),
        shown(once),
        shown(ever),
    );
    json!({
        "cell": cell, "imagined": imagined, "simulated": simulated.mean(), "wilson95": simulated.wilson95(),
        "episodes": simulated.trials, "imagined_minus_simulated": gap, "success_at_1": tried(once), "success_at_16": tried(ever),
        "starts_at_16": ever.trials, "divergence_from_base_nats": divergence, "steps": steps,
    })
}

/// Control steps of the simulation after which tuning there is as good as in dreams, by two checks in a row: the mean over seeds, none if
/// one of them never is.
fn steps_to_match(runner: &Runner<'_>, tasks: &[Task], seeds: &[u64]) -> Result<Vec<(Task, Option<f64>)>> {
    let (online, dreams) = (cell(ONLINE, &[], &[]), plain());
    let mut matched = Vec::new();
    for &task in tasks {
        let mut sum = Some(0.0);
        for &seed in seeds {
            let first = runner.args.seed + seed * runner.args.episodes;
            let wanted = runner.success(&runner.load(&dreams, task, seed)?.checkpoint, task, first, runner.args.episodes)?.mean();
            let reached = reached(&runner.load(&online, task, seed)?.checks, wanted);
            println!("{task} seed {seed}: {:.1} % matched online after {reached:?} control steps", 100.0 * wanted);
            sum = sum.zip(reached).map(|(sum, steps)| sum + steps as f64 / seeds.len() as f64);
        }
        matched.push((task, sum));
    }
    Ok(matched)
}

/// The steps at the first of two checks in a row that are as good as `wanted`: one check of a hundred episodes is too noisy to go by.
fn reached(checks: &[(u64, f64)], wanted: f64) -> Option<u64> {
    checks.windows(2).find(|two| two.iter().all(|(_, success)| *success >= wanted)).map(|two| two[0].0)
}

/// Each start tried several times with other noise: adds to how often a try succeeds, and to how often any does.
fn tries(runner: &Runner<'_>, checkpoint: &Checkpoint, task: Task, to: &mut [Rate; 2]) -> Result<()> {
    let first = runner.args.seed;
    let outcome: [Rate; 2] = runner.once(checkpoint, &format!("{task} {first}+{STARTS} {TRIES} tries"), || {
        let outcomes = parallel::map(
            STARTS,
            parallel::cores(),
            || Actor::policy(runner.config, checkpoint, &DecoderConfig::ddpm(), runner.config.finetune.chain.rows, "cpu"),
            |actor, index| {
                let seed = first + index as u64;
                (0..TRIES as u64)
                    .map(|noise| {
                        Ok(attempt_with_noise(runner.config, actor, task, seed, seed.wrapping_mul(1000) + noise)?.success)
                    })
                    .collect::<Result<Vec<bool>>>()
            },
        )?;
        let all = outcomes.iter().flatten();
        let once = Rate { successes: all.clone().filter(|s| **s).count() as u64, trials: all.count() as u64 };
        let ever =
            Rate { successes: outcomes.iter().filter(|tries| tries.contains(&true)).count() as u64, trials: STARTS as u64 };
        Ok([once, ever])
    })?;
    to.iter_mut().zip(outcome).for_each(|(to, outcome)| *to += outcome);
    Ok(())
}

/// The tuned policies by full decoding and by RTI.
pub fn fast(runner: &Runner<'_>, tasks: &[Task]) -> Result<(Value, Value)> {
    let cell = plain();
    let seeds: Vec<u64> = (0..runner.args.seeds).collect();
    runner.tune(&[&cell], tasks, &seeds)?;
    let decode = &runner.config.decode;
    let decoders =
        [("full", (decode.ddpm.clone(), runner.config.finetune.chain.rows)), ("rti", (decode.rti.clone(), decode.few_step_rows))];
    let mut rows = Vec::new();
    let mut claims = serde_json::Map::new();
    for (name, decoder) in &decoders {
        let (mut total, mut evaluations, mut per_step, mut most, mut count) = (Rate::default(), 0.0, 0.0, 0, 0.0);
        for &task in tasks {
            let mut rate = Rate::default();
            for &seed in &seeds {
                let tuned = runner.load(&cell, task, seed)?;
                let first = runner.args.seed + seed * runner.args.episodes;
                let one = runner.attempts(&tuned.checkpoint, decoder, None, task, first, runner.args.episodes)?;
                rate += one.rate;
                evaluations += one.evaluations;
                per_step += one.per_step;
                most = most.max(one.most);
                count += 1.0;
            }
            println!("{name:<10} {:<22} {:5.1} %", task.name(), 100.0 * rate.mean());
            rows.push(json!({ "decoder": name, "task": task.name(), "success": rate.mean(), "wilson95": rate.wilson95(), "episodes": rate.trials }));
            total += rate;
        }
        claims.insert(format!("tuned_{name}"), json!(total.mean()));
        claims.insert(format!("tuned_{name}_evaluations_mean"), json!(evaluations / count));
        claims.insert(format!("tuned_{name}_evaluations_most"), json!(most));
        claims.insert(format!("tuned_{name}_evaluations_per_control_step"), json!(per_step / count));
    }
    Ok((Value::Object(claims), json!(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 80 iterations of 24 decisions in 64 dreams, of 4 control steps each, are 491,520 steps; 128 x 5 branches of 96 are 61,440.
    #[test]
    fn algorithms_get_equal_steps() {
        let mut config = TuneConfig { iterations: 80, ..TuneConfig::default() };
        config.dream.max_steps = 96;
        assert_eq!(as_many_steps(&config, 128 * 5), "finetune.iterations=8");
    }

    #[test]
    fn online_tuning_has_to_match_twice_in_a_row() {
        let checks = [(0, 0.1), (100, 0.6), (200, 0.4), (300, 0.5), (400, 0.7), (500, 0.3)];
        assert_eq!(reached(&checks, 0.5), Some(300));
        assert_eq!(reached(&checks, 0.1), Some(0));
        assert_eq!(reached(&checks, 0.55), None);
        assert_eq!(reached(&checks[..1], 0.1), None, "one check is not enough");
    }
}
