//! What is minimised: how unlikely a state is under what was foretold, and how far the priors are from the posterior.

use reverie_policy::STATE_FEATURES;
use tch::{Kind, Tensor};

use crate::config::WorldModelConfig;

/// The kind of errors of what is told from pictures; 0 are those of what is foretold and seen, 1 of what is foretold blindly.
pub(crate) const TOLD: usize = 2;

/// The scale of distributions: the mean error of late of what is foretold where something is seen, of what is where nothing is, and of what is
/// told from pictures. Blind rows err more; with one scale for both the precision of a step would drown in that of many.
#[derive(Debug)]
pub struct Spread {
    /// Half-ranges, or their squares where a feature is Gaussian, `[3, 51]`.
    pub errors: Tensor,
    /// Batches so far, of each kind.
    pub batches: [u64; 3],
}

impl Spread {
    /// Batches that it is the mean of, about.
    const LATE: u64 = 100;

    /// Before the first batch.
    pub fn new(device: tch::Device) -> Self {
        Self { errors: Tensor::zeros([3, STATE_FEATURES as i64], (Kind::Float, device)), batches: [0; 3] }
    }

    /// Takes in the error of a batch, `[51]` or of the last features alone, and returns the scale, which has no gradient.
    pub(crate) fn take(&mut self, kind: usize, error: &Tensor) -> Tensor {
        self.batches[kind] += 1;
        let share = 1.0 / self.batches[kind].min(Self::LATE) as f64;
        let count = error.size()[0];
        let mut mean = self.errors.get(kind as i64).narrow(0, STATE_FEATURES as i64 - count, count);
        let _ = mean.lerp_(&error.detach(), share);
        mean.copy()
    }
}

/// Errors of features: absolute ones, rounded off below `least`, and squared ones where `gaussian` is 1.
pub(crate) fn errors(mean: &Tensor, target: &Tensor, gaussian: &Tensor, least: f64) -> Tensor {
    let square = (mean - target).square() + least.powi(2);
    square.where_self(&gaussian.gt(0.5), &square.sqrt())
}

/// Mean negative log-likelihood of rows from their mean error, `[features]`, at a scale, `[features]`: under Laplace distributions, and
/// under Gaussians where `gaussian` is 1; constants are left out.
pub fn nll(error: &Tensor, scale: &Tensor, gaussian: &Tensor) -> Tensor {
    ((error / scale + scale.log()) * (gaussian * -0.5 + 1.0)).sum(error.kind())
}

/// Divergence of the heads from the posterior, in nats: the mean as it is, and balanced with free nats, for the loss.
///
/// # Shapes
/// `posterior`: `[n, 1, groups, classes]`; `prior`: `[n, heads, groups, classes]`; `learns`: `[n, heads]`.
pub fn balanced_kl(posterior: &Tensor, prior: &Tensor, learns: &Tensor, config: &WorldModelConfig) -> (Tensor, Tensor) {
    let weight = learns / learns.sum(Kind::Float).clamp_min(1.0);
    let mean = |kl: &Tensor| (kl * &weight).sum(kl.kind());
    let to_prior = kl(&posterior.detach(), prior);
    let to_posterior = kl(posterior, &prior.detach());
    let balanced =
        mean(&to_prior) * config.kl_balance + mean(&to_posterior.clamp_min(config.free_nats)) * (1.0 - config.kl_balance);
    (mean(&to_prior).detach(), balanced)
}

