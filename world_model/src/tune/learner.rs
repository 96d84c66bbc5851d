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
    /// The mean of the weights of late.
    mean: Tensor,
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
        let mean = policy.parameters().copy();
        Ok(Self { policy, optimiser, mean, config: config.clone(), updates: 0 })
    }

    /// The settings.
    pub fn config(&self) -> &TuneConfig {
        &self.config
    }

    /// The tuned weights by name: their mean of late.
    pub fn weights(&self) -> BTreeMap<String, RawTensor> {
        self.policy.parameters().named(&self.mean)
    }

    /// Chains of the frozen policy in the situations `cond`, or in as many random ones of them as make `steps` steps; none if nothing
    /// holds on to it.
    pub(crate) fn lesson(&self, cond: &Tensor, steps: usize, noise: &mut Noise) -> Option<Lesson> {
        if self.config.cloning == 0.0 {
            return None;
        }
        let all = cond.size()[0];
        let count = steps.div_ceil(self.policy.steps() as usize).min(all as usize) as i64;
        let cond = if count < all { cond.index_select(0, &noise.below(all, &[count])) } else { cond.shallow_clone() };
        let x = self.policy.teach(&cond, &mut ChunkNoise::own(noise, cond.size()[0]));
        Some(Lesson { cond, x })
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
        // Few updates must not leave the mean where it began.
        let kept = self.config.average.min((1.0 + self.updates as f64) / (10.0 + self.updates as f64));
        let _ = self.mean.lerp_(self.policy.parameters_mut().flat(), 1.0 - kept);
        self.updates += 1;
        Ok(cloning.map_or(0.0, |cloning| cloning.double_value(&[])))
    }

    /// Parameters, their mean, and moments, to be saved.
    pub(crate) fn arrays(&self) -> [(&'static str, Tensor); 4] {
        [
            ("parameters", self.policy.parameters().copy()),
            ("mean", self.mean.shallow_clone()),
            ("first_moment", self.optimiser.first.shallow_clone()),
            ("second_moment", self.optimiser.second.shallow_clone()),
        ]
    }

    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    pub(crate) fn restore(&mut self, [parameters, mean, first, second]: [Tensor; 4], updates: u64) {
        self.policy.parameters_mut().assign(&parameters);
        (self.mean, self.optimiser.first, self.optimiser.second, self.updates) = (mean, first, second, updates);
    }
}

pub(super) const ADAM: AdamWConfig = AdamWConfig { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::toy::{TwoStates, small_config};
    use tch::Kind;

    /// Away from the frozen policy its own chains are less likely; learned from alone they lead back. Weight 0 asks for none.
    #[test]
    fn cloning_leads_back_to_the_frozen_policy() {
        let checkpoint = TwoStates::checkpoint();
        let config = TuneConfig { learning_rate: 1e-3, cloning: 1.0, ..small_config() };
        let mut learner = Learner::new(&checkpoint, &config, Device::Cpu).unwrap();
        let mut noise = Noise::new(1, "chains", Device::Cpu);
        let cond = noise.normal(&[64, learner.policy.shape().n_cond as i64]);
        let lesson = learner.lesson(&cond, usize::MAX, &mut noise).unwrap();
        let nll = |learner: &Learner| {
            learner.cloning_loss(Some(&lesson), 4096, &mut Noise::new(2, "pairs", Device::Cpu)).unwrap().double_value(&[])
        };
        let chains = learner.policy.sample(&cond, &mut ChunkNoise::own(&mut noise, 64));
        let at_base = nll(&learner);
        for _ in 0..30 {
            let away = learner.policy.log_likelihood(&chains.x, &cond).mean(Kind::Float);
            learner.step(&away, None).unwrap();
        }
        let astray = nll(&learner);
        let nothing = Tensor::zeros([], (Kind::Float, Device::Cpu));
        for _ in 0..60 {
            let cloning = learner.cloning_loss(Some(&lesson), 256, &mut noise);
            learner.step(&nothing, cloning.as_ref()).unwrap();
        }
        let back = nll(&learner);
        assert!(astray > at_base + 0.1 && back < at_base + 0.3 * (astray - at_base), "{at_base} -> {astray} -> {back}");
        let free = Learner::new(&checkpoint, &TuneConfig { cloning: 0.0, ..small_config() }, Device::Cpu).unwrap();
        assert!(free.lesson(&cond, usize::MAX, &mut noise).is_none());
    }

    #[test]
    fn what_is_deployed_is_the_mean_of_late_or_the_last() {
        let first_weights = |average: f64| {
            let config = TuneConfig { average, ..small_config() };
            let mut learner = Learner::new(&TwoStates::checkpoint(), &config, Device::Cpu).unwrap();
            let before = learner.policy.parameters().copy();
            let cond = Tensor::zeros([4, learner.policy.shape().n_cond as i64], (Kind::Float, Device::Cpu));
            let chains = learner.policy.sample(&cond, &mut ChunkNoise::own(&mut Noise::new(1, "chains", Device::Cpu), 4));
            for _ in 0..20 {
                let loss = learner.policy.log_likelihood(&chains.x, &cond).mean(Kind::Float);
                learner.step(&loss, None).unwrap();
            }
            (before, learner.mean.shallow_clone(), learner.policy.parameters().copy())
        };
        let (_, deployed, last) = first_weights(0.0);
        assert_eq!(deployed, last);
        // Adam's first steps are equally long. The deviation d from weights that move by 1 an update follows d' = k (d + 1).
        for average in [0.5, 0.998] {
            let (before, deployed, last) = first_weights(average);
            let behind = (0..20).fold(0.0, |d, n| average.min((1.0 + f64::from(n)) / (10.0 + f64::from(n))) * (d + 1.0));
            let moved = |to: &Tensor| (to - &before).abs().mean(Kind::Double).double_value(&[]);
            let share = moved(&deployed) / moved(&last);
            assert!((share - (1.0 - behind / 20.0)).abs() < 0.03, "{average}: {share}, {behind} behind");
        }
    }
}
