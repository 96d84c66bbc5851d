use serde::{Deserialize, Serialize};

/// Scores at evenly spaced quantiles, ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles(Vec<f32>);

impl Quantiles {
    /// Quantiles that are kept.
    const KEPT: usize = 500;

    /// Of these scores, at least one.
    pub fn of(mut scores: Vec<f32>) -> Self {
        scores.sort_by(f32::total_cmp);
        let at = |i: usize| scores[i * scores.len() / Self::KEPT];
        Self((0..Self::KEPT).map(at).collect())
    }

    /// The score that a share `share` of all stays below; minus infinity for a share of 0.
    pub fn at(&self, share: f64) -> f64 {
        let index = (share * self.0.len() as f64).round() as usize;
        let score = self.0.get(index.min(self.0.len().saturating_sub(1)));
        score.filter(|_| share > 0.0).map_or(f64::NEG_INFINITY, |score| f64::from(*score))
    }

    /// Whether there are any, all of them numbers.
    pub fn are_finite(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|score| score.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_below() {
        let quantiles = Quantiles::of((0..10_000).rev().map(|i| i as f32).collect());
        assert_eq!(quantiles.at(0.0), f64::NEG_INFINITY);
        for share in [0.002, 0.01, 0.5, 0.998] {
            assert_eq!(quantiles.at(share), share * 1e4);
        }
        assert_eq!(quantiles.at(1.0), 9980.0);
    }
}
