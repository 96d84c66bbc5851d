use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::{Action, CONTROL_PERIOD_NS, GripperCommand, N_ACT, Stamp};

/// The most rows a chunk can hold. Fixed, so that a chunk is copied to the servo thread without allocation.
pub const MAX_CHUNK_ROWS: usize = 64;

/// A planned sequence of actions with absolute times: row `i` is valid over `[start + i period, start + (i+1) period)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionChunk {
    /// Number of this chunk, counted by its sender.
    pub seq: u64,
    /// The observation it was computed from.
    pub obs_seq: u64,
    /// When that observation was made.
    pub obs_stamp: Stamp,
    /// When row 0 begins.
    pub start: Stamp,
    /// Duration of a row, nanoseconds.
    pub period_ns: i64,
    rows: Rows,
}

/// Why rows can't be a chunk, or a chunk can't be played.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ChunkError {
    /// No rows, or more than [`MAX_CHUNK_ROWS`].
    #[error("a chunk has 1 to {MAX_CHUNK_ROWS} rows, got {0}")]
    RowCount(usize),
    /// NaN or infinity.
    #[error("chunk row {row}, entry {entry} is {value}, which is no number to execute")]
    NotFinite {
        /// Index of the row.
        row: usize,
        /// Index in the action.
        entry: usize,
        /// What was there.
        value: f32,
    },
    /// Outside `[-1, 1]`.
    #[error("chunk row {row}, entry {entry} is {value}, outside [-1, 1]")]
    OutOfRange {
        /// Index of the row.
        row: usize,
        /// Index in the action.
        entry: usize,
        /// What was there.
        value: f32,
    },
    /// A period that is not positive.
    #[error("chunk period is {0} ns, must be positive")]
    Period(i64),
}

impl ActionChunk {
    /// A chunk of `rows` at 30 Hz from `start`, numbered 0 and made from an observation at `start`.
    ///
    /// # Errors
    /// [`ChunkError::RowCount`] if there are none or too many.
    pub fn from_rows(start: Stamp, rows: &[Action]) -> Result<Self, ChunkError> {
        Ok(Self { seq: 0, obs_seq: 0, obs_stamp: start, start, period_ns: CONTROL_PERIOD_NS, rows: Rows::new(rows)? })
    }

    /// The rows.
    pub fn rows(&self) -> &[Action] {
        &self.rows.rows[..self.rows.len]
    }

    /// When row `index` begins.
    pub fn row_start(&self, index: usize) -> Stamp {
        self.start.plus_ns(self.period_ns.saturating_mul(index as i64))
    }

    /// When the last row ends.
    pub fn end(&self) -> Stamp {
        self.row_start(self.rows.len)
    }

    /// Checks every entry: finite, within `[-1, 1]`, period positive.
    ///
    /// # Errors
    /// The first entry that can't be executed.
    pub fn validate(&self) -> Result<(), ChunkError> {
        if self.period_ns <= 0 {
            return Err(ChunkError::Period(self.period_ns));
        }
        for (row, action) in self.rows().iter().enumerate() {
            for (entry, &value) in action.0.iter().enumerate() {
                if !value.is_finite() {
                    return Err(ChunkError::NotFinite { row, entry, value });
                }
                if value.abs() > 1.0 {
                    return Err(ChunkError::OutOfRange { row, entry, value });
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Rows {
    len: usize,
    rows: [Action; MAX_CHUNK_ROWS],
}

impl Rows {
    fn new(rows: &[Action]) -> Result<Self, ChunkError> {
        if rows.is_empty() || rows.len() > MAX_CHUNK_ROWS {
            return Err(ChunkError::RowCount(rows.len()));
        }
        let mut all = [Action::hold(GripperCommand::Open); MAX_CHUNK_ROWS];
        all[..rows.len()].copy_from_slice(rows);
        Ok(Self { len: rows.len(), rows: all })
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.rows[..self.len] == other.rows[..other.len]
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.rows[..self.len])
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows: Vec<[f32; N_ACT]> = Vec::deserialize(deserializer)?;
        let rows: Vec<Action> = rows.into_iter().map(Action).collect();
        Self::new(&rows).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_range_are_named_by_row_and_entry() {
        let mut row = Action::hold(GripperCommand::Open);
        row.0[2] = f32::NAN;
        let chunk = ActionChunk::from_rows(Stamp(0), &[Action::hold(GripperCommand::Open), row]).unwrap();
        assert!(matches!(chunk.validate(), Err(ChunkError::NotFinite { row: 1, entry: 2, .. })));
        row.0[2] = 1.5;
        let chunk = ActionChunk::from_rows(Stamp(0), &[row]).unwrap();
        assert_eq!(chunk.validate(), Err(ChunkError::OutOfRange { row: 0, entry: 2, value: 1.5 }));
        assert_eq!(ActionChunk::from_rows(Stamp(0), &[]), Err(ChunkError::RowCount(0)));
    }
}
