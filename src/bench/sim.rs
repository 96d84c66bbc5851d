//! Physics, cameras and whole control steps, on the content of `benches/peers/pybullet_speed.py`: CALVIN's Panda at a table with three
//! blocks, every joint swinging; then one block held. Ours has the mechanisms on top.
//!
//! A figure is the median of the repeat with the lowest median, here as there: what other programs disturbed least.

use std::{
    f64::consts::TAU,
    fs,
    hint::black_box,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reverie_camera::{Image, Renderer};
use reverie_schema::{GripperCommand, JointCommand, N_ARM, RobotSpec, scene::Pose};
use reverie_sim::{Expert, STEPS_PER_CONTROL, STEPS_PER_SECOND, StartState, Task, World};
use serde_json::{Value, json};

use crate::{
    config::Config,
    eyes::{CameraName, Eyes},
    parallel,
    report::write_results,
    rig::Rig,
};

/// The peer's script.
const PEER: &str = "benches/peers/pybullet_speed.py";
/// Amplitude and period of the swing.
const SWEEP_RAD: f64 = 0.15;
const SWEEP_S: f64 = 4.0;
const WARM_UP: usize = 480;
/// Sides of the pictures, pixels.
const SIDES: [usize; 3] = [64, 84, 200];
/// Worlds that are made to find the memory of one.
const WORLDS: usize = 100;
/// How long each thread steps to find how they scale.
const SCALING: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct Args {
    /// Run PyBullet's part beside ours with this Python, for example .venv-peers/pybullet/bin/python (`cargo xtask peers`)
    #[arg(long, value_name = "PYTHON")]
    pybullet: Option<PathBuf>,
    /// Steps of each repeat
    #[arg(long, default_value_t = 3000)]
    steps: usize,
    /// Repeats, of which the fastest counts
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Write the figures, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
}

/// A swinging arm.
struct Swing {
    world: World,
    centre: [f64; N_ARM],
    amplitude: f64,
    gripper: GripperCommand,
    steps: u64,
}

impl Swing {
    /// The peer's first phase: the hand above three blocks at rest.
    fn sweep(config: &Config) -> Result<Self> {
        let spec = RobotSpec::panda();
        let at = |x: f32, y: f32| [x, y, 0.46, 0.0];
        let start = StartState { blocks: [at(0.05, -0.12), at(0.15, -0.08), at(0.26, -0.12)], ..StartState::neutral() };
        let world = World::new(&config.sim, &spec, &start, &spec.home_rad)?;
        Ok(Self { world, centre: spec.home_rad, amplitude: SWEEP_RAD, gripper: GripperCommand::Open, steps: 0 })
    }

    /// The peer's second phase: a block in the hand.
    fn hold(config: &Config) -> Result<Self> {
        let mut rig = Rig::new(config, Task::LiftRedBlockTable, 1)?;
        ensure!(rig.demonstrate(1, |_, _| Ok(()))?, "the block was not lifted: its figure would not be of a grasp");
        let centre = rig.world.joint_state().position;
        Ok(Self { world: rig.world, centre, amplitude: SWEEP_RAD / 4.0, gripper: GripperCommand::Close, steps: 0 })
    }

    fn step(&mut self) -> Result<()> {
        let angle = TAU * self.steps as f64 / STEPS_PER_SECOND as f64 / SWEEP_S;
        let position = std::array::from_fn(|joint| self.centre[joint] + self.amplitude * (angle + joint as f64).sin());
        self.steps += 1;
        let command = JointCommand { position, gripper: self.gripper, ..JointCommand::default() };
        Ok(self.world.step(black_box(&command))?)
    }
}

/// Seconds of a call: the median of the repeat with the lowest median.
fn best(repeat: usize, count: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut lowest = f64::INFINITY;
    for _ in 0..repeat.max(1) {
        let mut seconds = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let begin = Instant::now();
            call()?;
            seconds.push(begin.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        lowest = lowest.min(seconds[seconds.len() / 2]);
    }
    Ok(lowest)
}

/// Steps a second of `threads` worlds together, each on its own thread.
fn rate(config: &Config, threads: usize) -> Result<f64> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<f64> {
                    let mut swing = Swing::sweep(config)?;
                    for _ in 0..WARM_UP {
                        swing.step()?;
                    }
                    let (begin, mut steps) = (Instant::now(), 0_u32);
                    while begin.elapsed() < SCALING {
                        for _ in 0..100 {
                            swing.step()?;
                        }
                        steps += 100;
                    }
                    Ok(f64::from(steps) / begin.elapsed().as_secs_f64())
                })
            })
            .collect();
        let rates = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?);
        rates.sum()
    })
}

/// Bytes of this process in memory.
fn resident_bytes() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/statm").context("cannot read /proc/self/statm, which tells the memory used")?;
    let pages: f64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).context("/proc/self/statm")?;
    Ok(pages * rustix::param::page_size() as f64)
}

fn bytes_per_world(config: &Config) -> Result<f64> {
    // One first, so that what all share is there.
    let mut worlds = vec![Swing::sweep(config)?];
    let before = resident_bytes()?;
    for _ in 0..WORLDS {
        let mut swing = Swing::sweep(config)?;
        for _ in 0..STEPS_PER_CONTROL {
            swing.step()?;
        }
        worlds.push(swing);
    }
    let bytes = (resident_bytes()? - before) / WORLDS as f64;
    drop(worlds);
    Ok(bytes)
}

