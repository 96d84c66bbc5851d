//! What a decoder carries from tick to tick, and when it leaves its last chunk.

use serde::{Deserialize, Serialize};

use super::DecoderSnapshot;
use crate::error::{check_finite, check_length};
use crate::{ActionNormaliser, PolicyError, PolicyShape};

/// Stall detection of RTI: `stall = { ticks = 15, action = 0.02 }`.
///
/// A warm start has no way to leave a mode, so a robot that has come to rest in front of an obstacle may rest there. STEP (arXiv
/// 2602.08245) adds noise when it stalls; here the next chunk is decoded from a cold start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StallConfig {
    /// Plans in a row of which only rests were executed.
    pub ticks: usize,
    /// A row is a rest if all its continuous entries are below this, action units.
    pub action: f32,
}

/// The last chunk and what was seen of it.
#[derive(Debug)]
pub(super) struct Memory {
    /// Clean and normalised, `[horizon, n_act]`; meaningless unless `present`.
    previous: Vec<f32>,
    present: bool,
    stalled_plans: usize,
    start_anew: bool,
}

impl Memory {
    pub(super) fn new(shape: PolicyShape) -> Self {
        Self { previous: vec![0.0; shape.chunk_len()], present: false, stalled_plans: 0, start_anew: false }
    }

    pub(super) fn forget(&mut self) {
        (self.present, self.stalled_plans, self.start_anew) = (false, 0, false);
    }

    /// Rows that the last chunk reaches into one that begins `rows_executed` rows later.
    pub(super) fn overlap(&self, rows_executed: usize, horizon: usize) -> usize {
        if self.present { horizon.saturating_sub(rows_executed) } else { 0 }
    }

    /// Writes the last chunk, `rows` rows earlier, and repeats its last row. `rows < horizon`.
    pub(super) fn write_shifted(&self, rows: usize, n_act: usize, out: &mut [f32]) {
        let (body, tail) = out.split_at_mut(self.previous.len() - rows * n_act);
        body.copy_from_slice(&self.previous[rows * n_act..]);
        for row in tail.chunks_exact_mut(n_act) {
            row.copy_from_slice(&self.previous[self.previous.len() - n_act..]);
        }
    }

    /// Takes note of the rows that were executed, and tells whether to leave the last chunk.
    pub(super) fn should_restart(
        &mut self,
        stall: Option<&StallConfig>,
        rows_executed: usize,
        actions: &ActionNormaliser,
    ) -> bool {
        let n_act = actions.range.width();
        if let Some(stall) = stall
            && self.present
            && rows_executed > 0
        {
            let is_rest = |row: &[f32]| {
                let ranges = actions.range.scale.iter().zip(&actions.range.offset);
                row.iter().zip(ranges).enumerate().all(|(entry, (value, (scale, offset)))| {
                    actions.discrete.indices.contains(&entry) || (value * scale + offset).abs() < stall.action
                })
            };
            let rests = self.previous.chunks_exact(n_act).take(rows_executed).all(is_rest);
            self.stalled_plans = if rests { self.stalled_plans + 1 } else { 0 };
        }
        self.start_anew || stall.is_some_and(|stall| self.stalled_plans >= stall.ticks)
    }

    /// Takes over a decoded chunk. After a cold start the counting begins anew.
    pub(super) fn remember(&mut self, chunk: &[f32], was_cold: bool, start_anew: bool) {
        self.previous.copy_from_slice(chunk);
        self.present = true;
        self.start_anew = start_anew;
        if was_cold {
            self.stalled_plans = 0;
        }
    }

    pub(super) fn snapshot(&self) -> DecoderSnapshot {
        DecoderSnapshot {
            previous: self.present.then(|| self.previous.clone()),
            stalled_plans: self.stalled_plans,
            start_anew: self.start_anew,
        }
    }

    pub(super) fn restore(&mut self, snapshot: &DecoderSnapshot) -> Result<(), PolicyError> {
        if let Some(previous) = &snapshot.previous {
            check_length("previous chunk", self.previous.len(), previous.len())?;
            check_finite("previous chunk", previous)?;
            self.previous.copy_from_slice(previous);
        }
        self.present = snapshot.previous.is_some();
        (self.stalled_plans, self.start_anew) = (snapshot.stalled_plans, snapshot.start_anew);
        Ok(())
    }
}
