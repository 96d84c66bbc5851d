//! How long an evaluation takes on this machine, beside peers that run the same weights; how often a robot can plan anew.
//!
//! Ours and a peer take turns, a fraction of a second each, so that what else the machine does falls on both. A figure is the
//! median of the turn with the lowest median, here as there.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use reverie_policy::{
    Checkpoint, DecoderConfig, Denoiser, NetworkConfig, NoiseSource,
    engine::{Engine, EngineConfig, Instructions, WeightFormat},
};
use reverie_schema::Observation;
use reverie_sim::Task;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    clock::WallClock,
    config::Config,
    parallel,
    planner::{PlanRows, Planner},
    report::Samples,
    robot::{EpisodeOrder, PlantEvent, Robot},
};

/// The peers' script.
const PEER: &str = "benches/peers/decode_speed.py";
/// Turns of ours and of a peer.
const TURNS: usize = 5;
/// Of one turn.
const TURN: Duration = Duration::from_millis(400);
/// Bytes that are read to find the bandwidth of the memory: far more than any cache holds.
const STREAM_BYTES: usize = 512 << 20;
/// Chunks of a batch.
const BATCH: usize = 8;
/// Of the run that finds the re-plan rate.
const REPLAN: Duration = Duration::from_secs(8);

/// A network to time.
struct Subject {
    name: &'static str,
    checkpoint: Checkpoint,
}

/// The sizes that diffusion policies have: Diffusion Policy's U-Net at a quarter, a half and the whole of its width, DPPO's MLP.
fn subjects() -> Result<Vec<Subject>> {
    let unet =
        |base: usize| NetworkConfig::Unet1d { widths: vec![base, 2 * base, 4 * base], kernel: 5, groups: 8, step_embed: 128 };
    let tasks = Task::MECHANISM.map(Task::name);
    let subject = |(name, network)| {
        let checkpoint = Checkpoint::untrained(network, None, &tasks, 1)?;
        Ok(Subject { name, checkpoint })
    };
    [("4m6", unet(64)), ("16m6", unet(128)), ("63m6", unet(256)), ("mlp512", NetworkConfig::default())]
        .into_iter()
        .map(subject)
        .collect()
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
struct Row {
    network: String,
    parameters: usize,
    backend: String,
    threads: usize,
    batch: usize,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// Bytes of weights that an evaluation reads, a second, over what the memory gives.
    bandwidth_share: Option<f64>,
}

/// The lowest median of several turns, with the p99 and the maximum of that turn.
#[derive(Clone, Copy, Debug)]
struct Timing {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Timing {
    const WORST: Self = Self { p50_us: f64::INFINITY, p99_us: f64::INFINITY, max_us: f64::INFINITY };

    fn better(self, other: Self) -> Self {
        if other.p50_us < self.p50_us { other } else { self }
    }
}

fn turn(mut evaluate: impl FnMut() -> Result<()>) -> Result<Timing> {
    for _ in 0..3 {
        evaluate()?;
    }
    let mut samples = Samples::default();
    let begin = Instant::now();
    while begin.elapsed() < TURN {
        let start = Instant::now();
        evaluate()?;
        samples.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Timing { p50_us: samples.quantile(0.5), p99_us: samples.quantile(0.99), max_us: samples.quantile(1.0) })
}

/// A denoiser with inputs for it.
struct Timed {
    denoiser: Box<dyn Denoiser>,
    x: Vec<f32>,
    eps: Vec<f32>,
}

impl Timed {
    fn new(mut denoiser: Box<dyn Denoiser>, batch: usize) -> Result<Self> {
        let shape = denoiser.shape();
        let mut values = NoiseSource::new(1, 1);
        let mut normal = |n: usize| {
            let mut all = vec![0.0; n];
            values.fill(&mut all);
            all
        };
        denoiser.condition(&normal(batch * shape.n_cond), batch)?;
        denoiser.rest();
        Ok(Self { denoiser, x: normal(batch * shape.chunk_len()), eps: vec![0.0; batch * shape.chunk_len()] })
    }

    fn turn(&mut self) -> Result<Timing> {
        let timing = turn(|| Ok(self.denoiser.predict_noise(&self.x, 5, &mut self.eps)?));
        // Threads that wait for the next evaluation would take the peer's turn.
        self.denoiser.rest();
        timing
    }
}

/// Gigabytes a second that `threads` threads read together from memory.
pub fn bandwidth(threads: usize) -> f64 {
    let words = vec![1_u64; STREAM_BYTES / 8];
    let read = || {
        std::thread::scope(|scope| {
            for part in words.chunks(words.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let mut sums = [0_u64; 32];
                    for block in part.as_chunks::<32>().0 {
                        for (sum, word) in sums.iter_mut().zip(block) {
                            *sum = sum.wrapping_add(*word);
                        }
                    }
                    std::hint::black_box(sums);
                });
            }
        });
    };
    let seconds = (0..5).map(|_| {
        let begin = Instant::now();
        read();
        begin.elapsed().as_secs_f64()
    });
    STREAM_BYTES as f64 * 1e-9 / seconds.fold(f64::INFINITY, f64::min)
}

