//! Learned world models, and the fine-tuning of diffusion policies inside them.
//!
//! A [`WorldModel`] learns from recorded play what follows what (`rssm`), a [`SuccessClassifier`] tells from its latents whether a task
//! is done (`success`), and a [`Dream`] puts both behind the interface of an [`Environment`] (`dream`), with guards against believing
//! it too much: MOREC's dynamics reward (`morec`) and the disagreement of its heads. A
//! [`Tuner`] improves a policy in an environment (`tune`): [`Ppo`], [`B2`] or [`D3po`].
//!
//! Tensors are written `[time, n, ..]`; a latent is `[h; z; l; x]`; actions and features are CALVIN's, in the units of `reverie-schema`.
//!
//! ```
//! use reverie_world_model::{WorldModel, WorldModelConfig};
//! let parameters: usize = WorldModel::parameters(&WorldModelConfig::default()).iter().map(|spec| spec.numel()).sum();
//! assert_eq!(parameters, 1_943_167);
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cameras;
mod checkpoint;
mod config;
mod data;
mod dream;
mod environment;
mod error;
#[cfg(test)]
mod gradient_check;
mod guarded;
mod layers;
mod lead;
mod likelihood;
mod morec;
mod noise;
mod predict;
mod quantiles;
mod rssm;
mod sequence;
mod state;
mod store;
mod success;
mod train;
mod tune;

pub use cameras::{PICTURE_PX, reduce};
pub use checkpoint::{TrainedWorldModel, WorldModelCheckpoint, WorldModelInfo};
pub use config::{Inputs, WorldModelConfig};
pub use data::{PICTURE_LEN, PlayData, RawPlay};
pub use dream::{Conditioner, Dream, DreamConfig, Dynamics, Imagined, Risk, starts};
pub use environment::{Environment, Forkable, Situation, Transition};
pub use error::WorldModelError;
pub use guarded::GuardedWorld;
pub use lead::LEASH_M;
pub use likelihood::Spread;
pub use morec::{
    Discriminators, DynamicsReward, DynamicsRewardConfig, Snapshot, Verdict, plausibility, train as train_dynamics_reward,
};
pub use noise::Noise;
pub use predict::{MlpDynamics, Moves, OpenLoop, Usual, open_loop, usual_disagreement};
pub use quantiles::Quantiles;
pub use rssm::{CAMERAS, Foretold, Loss, Observed, WorldModel};
pub use sequence::{Seen, Sequence};
pub use store::{Info, Provenance, Stored};
// The program composes latents and conditions; libtorch itself stays a dependency of this crate and of the policy.
pub use success::{
    Labelled, Quality, Subject, SuccessCheckpoint, SuccessClassifier, SuccessConfig, SuccessInfo, Window, label as label_windows,
    train as train_success,
};
pub use tch::{Kind, Tensor, no_grad_guard};
pub use train::{Ended, WorldModelProgress, WorldModelTrainer};
pub use tune::{
    B2, B2Config, Beside, ChainConfig, Chains, ChunkNoise, D3po, D3poConfig, DiffusionPolicy, Iteration, Judge, Learner, Method,
    Outcome, ParetoJudge, Ppo, PpoConfig, Preference, SeenRollout, Select, SuccessJudge, TuneConfig, Tuner,
};
