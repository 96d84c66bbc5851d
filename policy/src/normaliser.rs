//! Min-max normalisation to `[-1, 1]`, per entry, fitted on the demonstrations (as Diffusion Policy does).

use serde::{Deserialize, Serialize};

use crate::PolicyError;
use crate::error::{check_finite, check_length};

/// Entries that move less than this in the data count as constant, so that their jitter is not blown up (Diffusion Policy's
/// `range_eps`).
const CONSTANT_BELOW: f32 = 1e-4;

/// `normalised = (value - offset) / scale`, for each entry of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinMax {
    /// Middle of the range.
    pub offset: Vec<f32>,
    /// Half of the range; 1 for constant entries, which thus become 0.
    pub scale: Vec<f32>,
}

impl MinMax {
    /// Fits to `rows`, `[n, width]`.
    ///
    /// # Errors
    /// [`PolicyError::Data`] without rows, [`PolicyError::NotFinite`] with NaN or infinity in them.
    pub fn fit(rows: &[f32], width: usize) -> Result<Self, PolicyError> {
        if width == 0 || rows.is_empty() {
            return Err(PolicyError::Data("nothing to fit the normaliser to".into()));
        }
        if !rows.len().is_multiple_of(width) {
            return Err(PolicyError::Length { what: "rows to normalise", expected: rows.len() / width * width, got: rows.len() });
        }
        check_finite("value to normalise", rows)?;
        let mut low = rows[..width].to_vec();
        let mut high = low.clone();
        for row in rows.chunks_exact(width) {
            for ((low, high), &value) in low.iter_mut().zip(&mut high).zip(row) {
                *low = low.min(value);
                *high = high.max(value);
            }
        }
        let offset = low.iter().zip(&high).map(|(l, h)| 0.5 * (l + h)).collect();
        let half = |(l, h): (&f32, &f32)| if h - l < CONSTANT_BELOW { 1.0 } else { 0.5 * (h - l) };
        Ok(Self { offset, scale: low.iter().zip(&high).map(half).collect() })
    }

    /// Entries of a row.
    pub fn width(&self) -> usize {
        self.offset.len()
    }

    /// Normalises `rows`, `[n, width]`, in place. Values outside the fitted range go outside `[-1, 1]`.
    pub fn normalise(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.width()) {
            for ((value, offset), scale) in row.iter_mut().zip(&self.offset).zip(&self.scale) {
                *value = (*value - offset) / scale;
            }
        }
    }

    /// The inverse of [`normalise`](Self::normalise).
    pub fn unnormalise(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.width()) {
            for ((value, offset), scale) in row.iter_mut().zip(&self.offset).zip(&self.scale) {
                *value = *value * scale + offset;
            }
        }
    }

    pub(crate) fn validate(&self, what: &'static str, width: usize) -> Result<(), PolicyError> {
        check_length(what, width, self.offset.len())?;
        check_length(what, width, self.scale.len())?;
        check_finite(what, &self.offset)?;
        check_finite(what, &self.scale)?;
        match self.scale.iter().position(|&s| s <= 0.0) {
            None => Ok(()),
            Some(i) => Err(PolicyError::config("normaliser.scale", self.scale[i], format!("entry {i} must be positive"))),
        }
    }
}

/// Entries of an action that are exactly -1 or +1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscreteEntries {
    /// Their indices in a row.
    pub indices: Vec<usize>,
    /// What the network saw them divided by: 1, or 10 for RTI's `scale` treatment.
    pub factor: f32,
}

/// Normalises actions: continuous entries by min-max, discrete ones divided by a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionNormaliser {
    /// Offset and scale of every entry; 0 and the factor at the discrete ones.
    pub range: MinMax,
    /// The discrete entries.
    pub discrete: DiscreteEntries,
}

impl ActionNormaliser {
    /// Fits to `rows`, `[n, width]`.
    ///
    /// # Errors
    /// Those of [`MinMax::fit`], an index outside a row, a factor below 1, or a discrete entry that is not -1 or +1.
    pub fn fit(rows: &[f32], width: usize, discrete: DiscreteEntries) -> Result<Self, PolicyError> {
        let mut range = MinMax::fit(rows, width)?;
        check_discrete(&discrete, width)?;
        for &entry in &discrete.indices {
            if let Some(value) = rows.iter().skip(entry).step_by(width).find(|v| v.abs() != 1.0) {
                return Err(PolicyError::Data(format!("action entry {entry} is {value}, but it is discrete: -1 or +1")));
            }
            range.offset[entry] = 0.0;
            range.scale[entry] = discrete.factor;
        }
        Ok(Self { range, discrete })
    }

