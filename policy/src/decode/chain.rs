//! A chain of reverse steps as plain data, and how it is run on the host.
//!
//! With `x0` the clean estimate of an evaluation (recovered from the predicted noise and clamped, see
//! [`ReverseStep::clean`]), each step does
//!
//! ```text
//! x0 <- (1 - w) x0 + w known          where something is held
//! x  <- x0_weight x0 + x_weight x + sigma z
//! ```
//!
//! All noise is drawn beforehand, so the chain holds no closure: a backend on a GPU uploads it once and overrides
//! [`Denoiser::run_chain`]. Without an exit its loop then needs no word from the host; with one, a flag after each evaluation.

use std::ops::Range;

use reverie_schema::StopReason;

use crate::error::{check_finite, check_length};
use crate::{Denoiser, PolicyError, PolicyShape, ReverseStep};

/// What to run. `batch` is that of the condition that is set.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    /// The steps, first executed first.
    pub steps: &'a [ReverseStep],
    /// Standard normal noise, a block for each step whose `sigma` is positive, `[noisy steps, batch, horizon, n_act]`.
    pub noise: &'a [f32],
    /// What clean estimates are pulled towards.
    pub hold: Option<Hold<'a>>,
    /// When to stop before the last step.
    pub exit: Option<Exit<'a>>,
}

/// In-painting: known rows, for every chunk of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Hold<'a> {
    /// Normalised actions, `[horizon, n_act]`. Read only where the weight is positive.
    pub known: &'a [f32],
    /// Weights in `[0, 1]`, `[horizon, n_act]`. Entries of weight 1 come out of the chain bit for bit.
    pub weights: &'a [f32],
}

/// Early exit: the chain ends with the clean estimate of an evaluation once the watched rows have settled.
#[derive(Clone, Debug)]
pub struct Exit<'a> {
    /// Rows that are watched.
    pub rows: Range<usize>,
    /// An entry has settled if two successive clean estimates differ by less, normalised units, `[n_act]`. 0: never.
    pub tolerance: &'a [f32],
    /// Entries of a row whose sign must be the same in both.
    pub signs: &'a [usize],
    /// Normalised chunk that the first estimate is compared with, `[horizon, n_act]`. Without, the second is the first that
    /// can have settled.
    pub reference: Option<&'a [f32]>,
    /// Evaluations before a settled chain may stop.
    pub floor: usize,
    /// Evaluations after which it stops in any case.
    pub cap: usize,
}

/// How a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// Evaluations, each counted once for the whole batch.
    pub nfe: usize,
    /// Why it ended.
    pub stop: StopReason,
}

/// Working memory of a chain on the host; grows once.
#[derive(Debug, Default)]
pub struct ChainScratch {
    /// Predicted noise, then the clean estimate.
    clean: Vec<f32>,
    /// The clean estimate before.
    before: Vec<f32>,
}

impl Chain<'_> {
    /// Checks that all parts fit `x`, `[batch, horizon, n_act]`.
    ///
    /// # Errors
    /// [`PolicyError::Length`] with the part that doesn't.
    pub fn check(&self, x: &[f32], shape: PolicyShape) -> Result<(), PolicyError> {
        let chunk_len = shape.chunk_len();
        check_length("noisy chunk", x.len() / chunk_len * chunk_len, x.len())?;
        let noisy = self.steps.iter().filter(|step| step.sigma > 0.0).count();
        check_length("noise of a chain", noisy * x.len(), self.noise.len())?;
        if let Some(hold) = &self.hold {
            check_length("held rows", chunk_len, hold.known.len())?;
            check_length("weights of held rows", chunk_len, hold.weights.len())?;
        }
        if let Some(exit) = &self.exit {
            check_length("exit tolerance", shape.n_act, exit.tolerance.len())?;
            check_length("reference chunk", chunk_len, exit.reference.map_or(chunk_len, <[f32]>::len))?;
            if exit.rows.end > shape.horizon {
                return Err(PolicyError::Length { what: "watched rows", expected: shape.horizon, got: exit.rows.end });
            }
        }
        Ok(())
    }

    /// What follows the last step: wholly held entries are written bit for bit, and the result is checked.
    ///
    /// # Errors
    /// [`PolicyError::NotFinite`].
    pub fn finish(&self, x: &mut [f32], shape: PolicyShape) -> Result<(), PolicyError> {
        if let Some(hold) = &self.hold {
            x.chunks_exact_mut(shape.chunk_len()).for_each(|chunk| hold.restore(chunk));
        }
        check_finite("decoded chunk", x)
    }
}

impl Hold<'_> {
    /// Pulls one chunk, `[horizon, n_act]`.
    fn pull(&self, chunk: &mut [f32]) {
        for ((value, &known), &weight) in chunk.iter_mut().zip(self.known).zip(self.weights) {
            if weight > 0.0 {
                *value = (1.0 - weight) * *value + weight * known;
            }
        }
    }

    /// Writes the entries that are wholly held: arithmetic may have lost the sign of a zero.
    fn restore(&self, chunk: &mut [f32]) {
        for ((value, &known), &weight) in chunk.iter_mut().zip(self.known).zip(self.weights) {
            if weight >= 1.0 {
                *value = known;
            }
        }
    }
}

