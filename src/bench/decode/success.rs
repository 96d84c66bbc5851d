//! What each decoder is worth: closed loop on the tasks of the main job, the same starts for all.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_policy::{
    BestOfConfig, Checkpoint, Choose, ColdStart, DdimSpacing, DecodeOptions, DecoderConfig, Labels, StallConfig,
    engine::WeightFormat,
};
use reverie_schema::{DecodeStart, StopReason};
use reverie_sim::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    actor::Actor,
    attempt::{Smoothness, attempt},
    config::Config,
    parallel,
    report::{Rate, Samples, commit},
};

/// Control steps of delay that are tried.
const DELAYS: [u32; 5] = [0, 1, 2, 4, 8];
/// DDIM steps of a short cold start.
const COLD_STEPS: usize = 10;
/// Candidates of best of N.
const CANDIDATES: usize = 8;

/// One way to decode.
struct Cell {
    name: String,
    config: Config,
    decoder: DecoderConfig,
    /// Control steps from plan to plan.
    rows: usize,
    /// The cell that it is compared with, start by start.
    reference: &'static str,
}

/// What came out of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub cell: String,
    pub decoder: Value,
    pub engine: Value,
    pub delay_steps: u32,
    pub rows: usize,
    pub successes: u64,
    pub trials: u64,
    pub success: f64,
    pub wilson95: [f64; 2],
    pub by_task: Map<String, Value>,
    pub nfe_mean: f64,
    pub nfe_p99: f64,
    pub nfe_max: f64,
    /// Of first plans alone.
    pub first_nfe_max: f64,
    pub starts: Map<String, Value>,
    pub stops: Map<String, Value>,
    pub decode_us_p50: f64,
    pub decode_us_p99: f64,
    pub decode_us_max: f64,
    /// Root mean square second difference of action rows where plans meet, and inside plans.
    pub seam_jerk: f64,
    pub inside_jerk: f64,
    /// The reference cell.
    pub reference: String,
    /// Success minus the reference's on the same starts, with its 95 % interval (paired proportions, Wald: Agresti 2013, section
    /// 11.1.1), and the starts that one of the two alone solved.
    pub difference: Option<f64>,
    pub difference95: Option<[f64; 2]>,
    pub only_here: Option<u64>,
    pub only_reference: Option<u64>,
    /// For each task in order, each start in order: 1 or 0.
    pub by_start: String,
}

/// What a run is made of: a journal of another is not gone on with.
#[derive(Serialize, Deserialize, PartialEq)]
struct Header {
    commit: String,
    policy: String,
    episodes: u64,
    seed: u64,
    config: Value,
}

pub struct Settings<'a> {
    pub checkpoint: &'a Checkpoint,
    pub episodes: u64,
    pub seed: u64,
    /// Cells to run; all if empty.
    pub only: &'a [String],
    pub journal: PathBuf,
}

