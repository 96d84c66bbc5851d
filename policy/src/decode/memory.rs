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

#[cfg(test)]
mod tests {
    use super::super::oracle::{N, SHAPE, actions, build, gaussian, schedule, tick};
    use super::super::{ColdStart, DecodeStart, Decoder, DecoderConfig, InpaintConfig, NoiseSource};
    use super::*;
    use crate::{DiscreteEntries, MinMax};

    fn rti(stall: Option<StallConfig>, jump: Option<f32>) -> DecoderConfig {
        let mut config = DecoderConfig::rti(&[3, 1, 0]);
        if let DecoderConfig::Rti { cold, stall: s, jump: j, .. } = &mut config {
            (*cold, *s, *j) = (ColdStart::Ddim { steps: 10, spacing: Default::default() }, stall, jump);
        }
        config
    }

    /// Which of the ticks for conditions `means` were new starts although there was a chunk.
    fn restarts(decoder: &mut dyn Decoder, means: &[f32], executed: usize) -> Vec<bool> {
        let mut noise = NoiseSource::new(1, 1);
        means
            .iter()
            .map(|&mean| {
                let stats = tick(decoder, &mut gaussian(0.0, 0.002), &mut noise, mean, [executed, 0, 1]).1;
                assert!(!stats.reinitialised || (stats.start, stats.nfe) == (DecodeStart::Noise, 10));
                stats.reinitialised
            })
            .collect()
    }

    #[test]
    fn a_robot_at_rest_starts_anew_and_counting_begins_anew() {
        let stall = Some(StallConfig { ticks: 3, action: 0.05 });
        let mut decoder = build(&rti(stall, None));
        let [no, yes] = [false, true];
        assert_eq!(restarts(decoder.as_mut(), &[0.0; 8], 1), [no, no, no, yes, no, no, yes, no]);
        decoder.reset();
        assert_eq!(restarts(decoder.as_mut(), &[0.2; 6], 1), [no; 6]);
        decoder.reset();
        assert_eq!(restarts(decoder.as_mut(), &[0.0; 6], 0), [no; 6], "nothing was executed");
        assert_eq!(restarts(build(&rti(None, None)).as_mut(), &[0.0; 6], 1), [no; 6], "off unless configured");
    }

    /// Only rows that were executed count, in action units, without the gripper.
    #[test]
    fn stalls_are_judged_in_action_units_on_executed_rows() {
        let range = MinMax { offset: vec![0.3, 0.0, 0.0], scale: vec![0.1, 1.0, 1.0] };
        let actions = ActionNormaliser { range, discrete: DiscreteEntries { indices: vec![2], factor: 1.0 } };
        let shape = PolicyShape { horizon: 2, n_act: 3, n_cond: 1 };
        let stall = StallConfig { ticks: 1, action: 0.05 };
        let mut memory = Memory::new(shape);
        // -3 is an action of 0, 0 one of 0.3.
        memory.remember(&[-3.0, 0.01, 1.0, 0.0, 0.0, 1.0], true, false);
        assert!(memory.should_restart(Some(&stall), 1, &actions));
        assert!(!memory.should_restart(Some(&stall), 2, &actions));
    }

    #[test]
    fn a_jump_starts_the_next_tick_anew() {
        let [no, yes] = [false, true];
        let mut decoder = build(&rti(None, Some(0.1)));
        assert_eq!(restarts(decoder.as_mut(), &[0.2, 0.2, 0.6, 0.6, 0.6], 1), [no, no, no, yes, no]);
    }

    /// What is being executed can't be left, only what comes after it.
    #[test]
    fn a_new_start_still_holds_committed_rows() {
        let mut config = rti(Some(StallConfig { ticks: 1, action: 0.05 }), None);
        config.options_mut().inpaint = Some(InpaintConfig::default());
        let (mut decoder, mut noise) = (build(&config), NoiseSource::new(1, 1));
        let (old, _) = tick(decoder.as_mut(), &mut gaussian(0.0, 0.002), &mut noise, 0.0, [0, 0, 1]);
        let (new, stats) = tick(decoder.as_mut(), &mut gaussian(0.0, 0.002), &mut noise, 0.5, [1, 2, 1]);
        assert!(stats.reinitialised);
        assert_eq!(new[..2 * 7], old[7..3 * 7]);
        assert!(new[2 * 7..].chunks_exact(7).all(|row| (row[0] - 0.5).abs() < 0.02), "unguided after them");
    }

    #[test]
    fn what_is_clipped_is_the_guess_and_not_the_memory() {
        let mut config = rti(None, None);
        if let DecoderConfig::Rti { discrete, .. } = &mut config {
            *discrete = super::super::DiscreteTreatment::Clip { factor: 10.0 };
        }
        let mut decoder = config.build(&schedule(), SHAPE, &actions(1.0), None).unwrap();
        decoder.restore(&DecoderSnapshot { previous: Some(vec![-0.9; N]), ..DecoderSnapshot::default() }).unwrap();
        // A wide prior gives the guess back.
        let (chunk, _) = tick(decoder.as_mut(), &mut gaussian(0.0, 100.0), &mut NoiseSource::new(1, 1), 0.0, [1, 0, 1]);
        assert!(chunk.chunks_exact(7).all(|row| (row[6] + 0.1).abs() < 0.15 && (row[0] + 0.9).abs() < 0.15));
        assert_eq!(decoder.snapshot().previous.unwrap(), chunk);
    }
}
