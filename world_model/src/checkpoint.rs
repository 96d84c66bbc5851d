use reverie_policy::{Device, MinMax, ParameterSpec, STATE_FEATURES};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::WorldModelError;
use crate::config::WorldModelConfig;
use crate::error::Result;
use crate::morec::{DynamicsReward, DynamicsRewardConfig, Snapshot, discriminator_parameters};
use crate::predict::OpenLoop;
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
    /// The prior heads' disagreement that 99 of 100 imagined steps along held-out play stay below, nats.
    pub disagreement_q99: f64,
    /// MOREC's discriminators.
    pub dynamics_reward: DynamicsRewardConfig,
    /// What each discriminator says on average of data and of dreams.
    pub snapshots: Vec<Snapshot>,
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
        for (what, values) in [("offset", &self.observation_normaliser.offset), ("scale", &self.observation_normaliser.scale)] {
            if values.len() != STATE_FEATURES {
                return Err(WorldModelError::mismatch("entries of the world model's normaliser", STATE_FEATURES, values.len()));
            }
            if values.iter().any(|v| !v.is_finite() || (what == "scale" && *v <= 0.0)) {
                return Err(WorldModelError::Data(format!("the world model's observation_normaliser.{what} is damaged")));
            }
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
            model: WorldModel::new(&info.config, &table),
            dynamics_reward: DynamicsReward::new(&table, &info.snapshots),
            identity: checkpoint.identity()?,
            offset: Tensor::from_slice(&info.observation_normaliser.offset).to_device(device),
            scale: Tensor::from_slice(&info.observation_normaliser.scale).to_device(device),
            info,
            device,
        })
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// State features that latents stand for, in their units, `[.., latent] -> [.., 51]`. What is one of two values, the gripper's
    /// command and both lamps, is made so.
    pub fn features(&self, latents: &Tensor) -> Tensor {
        let features = self.model.state(latents) * &self.scale + &self.offset;
        for (entry, low, high) in TWO_VALUED {
            let mut column = features.select(-1, entry);
            let middle = 0.5 * (low + high);
            let snapped = column.gt(middle).to_kind(column.kind()) * (high - low) + low;
            column.copy_(&snapped);
        }
        features
    }
}

/// Features of two values: index, and both.
const TWO_VALUED: [(i64, f64, f64); 3] = [(17, -1.0, 1.0), (22, 0.0, 1.0), (23, 0.0, 1.0)];