/// The cells for this checkpoint: those that need a drafter only if it has one.
fn cells(config: &Config, checkpoint: &Checkpoint) -> Result<Vec<Cell>> {
    let DecoderConfig::Rti { discrete, .. } = &config.decode.rti else {
        anyhow::bail!("config decode.rti must be a decoder of the kind rti");
    };
    let rti = |cold: ColdStart, options: DecodeOptions, stall| DecoderConfig::Rti {
        labels: Labels::Auto,
        cold,
        discrete: *discrete,
        stall,
        jump: None,
        options,
    };
    // The paper's cold start.
    let full = || ColdStart::Ddpm {};
    let short = || ColdStart::Ddim { steps: COLD_STEPS, spacing: DdimSpacing::default() };
    let plain = || rti(full(), DecodeOptions::default(), None);
    let with = |options: DecodeOptions| rti(full(), options, None);
    let calibration = checkpoint.info.rti.as_ref().with_context(
        || "this policy has no automatic labels for RTI; find them by `reverie tune --policy FOLDER --write FOLDER`",
    )?;
    let exit = || DecodeOptions { exit: Some(config.decode.exit), ..DecodeOptions::default() };
    let best = BestOfConfig { candidates: CANDIDATES, choose: Choose::default() };

    let cell =
        |name: &str, decoder, rows, reference| Cell { name: name.into(), config: config.clone(), decoder, rows, reference };
    let every = config.decode.few_step_rows;
    let mut cells = vec![
        cell("ddpm", config.decode.ddpm.clone(), config.decode.ddpm_rows, "ddpm"),
        cell("rti", plain(), every, "ddpm"),
        cell("rti_exit", rti(short(), exit(), None), every, "ddpm"),
    ];
    if checkpoint.info.draft.is_some() {
        let draft = || ColdStart::Draft { renoise: true, labels: None };
        cells.push(cell("rti_draft", rti(draft(), DecodeOptions::default(), None), every, "ddpm"));
        cells.push(cell("rti_draft_exit", rti(draft(), exit(), None), every, "ddpm"));
    } else {
        eprintln!("this policy has no drafter (`reverie train draft`): the cells rti_draft and rti_draft_exit are left out");
    }
    cells.push(cell("cold_ddim", DecoderConfig::ddim(calibration.labels.len()), every, "ddpm"));
    for weights in [WeightFormat::Bf16, WeightFormat::Int8] {
        let mut cell = cell(&format!("rti_{}", weights.name()), plain(), every, "rti");
        cell.config.engine.weights = weights;
        cells.push(cell);
    }
    cells.push(cell("rti_best8", with(DecodeOptions { best_of: Some(best), ..DecodeOptions::default() }), every, "rti"));
    cells.push(cell(
        "rti_stall",
        rti(full(), DecodeOptions::default(), Some(StallConfig { ticks: 15, action: 0.05 })),
        every,
        "rti",
    ));
    // Plans go out every control step and come into force `delay` steps later, as over a network: decoding itself takes less
    // than one. Early exit, since the noise that a full warm start adds at every step is not corrected in time.
    for delay in DELAYS {
        for (kind, inpaint) in [("inpaint", Some(config.decode.inpaint)), ("plain", None)] {
            let options = DecodeOptions { inpaint, ..exit() };
            let mut cell = cell(&format!("delay{delay}_{kind}"), rti(short(), options, None), every, "rti_exit");
            cell.config.delay.action_steps = delay;
            cells.push(cell);
        }
    }
    Ok(cells)
}