fn ours(config: &Config, args: &Args) -> Result<Value> {
    // First, since what is freed later is used again without growing the process.
    let bytes_per_world = bytes_per_world(config)?;
    let mut swing = Swing::sweep(config)?;
    for _ in 0..WARM_UP {
        swing.step()?;
    }
    let sweep = best(args.repeat, args.steps, || swing.step())?;
    let mut held = Swing::hold(config)?;
    for _ in 0..WARM_UP {
        held.step()?;
    }
    let hold = best(args.repeat, args.steps, || held.step())?;
    ensure!(
        Expert::holds_block(&held.world.scene_state()),
        "the block fell in the hold phase: its figure would not be of a grasp"
    );

    let images = (args.steps / 100).max(10);
    let mut cameras = serde_json::Map::new();
    let mut poses: Vec<Pose> = Vec::new();
    for name in [CameraName::Static, CameraName::Gripper] {
        for side in SIDES {
            let camera = name.camera(&config.cameras).context("both see")?.with_size(side, side);
            let mut renderer = Renderer::with_config(&swing.world.scene(), config.cameras.render.clone())?;
            let mut image = Image::default();
            let seconds = best(args.repeat, images, || {
                // The arm moves on between two pictures, so that shadows are drawn anew.
                swing.step()?;
                swing.world.poses(&mut poses);
                renderer.render(&camera, &poses, &config.cameras.light, black_box(&mut image))?;
                Ok(())
            })?;
            cameras.insert(format!("{}_{side}", name.label()), json!((seconds - sweep) * 1e3));
        }
    }
    let mut eyes = Eyes::new(&config.cameras, &swing.world.scene(), &[CameraName::Static, CameraName::Gripper])?;
    let control_step = best(args.repeat, images, || {
        for _ in 0..STEPS_PER_CONTROL {
            swing.step()?;
        }
        swing.world.poses(&mut poses);
        eyes.look(&poses)?;
        black_box(swing.world.observe());
        Ok(())
    })?;
    let snapshot = swing.world.snapshot();
    let take = best(args.repeat, images, || {
        black_box(swing.world.snapshot());
        Ok(())
    })?;
    let restore = best(args.repeat, images, || Ok(swing.world.restore(black_box(&snapshot))?))?;
    let cores = parallel::cores();
    // Alternately, so that a disturbance meets both.
    let mut shares: Vec<f64> = Vec::new();
    for _ in 0..args.repeat.max(1) {
        let alone = rate(config, 1)?;
        shares.push(rate(config, cores)? / cores as f64 / alone);
    }
    shares.sort_by(f64::total_cmp);
    Ok(json!({
        "step_us": { "sweep": sweep * 1e6, "hold": hold * 1e6 },
        "camera_ms": cameras,
        "control_step_ms": control_step * 1e3,
        "snapshot_us": { "take": take * 1e6, "restore": restore * 1e6 },
        "cores": cores,
        "core_scaling": shares[shares.len() / 2],
        "core_scaling_repeats": shares,
        "bytes_per_world": bytes_per_world,
    }))
}

fn peer(args: &Args) -> Result<Option<Value>> {
    let Some(python) = &args.pybullet else { return Ok(None) };
    let output = Command::new(python)
        .args([PEER, "--steps", &args.steps.to_string(), "--repeat", &args.repeat.to_string()])
        .output()
        .with_context(|| format!("cannot start {}; `cargo xtask peers` installs it", python.display()))?;
    ensure!(
        output.status.success(),
        "{} {PEER} failed: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or("it said nothing")
    );
    serde_json::from_slice(&output.stdout).map(Some).with_context(|| format!("{PEER} printed no JSON"))
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.steps > 0, "--steps must be at least 1");
    // The peer's sizes, whatever is configured.
    let mut config = config.clone();
    (config.cameras.static_px, config.cameras.gripper_px) = (200, 84);
    let config = &config;
    // The peer runs before and after, so that a change of the machine's pace in between is seen.
    let before = peer(args)?;
    let ours = ours(config, args)?;
    let after = peer(args)?;
    let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_f64);
    let mut claims = json!({
        "step_us_sweep": ours["step_us"]["sweep"], "step_us_hold": ours["step_us"]["hold"],
        "control_step_ms": ours["control_step_ms"],
        "core_scaling": ours["core_scaling"], "bytes_per_world": ours["bytes_per_world"],
    });
    if let (Some(before), Some(after)) = (&before, &after) {
        // Of the two runs of the peer the faster one counts, and of two comparable figures the lesser speed-up.
        let ratio = |key: &str, own: f64| -> Option<f64> {
            let key = format!("/{key}/p50");
            Some(number(before, &key)?.min(number(after, &key)?) / own)
        };
        let lesser = |keys: [&str; 2]| -> Option<f64> {
            let ratios = keys.map(|key| ratio(key, number(&ours, &format!("/{key}"))?));
            Some(ratios[0]?.min(ratios[1]?))
        };
        let mut claim = |name: &str, value: Option<f64>| -> Result<()> {
            claims[name] = json!(value.with_context(|| format!("{PEER} printed no figure for {name}"))?);
            Ok(())
        };
        claim("physics_speedup_over_pybullet", lesser(["step_us/sweep", "step_us/hold"]))?;
        claim("render64_speedup", lesser(["camera_ms/static_64", "camera_ms/gripper_64"]))?;
        claim("render84_speedup", lesser(["camera_ms/static_84", "camera_ms/gripper_84"]))?;
        claim("render200_speedup", lesser(["camera_ms/static_200", "camera_ms/gripper_200"]))?;
        claim("control_step_speedup", number(&ours, "/control_step_ms").and_then(|own| ratio("control_step_ms", own)))?;
    }
    println!("{}", serde_json::to_string_pretty(&claims)?);
    if let Some(path) = &args.results {
        let data = json!({ "ours": ours, "pybullet_before": before, "pybullet_after": after, "config": config });
        write_results(path, &claims, &data)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
