use serde::{Deserialize, Serialize};

/// What recorded steps score: evenly spaced quantiles, ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles(Vec<f32>);

impl Quantiles {
    /// Quantiles that are kept.
    const KEPT: usize = 500;

    /// Of these scores, at least one.
    pub fn of(mut scores: Vec<f32>) -> Self {
        scores.sort_by(f32::total_cmp);
        let at = |i: usize| scores[(2 * i + 1) * scores.len() / (2 * Self::KEPT)];
        Self((0..Self::KEPT).map(at).collect())
    }

    /// The score that a share `share` of the recorded steps stays below; minus infinity for a share of 0.
    pub fn least(&self, share: f64) -> f64 {
        let index = (share * self.0.len() as f64) as usize;
        let score = self.0.get(index.min(self.0.len().saturating_sub(1)));
        score.filter(|_| share > 0.0).map_or(f64::NEG_INFINITY, |score| f64::from(*score))
    }

    /// Whether all of them are numbers.
    pub fn are_finite(&self) -> bool {
        self.0.iter().all(|score| score.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_below() {
        let quantiles = Quantiles::of((0..10_000).rev().map(|i| i as f32).collect());
        assert_eq!(quantiles.least(0.0), f64::NEG_INFINITY);
        for share in [0.002, 0.01, 0.5, 0.998] {
            let least = quantiles.least(share);
            assert!((least / 1e4 - share).abs() <= 0.002, "{share}: {least}");
        }
        assert_eq!(quantiles.least(1.0), quantiles.least(0.999));
    }
}