/// A process that runs the peers.
struct Peers {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    backends: Vec<String>,
    versions: Value,
}

impl Peers {
    fn start(python: &Path, folders: &[PathBuf], threads: usize) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(PEER).arg("--threads").arg(threads.to_string());
        for folder in folders {
            command.arg("--checkpoint").arg(folder);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} {PEER}; `cargo xtask peers decode` installs it", python.display()))?;
        let requests = child.stdin.take().context("the peers' input")?;
        let answers = BufReader::new(child.stdout.take().context("the peers' output")?);
        let mut peers = Self { child, requests, answers, backends: Vec::new(), versions: Value::Null };
        let ready = peers.answer()?;
        let names = ready["backends"].as_array().context("the peers named no backends")?;
        peers.backends = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        peers.versions = ready["versions"].clone();
        Ok(peers)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the peers' process ended; run {PEER} by hand to see why");
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("the peers said {line:?}"))?;
        if let Some(error) = answer["error"].as_str() {
            bail!("peers: {error}");
        }
        Ok(answer)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        self.requests.flush()?;
        self.answer()
    }

    /// Whether the peer runs the same network: the difference of its prediction from the engine's in f32, relative.
    fn difference(&mut self, backend: &str, index: usize, checkpoint: &Checkpoint) -> Result<f64> {
        let mut ours = Engine::new(checkpoint, &EngineConfig::default(), 1)?.denoiser()?;
        let shape = ours.shape();
        let mut noise = NoiseSource::new(2, 1);
        let [mut x, mut cond, mut eps] = [shape.chunk_len(), shape.n_cond, shape.chunk_len()].map(|n| vec![0.0; n]);
        noise.fill(&mut x);
        noise.fill(&mut cond);
        ours.condition(&cond, 1)?;
        ours.predict_noise(&x, 37, &mut eps)?;
        let answer = self.ask(&json!({ "evaluate": backend, "checkpoint": index, "x": x, "label": 37, "cond": cond }))?;
        let theirs: Vec<f64> = serde_json::from_value(answer["eps"].clone()).context("the peers' eps")?;
        ensure!(theirs.len() == eps.len(), "the peers predict {} values instead of {}", theirs.len(), eps.len());
        let square = |v: f64| v * v;
        let error: f64 = theirs.iter().zip(&eps).map(|(a, b)| square(a - f64::from(*b))).sum();
        Ok((error / theirs.iter().copied().map(square).sum::<f64>()).sqrt())
    }

    fn turn(&mut self, backend: &str, checkpoint: usize, batch: usize) -> Result<Timing> {
        let seconds = TURN.as_secs_f64();
        let answer = self.ask(&json!({ "backend": backend, "checkpoint": checkpoint, "batch": batch, "seconds": seconds }))?;
        let field = |key: &str| answer[key].as_f64().with_context(|| format!("the peers' answer has no {key}"));
        Ok(Timing { p50_us: field("p50_us")?, p99_us: field("p99_us")?, max_us: field("max_us")? })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is timed by turns.
enum Runner {
    Ours(Timed),
    Peer(String, usize),
}

struct Entry {
    row: Row,
    runner: Runner,
    bytes: Option<usize>,
    best: Timing,
}

/// Times everything; the claims and the data of `decode_engine.json`.
pub fn run(config: &Config, checkpoint: &Checkpoint, python: Option<&Path>) -> Result<(Value, Value)> {
    let threads = parallel::cores();
    crate::models::set_threads(threads);
    let gigabytes = bandwidth(threads);
    println!("memory: {gigabytes:.1} GB/s read by {threads} threads");
    let mut subjects = subjects()?;
    subjects.push(Subject { name: "policy", checkpoint: checkpoint.clone() });
    let folder = tempfile::tempdir()?;
    let folders: Vec<PathBuf> = subjects.iter().map(|subject| folder.path().join(subject.name)).collect();
    let mut peers = match python {
        Some(python) => {
            for (subject, folder) in subjects.iter().zip(&folders) {
                subject.checkpoint.save(folder)?;
            }
            Some(Peers::start(python, &folders, threads)?)
        }
        None => None,
    };
    let mut rows = Vec::new();
    println!(
        "{:<8} {:<18} {:>7} {:>5} {:>10} {:>10} {:>10}  of the memory's rate",
        "network", "backend", "threads", "batch", "p50 us", "p99 us", "max us"
    );
    for (index, subject) in subjects.iter().enumerate() {
        let mut entries = entries(config, subject, peers.as_ref(), threads)?;
        if let Some(peers) = &mut peers {
            for backend in peers.backends.clone() {
                let difference = peers.difference(&backend, index, &subject.checkpoint)?;
                let bound = if backend.contains("f32") { 1e-4 } else { 0.05 };
                ensure!(difference < bound, "{backend} does not run {}: its output differs by {difference}", subject.name);
            }
        }
        for _ in 0..TURNS {
            for entry in &mut entries {
                ensure!(!crate::INTERRUPTED.load(Ordering::Relaxed), "interrupted");
                let timing = match (&mut entry.runner, &mut peers) {
                    (Runner::Ours(timed), _) => timed.turn()?,
                    (Runner::Peer(backend, batch), Some(peers)) => peers.turn(backend, index, *batch)?,
                    (Runner::Peer(..), None) => continue,
                };
                entry.best = entry.best.better(timing);
            }
        }
        for Entry { mut row, bytes, best, .. } in entries {
            (row.p50_us, row.p99_us, row.max_us) = (best.p50_us, best.p99_us, best.max_us);
            row.bandwidth_share = bytes.map(|bytes| bytes as f64 * 1e-3 / row.p50_us / gigabytes);
            let share = row.bandwidth_share.map_or(String::new(), |share| format!("{share:.2}"));
            println!(
                "{:<8} {:<18} {:>7} {:>5} {:>10.1} {:>10.1} {:>10.1}  {share}",
                row.network, row.backend, row.threads, row.batch, row.p50_us, row.p99_us, row.max_us
            );
            rows.push(row);
        }
    }
    let versions = peers.as_ref().map(|peers| peers.versions.clone());
    drop(peers);

    let mut replans = Vec::new();
    for (subject, hz) in subjects.iter().filter(|subject| ["4m6", "63m6", "policy"].contains(&subject.name)).zip([1000, 60, 1000])
    {
        for weights in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Int8] {
            for threads in [1, threads] {
                ensure!(!crate::INTERRUPTED.load(Ordering::Relaxed), "interrupted");
                let replan = replan(config, subject, weights, threads, hz)?;
                println!(
                    "re-plan  {:<7} {:<5} {threads} threads: {:>7.0} Hz  p50 {:>8.1} us p99 {:>8.1} us max {:>8.1} us  servo skipped {} of {}",
                    replan.network,
                    replan.weights,
                    replan.hz,
                    replan.p50_us,
                    replan.p99_us,
                    replan.max_us,
                    replan.servo_skipped,
                    replan.servo_ticks
                );
                replans.push(replan);
            }
        }
    }
    let claims = claims(&rows, &replans);
    let data = json!({
        "memory_gb_per_s": gigabytes,
        "instructions": Instructions::ALL.into_iter().filter(|i| i.available()).map(Instructions::name).collect::<Vec<_>>(),
        "peers": versions,
        "rows": rows,
        "replan": replans,
    });
    Ok((claims, data))
}

