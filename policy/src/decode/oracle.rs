//! Denoisers whose answer is known in closed form, and what tests of decoders share.

use super::{DecodeRequest, DecodeStats, Decoder, DecoderConfig, NoiseSource};
use crate::error::check_length;
use crate::{ActionNormaliser, Denoiser, DiscreteEntries, MinMax, NoiseSchedule, PolicyError, PolicyShape};

pub(crate) const SHAPE: PolicyShape = PolicyShape { horizon: 16, n_act: 7, n_cond: 1 };
pub(crate) const N: usize = SHAPE.chunk_len();

pub(crate) fn schedule() -> NoiseSchedule {
    NoiseSchedule::squared_cosine(100)
}

/// Action units are normalised units; entry 6 has two values, which the network saw divided by `factor`.
pub(crate) fn actions(factor: f32) -> ActionNormaliser {
    let mut scale = vec![1.0; 7];
    scale[6] = factor;
    ActionNormaliser { range: MinMax { offset: vec![0.0; 7], scale }, discrete: DiscreteEntries { indices: vec![6], factor } }
}

/// For a network that was trained on -1/+1.
pub(crate) fn build(config: &DecoderConfig) -> Box<dyn Decoder> {
    config.build(&schedule(), SHAPE, &actions(1.0), None).unwrap()
}

/// A decode of one chunk; `rows`: executed, committed, needed.
pub(crate) fn tick(
    decoder: &mut dyn Decoder,
    denoiser: &mut dyn Denoiser,
    noise: &mut NoiseSource,
    cond: f32,
    rows: [usize; 3],
) -> (Vec<f32>, DecodeStats) {
    let mut chunk = vec![0.0; N];
    let [rows_executed, rows_committed, rows_needed] = rows;
    let request = DecodeRequest { cond: &[cond], rows_executed, rows_committed, rows_needed };
    let stats = decoder.decode(denoiser, &request, noise, &mut chunk).unwrap();
    (chunk, stats)
}

/// The optimal noise prediction for data with a known `E[x0 | x]`; `cond` is added to the mean.
pub(crate) struct Oracle<F> {
    schedule: NoiseSchedule,
    /// `(x, sqrt(alpha_bar), 1 - alpha_bar, cond)` to `E[x0 | x]`.
    clean: F,
    cond: Vec<f32>,
    pub(crate) evaluations: usize,
    pub(crate) rests: usize,
    /// What a draft is filled with.
    pub(crate) draft: Option<f32>,
}

impl<F: FnMut(f64, f64, f64, f64) -> f64 + Send> Oracle<F> {
    pub(crate) fn new(clean: F) -> Self {
        Self { schedule: schedule(), clean, cond: Vec::new(), evaluations: 0, rests: 0, draft: None }
    }
}

/// Entries drawn independently from `N(mean + cond, std^2)`:
/// `E[x0 | x] = mu + std^2 a (x - a mu) / (a^2 std^2 + b^2)` with `a = sqrt(alpha_bar)`, `b = sqrt(1 - alpha_bar)`.
pub(crate) fn gaussian(mean: f64, std: f64) -> Oracle<impl FnMut(f64, f64, f64, f64) -> f64 + Send> {
    let variance = std * std;
    Oracle::new(move |x, a, b2, cond| {
        let mu = mean + cond;
        mu + variance * a * (x - a * mu) / (a * a * variance + b2)
    })
}

/// Entries that are `-g` or `g`, with log-odds `cond` in favour of `g`: `E[x0 | x] = g tanh(a g x / b^2 + cond / 2)`.
pub(crate) fn two_modes(g: f64) -> Oracle<impl FnMut(f64, f64, f64, f64) -> f64 + Send> {
    Oracle::new(move |x, a, b2, log_odds| g * (a * g * x / b2 + log_odds / 2.0).tanh())
}

impl<F: FnMut(f64, f64, f64, f64) -> f64 + Send> Denoiser for Oracle<F> {
    fn shape(&self) -> PolicyShape {
        SHAPE
    }

    fn condition(&mut self, cond: &[f32], batch: usize) -> Result<(), PolicyError> {
        check_length("condition", batch, cond.len())?;
        self.cond = cond.to_vec();
        Ok(())
    }

    fn predict_noise(&mut self, x: &[f32], label: usize, eps: &mut [f32]) -> Result<(), PolicyError> {
        self.evaluations += 1;
        let alpha_bar = self.schedule.alpha_bar(label);
        let (a, b2) = (alpha_bar.sqrt(), 1.0 - alpha_bar);
        for (i, (x, eps)) in x.iter().zip(eps).enumerate() {
            let x = f64::from(*x);
            let x0 = (self.clean)(x, a, b2, self.cond[i / N].into());
            *eps = ((x - a * x0) / b2.sqrt()) as f32;
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.rests += 1;
    }

    fn has_draft(&self) -> bool {
        self.draft.is_some()
    }

    fn draft(&mut self, chunk: &mut [f32]) -> Result<(), PolicyError> {
        chunk.fill(self.draft.ok_or(PolicyError::NoDrafter)?);
        Ok(())
    }
}

pub(crate) fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}