    /// Normalises `rows`, `[n, width]`, in place.
    pub fn normalise(&self, rows: &mut [f32]) {
        self.range.normalise(rows);
    }

    /// Turns decoded `rows`, `[n, width]`, into actions, in place: continuous entries clamped to `[-1, 1]`, discrete ones
    /// +1 if positive, else -1.
    pub fn unnormalise(&self, rows: &mut [f32]) {
        self.range.unnormalise(rows);
        for row in rows.chunks_exact_mut(self.range.width()) {
            for value in row.iter_mut() {
                *value = value.clamp(-1.0, 1.0);
            }
            for &entry in &self.discrete.indices {
                row[entry] = if row[entry] > 0.0 { 1.0 } else { -1.0 };
            }
        }
    }

    pub(crate) fn validate(&self, width: usize) -> Result<(), PolicyError> {
        self.range.validate("action normaliser", width)?;
        check_discrete(&self.discrete, width)
    }
}

fn check_discrete(discrete: &DiscreteEntries, width: usize) -> Result<(), PolicyError> {
    if let Some(&index) = discrete.indices.iter().find(|&&i| i >= width) {
        return Err(PolicyError::config("discrete.indices", index, format!("an action has {width} entries")));
    }
    if !(discrete.factor.is_finite() && discrete.factor >= 1.0) {
        return Err(PolicyError::config("discrete.factor", discrete.factor, "must be at least 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn constant_entries_become_zero() {
        let fitted = MinMax::fit(&[0.46, -3.0, 0.46, 5.0], 2).unwrap();
        let mut rows = vec![0.46, -3.0, 0.47, 5.0];
        fitted.normalise(&mut rows);
        assert_eq!(rows[0], 0.0);
        assert!((rows[2] - 0.01).abs() < 1e-6, "no amplification: {}", rows[2]);
        assert_eq!((rows[1], rows[3]), (-1.0, 1.0));
    }

    #[test]
    fn discrete_entries_are_divided_and_come_back_as_signs() {
        let rows = [0.2, 1.0, -0.4, -1.0];
        let fitted = ActionNormaliser::fit(&rows, 2, DiscreteEntries { indices: vec![1], factor: 10.0 }).unwrap();
        let mut normalised = rows;
        fitted.normalise(&mut normalised);
        assert_eq!((normalised[1], normalised[3]), (0.1, -0.1));
        let mut decoded = [0.0, 0.003, 7.0, 0.0];
        fitted.unnormalise(&mut decoded);
        assert!((decoded[0] + 0.1).abs() < 1e-6);
        assert_eq!(decoded[1..], [1.0, 1.0, -1.0]);
    }

    #[test]
    fn impossible_data_is_refused() {
        let discrete = |index| DiscreteEntries { indices: vec![index], factor: 1.0 };
        assert!(matches!(MinMax::fit(&[], 2), Err(PolicyError::Data(_))));
        assert!(matches!(MinMax::fit(&[0.0, f32::NAN], 2), Err(PolicyError::NotFinite { index: 1, .. })));
        assert!(matches!(ActionNormaliser::fit(&[0.0, 0.5], 2, discrete(1)), Err(PolicyError::Data(_))));
        assert!(matches!(ActionNormaliser::fit(&[0.0, 1.0], 2, discrete(2)), Err(PolicyError::Config { .. })));
    }

    proptest! {
        #[test]
        fn fitted_rows_lie_in_the_unit_box_and_come_back(rows in prop::collection::vec(-50.0_f32..50.0, 12)) {
            let fitted = MinMax::fit(&rows, 3).unwrap();
            let mut there = rows.clone();
            fitted.normalise(&mut there);
            prop_assert!(there.iter().all(|v| v.abs() <= 1.0 + 1e-5));
            fitted.unnormalise(&mut there);
            for (a, b) in rows.iter().zip(&there) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }
}
