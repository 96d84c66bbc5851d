//! Early exit: a decode stops once the rows that will be executed have settled.
//!
//! They have when two successive clean estimates differ by less than a tolerance in every continuous entry and agree in the
//! sign of every two-valued one; a warm start's first estimate is compared with the guess. Estimates at high noise levels are
//! averages over all that the policy might do, and they change slowly too, so a chain can't settle before the noise is small:
//! what a stopped chain still had before it is then at most about `sqrt(1 - alpha_bar)` in normalised units, and stays in the
//! mode that was chosen.

use serde::{Deserialize, Serialize};

use super::options::refuse;
use crate::{ActionNormaliser, PolicyError, ReverseStep};

/// Settings of early exit: `exit = { tolerance = 0.02, floor = 1, cap = 20 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitConfig {
    /// An entry has settled if it moves by less than this from one evaluation to the next, action units (CALVIN's full scale
    /// is 1: 2 cm or 0.05 rad a row). 0: never, so that only the cap acts.
    pub tolerance: f32,
    /// The fewest evaluations, at least 1. Default 1: one is enough where it confirms the guess.
    #[serde(default = "one")]
    pub floor: usize,
    /// The most evaluations. Unset: all of the chain. RTI's cold starts are not capped: they come once an episode, and their
    /// early estimates are no plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
    /// Nothing counts as settled while `sqrt(1 - alpha_bar)` is above this. Default 0.3 (level 17 of 100): modes that lie
    /// farther apart, in normalised units, have parted by then.
    #[serde(default = "default_max_noise")]
    pub max_noise: f32,
}

fn one() -> usize {
    1
}

fn default_max_noise() -> f32 {
    0.3
}

/// The criterion for one network.
#[derive(Debug)]
pub(super) struct ExitRule {
    config: ExitConfig,
    /// Normalised units, `[n_act]`; infinite at two-valued entries.
    pub(super) tolerance: Vec<f32>,
}

impl ExitRule {
    pub(super) fn new(config: ExitConfig, actions: &ActionNormaliser) -> Result<Self, PolicyError> {
        if !(config.tolerance.is_finite() && config.tolerance >= 0.0) {
            return refuse("decoder.options.exit.tolerance", config.tolerance, "must be finite and not negative");
        }
        if config.floor == 0 {
            return refuse("decoder.options.exit.floor", config.floor, "must be at least 1");
        }
        if config.cap.is_some_and(|cap| cap < config.floor) {
            return refuse("decoder.options.exit.cap", config.cap, "must be at least the floor");
        }
        if !(config.max_noise > 0.0 && config.max_noise <= 1.0) {
            return refuse("decoder.options.exit.max_noise", config.max_noise, "must be in (0, 1]");
        }
        let mut tolerance: Vec<f32> = actions.range.scale.iter().map(|scale| config.tolerance / scale).collect();
        for &entry in &actions.discrete.indices {
            tolerance[entry] = f32::INFINITY;
        }
        if config.tolerance == 0.0 {
            tolerance.fill(0.0);
        }
        Ok(Self { config, tolerance })
    }

    /// Evaluations of `steps` before which nothing counts as settled.
    pub(super) fn floor(&self, steps: &[ReverseStep]) -> usize {
        let quiet = steps.iter().position(|step| step.noise <= self.config.max_noise);
        quiet.map_or(usize::MAX, |index| self.config.floor.max(index + 1))
    }

    /// The cap for `steps`.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if it would stop them where the estimate is no plan yet.
    pub(super) fn cap(&self, steps: &[ReverseStep]) -> Result<usize, PolicyError> {
        let Some(cap) = self.config.cap.filter(|cap| *cap < steps.len()) else { return Ok(usize::MAX) };
        let noise = steps[cap - 1].noise;
        if noise > self.config.max_noise {
            let reason = format!("stops at noise {noise}, above max_noise = {}; take fewer steps instead", self.config.max_noise);
            return refuse("decoder.options.exit.cap", cap, &reason);
        }
        Ok(cap)
    }
}