fn entries(config: &Config, subject: &Subject, peers: Option<&Peers>, threads: usize) -> Result<Vec<Entry>> {
    let parameters = subject.checkpoint.info.parameters().iter().map(reverie_policy::ParameterSpec::numel).sum();
    let row = |backend: String, threads, batch| Row {
        network: subject.name.into(),
        parameters,
        backend,
        threads,
        batch,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        max_us: f64::NAN,
        bandwidth_share: None,
    };
    let mut entries = Vec::new();
    let counts = if threads > 1 { vec![threads, 1] } else { vec![1] };
    for weights in WeightFormat::ALL {
        for &threads in &counts {
            let engine = EngineConfig { weights, threads, ..config.engine };
            for batch in [1, BATCH] {
                let engine = Engine::new(&subject.checkpoint, &engine, batch)?;
                entries.push(Entry {
                    row: row(format!("engine_{}", weights.name()), threads, batch),
                    bytes: (batch == 1).then(|| engine.weight_bytes()),
                    runner: Runner::Ours(Timed::new(Box::new(engine.denoiser()?), batch)?),
                    best: Timing::WORST,
                });
            }
        }
    }
    #[cfg(feature = "learn")]
    for batch in [1, BATCH] {
        let torch = reverie_policy::TchDenoiser::from_checkpoint(&subject.checkpoint, reverie_policy::Device::Cpu)?;
        entries.push(Entry {
            row: row("libtorch_f32".into(), threads, batch),
            bytes: None,
            runner: Runner::Ours(Timed::new(Box::new(torch), batch)?),
            best: Timing::WORST,
        });
    }
    for backend in peers.iter().flat_map(|peers| &peers.backends) {
        for batch in [1, BATCH] {
            entries.push(Entry {
                row: row(backend.clone(), threads, batch),
                bytes: None,
                runner: Runner::Peer(backend.clone(), batch),
                best: Timing::WORST,
            });
        }
    }
    Ok(entries)
}

