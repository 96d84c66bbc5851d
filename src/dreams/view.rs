//! `reverie view dream`: an imagined rollout beside the simulated one from the same start, as a recording.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reverie_camera::{Camera, Image, Renderer};
use reverie_policy::Device;
use reverie_policy::{DecoderConfig, observation_of_features, state_features};
use reverie_rerun::{Level, Plots, Viewer, ViewerOptions};
use reverie_schema::{Action, CONTROL_PERIOD_NS, N_ACT, Observation, RobotSpec, Stamp, scene::Scene};
use reverie_sim::{Replay, Task};
use reverie_world_model::{
    ChainConfig, ChunkNoise, Conditioner, DiffusionPolicy, Dynamics, GuardedWorld, Noise, PICTURE_PX, RawPlay, SuccessCheckpoint,
    SuccessClassifier, TrainedWorldModel, reduce,
};
use reverie_world_model::{Kind, Tensor};

use super::{WORLD_MODEL, load_world_model, reward};
use crate::{
    actor::Actor,
    config::Config,
    eyes::{CameraName, Eyes},
    models,
    rig::Rig,
};

#[derive(clap::Args)]
pub struct Args {
    /// The task
    #[arg(long, default_value = "open_drawer")]
    task: Task,
    /// Folder of the policy
    #[arg(long, default_value = "models/dreams/base")]
    policy: PathBuf,
    /// Folder of the world model
    #[arg(long, default_value = WORLD_MODEL)]
    world_model: PathBuf,
    /// Folder of the success classifiers
    #[arg(long, default_value = "runs/reward")]
    reward: PathBuf,
    /// Seed of the start
    #[arg(long, default_value_t = 5000)]
    seed: u64,
    /// Control steps
    #[arg(long, default_value_t = 96)]
    steps: usize,
    /// Play in one the actions that the policy took in the other, instead of letting it act in both: what differs then is the world
    /// model's fault alone
    #[arg(long, value_enum, value_name = "WHICH")]
    along: Option<Along>,
    /// Write the recording to this file instead of opening the viewer
    #[arg(long, value_name = "FILE")]
    rrd: Option<PathBuf>,
    /// Write a strip of pictures, simulation above and dream below, and what was imagined to be seen below that, to this PNG file
    #[arg(long, value_name = "FILE")]
    strip: Option<PathBuf>,
}

/// Whose actions are played in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Along {
    /// The simulation's: what the world model makes of them
    Simulation,
    /// The dream's: what becomes of an imagined success
    Dream,
}

/// How far to the right of the simulation the dream is drawn, metres.
const ASIDE_M: f32 = 1.5;
/// Pictures of a strip, and their size.
const STRIP: usize = 6;
const STRIP_PX: usize = 200;

/// One of the two rollouts.
#[derive(Default)]
pub struct Rollout {
    pub observations: Vec<Observation>,
    /// What the static camera sees, or is imagined to see.
    pub pictures: Vec<Vec<u8>>,
    /// Control step.
    pub done_at: Option<usize>,
    /// What was played, row by row.
    actions: Vec<f32>,
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    ensure!(args.steps > 0, "--steps must be at least 1");
    models::set_threads(1);
    let world = load_world_model(&args.world_model, "cpu")?;
    let policy = models::load(&args.policy)?;
    let replay = Replay::new(config.sim.scene, RobotSpec::panda())?;
    let dream = |start, actions| dream(config, args, &world, &policy, start, actions, &replay);
    let (simulated, dreamt) = if args.along == Some(Along::Dream) {
        let (_, start) = simulate(config, args, &policy, Some(&[]))?;
        let dreamt = dream(start, None)?;
        (simulate(config, args, &policy, Some(&dreamt.actions))?.0, dreamt)
    } else {
        let (simulated, start) = simulate(config, args, &policy, None)?;
        let dreamt = dream(start, args.along.map(|_| simulated.actions.as_slice()))?;
        (simulated, dreamt)
    };
    let told = |name: &str, rollout: &Rollout| match rollout.done_at {
        Some(step) => format!("{name}: done after {step} control steps"),
        None => format!("{name}: not done in {} control steps", args.steps),
    };
    println!("{}\n{}", told("simulation", &simulated), told("dream", &dreamt));
    if let Some(path) = &args.strip {
        strip(config, &replay, [&simulated, &dreamt], world.info.config.inputs.has_cameras(), path)?;
        println!("wrote {}", path.display());
    }
    if let Some(path) = &args.rrd {
        write(args, &replay, &simulated, &dreamt, path)?;
        println!("wrote {}", path.display());
    } else if args.strip.is_none() {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("dream.rrd");
        write(args, &replay, &simulated, &dreamt, &path)?;
        crate::view::open(&path)?;
    }
    Ok(())
}