/// Runs the cells; their outcomes in order.
pub fn run(config: &Config, settings: &Settings<'_>) -> Result<Vec<Outcome>> {
    let all = cells(config, settings.checkpoint)?;
    for name in settings.only {
        let known = || all.iter().map(|cell| cell.name.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(all.iter().any(|cell| cell.name == *name), "--only {name}: no such cell; there are {}", known());
    }
    ensure!(settings.episodes > 0, "--episodes must be at least 1");
    let tasks = Task::MECHANISM;
    for task in tasks {
        settings.checkpoint.task_index(task.name())?;
    }
    crate::models::set_threads(1);
    let header = Header {
        commit: commit(),
        policy: settings.checkpoint.info.tensors_sha256.clone(),
        episodes: settings.episodes,
        seed: settings.seed,
        config: json!([config, settings.checkpoint.info.rti]),
    };
    let mut outcomes = open_journal(&settings.journal, &header)?;
    let wanted = all.into_iter().filter(|cell| settings.only.is_empty() || settings.only.contains(&cell.name));
    let wanted: Vec<Cell> = wanted.filter(|cell| outcomes.iter().all(|done| done.cell != cell.name)).collect();
    let count = tasks.len() * settings.episodes as usize;
    let bar = ProgressBar::new((wanted.len() * count) as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left  {msg}").context("progress bar")?);
    println!(
        "{:<16} {:>9} {:>7} {:<14} {:>5} {:>5} {:>5} {:>9} {:>9} {:>9} {:>11}  against",
        "cell", "solved", "%", "95 %", "nfe", "max", "first", "p50 us", "p99 us", "seam jerk", "inside jerk"
    );
    outcomes.iter().for_each(print);
    for cell in &wanted {
        bar.set_message(cell.name.clone());
        let mut outcome = run_cell(cell, settings, &tasks, &bar)?;
        compare(&mut outcome, &outcomes);
        let mut file = OpenOptions::new().append(true).open(&settings.journal)?;
        writeln!(file, "{}", serde_json::to_string(&outcome)?)?;
        bar.suspend(|| print(&outcome));
        outcomes.push(outcome);
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

fn run_cell(cell: &Cell, settings: &Settings<'_>, tasks: &[Task], bar: &ProgressBar) -> Result<Outcome> {
    let episodes = settings.episodes as usize;
    let attempts = parallel::map(
        tasks.len() * episodes,
        parallel::cores(),
        || Actor::policy(&cell.config, settings.checkpoint, &cell.decoder, cell.rows, "cpu"),
        |actor, index| {
            let (task, seed) = (tasks[index / episodes], settings.seed + (index % episodes) as u64);
            let attempt = attempt(&cell.config, actor, task, seed).with_context(|| format!("{task} with seed {seed}"))?;
            bar.inc(1);
            Ok(attempt)
        },
    )
    .with_context(|| format!("cell {}", cell.name))?;
    let (mut nfe, mut first_nfe, mut decode_us) = (Samples::default(), Samples::default(), Samples::default());
    let (mut smoothness, mut rate) = (Smoothness::default(), Rate::default());
    let (mut starts, mut stops) = ([0_u64; 3], [0_u64; 3]);
    let mut by_task = Map::new();
    for (task, attempts) in tasks.iter().zip(attempts.chunks(episodes)) {
        let solved = attempts.iter().filter(|attempt| attempt.success).count();
        by_task.insert(task.name().into(), json!(solved as f64 / episodes as f64));
        for attempt in attempts {
            rate += Rate { successes: attempt.success.into(), trials: 1 };
            smoothness.add(attempt.smoothness);
            for (index, plan) in attempt.plans.iter().enumerate() {
                if index == 0 { &mut first_nfe } else { &mut nfe }.push(plan.nfe.into());
                decode_us.push(plan.decode_us);
                starts[match plan.start {
                    DecodeStart::Noise => 0,
                    DecodeStart::Previous => 1,
                    DecodeStart::Draft => 2,
                }] += 1;
                stops[match plan.stop {
                    StopReason::ChainEnd => 0,
                    StopReason::Settled => 1,
                    StopReason::Cap => 2,
                }] += 1;
            }
        }
    }
    let first_nfe_max = first_nfe.quantile(1.0);
    nfe.extend(first_nfe);
    let plans = nfe.len() as f64;
    let shares = |names: [&str; 3], counts: [u64; 3]| {
        names.into_iter().zip(counts).map(|(name, count)| (name.to_owned(), json!(count as f64 / plans))).collect()
    };
    Ok(Outcome {
        cell: cell.name.clone(),
        decoder: json!(cell.decoder),
        engine: json!(cell.config.engine),
        delay_steps: cell.config.delay.action_steps,
        rows: cell.rows,
        successes: rate.successes,
        trials: rate.trials,
        success: rate.mean(),
        wilson95: rate.wilson95(),
        by_task,
        nfe_mean: nfe.mean(),
        nfe_p99: nfe.quantile(0.99),
        nfe_max: nfe.quantile(1.0),
        first_nfe_max,
        starts: shares(["noise", "previous", "draft"], starts),
        stops: shares(["chain_end", "settled", "cap"], stops),
        decode_us_p50: decode_us.quantile(0.5),
        decode_us_p99: decode_us.quantile(0.99),
        decode_us_max: decode_us.quantile(1.0),
        seam_jerk: smoothness.seams(),
        inside_jerk: smoothness.inside(),
        reference: cell.reference.into(),
        difference: None,
        difference95: None,
        only_here: None,
        only_reference: None,
        by_start: attempts.iter().map(|attempt| if attempt.success { '1' } else { '0' }).collect(),
    })
}

/// Fills in what the reference says on the same starts.
fn compare(outcome: &mut Outcome, before: &[Outcome]) {
    let Some(reference) = before.iter().find(|other| other.cell == outcome.reference) else { return };
    let pairs = || outcome.by_start.bytes().zip(reference.by_start.bytes());
    let here = pairs().filter(|(a, b)| a > b).count() as u64;
    let there = pairs().filter(|(a, b)| a < b).count() as u64;
    let (difference, interval) = paired_difference(here, there, outcome.trials);
    (outcome.difference, outcome.difference95) = (Some(difference), Some(interval));
    (outcome.only_here, outcome.only_reference) = (Some(here), Some(there));
}

/// Difference of two success rates over the same `trials` starts, of which `here` were solved by the first alone and `there` by
/// the second alone, with its 95 % Wald interval.
fn paired_difference(here: u64, there: u64, trials: u64) -> (f64, [f64; 2]) {
    const Z: f64 = 1.959_963_984_540_054;
    let (here, there, n) = (here as f64, there as f64, trials as f64);
    let difference = (here - there) / n;
    let spread = Z * ((here + there) - (here - there).powi(2) / n).sqrt() / n;
    (difference, [difference - spread, difference + spread])
}

fn print(outcome: &Outcome) {
    let Outcome { cell, successes, trials, success, nfe_mean, nfe_max, first_nfe_max, decode_us_p50, decode_us_p99, .. } =
        outcome;
    let [low, high] = outcome.wilson95.map(|bound| 100.0 * bound);
    let against = match (outcome.difference, outcome.difference95) {
        (Some(difference), Some([low, high])) => {
            format!("{} {:+.1} [{:+.1}, {:+.1}]", outcome.reference, 100.0 * difference, 100.0 * low, 100.0 * high)
        }
        _ => String::new(),
    };
    println!(
        "{cell:<16} {:>9} {:>7.1} {:<14} {nfe_mean:>5.2} {nfe_max:>5.0} {first_nfe_max:>5.0} {decode_us_p50:>9.0} {decode_us_p99:>9.0} {:>9.4} {:>11.4}  {against}",
        format!("{successes}/{trials}"),
        100.0 * success,
        format!("[{low:.1}, {high:.1}]"),
        outcome.seam_jerk,
        outcome.inside_jerk,
    );
}

/// Cells that an interrupted run of the same kind has finished; the file is then there to be appended to.
fn open_journal(path: &Path, header: &Header) -> Result<Vec<Outcome>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    let same = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok()).is_some_and(|first| first == *header);
    let outcomes: Vec<Outcome> =
        if same { lines.map_while(|line| serde_json::from_str(line).ok()).collect() } else { Vec::new() };
    let mut text = serde_json::to_string(header)? + "\n";
    for outcome in &outcomes {
        text += &(serde_json::to_string(outcome)? + "\n");
    }
    crate::report::write_atomically(path, text.as_bytes())?;
    if !outcomes.is_empty() {
        eprintln!("going on with {} cells of {}", outcomes.len(), path.display());
    }
    Ok(outcomes)
}

/// The figures that the README quotes; only those of cells that were run.
pub fn claims(outcomes: &[Outcome]) -> Value {
    let find = |name: &str| outcomes.iter().find(|outcome| outcome.cell == name);
    let mut claims = Map::new();
    let mut claim = |key: String, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            claims.insert(key, json!(value));
        }
    };
    for outcome in outcomes {
        claim(outcome.cell.clone(), Some(outcome.success));
        claim(format!("{}_nfe_mean", outcome.cell), Some(outcome.nfe_mean));
        claim(format!("{}_nfe_max", outcome.cell), Some(outcome.nfe_max));
        claim(format!("{}_us_p50", outcome.cell), Some(outcome.decode_us_p50));
        claim(format!("{}_us_p99", outcome.cell), Some(outcome.decode_us_p99));
        claim(format!("{}_seam_over_inside_jerk", outcome.cell), Some(outcome.seam_jerk / outcome.inside_jerk));
    }
    for (key, cell) in [("bf16_minus_f32", "rti_bf16"), ("int8_minus_f32", "rti_int8")] {
        claim(key.into(), find(cell).and_then(|outcome| outcome.difference));
    }
    for delay in &DELAYS[1..] {
        for kind in ["inpaint", "plain"] {
            let drop =
                find(&format!("delay0_{kind}")).zip(find(&format!("delay{delay}_{kind}"))).map(|(a, b)| a.success - b.success);
            claim(format!("delay{delay}_{kind}_drop"), drop);
        }
    }
    Value::Object(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agresti 2013, table 11.1: approval of the prime minister, 1600 asked twice, 150 and 86 changed their minds:
    /// 0.04 with interval [0.0212, 0.0588].
    #[test]
    fn paired_difference_equals_the_published_example() {
        let (difference, [low, high]) = paired_difference(150, 86, 1600);
        assert!((difference - 0.04).abs() < 1e-12);
        assert!((low - 0.0212).abs() < 1e-4 && (high - 0.0588).abs() < 1e-4, "{low} {high}");
    }
}
