//! A policy that sees: a world model of `vision` tells the state that the policy is conditioned on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reverie_policy::{observation_of_features, state_features};
use reverie_schema::{Action, N_ACT, Observation};
use reverie_world_model::{CAMERAS, Inputs, Noise, RawPlay, Tensor, TrainedWorldModel, no_grad_guard, reduce};

use super::load_world_model;
use crate::{
    actor::Sight,
    config::Config,
    eyes::{CameraName, CameraSection, Eyes},
    rig::Rig,
};

/// See the module's text.
pub struct ModelSight {
    world: TrainedWorldModel,
    cameras: CameraSection,
    eyes: Option<Eyes>,
    latent: Option<Tensor>,
    noise: Noise,
    /// Actions since the last look.
    played: Vec<f32>,
}

impl ModelSight {
    /// Looks with the world model in `folder`.
    pub fn load(config: &Config, folder: &Path, rows: usize) -> Result<Self> {
        Self::new(config, load_world_model(folder, "cpu")?, rows).with_context(|| format!("world model {}", folder.display()))
    }

    /// Looks with `world` at every `rows`-th control step.
    ///
    /// # Errors
    /// A world model that sees the state itself, or one whose steps are not as long as a chunk is played.
    fn new(config: &Config, world: TrainedWorldModel, rows: usize) -> Result<Self> {
        let settings = &world.info.config;
        ensure!(
            settings.inputs == Inputs::Vision,
            "this world model sees the state itself; one of inputs = \"vision\" tells it from pictures"
        );
        ensure!(
            settings.actions_per_step == rows,
            "a step of the world model covers {} control steps, but {rows} rows are played before the next plan",
            settings.actions_per_step
        );
        let noise = Noise::new(0, "sight", world.device());
        Ok(Self { world, cameras: config.cameras.clone(), eyes: None, latent: None, noise, played: Vec::new() })
    }
}

impl Sight for ModelSight {
    fn begin(&mut self, seed: u64) {
        (self.eyes, self.latent) = (None, None);
        self.noise = Noise::new(seed, "sight", self.world.device());
        self.played.clear();
    }

    fn believe(&mut self, rig: &Rig, observation: &Observation) -> Result<Observation> {
        let _guard = no_grad_guard();
        let eyes = match &mut self.eyes {
            Some(eyes) => eyes,
            none => none.insert(Eyes::new(&self.cameras, &rig.world.scene(), &[CameraName::Static, CameraName::Gripper])?),
        };
        let mut poses = Vec::new();
        rig.world.poses(&mut poses);
        eyes.look(&poses)?;
        let sizes = [self.cameras.static_px, self.cameras.gripper_px];
        let pictures = eyes.pictures().iter().zip(sizes).map(|(picture, px)| reduce(picture, px, px)).collect::<Vec<_>>();
        debug_assert_eq!(pictures.len(), CAMERAS.len());
        let now = RawPlay {
            state: state_features(observation).to_vec(),
            actions: vec![0.0; N_ACT],
            pictures,
            episodes: std::iter::once(0..1).collect(),
        };
        let latent = self.world.follow(self.latent.as_ref(), &self.played, now, &mut self.noise)?;
        self.played.clear();
        let told = Vec::<f32>::try_from(self.world.features(&latent).view([-1]))?;
        self.latent = Some(latent);
        let told =
            told.try_into().map_err(|_| anyhow::anyhow!("a world model tells {} features", reverie_policy::STATE_FEATURES))?;
        Ok(Observation { seq: observation.seq, ..observation_of_features(&told, observation.stamp) })
    }

    fn played(&mut self, rows: &[Action]) {
        self.played.extend(rows.iter().flat_map(|row| row.0));
    }
}
