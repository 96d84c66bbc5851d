//! The forward noise `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps` and the reverse steps that undo it.
//!
//! Labels run from 0 (almost clean) to `n_steps - 1` (almost pure noise). With `alpha_bar_prev` the value at the next lower
//! label (1 below label 0), the posterior of DDPM (Ho et al. 2020, equation 7, variance "fixed small") is
//!
//! ```text
//! x'    = x0_weight x0 + x_weight x + sigma z
//! x0    = clamp((x - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t), -1, 1)
//! x0_weight = sqrt(alpha_bar_prev) beta_t / (1 - alpha_bar_t)
//! x_weight  = sqrt(alpha_t) (1 - alpha_bar_prev) / (1 - alpha_bar_t)
//! sigma^2   = beta_t (1 - alpha_bar_prev) / (1 - alpha_bar_t)
//! ```
//!
//! Checked against the `DDPMScheduler` and `DDIMScheduler` of the `diffusers` package.

use serde::{Deserialize, Serialize};

use crate::PolicyError;

/// Largest beta of the squared-cosine schedule (Nichol and Dhariwal 2021, and `squaredcos_cap_v2` of diffusers).
const MAX_BETA: f64 = 0.999;
/// Offset of the squared-cosine schedule (same source): keeps the first betas from vanishing.
const COSINE_OFFSET: f64 = 0.008;

/// Which betas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// `alpha_bar(u) = cos^2((u + 0.008) / 1.008 pi / 2)`, betas capped at 0.999.
    #[default]
    SquaredCosine,
    /// Betas from 1e-4 to 0.02. Only as an ablation: the released RTI evaluation decodes networks trained with the
    /// squared cosine by this one, which under-relaxes every step.
    LinearMismatch,
}

/// A schedule as it stands in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Which betas.
    pub kind: ScheduleKind,
    /// Number of noise levels.
    pub n_steps: usize,
}

impl ScheduleConfig {
    /// Computes the tables.
    ///
    /// # Errors
    /// [`PolicyError::Config`] unless `n_steps` is in 1..=10000.
    pub fn build(self) -> Result<NoiseSchedule, PolicyError> {
        if !(1..=10_000).contains(&self.n_steps) {
            return Err(PolicyError::config("schedule.n_steps", self.n_steps, "must be in 1..=10000"));
        }
        Ok(match self.kind {
            ScheduleKind::SquaredCosine => NoiseSchedule::squared_cosine(self.n_steps),
            ScheduleKind::LinearMismatch => NoiseSchedule::linear_mismatch(self.n_steps),
        })
    }
}

/// Tables of a noise schedule, in f64.
///
/// ```
/// let schedule = reverie_policy::NoiseSchedule::squared_cosine(100);
/// assert!(schedule.alpha_bar(0) > 0.999 && schedule.alpha_bar(99) < 1e-6);
/// let last = schedule.ancestral(0);
/// assert_eq!((last.x0_weight, last.x_weight, last.sigma), (1.0, 0.0, 0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    beta: Vec<f64>,
    alpha_bar: Vec<f64>,
}

