//! What imagining and learning cost on this machine, beside the simulation and beside PyTorch.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use reverie_policy::Device;
use reverie_schema::{Action, N_ACT};
use reverie_sim::Task;
use reverie_world_model::{
    ChunkNoise, Conditioner, DiffusionPolicy, Dream, DreamConfig, Environment, GuardedWorld, Noise, PlayData, SuccessCheckpoint,
    SuccessClassifier, TrainedWorldModel, WorldModelCheckpoint, WorldModelTrainer,
};
use reverie_world_model::{Kind, Tensor};
use serde_json::{Value, json};

use super::Args;
use crate::{
    config::Config,
    dreams::{recorded, reward},
    eyes::{CameraName, Eyes},
    models, parallel,
    report::Samples,
    rig::Rig,
};

/// Dreams side by side, and control steps of each, that the headline is taken at.
const BATCH: usize = 256;
const BATCHES: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
const HORIZONS: [usize; 6] = [4, 8, 16, 32, 64, 96];
/// Turns of each measurement; the median counts.
const TURNS: usize = 7;
/// Control steps of the simulation that are timed, on each core.
const SIMULATED: usize = 1500;
/// Of them with cameras.
const SEEN: usize = 200;
/// Updates that are timed in a round, after some that are not.
const UPDATES: u64 = 20;
const WARM_UP: u64 = 5;
/// Rounds in which ours and the peer's are timed in turn, since a shared machine's speed wanders; the median of their ratios counts.
const ROUNDS: u64 = 5;
const TASK: Task = Task::OpenDrawer;

pub fn run(config: &Config, args: &Args) -> Result<(Value, Value)> {
    let threads = parallel::cores();
    models::set_threads(threads);
    let checkpoint = WorldModelCheckpoint::load(&args.folders.world_model)?;
    let world = TrainedWorldModel::new(&checkpoint, Device::Cpu)?;
    let success = SuccessClassifier::new(&SuccessCheckpoint::load(&reward::folder(&args.folders.reward, TASK))?, Device::Cpu)?;
    let policy = models::load(&args.policy)?;
    let conditioner = Conditioner::new(&policy, TASK.name(), Device::Cpu)?;
    let tuned = DiffusionPolicy::new(&policy, &config.finetune.chain, Device::Cpu)?;
    let latent = world.info.config.latent() as i64;
    let starts = Noise::new(1, "starts", Device::Cpu).normal(&[64, latent]).tanh();
    // Seconds of `steps` control steps in `dreams` dreams.
    let dream = |dreams: usize, steps: usize, guards: bool, deciding: bool| -> Result<f64> {
        let mut settings = DreamConfig { dreams, max_steps: 1_000_000, ..config.finetune.dream.clone() };
        if !guards {
            settings.candidates = 0;
        }
        let guarded = GuardedWorld::new(&world, &success, &settings)?;
        let mut dream = Dream::new(&guarded, &conditioner, &starts, &settings, 1)?;
        let mut noise = Noise::new(2, "chunks", Device::Cpu);
        let rows = config.finetune.chain.rows;
        let chunk = Tensor::zeros([dreams as i64, rows as i64, N_ACT as i64], (Kind::Float, Device::Cpu));
        let mut seconds = Samples::default();
        for turn in 0..=TURNS {
            let begin = Instant::now();
            for _ in 0..steps.div_ceil(rows) {
                if deciding {
                    let now = dream.observe()?;
                    let chains = tuned.sample(&now.cond, &mut ChunkNoise::own(&mut noise, dreams as i64));
                    dream.step(&tuned.actions(&chains.x.select(1, -1)))?;
                } else {
                    dream.step(&chunk)?;
                }
            }
            if turn > 0 {
                seconds.push(begin.elapsed().as_secs_f64());
            }
        }
        Ok(seconds.quantile(0.5))
    };
    let rate = |dreams: usize, guards: bool, deciding: bool| -> Result<f64> {
        Ok((dreams * 32) as f64 / dream(dreams, 32, guards, deciding)?)
    };
    let (plain, guarded, deciding) = (rate(BATCH, false, false)?, rate(BATCH, true, false)?, rate(BATCH, true, true)?);
    let (blind, seeing) = (simulate(config, threads, SIMULATED, false)?, simulate(config, threads, SEEN, true)?);
    println!(
        "control steps a second on {threads} cores: dream {plain:.0} ({guarded:.0} with the filter, {deciding:.0} with a policy deciding), simulation {blind:.0}, with cameras {seeing:.0}"
    );
    let by_batch = BATCHES.iter().map(|&n| Ok((n as f64, rate(n, false, false)?))).collect::<Result<Vec<_>>>()?;
    let by_horizon =
        HORIZONS.iter().map(|&steps| Ok((steps as f64, 1e3 * dream(BATCH, steps, false, false)?))).collect::<Result<Vec<_>>>()?;

    let settings = reverie_world_model::WorldModelConfig { updates: ROUNDS * (UPDATES + WARM_UP), ..world.info.config.clone() };
    ensure!(!settings.inputs.has_cameras(), "--world-model is one that looks; the peer script is of the state");
    let play = recorded::read(&args.folders.play, false, config.sim.scene)?;
    let mut trainer = WorldModelTrainer::new(settings.clone(), PlayData::new(play.raw, None, Device::Cpu)?)?;
    let mut ours = Vec::new();
    let (mut peers, mut ratios) = (Vec::new(), Samples::default());
    for _ in 0..ROUNDS {
        let mut seconds = Samples::default();
        for update in 0..UPDATES + WARM_UP {
            let begin = Instant::now();
            trainer.update()?;
            if update >= WARM_UP {
                seconds.push(begin.elapsed().as_secs_f64());
            }
        }
        ours.push(seconds.quantile(0.5));
        if let Some(python) = &args.peers {
            let peer = pytorch(python, &settings, threads)?;
            let theirs = peer["seconds_median"].as_f64().context("the peer gave no time")?;
            ensure!(
                peer["parameters"].as_u64() == Some(trainer.parameters().numel() as u64),
                "the peer's model has {} parameters, ours {}: they are not the same",
                peer["parameters"],
                trainer.parameters().numel()
            );
            ratios.push(theirs / seconds.quantile(0.5));
            peers.push(peer);
        }
    }
    let mut all = Samples::default();
    ours.iter().for_each(|&seconds| all.push(seconds));
    let mut claims = json!({
        "imagined_steps_per_second": plain, "imagined_steps_per_second_filtered": guarded, "imagined_steps_per_second_deciding": deciding,
        "sim_steps_per_second": blind, "sim_steps_per_second_with_cameras": seeing,
        "imagined_steps_over_sim_steps": guarded / blind, "imagined_steps_over_sim_steps_with_cameras": guarded / seeing,
        "world_model_updates_per_second": 1.0 / all.quantile(0.5),
    });
    if !peers.is_empty() {
        claims["world_model_updates_over_pytorch"] = json!(ratios.quantile(0.5));
    }
    if let Some(path) = &args.plot {
        crate::report::write_atomically(path, plot(&by_batch, &by_horizon).as_bytes())?;
        eprintln!("wrote {}", path.display());
    }
    Ok((
        claims,
        json!({ "by_batch": by_batch, "milliseconds_by_horizon": by_horizon, "update_seconds": ours, "peer": peers, "threads": threads, "batch": BATCH }),
    ))
}

