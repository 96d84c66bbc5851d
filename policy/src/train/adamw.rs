use tch::{Kind, Tensor};

/// AdamW (Loshchilov and Hutter 2019) on one flat tensor, written out because libtorch's optimiser can't save its state.
///
/// With gradient `g` at step `n = 1, 2, ...`:
/// `p -= lr wd p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)`.
#[derive(Debug)]
pub struct AdamW {
    /// First moment.
    pub first: Tensor,
    /// Second moment.
    pub second: Tensor,
    config: AdamWConfig,
}

/// Constants of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the moments.
    pub betas: [f64; 2],
    /// Against division by zero.
    pub eps: f64,
    /// Decoupled decay of the parameters.
    pub weight_decay: f64,
}

impl AdamW {
    /// With moments of zero.
    pub fn new(parameters: &Tensor, config: AdamWConfig) -> Self {
        Self { first: parameters.zeros_like(), second: parameters.zeros_like(), config }
    }

    /// Changes `parameters` in place; `step` counts from 0. Call without gradient tracking.
    pub fn step(&mut self, parameters: &mut Tensor, gradient: &Tensor, step: u64, learning_rate: f64) {
        let AdamWConfig { betas: [b1, b2], eps, weight_decay } = self.config;
        let n = (step + 1) as f64;
        let (bias1, bias2) = (1.0 - b1.powf(n), 1.0 - b2.powf(n));
        let _ = parameters.g_mul_scalar_(1.0 - learning_rate * weight_decay);
        let _ = self.first.g_mul_scalar_(b1);
        let _ = self.first.g_add_(&(gradient * (1.0 - b1)));
        let _ = self.second.g_mul_scalar_(b2);
        let _ = self.second.g_add_(&(gradient * gradient * (1.0 - b2)));
        let mut denominator = self.second.sqrt();
        let _ = denominator.g_mul_scalar_(1.0 / bias2.sqrt());
        let _ = denominator.g_add_scalar_(eps);
        let _ = parameters.g_add_(&((&self.first / denominator) * (-learning_rate / bias1)));
    }
}

/// Scales `gradient` down to `limit` if its norm exceeds it (0: no limit), and returns the norm it had.
pub fn clip(gradient: &mut Tensor, limit: f64) -> f64 {
    let norm = gradient.norm().to_kind(Kind::Double).double_value(&[]);
    if limit > 0.0 && norm > limit {
        let _ = gradient.g_mul_scalar_(limit / norm);
    }
    norm
}

#[cfg(test)]
mod tests {
    use tch::nn::{self, OptimizerConfig as _};
    use tch::{Device, Kind};

    use super::*;

    /// 30 steps on a skewed bowl, beside libtorch's own.
    #[test]
    fn equals_the_optimiser_of_libtorch() {
        let config = AdamWConfig { betas: [0.95, 0.999], eps: 1e-8, weight_decay: 0.03 };
        let store = nn::VarStore::new(Device::Cpu);
        let start = Tensor::from_slice(&[1.0_f32, -2.0, 3.0]);
        let theirs = store.root().var_copy("p", &start);
        let mut optimiser =
            nn::AdamW { beta1: 0.95, beta2: 0.999, wd: 0.03, eps: 1e-8, amsgrad: false }.build(&store, 0.02).unwrap();
        let mut ours = start.copy();
        let mut adamw = AdamW::new(&ours, config);
        let weights = Tensor::from_slice(&[1.0_f32, 0.1, 5.0]);
        for step in 0..30 {
            optimiser.backward_step(&(&theirs * &theirs * &weights).sum(Kind::Float));
            let gradient: Tensor = &ours * &weights * 2.0;
            adamw.step(&mut ours, &gradient, step, 0.02);
        }
        let difference = (&theirs - &ours).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{difference}");
        assert!((&ours - start).abs().min().double_value(&[]) > 0.1, "it moved");
    }

    #[test]
    fn clip_keeps_the_direction() {
        let mut gradient = Tensor::from_slice(&[3.0_f32, 4.0]);
        assert_eq!(clip(&mut gradient, 0.0), 5.0);
        assert_eq!(clip(&mut gradient, 1.0), 5.0);
        assert!((gradient.double_value(&[1]) - 0.8).abs() < 1e-6);
    }
}