/// Where both rollouts begin.
struct Start {
    observation: Observation,
    /// Of both cameras, in the size that world models see.
    pictures: [Vec<u8>; 2],
}

/// The policy in simulation, or `actions`, row by row, until they end.
fn simulate(
    config: &Config,
    args: &Args,
    policy: &reverie_policy::Checkpoint,
    actions: Option<&[f32]>,
) -> Result<(Rollout, Start)> {
    let mut rig = Rig::new(config, args.task, args.seed)?;
    let mut actor = Actor::policy(config, policy, &DecoderConfig::ddpm(), config.finetune.chain.rows, "cpu")?;
    actor.begin(args.task, config.sim.scene, args.seed)?;
    let mut eyes = Eyes::new(&config.cameras, &rig.world.scene(), &[CameraName::Static, CameraName::Gripper])?;
    let sizes = [config.cameras.static_px, config.cameras.gripper_px];
    let (mut rollout, mut first, mut poses) = (Rollout::default(), None, Vec::new());
    for step in 0..=args.steps {
        rig.world.poses(&mut poses);
        eyes.look(&poses)?;
        let pictures: Vec<Vec<u8>> = eyes.pictures().iter().zip(sizes).map(|(p, px)| reduce(p, px, px)).collect();
        first.get_or_insert([pictures[0].clone(), pictures[1].clone()]);
        rollout.pictures.push(pictures[0].clone());
        rollout.observations.push(Observation { stamp: stamp(step), ..rig.observe() });
        if rollout.done_at.is_none() && rig.solved() {
            rollout.done_at = Some(step);
        }
        if step == args.steps {
            break;
        }
        if let Some(actions) = actions {
            let Some(row) = actions.get(step * N_ACT..(step + 1) * N_ACT) else { break };
            rig.act(Action(row.try_into()?))?;
        } else if let Some(planned) = actor.step(&mut rig)? {
            let rows = planned.chunk.rows().iter().take(config.finetune.chain.rows);
            rollout.actions.extend(rows.flat_map(|row| row.0));
        }
    }
    let start = Start { observation: rollout.observations[0], pictures: first.context("at least one step")? };
    Ok((rollout, start))
}

fn stamp(step: usize) -> Stamp {
    Stamp(step as i64 * CONTROL_PERIOD_NS)
}

