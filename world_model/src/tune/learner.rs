use std::collections::BTreeMap;

use reverie_policy::train::{AdamW, AdamWConfig, clip};
use reverie_policy::{Checkpoint, Device, RawTensor};
use tch::Tensor;

use super::chain::{ChunkNoise, DiffusionPolicy};
use super::config::TuneConfig;
use crate::WorldModelError;
use crate::error::Result;
use crate::noise::Noise;

/// A policy with its optimiser and what holds it to the frozen policy: what all ways of tuning share.
#[derive(Debug)]
pub struct Learner {
    /// The policy.
    pub policy: DiffusionPolicy,
    optimiser: AdamW,
    config: TuneConfig,
    updates: u64,
}

/// Conditions with chains of the frozen policy: what behaviour cloning holds on to.
pub(crate) struct Lesson {
    cond: Tensor,
    x: Tensor,
}

impl Learner {
    /// A learner that begins with `checkpoint`.
    ///
    /// # Errors
    /// Settings that can't be used, or don't fit the policy.
    pub fn new(checkpoint: &Checkpoint, config: &TuneConfig, device: Device) -> Result<Self> {
        config.validate()?;
        let policy = DiffusionPolicy::new(checkpoint, &config.chain, device)?;
        let optimiser = AdamW::new(&policy.parameters().copy(), ADAM);
        Ok(Self { policy, optimiser, config: config.clone(), updates: 0 })
    }

    /// The settings.
    pub fn config(&self) -> &TuneConfig {
        &self.config
    }

    /// The tuned weights by name.
    pub fn weights(&self) -> BTreeMap<String, RawTensor> {
        self.policy.weights()
    }

    /// Chains of the frozen policy in the situations `cond`; none if nothing holds on to it.
    pub(crate) fn lesson(&self, cond: &Tensor, noise: &mut Noise) -> Option<Lesson> {
        if self.config.cloning == 0.0 {
            return None;
        }
        let x = self.policy.teach(cond, &mut ChunkNoise::own(noise, cond.size()[0]));
        Some(Lesson { cond: cond.shallow_clone(), x })
    }

    /// Negative log-likelihood, `-mean ln p`, of `count` random steps of the frozen policy's chains, all of its steps among them.
    pub(crate) fn cloning_loss(&self, lesson: Option<&Lesson>, count: i64, noise: &mut Noise) -> Option<Tensor> {
        let lesson = lesson?;
        let all = lesson.x.size()[0] * (lesson.x.size()[1] - 1);
        let log_likelihood = self.policy.pair_log_likelihood(&lesson.x, &lesson.cond, &noise.below(all, &[count]));
        Some(log_likelihood.mean(log_likelihood.kind()) * -1.0)
    }

    /// One optimiser step on `loss`, with the cloning loss added; the value of the latter.
    pub(crate) fn step(&mut self, loss: &Tensor, cloning: Option<&Tensor>) -> Result<f64> {
        let total = match cloning {
            Some(cloning) => loss + cloning * self.config.cloning,
            None => loss.shallow_clone(),
        };
        let mut gradient = self.policy.parameters().gradient(&total);
        let _guard = tch::no_grad_guard();
        let value = total.double_value(&[]);
        let norm = clip(&mut gradient, self.config.grad_clip);
        if !(value.is_finite() && norm.is_finite()) {
            return Err(WorldModelError::Diverged { what: "the policy's loss", update: self.updates, loss: value });
        }
        self.optimiser.step(self.policy.parameters_mut().flat(), &gradient, self.updates, self.config.learning_rate);
        self.updates += 1;
        Ok(cloning.map_or(0.0, |cloning| cloning.double_value(&[])))
    }

    /// Parameters and moments, to be saved.
    pub(crate) fn arrays(&self) -> [(&'static str, Tensor); 3] {
        [
            ("parameters", self.policy.parameters().copy()),
            ("first_moment", self.optimiser.first.shallow_clone()),
            ("second_moment", self.optimiser.second.shallow_clone()),
        ]
    }

    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    pub(crate) fn restore(&mut self, parameters: &Tensor, first: Tensor, second: Tensor, updates: u64) {
        self.policy.parameters_mut().assign(parameters);
        (self.optimiser.first, self.optimiser.second, self.updates) = (first, second, updates);
    }
}

const ADAM: AdamWConfig = AdamWConfig { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
