//! Fine-tuning of diffusion policies by reinforcement: PPO on the chain of denoising steps (DPPO, as DiWA uses it in dreams), and two
//! others on the same interface, B2-DiffuRL and D3PO.

pub(crate) mod b2;
pub(crate) mod chain;
pub(crate) mod config;
pub(crate) mod d3po;
pub(crate) mod learner;
pub(crate) mod objective;
pub(crate) mod ppo;
#[cfg(test)]
mod toy;

pub use b2::B2;
pub use chain::{ChainConfig, Chains, ChunkNoise, DiffusionPolicy};
pub use config::{B2Config, D3poConfig, Method, PpoConfig, Select, TuneConfig};
pub use d3po::{D3po, Judge, Outcome, ParetoJudge, Preference, Seen as SeenRollout, SuccessJudge};
pub use learner::Learner;
pub use ppo::Ppo;

use std::path::Path;

use reverie_policy::CheckpointInfo;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::WorldModelError;
use crate::environment::Forkable;
use crate::error::Result;
use crate::state::RunState;

/// What an iteration of tuning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Its number, from 0.
    pub iteration: u64,
    /// Control steps that have been taken in all, those of branches included.
    pub steps: u64,
    /// Control steps of this iteration that were taken in branches.
    #[serde(default)]
    pub beside: u64,
    /// Episodes that ended in it.
    pub episodes: u64,
    /// Share of them that ended in success, as the environment tells it.
    pub success: f64,
    /// Mean reward of a chunk; where episodes are branched, of a whole branch.
    pub reward: f64,
    /// Loss of the policy.
    pub policy_loss: f64,
    /// Loss of the critic; 0 where there is none.
    pub value_loss: f64,
    /// Loss of what holds on to the frozen policy.
    pub cloning_loss: f64,
    /// Share of the likelihood ratios that were clipped.
    pub clipped: f64,
    /// Estimated divergence from the policy that collected.
    pub divergence: f64,
    /// Divergence of the last weights from the policy that tuning began with, nats a decision, on a sample of the decisions.
    pub divergence_from_base: f64,
    /// Denoising steps that were tuned.
    pub window: usize,
}

/// A way of tuning.
pub trait Tuner {
    /// Collects in `environment` and learns from it.
    ///
    /// # Errors
    /// What the environment says, or a loss that is no number; the weights are then as before.
    fn iterate(&mut self, environment: &mut dyn Forkable, iteration: u64) -> Result<Iteration>;

    /// The policy.
    fn learner(&self) -> &Learner;

    /// Writes everything that [`resume`](Self::resume) needs, with `beside` of the caller's.
    ///
    /// # Errors
    /// What the file system says.
    fn save_state(&self, path: &Path, beside: &Beside) -> Result<()>;

    /// Goes on from a saved state; what was saved beside it.
    ///
    /// # Errors
    /// What is wrong with the file, or that it is of other settings.
    fn resume(&mut self, path: &Path) -> Result<Beside>;
}

/// What a caller saves with a tuner's state.
#[derive(Debug)]
pub struct Beside {
    /// Iterations taken.
    pub iteration: u64,
    /// Where the environment is.
    pub environment: tch::Tensor,
    /// Control steps that it has taken.
    pub steps: u64,
    /// Anything else, as JSON.
    pub notes: serde_json::Value,
}

/// A saved state must be of a run with the same settings, on the same policy; only its length and how often it is saved may differ.
pub(crate) fn check_same_run(
    path: &Path,
    config: &TuneConfig,
    saved: &TuneConfig,
    info: &CheckpointInfo,
    base: &str,
) -> Result<()> {
    let same = TuneConfig { iterations: config.iterations, save_every: config.save_every, ..saved.clone() };
    if same != *config {
        return Err(WorldModelError::file(path, "the run was begun with other settings"));
    }
    if info.tensors_sha256 != base {
        return Err(WorldModelError::file(path, "the run was begun with another policy"));
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct LearnerState {
    config: TuneConfig,
    base: String,
    iteration: u64,
    steps: u64,
    notes: serde_json::Value,
    updates: u64,
    own: serde_json::Value,
}

/// Saves a learner, what its tuner knows beside (`own`, `arrays`), and what the caller saves.
pub(crate) fn save_learner(
    path: &Path,
    learner: &Learner,
    beside: &Beside,
    own: &serde_json::Value,
    arrays: &[(&str, &Tensor)],
) -> Result<()> {
    let rest = LearnerState {
        config: learner.config().clone(),
        base: learner.policy.checkpoint().info.tensors_sha256.clone(),
        iteration: beside.iteration,
        steps: beside.steps,
        notes: beside.notes.clone(),
        updates: learner.updates(),
        own: own.clone(),
    };
    let parts = learner.arrays();
    let mut all: Vec<(&str, &Tensor)> = parts.iter().map(|(name, tensor)| (*name, tensor)).collect();
    all.extend(arrays);
    all.push(("environment", &beside.environment));
    RunState::save(path, &all, &rest)
}

/// The reverse of [`save_learner`]: what the caller saved, what the tuner did, and the file.
pub(crate) fn resume_learner(path: &Path, learner: &mut Learner) -> Result<(Beside, serde_json::Value, RunState)> {
    let (state, rest) = RunState::load::<LearnerState>(path)?;
    check_same_run(path, learner.config(), &rest.config, &learner.policy.checkpoint().info, &rest.base)?;
    let (n, device) = ([learner.policy.parameters().numel() as i64], learner.policy.device());
    let array = |name| state.tensor(name, &n, device);
    let arrays = [array("parameters")?, array("mean")?, array("first_moment")?, array("second_moment")?];
    let environment = state.any("environment", device)?;
    learner.restore(arrays, rest.updates);
    let beside = Beside { iteration: rest.iteration, environment, steps: rest.steps, notes: rest.notes };
    Ok((beside, rest.own, state))
}
