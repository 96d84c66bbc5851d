//! Denoisers whose answer is known in closed form.

use crate::error::check_length;
use crate::{Denoiser, NoiseSchedule, PolicyError, PolicyShape};

/// The optimal noise prediction for entries drawn independently from `N(mean + cond, std^2)`:
/// `E[x0 | x] = mu + std^2 a (x - a mu) / (a^2 std^2 + b^2)` with `a = sqrt(alpha_bar)`, `b = sqrt(1 - alpha_bar)`.
pub(crate) struct GaussianOracle {
    schedule: NoiseSchedule,
    mean: f64,
    std: f64,
    cond: Vec<f32>,
    pub(crate) evaluations: usize,
}

impl GaussianOracle {
    pub(crate) fn new(schedule: NoiseSchedule, mean: f64, std: f64) -> Self {
        Self { schedule, mean, std, cond: Vec::new(), evaluations: 0 }
    }
}

impl Denoiser for GaussianOracle {
    fn shape(&self) -> PolicyShape {
        PolicyShape { horizon: 16, n_act: 7, n_cond: 1 }
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
        let n = self.shape().chunk_len();
        for (i, (x, eps)) in x.iter().zip(eps).enumerate() {
            let mu = self.mean + f64::from(self.cond[i / n]);
            let variance = self.std * self.std;
            let x = f64::from(*x);
            let x0 = mu + variance * a * (x - a * mu) / (a * a * variance + b2);
            *eps = ((x - a * x0) / b2.sqrt()) as f32;
        }
        Ok(())
    }
}

pub(crate) fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}
