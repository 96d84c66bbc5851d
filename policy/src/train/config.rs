use reverie_schema::{MAX_CHUNK_ROWS, N_ACT};
use serde::{Deserialize, Serialize};

use crate::features::STATE_FEATURES;
use crate::{NetworkConfig, PolicyError, PolicyShape, ScheduleConfig, ScheduleKind};

/// Settings of a training run. Defaults follow Diffusion Policy's low-dimensional recipe unless a field says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The network.
    pub network: NetworkConfig,
    /// Rows of a chunk, at 30 Hz (16: half a second).
    pub horizon: usize,
    /// Observations in the condition (1: CALVIN's state holds everything but velocities).
    pub n_obs: usize,
    /// Noise levels, squared-cosine schedule (100).
    pub noise_steps: usize,
    /// What the gripper's -1/+1 is divided by for the network: 10 for RTI's `scale` treatment, 1 for `clip`.
    pub gripper_factor: f32,
    /// Optimiser steps.
    pub steps: u64,
    /// Windows in a step (256).
    pub batch: usize,
    /// Largest learning rate (1e-4 in Diffusion Policy; small networks and short runs take 1e-3).
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0 (500). It then falls to 0 along half a cosine.
    pub warmup_steps: u64,
    /// AdamW's decoupled weight decay (1e-6).
    pub weight_decay: f64,
    /// AdamW's decay rates of the first and second moment (0.95, 0.999).
    pub betas: [f64; 2],
    /// AdamW's term against division by zero (1e-8).
    pub adam_eps: f64,
    /// The average of the weights decays by `1 - (1 + step)^-ema_power` (0.75), ...
    pub ema_power: f64,
    /// ... at most this (0.9999).
    pub ema_max: f64,
    /// Largest norm of the gradient; 0 for no limit (as in Diffusion Policy).
    pub grad_clip: f64,
    /// Steps between two reports of progress.
    pub report_every: u64,
    /// Steps between two saved states.
    pub save_every: u64,
    /// Seed of the first weights and of every batch.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            network: NetworkConfig::default(),
            horizon: 16,
            n_obs: 1,
            noise_steps: 100,
            gripper_factor: 10.0,
            steps: 30_000,
            batch: 256,
            learning_rate: 1e-3,
            warmup_steps: 500,
            weight_decay: 1e-6,
            betas: [0.95, 0.999],
            adam_eps: 1e-8,
            ema_power: 0.75,
            ema_max: 0.9999,
            grad_clip: 0.0,
            report_every: 100,
            save_every: 5_000,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// The sizes of the network for `n_tasks` tasks.
    pub fn shape(&self, n_tasks: usize) -> PolicyShape {
        PolicyShape { horizon: self.horizon, n_act: N_ACT, n_cond: self.n_obs * STATE_FEATURES + n_tasks }
    }

    /// The schedule trained on.
    pub fn schedule(&self) -> ScheduleConfig {
        ScheduleConfig { kind: ScheduleKind::SquaredCosine, n_steps: self.noise_steps }
    }

    /// Learning rate of the step with index `step`.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let progress = (step - self.warmup_steps) as f64 / (self.steps - self.warmup_steps).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
    }

    /// Decay of the averaged weights at the step with index `step`.
    pub fn ema_decay_at(&self, step: u64) -> f64 {
        (1.0 - (1.0 + step as f64).powf(-self.ema_power)).clamp(0.0, self.ema_max)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the key and the value that can't be used.
    pub fn validate(&self, n_tasks: usize) -> Result<(), PolicyError> {
        let check = |key, value: f64, ok: bool, reason: &str| {
            if ok { Ok(()) } else { Err(PolicyError::config(key, value, reason)) }
        };
        let unit = |v: f64| (0.0..1.0).contains(&v);
        check("horizon", self.horizon as f64, (1..=MAX_CHUNK_ROWS).contains(&self.horizon), "must be in 1..=64")?;
        check("n_obs", self.n_obs as f64, (1..=64).contains(&self.n_obs), "must be in 1..=64")?;
        check("gripper_factor", self.gripper_factor.into(), self.gripper_factor >= 1.0, "must be at least 1")?;
        check("gripper_factor", self.gripper_factor.into(), self.gripper_factor.is_finite(), "must be finite")?;
        check("batch", self.batch as f64, self.batch > 0, "must be positive")?;
        check("steps", self.steps as f64, self.steps > 0, "must be positive")?;
        check("warmup_steps", self.warmup_steps as f64, self.warmup_steps <= self.steps, "must not exceed steps")?;
        let rate = self.learning_rate;
        check("learning_rate", rate, rate > 0.0 && rate.is_finite(), "must be positive")?;
        check("weight_decay", self.weight_decay, (0.0..=1.0).contains(&self.weight_decay), "must be in [0, 1]")?;
        check("betas", self.betas[0], unit(self.betas[0]), "must be in [0, 1)")?;
        check("betas", self.betas[1], unit(self.betas[1]), "must be in [0, 1)")?;
        check("adam_eps", self.adam_eps, self.adam_eps > 0.0, "must be positive")?;
        check("ema_power", self.ema_power, self.ema_power > 0.0, "must be positive")?;
        check("ema_max", self.ema_max, unit(self.ema_max), "must be in [0, 1)")?;
        check("grad_clip", self.grad_clip, self.grad_clip >= 0.0, "must not be negative")?;
        check("report_every", self.report_every as f64, self.report_every > 0, "must be positive")?;
        check("save_every", self.save_every as f64, self.save_every > 0, "must be positive")?;
        self.schedule().build()?;
        self.network.validate(self.shape(n_tasks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_then_falls_to_zero() {
        let config = TrainConfig { steps: 1000, warmup_steps: 100, learning_rate: 2.0, ..TrainConfig::default() };
        assert_eq!(config.learning_rate_at(49), 1.0);
        assert_eq!(config.learning_rate_at(100), 2.0);
        assert!((config.learning_rate_at(550) - 1.0).abs() < 1e-12);
        assert!(config.learning_rate_at(999) < 1e-4);
    }

    /// Diffusion Policy's averaging: nothing at the first step, `1 - 101^-0.75` at the hundredth, capped in the end.
    #[test]
    fn averaging_follows_the_power_law() {
        let config = TrainConfig::default();
        assert_eq!(config.ema_decay_at(0), 0.0);
        assert!((config.ema_decay_at(100) - 0.968_615).abs() < 1e-5);
        assert_eq!(config.ema_decay_at(10_000_000), 0.9999);
    }

    #[test]
    fn bad_values_are_named_with_their_key() {
        let error = |config: TrainConfig| config.validate(8).unwrap_err().to_string();
        let good = TrainConfig::default;
        assert!(good().validate(8).is_ok());
        assert!(error(TrainConfig { learning_rate: f64::NAN, ..good() }).starts_with("learning_rate = NaN"));
        assert!(error(TrainConfig { horizon: 65, ..good() }).starts_with("horizon = 65"));
        assert!(error(TrainConfig { noise_steps: 0, ..good() }).contains("n_steps = 0"));
        let network = NetworkConfig::Unet1d { widths: vec![32, 64, 128], kernel: 5, groups: 8, step_embed: 32 };
        assert!(error(TrainConfig { horizon: 6, network, ..good() }).contains("multiple of 4"));
        assert!(serde_json::from_str::<TrainConfig>(r#"{"bach": 3}"#).is_err());
    }
}
