use super::exit::ExitRule;
use crate::{NoiseSchedule, PolicyError, ReverseStep};

/// What a chain begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Gaussian noise.
    Noise,
    /// The last chunk, as it is.
    Previous,
    /// A one-pass draft, noised to the level of the first step if `renoise`.
    Draft { renoise: bool },
}

/// A list of steps and what they begin with.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) entry: Entry,
    pub(super) steps: Vec<ReverseStep>,
    pub(super) exit_floor: usize,
    pub(super) exit_cap: usize,
}

impl Plan {
    /// All ancestral steps from noise (Ho et al. 2020).
    pub(super) fn ddpm(schedule: &NoiseSchedule) -> Self {
        let labels: Vec<usize> = (0..schedule.n_steps()).rev().collect();
        Self::ancestral(schedule, &labels, Entry::Noise)
    }

    /// Deterministic steps from noise (Song et al. 2021) through `labels`; the step from the last one ends at clean data.
    pub(super) fn ddim(schedule: &NoiseSchedule, labels: &[usize]) -> Self {
        let next = labels.iter().skip(1).copied().map(Some).chain([None]);
        let steps = labels.iter().zip(next).map(|(&label, next)| schedule.ddim(label, next)).collect();
        Self { entry: Entry::Noise, steps, exit_floor: 1, exit_cap: usize::MAX }
    }

    /// Ancestral steps at `labels`, with the `t -> t-1` coefficients also where labels are skipped.
    pub(super) fn ancestral(schedule: &NoiseSchedule, labels: &[usize], entry: Entry) -> Self {
        let steps = labels.iter().map(|&label| schedule.ancestral(label)).collect();
        Self { entry, steps, exit_floor: 1, exit_cap: usize::MAX }
    }

    /// Sets when the chain may stop early; `capped` is false for a cold start that precedes warm ones.
    pub(super) fn with_exit(mut self, rule: Option<&ExitRule>, capped: bool) -> Result<Self, PolicyError> {
        if let Some(rule) = rule {
            self.exit_floor = rule.floor(&self.steps);
            self.exit_cap = if capped { rule.cap(&self.steps)? } else { usize::MAX };
        }
        Ok(self)
    }

    /// Blocks of noise that a run draws: one for each noisy step, and one for a draft that is noised.
    pub(super) fn noise_blocks(&self) -> usize {
        self.noisy_steps() + usize::from(self.entry == Entry::Draft { renoise: true })
    }

    pub(super) fn noisy_steps(&self) -> usize {
        self.steps.iter().filter(|step| step.sigma > 0.0).count()
    }
}