/// The policy in a dream from `start`, alone with what it imagines, or `actions`, row by row.
fn dream(
    config: &Config,
    args: &Args,
    world: &TrainedWorldModel,
    policy: &reverie_policy::Checkpoint,
    start: Start,
    along: Option<&[f32]>,
    replay: &Replay,
) -> Result<Rollout> {
    let _guard = reverie_world_model::no_grad_guard();
    let settings = &world.info.config;
    let rows = config.finetune.chain.rows;
    ensure!(
        rows.is_multiple_of(settings.actions_per_step),
        "finetune.chain.rows = {rows}: must be a multiple of the {} control steps that a step of the world model covers",
        settings.actions_per_step
    );
    let has_cameras = settings.inputs.has_cameras();
    let raw = RawPlay {
        state: state_features(&start.observation).to_vec(),
        actions: vec![0.0; N_ACT],
        pictures: if has_cameras { start.pictures.to_vec() } else { Vec::new() },
        episodes: vec![0..1; 1],
    };
    let mut noise = Noise::new(args.seed, "view dream", Device::Cpu);
    let mut latent = world.follow(None, &[], raw, &mut noise)?;
    let conditioner = Conditioner::new(policy, args.task.name(), Device::Cpu)?;
    // Played as it is decoded on a robot: without the noise that exploring adds.
    let chain = ChainConfig { sampling_floor: 1e-3, ..config.finetune.chain.clone() };
    let tuned = DiffusionPolicy::new(policy, &chain, Device::Cpu)?;
    let folder = reward::folder(&args.reward, args.task);
    let classifier = if folder.join("success.json").exists() {
        Some(SuccessClassifier::new(&SuccessCheckpoint::load(&folder)?, Device::Cpu)?)
    } else {
        tracing::warn!(
            "no success classifier in {}: whether the dream is done is not told, and its guards are off",
            folder.display()
        );
        None
    };
    let guarded = |classifier| GuardedWorld::new(world, classifier, &config.finetune.dream);
    let guarded =
        classifier.as_ref().map(guarded).transpose().with_context(|| format!("success classifier {}", folder.display()))?;
    let mut rollout = Rollout::default();
    let mut told = 0;
    let mut seer = Seer::new(config, replay)?;
    let each = settings.actions_per_step;
    let mut step = 0;
    loop {
        let features = Vec::<f32>::try_from(world.features(&latent).view([-1]))?;
        let features: [f32; reverie_policy::STATE_FEATURES] = features.try_into().ok().context("51 features")?;
        let observation = observation_of_features(&features, stamp(step));
        rollout.pictures.push(if has_cameras {
            picture(&world.model.decode_pictures(&latent)[0])?
        } else {
            seer.see(&observation)?
        });
        rollout.observations.push(observation);
        let fires = step > 0 && guarded.as_ref().is_some_and(|guarded| guarded.done(&latent).double_value(&[0]) > 0.5);
        told = if fires { told + 1 } else { 0 };
        if told >= config.finetune.dream.successes_in_a_row && rollout.done_at.is_none() {
            rollout.done_at = Some(step);
        }
        if step >= args.steps {
            return Ok(rollout);
        }
        let chunk = if let Some(actions) = along {
            let from = step * N_ACT;
            let played = actions.get(from..from + rows * N_ACT).context("the simulation's actions end before the dream")?;
            Tensor::from_slice(played).view([1, rows as i64, N_ACT as i64])
        } else {
            let cond = conditioner.condition(&world.features(&latent));
            tuned.actions(&tuned.sample(&cond, &mut ChunkNoise::own(&mut noise, 1)).x.select(1, -1))
        };
        rollout.actions.extend(Vec::<f32>::try_from(chunk.reshape([-1]))?);
        for part in 0..rows / each {
            let actions = chunk.narrow(1, (part * each) as i64, each as i64).reshape([1, -1]);
            latent = match &guarded {
                Some(guarded) => guarded.step(&latent, &actions, 1, &mut noise).latent,
                None => world.model.imagine(&latent, &actions, &mut noise),
            };
            step += each;
        }
    }
}

/// A decoded picture, `[1, 3, 64, 64]` in [-1, 1], as bytes.
fn picture(decoded: &Tensor) -> Result<Vec<u8>> {
    let bytes = ((decoded + 1.0) * 127.5).clamp(0.0, 255.0).round().to_kind(Kind::Uint8);
    Ok(Vec::<u8>::try_from(bytes.squeeze_dim(0).permute([1, 2, 0]).contiguous().view([-1]))?)
}

/// Draws observations as the static camera would see them.
struct Seer<'a> {
    replay: &'a Replay,
    renderer: Renderer,
    camera: Camera,
    light: reverie_camera::Light,
    image: Image,
    poses: Vec<reverie_schema::scene::Pose>,
}

impl<'a> Seer<'a> {
    fn new(config: &Config, replay: &'a Replay) -> Result<Self> {
        Ok(Self {
            replay,
            renderer: Renderer::with_config(replay.scene(), config.cameras.render.clone())?,
            camera: Camera::calvin_static().with_size(PICTURE_PX, PICTURE_PX),
            light: config.cameras.light.clone(),
            image: Image::default(),
            poses: Vec::new(),
        })
    }

    fn see(&mut self, observation: &Observation) -> Result<Vec<u8>> {
        self.replay.poses(observation, &mut self.poses);
        self.renderer.render(&self.camera, &self.poses, &self.light, &mut self.image)?;
        Ok(self.image.rgb.clone())
    }
}

fn write(args: &Args, replay: &Replay, simulated: &Rollout, dreamt: &Rollout, path: &Path) -> Result<()> {
    let shown = Pair {
        title: &format!("{}: simulation left, dream right", args.task),
        names: ["simulation", "dream"],
        pictures: &[("Simulation", "/cameras/simulation"), ("Dream", "/cameras/dream")],
        rollouts: [simulated, dreamt],
    };
    write_pair(replay, &shown, path)
}

