//! Gradients against central differences, for tests.

use tch::{Kind, Tensor};

/// Half the distance of the two points of a difference, in f64.
const STEP: f64 = 1e-5;

/// Largest difference between the gradient of `loss` at `at` and the central differences of `value`, which is `loss` itself unless
/// parts of that are held back from the gradient on purpose.
pub(crate) fn gradient_error(at: &Tensor, loss: impl Fn(&Tensor) -> Tensor, value: impl Fn(&Tensor) -> Tensor) -> f64 {
    let at = at.to_kind(Kind::Double).contiguous();
    let leaf = at.copy().set_requires_grad(true);
    let gradient = Tensor::run_backward(&[loss(&leaf)], &[&leaf], false, false).remove(0).reshape(-1);
    let mut worst = 0.0_f64;
    for i in 0..at.numel() as i64 {
        let shifted = |by: f64| {
            let copy = at.copy();
            let _ = copy.view([-1]).get(i).g_add_scalar_(by);
            value(&copy).double_value(&[])
        };
        let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
        worst = worst.max((gradient.double_value(&[i]) - difference).abs());
    }
    worst
}