impl NoiseSchedule {
    /// [`ScheduleKind::SquaredCosine`].
    pub fn squared_cosine(n_steps: usize) -> Self {
        let alpha_bar = |u: f64| ((u + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * std::f64::consts::FRAC_PI_2).cos().powi(2);
        let n = n_steps as f64;
        Self::from_betas((0..n_steps).map(|i| (1.0 - alpha_bar((i + 1) as f64 / n) / alpha_bar(i as f64 / n)).min(MAX_BETA)))
    }

    /// [`ScheduleKind::LinearMismatch`].
    pub fn linear_mismatch(n_steps: usize) -> Self {
        let (first, last) = (1e-4, 0.02);
        let gaps = n_steps.saturating_sub(1).max(1) as f64;
        Self::from_betas((0..n_steps).map(|i| first + (last - first) * i as f64 / gaps))
    }

    fn from_betas(betas: impl Iterator<Item = f64>) -> Self {
        let beta: Vec<f64> = betas.collect();
        let alpha_bar = beta
            .iter()
            .scan(1.0, |product, b| {
                *product *= 1.0 - b;
                Some(*product)
            })
            .collect();
        Self { beta, alpha_bar }
    }

    /// Number of noise levels.
    pub fn n_steps(&self) -> usize {
        self.beta.len()
    }

    /// Share of the signal's variance left at `label`. Panics if `label >= n_steps`.
    pub fn alpha_bar(&self, label: usize) -> f64 {
        self.alpha_bar[label]
    }

    /// Variance added between `label - 1` and `label`. Panics if `label >= n_steps`.
    pub fn beta(&self, label: usize) -> f64 {
        self.beta[label]
    }

    /// One DDPM step from `label` to `label - 1`; the last one returns `x0` without noise.
    ///
    /// RTI uses these coefficients also where its label list skips levels. Panics if `label >= n_steps`.
    pub fn ancestral(&self, label: usize) -> ReverseStep {
        let alpha_bar = self.alpha_bar[label];
        if label == 0 {
            return ReverseStep::new(0, alpha_bar, 1.0, 0.0, 0.0);
        }
        let (previous, beta) = (self.alpha_bar[label - 1], self.beta[label]);
        let x0_weight = previous.sqrt() * beta / (1.0 - alpha_bar);
        let x_weight = (1.0 - beta).sqrt() * (1.0 - previous) / (1.0 - alpha_bar);
        let sigma = (beta * (1.0 - previous) / (1.0 - alpha_bar)).sqrt();
        ReverseStep::new(label, alpha_bar, x0_weight, x_weight, sigma)
    }

    /// One deterministic DDIM step (Song et al. 2021, eta = 0) from `label` to `next`, or to clean data if there is none.
    ///
    /// The direction `eps` is computed anew from the clamped `x0`, `eps = (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar)`
    /// (`use_clipped_model_output` of diffusers), so that clamping can't pull `x` and `eps` apart. Then
    /// `x' = sqrt(alpha_bar_next) x0 + sqrt(1 - alpha_bar_next) eps` is linear in `x0` and `x`. Panics if a label is
    /// `>= n_steps`.
    pub fn ddim(&self, label: usize, next: Option<usize>) -> ReverseStep {
        let alpha_bar = self.alpha_bar[label];
        let next = next.map_or(1.0, |next| self.alpha_bar[next]);
        let x_weight = ((1.0 - next) / (1.0 - alpha_bar)).sqrt();
        ReverseStep::new(label, alpha_bar, next.sqrt() - x_weight * alpha_bar.sqrt(), x_weight, 0.0)
    }
}

/// One reverse step: `x' = x0_weight x0 + x_weight x + sigma z` with `x0` recovered from the predicted noise and clamped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseStep {
    /// The noise level that the network is told.
    pub label: usize,
    /// `sqrt(alpha_bar)` at `label`.
    pub signal: f32,
    /// `sqrt(1 - alpha_bar)` at `label`.
    pub noise: f32,
    /// Weight of the clamped clean estimate.
    pub x0_weight: f32,
    /// Weight of the present value.
    pub x_weight: f32,
    /// Standard deviation of the fresh noise.
    pub sigma: f32,
}

impl ReverseStep {
    fn new(label: usize, alpha_bar: f64, x0_weight: f64, x_weight: f64, sigma: f64) -> Self {
        Self {
            label,
            signal: alpha_bar.sqrt() as f32,
            noise: (1.0 - alpha_bar).sqrt() as f32,
            x0_weight: x0_weight as f32,
            x_weight: x_weight as f32,
            sigma: sigma as f32,
        }
    }

    /// The clean value that `x` and the predicted noise `eps` stand for, clamped to `[-1, 1]`.
    pub fn clean(&self, x: f32, eps: f32) -> f32 {
        ((x - self.noise * eps) / self.signal).clamp(-1.0, 1.0)
    }

    /// Mean of the value after the step, given the clean estimate.
    pub fn advance(&self, x: f32, clean: f32) -> f32 {
        self.x0_weight * clean + self.x_weight * x
    }

    /// Mean of the value after the step, given the predicted noise.
    pub fn mean(&self, x: f32, eps: f32) -> f32 {
        self.advance(x, self.clean(x, eps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand for 100 levels: sqrt(1 - alpha_bar), sigma, weight of x.
    #[test]
    fn published_table_of_the_cosine_schedule() {
        let schedule = NoiseSchedule::squared_cosine(100);
        for (label, noise, sigma, x_weight) in
            [(0, 0.0251, 0.0, 0.0), (1, 0.0418, 0.0201, 0.361), (5, 0.105, 0.0471, 0.723), (40, 0.606, 0.149, 0.948)]
        {
            let step = schedule.ancestral(label);
            assert!((step.noise - noise).abs() < 6e-4, "{label}: {}", step.noise);
            assert!((step.sigma - sigma).abs() < 6e-4, "{label}: {}", step.sigma);
            assert!((step.x_weight - x_weight).abs() < 6e-4, "{label}: {}", step.x_weight);
        }
    }

    /// Noising to a level and one DDIM step with the true noise lands exactly on the lower level.
    #[test]
    fn ddim_with_the_true_noise_follows_the_forward_process() {
        let schedule = NoiseSchedule::squared_cosine(100);
        let (x0, eps) = (0.3_f64, -0.8_f64);
        let at = |label: usize| schedule.alpha_bar(label).sqrt() * x0 + (1.0 - schedule.alpha_bar(label)).sqrt() * eps;
        for (label, next) in [(80, Some(60)), (60, Some(3)), (3, None)] {
            let got = schedule.ddim(label, next).mean(at(label) as f32, eps as f32);
            let want = next.map_or(x0, at);
            assert!((f64::from(got) - want).abs() < 1e-5, "{label}: {got} {want}");
        }
    }

    #[test]
    fn impossible_step_counts_are_named() {
        let error = ScheduleConfig { kind: ScheduleKind::SquaredCosine, n_steps: 0 }.build().unwrap_err();
        assert!(error.to_string().starts_with("schedule.n_steps = 0"), "{error}");
    }
}
