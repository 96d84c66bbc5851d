use super::{DecodeRequest, DecodeStats, Decoder, DecoderSnapshot, NoiseSource, Scratch, check_request, run_chain};
use crate::{Denoiser, NoiseSchedule, PolicyError, ReverseStep};

/// Decodes every chunk from fresh Gaussian noise: DDPM or DDIM. It carries nothing from tick to tick.
#[derive(Debug)]
pub struct Cold {
    steps: Vec<ReverseStep>,
    scratch: Scratch,
}

impl Cold {
    /// All ancestral steps of `schedule` (Ho et al. 2020).
    pub fn ddpm(schedule: &NoiseSchedule) -> Self {
        Self::from_steps((0..schedule.n_steps()).rev().map(|label| schedule.ancestral(label)).collect())
    }

    /// Deterministic steps (Song et al. 2021) through `labels`, which fall strictly and lie below `n_steps`; the step from
    /// the last label ends at clean data.
    pub fn ddim(schedule: &NoiseSchedule, labels: &[usize]) -> Self {
        let next = labels.iter().skip(1).copied().map(Some).chain([None]);
        Self::from_steps(labels.iter().zip(next).map(|(&label, next)| schedule.ddim(label, next)).collect())
    }

    fn from_steps(steps: Vec<ReverseStep>) -> Self {
        Self { steps, scratch: Scratch::default() }
    }

    /// The steps, first executed first.
    pub fn steps(&self) -> &[ReverseStep] {
        &self.steps
    }

    /// Overwrites `chunk` with a decoded one. The condition must be set.
    pub(super) fn sample(
        &mut self,
        denoiser: &mut dyn Denoiser,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError> {
        noise.fill(chunk);
        run_chain(denoiser, &self.steps, noise, &mut self.scratch, chunk)?;
        Ok(DecodeStats { nfe: self.steps.len(), warm: false })
    }
}

impl Decoder for Cold {
    fn decode(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError> {
        check_request(denoiser, request, noise, chunk)?;
        denoiser.condition(request.cond, request.lanes)?;
        self.sample(denoiser, noise, chunk)
    }

    fn reset(&mut self) {}

    fn retain_lanes(&mut self, _keep: &[bool]) {}

    fn snapshot(&self) -> DecoderSnapshot {
        DecoderSnapshot::default()
    }

    fn restore(&mut self, _snapshot: &DecoderSnapshot) {}
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{GaussianOracle, mean_and_std};
    use super::*;

    fn sample(mut decoder: Cold, schedule: &NoiseSchedule) -> (f64, f64) {
        let (lanes, mean, std) = (64, 0.2, 0.1);
        let mut oracle = GaussianOracle::new(schedule.clone(), mean, std);
        let n = oracle.shape().chunk_len();
        let mut chunk = vec![0.0; lanes * n];
        let seeds: Vec<u64> = (0..lanes as u64).collect();
        let request = DecodeRequest { cond: &vec![0.0; lanes], lanes, rows_executed: 0 };
        decoder.decode(&mut oracle, &request, &mut NoiseSource::new(&seeds), &mut chunk).unwrap();
        mean_and_std(&chunk)
    }

    /// With the exact denoiser of N(0.2, 0.1^2) every step is linear, so the moments of the samples are known: the mean
    /// stays, the variance goes through `v' = k^2 v + sigma^2`. Worked out beforehand for these labels: 0.0872 for DDPM (its
    /// "fixed small" variance is exact only for point masses) and 0.0888 for DDIM. 7168 samples: standard error 0.0012
    /// of the mean, 0.0008 of the deviation.
    #[test]
    fn exact_gaussian_denoiser_gives_back_its_distribution() {
        let schedule = NoiseSchedule::squared_cosine(100);
        let ddim: Vec<usize> = (0..50).rev().map(|i| 2 * i).collect();
        for (name, decoder, expected) in [("ddpm", Cold::ddpm(&schedule), 0.0872), ("ddim", Cold::ddim(&schedule, &ddim), 0.0888)]
        {
            let (mean, std) = sample(decoder, &schedule);
            assert!((mean - 0.2).abs() < 0.005, "{name}: mean {mean}");
            assert!((std - expected).abs() < 0.003, "{name}: std {std}");
        }
    }

    #[test]
    fn wrong_lengths_and_nan_conditions_are_refused() {
        let schedule = NoiseSchedule::squared_cosine(10);
        let mut oracle = GaussianOracle::new(schedule.clone(), 0.0, 0.1);
        let mut decoder = Cold::ddpm(&schedule);
        let mut chunk = vec![0.0; oracle.shape().chunk_len()];
        let mut noise = NoiseSource::new(&[1]);
        let mut decode = |cond: &[f32], chunk: &mut [f32]| {
            decoder.decode(&mut oracle, &DecodeRequest { cond, lanes: 1, rows_executed: 0 }, &mut noise, chunk)
        };
        assert!(matches!(decode(&[], &mut chunk), Err(PolicyError::Length { what: "condition", expected: 1, got: 0 })));
        assert!(matches!(decode(&[0.0], &mut chunk[1..]), Err(PolicyError::Length { what: "chunk", .. })));
        assert!(matches!(decode(&[f32::NAN], &mut chunk), Err(PolicyError::NotFinite { what: "condition", index: 0, .. })));
    }
}
