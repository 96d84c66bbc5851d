use reverie_policy::{Device, MinMax, ParameterSpec, STATE_FEATURES};
use reverie_schema::N_ACT;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::WorldModelError;
use crate::config::WorldModelConfig;
use crate::data::{PlayData, RawPlay};
use crate::error::Result;
use crate::lead::LEAD;
use crate::morec::{DynamicsReward, DynamicsRewardConfig, Snapshot, discriminator_parameters};
use crate::noise::Noise;
use crate::predict::{OpenLoop, Usual, disagreement};
use crate::quantiles::Quantiles;
use crate::rssm::WorldModel;
use crate::store::{Info, Provenance, Stored};

/// A trained world model on disk.
pub type WorldModelCheckpoint = Stored<WorldModelInfo>;

/// What is known of a trained world model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldModelInfo {
    /// Sizes and training.
    pub config: WorldModelConfig,
    /// Normalises state features.
    pub observation_normaliser: MinMax,
    /// Updates taken.
    pub updates: u64,
    /// Minutes that training took, interruptions left out.
    pub minutes: f64,
    /// How far the heads are usually apart, along held-out play.
    pub usual: Usual,
    /// MOREC's discriminators.
    pub dynamics_reward: DynamicsRewardConfig,
    /// What each discriminator says on average of data and of dreams.
    pub snapshots: Vec<Snapshot>,
    /// How plausible held-out recorded steps look to them.
    pub plausibility: Quantiles,
    /// Open-loop errors on held-out play: of the model, of holding what was last seen, and of a plain network.
    pub open_loop: [OpenLoop; 3],
    /// Where it comes from.
    pub provenance: Provenance,
}

impl Info for WorldModelInfo {
    const NAME: &'static str = "world_model";

    fn parameters(&self) -> Vec<ParameterSpec> {
        let mut specs = WorldModel::parameters(&self.config);
        for snapshot in 0..self.snapshots.len() {
            specs.extend(discriminator_parameters(&self.config, &self.dynamics_reward, snapshot));
        }
        specs
    }

    fn validate(&self) -> Result<()> {
        self.config.validate()?;
        if !self.plausibility.are_finite() {
            return Err(WorldModelError::Data("the world model's plausibility is damaged".into()));
        }
        for (what, values) in [("offset", &self.observation_normaliser.offset), ("scale", &self.observation_normaliser.scale)] {
            if values.len() != STATE_FEATURES {
                return Err(WorldModelError::mismatch("entries of the world model's normaliser", STATE_FEATURES, values.len()));
            }
            if values.iter().any(|v| !v.is_finite() || (what == "scale" && *v <= 0.0)) {
                return Err(WorldModelError::Data(format!("the world model's observation_normaliser.{what} is damaged")));
            }
        }
        let Usual { variance, error, q99 } = &self.usual;
        if variance.len() != STATE_FEATURES || variance.iter().chain([&(*q99 as f32)]).any(|v| !(v.is_finite() && *v > 0.0)) {
            return Err(WorldModelError::Data("the world model's usual disagreement is damaged".into()));
        }
        if error.len() != STATE_FEATURES || error.iter().any(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(WorldModelError::Data("the world model's usual error is damaged".into()));
        }
        Ok(())
    }
}

/// A trained world model on a device, frozen.
#[derive(Debug)]
pub struct TrainedWorldModel {
    /// What is known of it.
    pub info: WorldModelInfo,
    /// The model.
    pub model: WorldModel,
    /// MOREC's discriminators.
    pub dynamics_reward: DynamicsReward,
    /// What tells it from others.
    pub identity: String,
    offset: Tensor,
    scale: Tensor,
    usual: Tensor,
    /// Usual error of the TCP's position, `[3]`.
    error: Tensor,
    device: Device,
}

impl TrainedWorldModel {
    /// Copies the weights to `device`.
    ///
    /// # Errors
    /// None of a checkpoint that was loaded or made.
    pub fn new(checkpoint: &WorldModelCheckpoint, device: Device) -> Result<Self> {
        let table = checkpoint.table(device)?;
        let info = checkpoint.info.clone();
        Ok(Self {
            model: WorldModel::new(&info.config, &info.observation_normaliser, &table),
            dynamics_reward: DynamicsReward::new(&table, &info.snapshots),
            identity: checkpoint.identity()?,
            offset: Tensor::from_slice(&info.observation_normaliser.offset).to_device(device),
            scale: Tensor::from_slice(&info.observation_normaliser.scale).to_device(device),
            usual: Tensor::from_slice(&info.usual.variance).to_device(device),
            error: Tensor::from_slice(&info.usual.error[..LEAD]).to_device(device),
            info,
            device,
        })
    }

    /// How far the heads are apart, as a share of what 99 of 100 steps along play stay below, `[n, 51] -> [n]`.
    pub fn uncertainty(&self, variance: &Tensor) -> Tensor {
        disagreement(variance, &self.usual) / self.info.usual.q99
    }

    /// Latents as they might be as well: the TCP's position is off by a Gaussian of `share` times the model's usual error
    /// one step ahead. `normal`: standard normal, `[.., 3]`.
    pub fn jitter(&self, latents: &Tensor, share: f64, normal: &Tensor) -> Tensor {
        let by = (normal * &self.error * share).constant_pad_nd([0, (STATE_FEATURES - LEAD) as i64]);
        self.model.displace(latents, &by)
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Follows one stream by a step: from the latent before (none at its beginning) and the actions since,
    /// `[actions_per_step * n_act]`, to that of `now`, one frame. `[1, latent]`.
    ///
    /// # Errors
    /// [`WorldModelError::Data`] for a frame without pictures that are looked at, or the wrong number of actions.
    pub fn follow(&self, before: Option<&Tensor>, actions: &[f32], now: RawPlay, noise: &mut Noise) -> Result<Tensor> {
        let config = &self.info.config;
        let data = PlayData::new(now, Some(self.info.observation_normaliser.clone()), self.device)?;
        if config.inputs.has_cameras() && !data.has_cameras() {
            return Err(WorldModelError::Data("a world model that looks needs pictures of both cameras".into()));
        }
        let mut sequence = data.windows(&[0], 1, config);
        let blank = self.model.blank(1, &sequence.actions);
        if let Some(before) = before {
            let want = config.actions_per_step * N_ACT;
            if actions.len() != want {
                return Err(WorldModelError::mismatch("action entries since the last look", want, actions.len()));
            }
            sequence.begins = sequence.begins.zeros_like();
            sequence.actions = Tensor::from_slice(actions).view([1, 1, -1]).to_device(self.device);
            sequence.seen.lead =
                self.model.lead_after(before, &sequence.actions.get(0), &sequence.seen.state.get(0)).unsqueeze(0);
        }
        Ok(self.model.observe(&sequence, before.unwrap_or(&blank), noise).latents.get(0))
    }

    /// State features that latents stand for, in their units, `[.., latent] -> [.., 51]`.
    pub fn features(&self, latents: &Tensor) -> Tensor {
        self.model.state(latents) * &self.scale + &self.offset
    }
}