/// Plans one after the other while robot and servo run.
#[derive(Clone, Debug, Serialize)]
struct Replan {
    network: String,
    weights: &'static str,
    threads: usize,
    /// Evaluations of a plan.
    nfe: u32,
    /// Plans a second, one after the other.
    hz: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// Share of plans that took longer than the period asked for.
    late_share: f64,
    period_us: f64,
    servo_ticks: u64,
    servo_skipped: u64,
}

/// Decodes by RTI with three evaluations, as fast as it goes, on the newest observation of a robot in real time: the simulated
/// arm at 240 Hz, its servo at 1 kHz. The plans are not played: an untrained network's are noise.
fn replan(config: &Config, subject: &Subject, weights: WeightFormat, threads: usize, hz: u32) -> Result<Replan> {
    let engine = Engine::new(&subject.checkpoint, &EngineConfig { weights, threads, ..config.engine }, 1)?;
    let decoder = DecoderConfig::rti(&[10, 5, 0]);
    let mut planner = Planner::new(subject.checkpoint.clone(), Box::new(engine.denoiser()?), &decoder)?;
    let task = Task::MECHANISM[0];
    planner.reset(task.name(), 1)?;
    let robot = Robot::start(config, |_| {})?;
    robot.begin(EpisodeOrder { seq: 0, task, seed: 1, max_steps: u32::MAX })?;
    let mut newest: Option<Observation> = None;
    let begin = Instant::now();
    let (mut samples, mut nfe) = (Samples::default(), 0);
    let period_us = 1e6 / f64::from(hz);
    let mut late = 0_u64;
    let mut measured: Option<Instant> = None;
    while measured.is_none_or(|since| since.elapsed() < REPLAN) {
        ensure!(begin.elapsed() < 4 * REPLAN, "the robot made no observation");
        for event in robot.events.try_iter() {
            match event {
                PlantEvent::Frame { observation, .. } => {
                    planner.observe(&observation)?;
                    newest = Some(observation);
                }
                PlantEvent::Refused { reason, .. } => bail!("the robot refused the episode: {reason}"),
                _ => {}
            }
        }
        let Some(observation) = newest else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let executed = usize::from(measured.is_some());
        let rows = PlanRows { executed, committed: 0, needed: 1 };
        let (_, report) = planner.plan(&observation, rows, &WallClock)?;
        if executed == 0 {
            // The cold start is none of the plans that are counted.
            measured = Some(Instant::now());
            continue;
        }
        samples.push(report.decode_us);
        nfe = report.nfe;
        late += u64::from(report.decode_us > period_us);
    }
    let seconds = measured.map_or(0.0, |since| since.elapsed().as_secs_f64());
    let cadence = robot.finish()?;
    Ok(Replan {
        network: subject.name.into(),
        weights: weights.name(),
        threads,
        nfe,
        hz: samples.len() as f64 / seconds,
        p50_us: samples.quantile(0.5),
        p99_us: samples.quantile(0.99),
        max_us: samples.quantile(1.0),
        late_share: late as f64 / samples.len().max(1) as f64,
        period_us,
        servo_ticks: cadence.ticks,
        servo_skipped: cadence.skipped,
    })
}

