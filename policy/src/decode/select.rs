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

#[cfg(test)]
mod tests {
    use super::super::oracle::{N, SHAPE, build, gaussian, tick, two_modes};
    use super::super::{ColdStart, DecodeOptions, Decoder, DecoderConfig, DecoderSnapshot, NoiseSource};
    use super::*;

    fn best_of(mut config: DecoderConfig, candidates: usize, choose: Choose) -> DecoderConfig {
        let best_of = Some(BestOfConfig { candidates, choose });
        *config.options_mut() = DecodeOptions { best_of, ..DecodeOptions::default() };
        config
    }

    /// First on chunks that are wholly in one of two modes, then on decoded ones whose entries fall into either mode each by itself:
    /// of the first two rows, the best of 32 agrees with the previous plan in more entries than a lone one does.
    #[test]
    fn the_candidate_in_the_previous_plans_mode_is_taken() {
        let shape = PolicyShape { horizon: 4, n_act: 2, n_cond: 1 };
        let previous = [0.5; 8];
        let chunks: Vec<f32> = [-0.5, -0.48, 0.47, -0.52, -0.56].iter().flat_map(|&mode| [mode; 8]).collect();
        assert_eq!(by_coherence(&chunks, &previous, 3, shape, 0.9), 2);
        assert_eq!(by_coherence(&chunks, &previous, 0, shape, 0.9), 0, "without a previous plan the medoid");

        let agreement = |config: &DecoderConfig| {
            let mut decoder = build(config);
            let count = decoder.candidates();
            let mut agreed = 0;
            for seed in 0..10 {
                decoder.restore(&DecoderSnapshot { previous: Some(vec![0.5; N]), ..Default::default() }).unwrap();
                let (chunk, _) = tick(decoder.as_mut(), &mut two_modes(0.5), &mut NoiseSource::new(seed, count), 0.0, [1, 0, 1]);
                agreed += chunk[..2 * 7].iter().filter(|value| **value > 0.0).count();
            }
            agreed
        };
        let alone = agreement(&DecoderConfig::ddim(10));
        let chosen = agreement(&best_of(DecoderConfig::ddim(10), 32, Choose::Coherence { decay: 0.5 }));
        assert!((50..90).contains(&alone), "of 140 entries {alone} agree by chance");
        assert!(chosen > alone + 20, "{chosen} of 140 entries agree, alone {alone}");
    }

    #[test]
    fn rows_nearer_in_time_weigh_more() {
        let shape = PolicyShape { horizon: 2, n_act: 2, n_cond: 1 };
        // Candidate 0 is off by 1 in the second row, candidate 1 by 0.95 in the first.
        let chunks = [0.0, 0.0, 0.6, 0.8, 0.0, 0.95, 0.0, 0.0];
        assert_eq!(by_coherence(&chunks, &[0.0; 4], 2, shape, 0.9), 0);
        assert_eq!(by_coherence(&chunks, &[0.0; 4], 2, shape, 1.0), 1);
        assert_eq!(by_coherence(&chunks, &[0.0; 4], 1, shape, 1.0), 0, "rows beyond the overlap don't count");
    }

    /// Likes the candidate whose first entry is largest.
    struct FirstEntry;

    impl ChunkScorer for FirstEntry {
        fn score(&mut self, cond: &[f32], chunks: &[f32], scores: &mut [f32]) -> Result<(), PolicyError> {
            assert_eq!(cond, [0.25]);
            scores.iter_mut().zip(chunks.chunks_exact(N)).for_each(|(score, chunk)| *score = chunk[0]);
            Ok(())
        }
    }

    #[test]
    fn a_scorer_chooses_and_a_missing_one_is_named() {
        let config = best_of(DecoderConfig::ddim(10), 8, Choose::Scorer {});
        let mut decoder = build(&config);
        let request = super::super::DecodeRequest { cond: &[0.25], rows_executed: 0, rows_committed: 0, rows_needed: 1 };
        let mut chunk = [0.0; N];
        let mut decode = |decoder: &mut dyn Decoder| {
            decoder
                .decode(&mut gaussian(0.0, 0.2), &request, &mut NoiseSource::new(2, 8), &mut chunk)
                .map(|stats| (stats, chunk[0]))
        };
        let error = decode(decoder.as_mut()).unwrap_err().to_string();
        assert!(error.contains("best_of.choose") && error.contains("plugged in none"), "{error}");
        decoder.set_scorer(Box::new(FirstEntry));
        let (stats, best) = decode(decoder.as_mut()).unwrap();
        assert_eq!(stats.nfe, 10, "one batch");
        // A candidate's chunk is what a decode with only its stream gives; stream 0's is the lone decoder's.
        let lone =
            tick(build(&DecoderConfig::ddim(10)).as_mut(), &mut gaussian(0.0, 0.2), &mut NoiseSource::new(2, 1), 0.25, [0, 0, 1]);
        assert!(best > lone.0[0], "{best} {}", lone.0[0]);
    }

    /// Takes the first candidate whatever the others are.
    struct First;

    impl ChunkScorer for First {
        fn score(&mut self, _: &[f32], _: &[f32], scores: &mut [f32]) -> Result<(), PolicyError> {
            scores.fill(1.0);
            Ok(())
        }
    }

    #[test]
    fn candidate_0_is_the_same_alone_and_in_company() {
        let mut rti = DecoderConfig::rti(&[3, 1, 0]);
        if let DecoderConfig::Rti { cold, .. } = &mut rti {
            *cold = ColdStart::Ddim { steps: 10, spacing: Default::default() };
        }
        let run = |config: &DecoderConfig| {
            let mut decoder = build(config);
            decoder.set_scorer(Box::new(First));
            let mut noise = NoiseSource::new(11, decoder.candidates());
            [0.0, 0.1, -0.1].map(|cond| tick(decoder.as_mut(), &mut gaussian(0.0, 0.05), &mut noise, cond, [2, 0, 1]))
        };
        let alone = run(&rti);
        assert_eq!(run(&best_of(rti.clone(), 5, Choose::Scorer {})), alone);
        assert_eq!(run(&best_of(rti, 1, Choose::default())), alone);
        assert_eq!(SHAPE.chunk_len(), alone[0].0.len());
    }
}