/// `KL(q || p)` summed over groups, `[n, heads]`.
fn kl(q: &Tensor, p: &Tensor) -> Tensor {
    (q * (q.log() - p.log())).sum_dim_intlist([-1_i64, -2].as_slice(), false, p.kind())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::gradient_check::gradient_error;
    use crate::noise::Noise;

    /// The first batch counts whole, later ones a share; the kinds don't mix.
    #[test]
    fn the_scale_is_the_error_of_late() {
        let mut spread = Spread::new(Device::Cpu);
        let error = |value: f64| Tensor::full([STATE_FEATURES as i64], value, (Kind::Float, Device::Cpu));
        assert_eq!(spread.take(0, &error(4.0)), error(4.0));
        assert_eq!(spread.take(0, &error(2.0)), error(3.0));
        assert_eq!(spread.take(1, &error(8.0)), error(8.0));
        let last = |value: f64| error(value).narrow(0, 40, STATE_FEATURES as i64 - 40);
        assert_eq!(spread.take(TOLD, &last(5.0)), last(5.0));
        assert_eq!(spread.errors.get(TOLD as i64).narrow(0, 0, 40).sum(Kind::Float).double_value(&[]), 0.0);
        for _ in 0..2000 {
            let _ = spread.take(0, &error(1.0));
        }
        assert!((spread.take(0, &error(101.0)).double_value(&[0]) - 2.0).abs() < 1e-3, "one of a hundred");
    }

    /// Written out for one group of two classes.
    #[test]
    fn divergence_equals_the_written_out_sum_and_free_nats_hold_it() {
        let tensor = |v: &[f64], shape: &[i64]| Tensor::from_slice(v).view(shape);
        let q = tensor(&[0.5, 0.5], &[1, 1, 1, 2]);
        let p = tensor(&[0.9, 0.1, 0.5, 0.5], &[1, 2, 1, 2]);
        let learns = tensor(&[1.0, 0.0], &[1, 2]);
        let config = WorldModelConfig { free_nats: 0.1, ..WorldModelConfig::default() };
        let want = 0.5 * (0.5_f64 / 0.9).ln() + 0.5 * (0.5_f64 / 0.1).ln();
        let (plain, balanced) = balanced_kl(&q, &p, &learns, &config);
        assert!((plain.double_value(&[]) - want).abs() < 1e-12);
        assert!((balanced.double_value(&[]) - want).abs() < 1e-12, "both halves are equal in value");
        let (_, held) = balanced_kl(&q, &p, &learns, &WorldModelConfig { free_nats: 3.0, ..config });
        assert!((held.double_value(&[]) - (0.8 * want + 0.2 * 3.0)).abs() < 1e-12, "the prior learns on");
    }

    /// The prior's gradient is `balance` times that of KL(q || p) in p, the posterior's `1 - balance` times that in q.
    #[test]
    fn gradients_of_the_losses_are_those_of_finite_differences() {
        let mut noise = Noise::new(1, "logits", Device::Cpu);
        let q = noise.normal(&[3, 1, 2, 4]).to_kind(Kind::Double);
        let p = noise.normal(&[3, 2, 2, 4]).to_kind(Kind::Double);
        let learns = Tensor::ones([3, 2], (Kind::Double, Device::Cpu));
        let config = WorldModelConfig { free_nats: 0.0, kl_balance: 0.8, ..WorldModelConfig::default() };
        let softmax = |x: &Tensor| x.softmax(-1, Kind::Double);
        let loss = |q: &Tensor, p: &Tensor| balanced_kl(&softmax(q), &softmax(p), &learns, &config).1;
        let plain = |q: &Tensor, p: &Tensor| kl(&softmax(q), &softmax(p)).mean(Kind::Double);
        assert!(gradient_error(&p, |p| loss(&q, p), |p| plain(&q, p) * 0.8) < 1e-7);
        assert!(gradient_error(&q, |q| loss(q, &p), |q| plain(q, &p) * 0.2) < 1e-7);

        // Two features, Laplace's and Gaussian; their negative log-likelihoods, each for itself, at the optimal scale.
        let gaussian = Tensor::from_slice(&[0.0_f64, 1.0]);
        let (mean, target) = (noise.normal(&[5, 2]).to_kind(Kind::Double), noise.normal(&[5, 2]).to_kind(Kind::Double));
        let of = |mean: &Tensor| errors(mean, &target, &gaussian, 1e-9).mean_dim([0_i64].as_slice(), false, Kind::Double);
        let scale = of(&mean);
        let loss = |mean: &Tensor| nll(&of(mean), &scale, &gaussian);
        assert!(gradient_error(&mean, loss, loss) < 1e-6);
        let error = |i: i64, j: i64| mean.double_value(&[i, j]) - target.double_value(&[i, j]);
        let absolute = (0..5).map(|i| error(i, 0).abs()).sum::<f64>() / 5.0;
        let square = (0..5).map(|i| error(i, 1).powi(2)).sum::<f64>() / 5.0;
        let want = 1.0 + absolute.ln() + 0.5 + 0.5 * square.ln();
        assert!((loss(&mean).double_value(&[]) - want).abs() < 1e-9);
    }

    /// A Laplace distribution's best guess is the median: what moves in a quarter of the cases stays where it is.
    #[test]
    fn what_seldom_moves_is_foretold_to_stay() {
        let target = Tensor::from_slice(&[0.0_f64, 0.0, 0.0, 1.0]).view([4, 1]);
        let laplace = Tensor::zeros([1], (Kind::Double, Device::Cpu));
        let of = |guess: f64, gaussian: &Tensor| {
            errors(&(target.zeros_like() + guess), &target, gaussian, 1e-6).mean(Kind::Double).double_value(&[])
        };
        assert!(of(0.0, &laplace) < of(0.25, &laplace));
        assert!(of(0.0, &laplace.ones_like()) > of(0.25, &laplace.ones_like()));
    }
}
