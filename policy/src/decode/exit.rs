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

#[cfg(test)]
mod tests {
    use reverie_schema::{DecodeStart, StopReason};

    use super::super::oracle::{N, actions, build, gaussian, schedule, tick};
    use super::super::{ColdStart, DecodeOptions, DecoderConfig, DecoderSnapshot, NoiseSource};
    use super::*;

    const EXIT: ExitConfig = ExitConfig { tolerance: 0.02, floor: 1, cap: None, max_noise: 0.3 };

    fn with(mut config: DecoderConfig, exit: ExitConfig) -> DecoderConfig {
        *config.options_mut() = DecodeOptions { exit: Some(exit), ..DecodeOptions::default() };
        config
    }

    /// Decodes with an exit and without, from the same state and noise.
    fn both(config: DecoderConfig, exit: ExitConfig, previous: f32, std: f64) -> [(Vec<f32>, super::super::DecodeStats); 2] {
        [with(config.clone(), exit), config].map(|config| {
            let mut decoder = build(&config);
            decoder.restore(&DecoderSnapshot { previous: Some(vec![previous; N]), ..DecoderSnapshot::default() }).unwrap();
            tick(decoder.as_mut(), &mut gaussian(0.1, std), &mut NoiseSource::new(3, 1), 0.0, [1, 0, 2])
        })
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_settled_chain_is_within_tolerance_of_the_full_one() {
        for config in [DecoderConfig::ddim(25), DecoderConfig::ddpm(), DecoderConfig::rti(&[20, 15, 10, 5, 3, 1, 0])] {
            let [(chunk, stats), (full, all)] = both(config.clone(), EXIT, 0.4, 0.003);
            assert_eq!((stats.stop, all.stop), (StopReason::Settled, StopReason::ChainEnd), "{}", config.label());
            assert!(stats.nfe < all.nfe, "{}: {} of {}", config.label(), stats.nfe, all.nfe);
            let difference = largest_difference(&chunk, &full);
            assert!(difference < EXIT.tolerance, "{}: {difference}", config.label());
        }
    }

    #[test]
    fn a_guess_that_the_first_evaluation_confirms_costs_one() {
        let [(_, right), _] = both(DecoderConfig::rti(&[3, 1, 0]), EXIT, 0.1, 0.02);
        assert_eq!((right.nfe, right.start, right.stop), (1, DecodeStart::Previous, StopReason::Settled));
        let [(_, wrong), _] = both(DecoderConfig::rti(&[3, 1, 0]), EXIT, 0.4, 0.02);
        assert!(wrong.nfe > 1, "a guess off by 0.3 was taken for settled");
        let [(_, floored), _] = both(DecoderConfig::rti(&[3, 1, 0]), ExitConfig { floor: 2, ..EXIT }, 0.1, 0.02);
        assert_eq!((floored.nfe, floored.stop), (2, StopReason::Settled));
    }

    #[test]
    fn tolerance_zero_and_noise_above_the_limit_never_settle() {
        let [(chunk, stats), (full, _)] = both(DecoderConfig::ddim(25), ExitConfig { tolerance: 0.0, ..EXIT }, 0.1, 0.0);
        assert_eq!((chunk, stats.stop), (full, StopReason::ChainEnd));
        // The estimate of a point mass is the same at every level.
        let [(_, stats), _] = both(DecoderConfig::ddim(25), EXIT, 0.1, 0.0);
        let at = schedule();
        let quiet = (0..25).position(|i| (1.0 - at.alpha_bar(96 - 4 * i)).sqrt() <= 0.3).unwrap();
        assert_eq!((stats.nfe, stats.stop), (quiet + 1, StopReason::Settled));
    }

    #[test]
    fn the_cap_ends_warm_chains_and_not_cold_starts() {
        let exit = ExitConfig { tolerance: 0.0, cap: Some(2), ..EXIT };
        let mut config = with(DecoderConfig::rti(&[5, 3, 1, 0]), exit);
        if let DecoderConfig::Rti { cold, .. } = &mut config {
            *cold = ColdStart::Ddim { steps: 10, spacing: Default::default() };
        }
        let (mut decoder, mut noise) = (build(&config), NoiseSource::new(1, 1));
        let mut nfe = || {
            let stats = tick(decoder.as_mut(), &mut gaussian(0.1, 0.05), &mut noise, 0.0, [1, 0, 1]).1;
            (stats.nfe, stats.stop)
        };
        assert_eq!([nfe(), nfe()], [(10, StopReason::ChainEnd), (2, StopReason::Cap)]);
        let error = with(DecoderConfig::ddim(10), exit).build(&schedule(), super::super::oracle::SHAPE, &actions(1.0), None);
        let error = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("exit.cap = 2: stops at noise 0.95"), "{error}");
    }

    /// Only row 5 and later differ from the guess: they are seen if they are needed.
    #[test]
    fn only_rows_to_be_executed_are_watched() {
        let mut guess = vec![0.1; N];
        guess[5 * 7..].fill(0.4);
        for (rows, nfe) in [([0, 0, 5], 1), ([0, 0, 6], 3), ([0, 5, 1], 3)] {
            let mut decoder = build(&with(DecoderConfig::rti(&[9, 1, 0]), ExitConfig { tolerance: 0.01, ..EXIT }));
            decoder.restore(&DecoderSnapshot { previous: Some(guess.clone()), ..DecoderSnapshot::default() }).unwrap();
            let (_, stats) = tick(decoder.as_mut(), &mut gaussian(0.1, 0.02), &mut NoiseSource::new(1, 1), 0.0, rows);
            assert_eq!(stats.nfe, nfe, "{rows:?}");
        }
    }

    #[test]
    fn the_noise_of_later_ticks_does_not_depend_on_the_exit() {
        let run = |config: &DecoderConfig| {
            let mut noise = NoiseSource::new(3, 1);
            tick(build(config).as_mut(), &mut gaussian(0.1, 0.003), &mut noise, 0.0, [1, 0, 1]);
            noise
        };
        assert_eq!(run(&DecoderConfig::ddpm()), run(&with(DecoderConfig::ddpm(), EXIT)));
    }
}