/// The figures that the README quotes; only those that were measured.
fn claims(rows: &[Row], replans: &[Replan]) -> Value {
    let most = rows.iter().map(|row| row.threads).max().unwrap_or(1);
    let time = |network: &str, backend: &str, batch: usize| {
        let all = rows.iter().filter(|row| row.network == network && row.backend == backend && row.batch == batch);
        all.filter(|row| row.threads == most).map(|row| row.p50_us).next()
    };
    let mut claims = Map::new();
    let mut claim = |key: String, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            claims.insert(key, json!(value));
        }
    };
    let ratio = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a / b);
    for network in ["4m6", "16m6", "63m6"] {
        for (format, peer) in [("bf16", "openvino_bf16"), ("f32", "openvino_f32")] {
            let ours = time(network, &format!("engine_{format}"), 1);
            claim(format!("{format}_over_{peer}_{network}"), ratio(ours, time(network, peer, 1)));
            claim(format!("{format}_over_{peer}_tuned_{network}"), ratio(ours, time(network, &format!("{peer}_tuned"), 1)));
        }
        claim(
            format!("f32_over_onnxruntime_{network}"),
            ratio(time(network, "engine_f32", 1), time(network, "onnxruntime_f32", 1)),
        );
        claim(format!("f32_over_tch_{network}"), ratio(time(network, "engine_f32", 1), time(network, "libtorch_f32", 1)));
        claim(format!("int8_over_bf16_{network}"), ratio(time(network, "engine_int8", 1), time(network, "engine_bf16", 1)));
    }
    claim("mlp512_over_tch".into(), ratio(time("mlp512", "engine_f32", 1), time("mlp512", "libtorch_f32", 1)));
    for format in ["f32", "bf16", "int8"] {
        for network in ["4m6", "16m6", "63m6", "mlp512"] {
            let backend = format!("engine_{format}");
            claim(
                format!("batch8_over_batch1_{format}_{network}"),
                ratio(time(network, &backend, BATCH), time(network, &backend, 1)),
            );
            claim(format!("{format}_us_{network}"), time(network, &backend, 1));
        }
    }
    claim("batch8_over_batch1".into(), ratio(time("63m6", "engine_bf16", BATCH), time("63m6", "engine_bf16", 1)));
    let share = rows.iter().find(|row| row.network == "63m6" && row.backend == "engine_bf16" && row.threads == most);
    claim("bandwidth_share_63m6".into(), share.and_then(|row| row.bandwidth_share));
    for network in ["4m6", "63m6"] {
        // Of f32 and bf16, with whatever number of threads is fastest.
        let all = replans.iter().filter(|replan| replan.network == network && replan.weights != "int8");
        claim(format!("replan_hz_{network}_rti3"), all.map(|replan| replan.hz).max_by(f64::total_cmp));
    }
    Value::Object(claims)
}