/// Control steps a second on all cores.
fn simulate(config: &Config, threads: usize, steps: usize, cameras: bool) -> Result<f64> {
    let seconds = parallel::map(
        threads,
        threads,
        || Ok(()),
        |(), index| {
            let mut rig = Rig::new(config, TASK, 5_000 + index as u64)?;
            let mut eyes = Eyes::new(&config.cameras, &rig.world.scene(), &[CameraName::Static, CameraName::Gripper])?;
            let mut poses = Vec::new();
            let begin = Instant::now();
            for step in 0..steps {
                rig.observe();
                if cameras {
                    rig.world.poses(&mut poses);
                    eyes.look(&poses)?;
                }
                rig.act(Action([0.2 * (step as f32 * 0.05).sin(), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))?;
            }
            Ok(begin.elapsed().as_secs_f64())
        },
    )?;
    Ok(seconds.iter().map(|seconds| steps as f64 / seconds).sum())
}

fn pytorch(python: &std::path::Path, settings: &reverie_world_model::WorldModelConfig, threads: usize) -> Result<Value> {
    let request = json!({ "config": settings, "updates": UPDATES + WARM_UP, "threads": threads });
    let mut child = Command::new(python)
        .arg("benches/peers/world_model_pytorch.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
    child.stdin.take().context("the peer's input")?.write_all(request.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the PyTorch peer ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("what the PyTorch peer printed")
}

/// Steps a second over dreams side by side, and milliseconds over the horizon.
fn plot(by_batch: &[(f64, f64)], by_horizon: &[(f64, f64)]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"340\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"860\" height=\"340\" fill=\"white\"/>\n",
    );
    panel(&mut svg, 70.0, "control steps a second", "dreams side by side", by_batch, true);
    panel(&mut svg, 510.0, "milliseconds", &format!("control steps of {BATCH} dreams"), by_horizon, false);
    svg.push_str("</svg>\n");
    svg
}

/// One panel, 320 x 240, with its left edge at `left`; both axes logarithmic or both linear.
fn panel(svg: &mut String, left: f64, y_name: &str, x_name: &str, points: &[(f64, f64)], logarithmic: bool) {
    let (width, height, top) = (320.0, 240.0, 40.0);
    let along = |v: f64| if logarithmic { v.log10() } else { v };
    let range =
        |values: &mut dyn Iterator<Item = f64>| values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    let (x_low, x_high) = range(&mut points.iter().map(|p| p.0));
    let (y_low, y_high) = range(&mut points.iter().map(|p| p.1));
    let (x_low, y_low) = if logarithmic { (x_low, y_low) } else { (0.0, 0.0) };
    let at = |(x, y): (f64, f64)| {
        let share = |v: f64, low: f64, high: f64| (along(v) - along(low)) / (along(high) - along(low)).max(1e-9);
        (left + width * share(x, x_low, x_high), top + height * (1.0 - share(y, y_low, y_high)))
    };
    let _ = writeln!(svg, "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#999\"/>");
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"25\">{y_name}</text>");
    let middle = left + width / 2.0;
    let _ = writeln!(svg, "<text x=\"{middle}\" y=\"330\" text-anchor=\"middle\">{x_name}</text>");
    let path: Vec<String> = points.iter().map(|&p| at(p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#4477aa\" stroke-width=\"2\"/>", path.join(" "));
    for &(x, y) in points {
        let (px, py) = at((x, y));
        let label = if y >= 1000.0 { format!("{:.0}k", y / 1000.0) } else { format!("{y:.0}") };
        let _ = writeln!(svg, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\" fill=\"#4477aa\"/>");
        let _ = writeln!(svg, "<text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{label}</text>", py - 8.0);
        let _ = writeln!(
            svg,
            "<text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{x}</text>",
            top + height + 16.0
        );
    }
}
