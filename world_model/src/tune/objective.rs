//! The losses of tuning, as functions of tensors.

use tch::{Kind, Tensor};

use super::config::PpoConfig;

/// Clip range of each of `window` tuned steps, the noisiest first: `from + (to - from) (e^{c t} - 1) / (e^c - 1)`,
/// `t = i / (window - 1)` (DPPO).
pub fn clip_ranges(config: &PpoConfig, window: usize) -> Vec<f64> {
    let [from, to] = config.clip;
    let grow = |t: f64| ((config.clip_rate * t).exp() - 1.0) / (config.clip_rate.exp() - 1.0);
    (0..window).map(|i| from + (to - from) * grow(if window > 1 { i as f64 / (window - 1) as f64 } else { 1.0 })).collect()
}

/// Discount of each of `window` tuned steps, the noisiest first: `gamma^(window - 1 - i)`.
pub fn denoising_discounts(config: &PpoConfig, window: usize) -> Vec<f64> {
    (0..window).map(|i| config.denoising_gamma.powi((window - 1 - i) as i32)).collect()
}

/// PPO's clipped loss of each likelihood ratio, `max(-A r, -A clip(r, 1 - eps, 1 + eps))`; its mean, the share that is clipped, and
/// the estimate `mean(r - 1 - ln r)` of the divergence.
///
/// # Shapes
/// `now`, `before`: log-likelihoods, `[n]` or `[n, window]`; `advantage`, `clip`: the same, or what is expanded to it.
pub fn policy_loss(now: &Tensor, before: &Tensor, advantage: &Tensor, clip: &Tensor) -> [Tensor; 3] {
    let log_ratio = now - before;
    let ratio = log_ratio.exp();
    let held = ratio.minimum(&(clip + 1.0)).maximum(&(clip * -1.0 + 1.0));
    let loss = (advantage * &ratio * -1.0).maximum(&(advantage * held * -1.0)).mean(now.kind());
    let detached = ratio.detach();
    let clipped = (&detached - 1.0).abs().gt_tensor(clip).to_kind(Kind::Float).mean(Kind::Float);
    let divergence = (detached - 1.0 - log_ratio.detach()).mean(now.kind());
    [loss, clipped, divergence]
}

/// D3PO's loss of each pair and step: `-ln sigmoid(beta (ln r_w - ln r_l))`, `r = clamp(e^{now - reference}, 1 - eps, 1 + eps)`, `w`
/// the preferred one.
///
/// # Shapes
/// Log-ratios to the reference of the preferred and of the other, `[n, window]`.
pub fn preference_loss(preferred: &Tensor, other: &Tensor, beta: f64, ratio_clip: f64) -> Tensor {
    let held = |log_ratio: &Tensor| log_ratio.clamp((1.0 - ratio_clip).ln(), (1.0 + ratio_clip).ln());
    ((held(preferred) - held(other)) * beta).log_sigmoid().mean(preferred.kind()) * -1.0
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::gradient_check::gradient_error;
    use crate::noise::Noise;

    #[test]
    fn published_clip_ranges() {
        let published = PpoConfig { clip: [0.001, 0.01], ..PpoConfig::default() };
        let want = [0.0010, 0.0012, 0.0015, 0.0018, 0.0023, 0.0030, 0.0040, 0.0054, 0.0073, 0.0100];
        for (got, want) in clip_ranges(&published, 10).into_iter().zip(want) {
            assert!((got - want).abs() < 6e-5, "{got} {want}");
        }
        assert_eq!(denoising_discounts(&PpoConfig { denoising_gamma: 0.5, ..PpoConfig::default() }, 3), [0.25, 0.5, 1.0]);
        assert!((clip_ranges(&published, 1)[0] - 0.01).abs() < 1e-12);
    }

    /// A ratio of 1.5 with range 0.2: an advantage of 2 earns 1.2 * 2, one of -2 costs 1.5 * 2.
    #[test]
    fn clipping_holds_gains_and_not_losses() {
        let t = |v: &[f64]| Tensor::from_slice(v).view([1, -1]);
        let (now, before, clip) = (t(&[1.5_f64.ln(), 1.5_f64.ln()]), t(&[0.0, 0.0]), t(&[0.2, 0.2]));
        let [loss, clipped, divergence] = policy_loss(&now, &before, &t(&[2.0, -2.0]), &clip);
        assert!((loss.double_value(&[]) - 0.5 * (-2.4 + 3.0)).abs() < 1e-12);
        assert_eq!(clipped.double_value(&[]), 1.0);
        assert!((divergence.double_value(&[]) - (0.5 - 1.5_f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut noise = Noise::new(3, "objective", Device::Cpu);
        let mut draw = |scale: f64| noise.normal(&[4, 3]).to_kind(Kind::Double) * scale;
        let (now, before, advantage, other) = (draw(0.3), draw(0.3), draw(1.0), draw(0.03));
        let clip = Tensor::from_slice(&[0.05_f64, 0.1, 0.2]);
        let ppo = |now: &Tensor| policy_loss(now, &before, &advantage, &clip)[0].shallow_clone();
        assert!(gradient_error(&now, ppo, ppo) < 1e-8);
        let d3po = |x: &Tensor| preference_loss(x, &other, 0.1, 0.1);
        assert!(gradient_error(&(&now * 0.1), d3po, d3po) < 1e-9);
        // Beyond the clip nothing pulls.
        let far = Tensor::full([2, 2], 1.0, (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let loss = preference_loss(&far, &far.detach(), 0.1, 0.1);
        assert_eq!(Tensor::run_backward(&[loss], &[&far], false, false)[0].abs().max().double_value(&[]), 0.0);
    }
}