/// Two rollouts side by side.
pub struct Pair<'a> {
    pub title: &'a str,
    pub names: [&'static str; 2],
    /// Room for pictures, as in [`ViewerOptions::cameras`].
    pub pictures: &'static [(&'static str, &'static str)],
    pub rollouts: [&'a Rollout; 2],
}

/// Writes a recording of a pair. Where one has fewer moments than the other, each of its moments stands for several.
pub fn write_pair(replay: &Replay, pair: &Pair<'_>, path: &Path) -> Result<()> {
    let mut both: Scene = replay.scene().clone();
    let right = replay.scene().bodies.iter().cloned().map(|mut body| {
        body.name = format!("{}/{}", pair.names[1], body.name);
        body
    });
    both.bodies.extend(right);
    let options = ViewerOptions {
        recording_name: pair.title.to_owned(),
        eye_in_world_m: [0.75, -2.6, 1.6],
        look_at_in_world_m: [0.5 * ASIDE_M, -0.1, 0.40],
        cameras: pair.pictures,
        plots: Plots::Measured,
        ..ViewerOptions::default()
    };
    let mut viewer = Viewer::to_file(path, &both, &options)?;
    let longer = pair.rollouts.into_iter().max_by_key(|rollout| rollout.observations.len()).context("two rollouts")?;
    let moments = longer.observations.len();
    viewer.begin_episode(pair.title, Stamp(0))?;
    let (mut poses, mut aside) = (Vec::new(), Vec::new());
    for moment in 0..moments {
        let at = longer.observations[moment].stamp;
        let index = pair.rollouts.map(|rollout| {
            let each = (moments - 1).div_ceil(rollout.observations.len().max(2) - 1).max(1);
            (moment / each).min(rollout.observations.len() - 1)
        });
        replay.poses(&pair.rollouts[0].observations[index[0]], &mut poses);
        replay.poses(&pair.rollouts[1].observations[index[1]], &mut aside);
        poses.extend(aside.iter().map(|pose| {
            let mut pose = *pose;
            pose.translation[0] += ASIDE_M;
            pose
        }));
        viewer.poses(at, &poses)?;
        for ((rollout, name), index) in pair.rollouts.into_iter().zip(pair.names).zip(index) {
            if let Some(picture) = rollout.pictures.get(index) {
                viewer.image(at, name, [PICTURE_PX as u32; 2], picture)?;
            }
            if rollout.done_at.map(stamp) == Some(at) {
                viewer.event(at, Level::Info, &format!("{name}: done"))?;
            }
        }
    }
    viewer.finish().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A picture of a world model in the size of a strip's.
fn enlarged(picture: &[u8]) -> Vec<u8> {
    let at = |to: usize| to * PICTURE_PX / STRIP_PX;
    (0..STRIP_PX)
        .flat_map(|y| (0..STRIP_PX).map(move |x| 3 * (at(y) * PICTURE_PX + at(x))))
        .flat_map(|from| picture[from..from + 3].iter().copied())
        .collect()
}

/// Pictures at even times, the simulation above and the dream below, both drawn from their states; if the dream `looks`, its own pictures
/// below that.
fn strip(config: &Config, replay: &Replay, rollouts: [&Rollout; 2], looks: bool, path: &Path) -> Result<()> {
    let mut seer = Seer::new(config, replay)?;
    seer.camera = Camera::calvin_static().with_size(STRIP_PX, STRIP_PX);
    let rows = if looks { &[(0, false), (1, false), (1, true)][..] } else { &[(0, false), (1, false)] };
    let (width, height) = (STRIP * STRIP_PX, rows.len() * STRIP_PX);
    let mut pixels = vec![255_u8; width * height * 3];
    // Until both are over, and a little longer.
    let last = rollouts.iter().map(|r| r.done_at.unwrap_or(usize::MAX)).max().map_or(usize::MAX, |step| step.saturating_add(8));
    let last = last.min(rollouts[0].observations.len() - 1);
    for (row, &(which, imagined)) in rows.iter().enumerate() {
        let rollout = rollouts[which];
        let each = (rollouts[0].observations.len() - 1) as f64 / (rollout.observations.len() - 1).max(1) as f64;
        for column in 0..STRIP {
            let at = last as f64 * column as f64 / (STRIP - 1) as f64;
            let index = ((at / each).round() as usize).min(rollout.observations.len() - 1);
            let seen = if imagined { enlarged(&rollout.pictures[index]) } else { seer.see(&rollout.observations[index])? };
            for (y, line) in seen.chunks_exact(STRIP_PX * 3).enumerate() {
                let to = ((row * STRIP_PX + y) * width + column * STRIP_PX) * 3;
                pixels[to..to + line.len()].copy_from_slice(line);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    crate::report::write_atomically(path, &bytes)
}