impl Exit<'_> {
    /// Whether every watched row of every chunk has settled. Shapes: `[batch, horizon, n_act]`.
    fn has_settled(&self, before: &[f32], now: &[f32], chunk_len: usize) -> bool {
        let n_act = self.tolerance.len();
        let watched = self.rows.start * n_act..self.rows.end * n_act;
        before.chunks_exact(chunk_len).zip(now.chunks_exact(chunk_len)).all(|(before, now)| {
            let rows = before[watched.clone()].chunks_exact(n_act).zip(now[watched.clone()].chunks_exact(n_act));
            rows.into_iter().all(|(before, now)| {
                before.iter().zip(now).zip(self.tolerance).all(|((b, n), tolerance)| (b - n).abs() < *tolerance)
                    && self.signs.iter().all(|&entry| (before[entry] > 0.0) == (now[entry] > 0.0))
            })
        })
    }
}

/// Runs `x`, `[batch, horizon, n_act]`, through `chain` with one [`Denoiser::predict_noise`] a step. The condition must be set.
///
/// # Errors
/// Slices that don't fit each other, a network that fails, or a result with NaN or infinity.
pub fn run_on_host<D: Denoiser + ?Sized>(
    denoiser: &mut D,
    chain: &Chain<'_>,
    x: &mut [f32],
    scratch: &mut ChainScratch,
) -> Result<ChainEnd, PolicyError> {
    let shape = denoiser.shape();
    let chunk_len = shape.chunk_len();
    chain.check(x, shape)?;
    let ChainScratch { clean, before } = scratch;
    clean.resize(x.len(), 0.0);
    before.resize(x.len(), 0.0);
    let mut has_before = false;
    if let Some(reference) = chain.exit.as_ref().and_then(|exit| exit.reference) {
        before.chunks_exact_mut(chunk_len).for_each(|chunk| chunk.copy_from_slice(reference));
        has_before = true;
    }
    let mut noise = chain.noise.chunks_exact(x.len().max(1));
    let mut end = ChainEnd { nfe: chain.steps.len(), stop: StopReason::ChainEnd };
    for (index, step) in chain.steps.iter().enumerate() {
        denoiser.predict_noise(x, step.label, clean)?;
        for (eps, &x) in clean.iter_mut().zip(&*x) {
            *eps = step.clean(x, *eps);
        }
        if let Some(hold) = &chain.hold {
            clean.chunks_exact_mut(chunk_len).for_each(|chunk| hold.pull(chunk));
        }
        let nfe = index + 1;
        if let Some(exit) = &chain.exit
            && nfe < chain.steps.len()
        {
            let settled = has_before && nfe >= exit.floor && exit.has_settled(before, clean, chunk_len);
            if settled || nfe >= exit.cap {
                x.copy_from_slice(clean);
                end = ChainEnd { nfe, stop: if settled { StopReason::Settled } else { StopReason::Cap } };
                break;
            }
            before.copy_from_slice(clean);
            has_before = true;
        }
        for (x, &clean) in x.iter_mut().zip(&*clean) {
            *x = step.advance(*x, clean);
        }
        if step.sigma > 0.0
            && let Some(z) = noise.next()
        {
            for (x, &z) in x.iter_mut().zip(z) {
                *x += step.sigma * z;
            }
        }
    }
    chain.finish(x, shape)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{N, gaussian, schedule};
    use super::*;

    /// Two chunks of one batch, the second of which is still moving.
    #[test]
    fn a_batch_settles_when_all_its_chunks_have() {
        let steps: Vec<ReverseStep> = [3, 1, 0].map(|label| schedule().ancestral(label)).into();
        let noise = vec![0.0; 2 * 2 * N];
        let (tolerance, signs) = ([0.02; 7], [6]);
        let reference = vec![0.1; N];
        let exit = Exit { rows: 0..16, tolerance: &tolerance, signs: &signs, reference: Some(&reference), floor: 1, cap: 9 };
        let chain = Chain { steps: &steps, noise: &noise, hold: None, exit: Some(exit) };
        for (second, nfe) in [(0.0, 1), (0.3, 3)] {
            let mut oracle = gaussian(0.1, 0.05);
            oracle.condition(&[0.0, second], 2).unwrap();
            let mut x = vec![0.1; 2 * N];
            let end = run_on_host(&mut oracle, &chain, &mut x, &mut ChainScratch::default()).unwrap();
            assert_eq!((end.nfe, oracle.evaluations), (nfe, nfe));
            // The other chunk is as it would be alone.
            assert!(x[..N].iter().all(|value| (value - 0.1).abs() < 1e-4));
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let steps: Vec<ReverseStep> = [3, 0].map(|label| schedule().ancestral(label)).into();
        let (noise, rows) = (vec![0.0; N], vec![0.0; N]);
        let chain = Chain { steps: &steps, noise: &noise, hold: None, exit: None };
        let short = Hold { known: &rows, weights: &rows[1..] };
        let run = |chain: Chain<'_>| {
            let mut oracle = gaussian(0.1, 0.05);
            oracle.condition(&[0.0], 1).unwrap();
            let mut x = vec![0.0; N];
            run_on_host(&mut oracle, &chain, &mut x, &mut ChainScratch::default()).map_err(|error| error.to_string())
        };
        assert!(run(chain.clone()).is_ok());
        let error = run(Chain { noise: &noise[1..], ..chain.clone() }).unwrap_err();
        assert!(error.starts_with("noise of a chain has 111"), "{error}");
        let error = run(Chain { hold: Some(short), ..chain }).unwrap_err();
        assert!(error.starts_with("weights of held rows has 111"), "{error}");
    }
}
