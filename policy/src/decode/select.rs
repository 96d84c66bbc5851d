//! Best of N: several candidates are decoded in one batch, one is executed.
//!
//! By coherence (the backward criterion of bidirectional decoding, BID: Liu et al. 2025, arXiv 2408.17355): the candidate with
//! the least `sum_i decay^i |a_i - a_i'|` over the rows `i` that overlap with the previous plan `a'`, with the Euclidean norm of
//! normalised rows. Without a previous plan: the medoid, the candidate nearest to all others in the same measure. BID's forward
//! criterion contrasts a strong with a weak policy, which is not here; a scorer can do that.

use serde::{Deserialize, Serialize};

use crate::error::check_finite;
use crate::{PolicyError, PolicyShape};

/// Settings of best of N: `best_of = { candidates = 8, choose = { kind = "coherence", decay = 0.9 } }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOfConfig {
    /// Chunks in a batch, 1 to 256. BID takes 15 to 32.
    pub candidates: usize,
    /// Which one is taken.
    #[serde(default)]
    pub choose: Choose,
}

/// How one of the candidates is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Choose {
    /// By its distance to the previous plan.
    Coherence {
        /// Weight of a row over that of the row before, in `(0, 1]`. Default 0.9: far rows will be planned again.
        #[serde(default = "default_decay")]
        decay: f32,
    },
    /// By the [`ChunkScorer`] that the program plugs in.
    Scorer {},
}

fn default_decay() -> f32 {
    0.9
}

impl Default for Choose {
    fn default() -> Self {
        Self::Coherence { decay: default_decay() }
    }
}

/// Judges candidates, for example by a learned value.
pub trait ChunkScorer: Send {
    /// Writes a score for each of `chunks`, normalised, `[candidates, horizon, n_act]`, into `scores`, `[candidates]`. The highest
    /// wins, the first among equals. `cond`: the condition, `[n_cond]`.
    ///
    /// # Errors
    /// Whatever keeps it from judging; the decode then fails.
    fn score(&mut self, cond: &[f32], chunks: &[f32], scores: &mut [f32]) -> Result<(), PolicyError>;
}

/// Index of the candidate that `scorer` likes best.
pub(super) fn by_score(
    scorer: &mut dyn ChunkScorer,
    cond: &[f32],
    chunks: &[f32],
    scores: &mut [f32],
) -> Result<usize, PolicyError> {
    scorer.score(cond, chunks, scores)?;
    check_finite("candidate score", scores)?;
    Ok(lowest(scores.iter().map(|score| -score)))
}

/// Index of the candidate that goes on most nearly as `previous` (already shifted) does over `overlap` rows; 0: the medoid.
pub(super) fn by_coherence(chunks: &[f32], previous: &[f32], overlap: usize, shape: PolicyShape, decay: f32) -> usize {
    let candidates = || chunks.chunks_exact(shape.chunk_len());
    if overlap > 0 {
        lowest(candidates().map(|chunk| distance(chunk, previous, overlap, shape.n_act, decay)))
    } else {
        let to_all = |chunk| candidates().map(|other| distance(chunk, other, shape.horizon, shape.n_act, decay)).sum();
        lowest(candidates().map(to_all))
    }
}

fn distance(a: &[f32], b: &[f32], rows: usize, n_act: usize, decay: f32) -> f32 {
    let mut weight = 1.0;
    let mut sum = 0.0;
    for (a, b) in a.chunks_exact(n_act).zip(b.chunks_exact(n_act)).take(rows) {
        sum += weight * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        weight *= decay;
    }
    sum
}

fn lowest(costs: impl Iterator<Item = f32>) -> usize {
    costs.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index)
}
