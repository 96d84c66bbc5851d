//! `reverie collect`: what the scripted experts do, recorded and labelled.

mod demos;
mod play;
mod session;

use std::{collections::VecDeque, path::PathBuf};

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use reverie_schema::{Action, derive_seed};
use reverie_sim::{SceneId, World};

use crate::{
    config::Config,
    dataset::ImageFeature,
    eyes::{CameraName, Eyes},
};

/// Seeds of recordings begin here, those of evaluations at 0, so that they never meet.
pub const FIRST_SEED: u64 = 1_000_000;

#[derive(clap::Subcommand)]
pub enum What {
    /// Record demonstrations, each of one task
    Demos(demos::Args),
    /// Record play: hours of skills in random order, mistakes included, labelled as CALVIN labels its own
    Play(play::Args),
}

#[derive(clap::Args)]
struct Common {
    /// First seed
    #[arg(long, default_value_t = FIRST_SEED)]
    seed: u64,
    /// Camera to record; may be given more than once [default: none, state only]
    #[arg(long = "camera", value_name = "NAME")]
    cameras: Vec<CameraName>,
    /// Folder for the data set; if it holds one that was begun by the same command, it is gone on with
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Common {
    fn images(&self, config: &Config) -> Vec<ImageFeature> {
        self.cameras.iter().flat_map(|name| name.pictures(&config.cameras)).collect()
    }
}

pub fn run(config: &Config, what: &What) -> Result<()> {
    match what {
        What::Demos(args) => demos::run(config, args),
        What::Play(args) => play::run(config, args),
    }
}

/// The cameras of a recording. Pictures come as late as the observations beside them.
struct Pictures {
    eyes: Option<Eyes>,
    poses: Vec<reverie_schema::scene::Pose>,
    delay_steps: usize,
    under_way: VecDeque<Vec<Vec<u8>>>,
}

impl Pictures {
    fn new(config: &Config, cameras: &[CameraName], world: &World, seed: u64) -> Result<Self> {
        let eyes = if cameras.is_empty() { None } else { Some(config.randomise.eyes(&config.cameras, world, cameras, seed)?) };
        let delay_steps = config.delay.observation_steps as usize;
        Ok(Self { eyes, poses: Vec::new(), delay_steps, under_way: VecDeque::new() })
    }

    /// The pixels that arrive from each camera now.
    fn look(&mut self, world: &World) -> Result<Vec<Vec<u8>>> {
        let Some(eyes) = &mut self.eyes else { return Ok(Vec::new()) };
        world.poses(&mut self.poses);
        eyes.look(&self.poses)?;
        self.under_way.push_back(eyes.pictures());
        while self.under_way.len() > self.delay_steps + 1 {
            self.under_way.pop_front();
        }
        Ok(self.under_way.front().cloned().unwrap_or_default())
    }
}

/// Entries of an action that noise is put on: the gripper is left alone.
const CONTINUOUS: usize = 6;

/// Noise on actions that wanders as a clumsy hand does, instead of trembling: the servo's limits of acceleration make what comes of
/// white noise all but unforeseeable.
struct Clumsiness {
    rng: ChaCha8Rng,
    noise: [f32; CONTINUOUS],
}

impl Clumsiness {
    /// Memory of the noise over one control step: it turns about every third of a second.
    const MEMORY: f32 = 0.9;

    fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(derive_seed(seed, "action noise")), noise: [0.0; CONTINUOUS] }
    }

    /// Puts noise of this standard deviation on an action.
    fn shake(&mut self, action: &mut Action, deviation: f32) {
        for (entry, noise) in action.0.iter_mut().zip(&mut self.noise) {
            let kick = self.rng.sample::<f32, _>(StandardNormal);
            *noise = Self::MEMORY * *noise + (1.0 - Self::MEMORY * Self::MEMORY).sqrt() * kick;
            *entry = (*entry + deviation * *noise).clamp(-1.0, 1.0);
        }
    }
}

/// Which of `scenes` the episode of this number plays in.
fn scene_of(scenes: &[SceneId], episode: usize) -> SceneId {
    scenes.get(episode % scenes.len().max(1)).copied().unwrap_or_default()
}
