//! Decides whether a chunk may be played.

use reverie_schema::{ActionChunk, ROTATION_STEP_RAD, Stamp, TRANSLATION_STEP_M};

use crate::{ChunkRejection, ServoConfig};

/// Longest row, nanoseconds: ten control steps at 30 Hz.
const MAX_PERIOD_NS: i64 = 333_333_333;

/// What a chunk is held against.
///
/// Order is that of the observations, and of `seq` between chunks of one observation: `seq` alone would lock out a policy
/// process that was restarted and counts from zero again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Admission {
    stale_after_ns: i64,
    speed_mps: f64,
    turn_radps: f64,
    episode_start: Stamp,
    last: Option<(Stamp, u64)>,
}

impl Admission {
    pub fn new(config: &ServoConfig) -> Self {
        Self {
            stale_after_ns: i64::from(config.stale_after_ms) * 1_000_000,
            speed_mps: config.tcp_speed_mps,
            turn_radps: config.tcp_turn_radps,
            episode_start: Stamp(i64::MIN),
            last: None,
        }
    }

    /// Begins an episode: observations before `since` belong to the last one.
    pub fn reset(&mut self, since: Stamp) {
        self.episode_start = since;
        self.last = None;
    }

    /// Admits `chunk` and remembers it as the newest.
    pub fn admit(&mut self, now: Stamp, chunk: &ActionChunk) -> Result<(), ChunkRejection> {
        if chunk.obs_stamp < self.episode_start {
            return Err(ChunkRejection::BeforeReset { obs_stamp: chunk.obs_stamp, reset: self.episode_start });
        }
        if let Some(last) = self.last
            && (chunk.obs_stamp, chunk.seq) < last
        {
            return Err(ChunkRejection::OutOfOrder { seq: chunk.seq, last_seq: last.1 });
        }
        chunk.validate()?;
        self.check_speed(chunk)?;
        // The future is held to the same bound: a stamp far ahead would make every later chunk look old.
        let age_ns = now.since(chunk.obs_stamp);
        if age_ns.saturating_abs() > self.stale_after_ns {
            return Err(ChunkRejection::Stale { age_ns, limit_ns: self.stale_after_ns });
        }
        // A row of hours would keep every later chunk waiting, a start far ahead would move the arm when nobody expects it.
        let period_ns = chunk.period_ns;
        if period_ns > MAX_PERIOD_NS || chunk.start.since(now) > self.stale_after_ns {
            return Err(ChunkRejection::TooSlow { starts_in_ns: chunk.start.since(now), period_ns });
        }
        if chunk.end() <= now {
            return Err(ChunkRejection::Expired { ago_ns: now.since(chunk.end()) });
        }
        self.last = Some((chunk.obs_stamp, chunk.seq));
        Ok(())
    }

    fn check_speed(&self, chunk: &ActionChunk) -> Result<(), ChunkRejection> {
        let period_s = chunk.period_ns as f64 * 1e-9;
        for (row, action) in chunk.rows().iter().enumerate() {
            for (entry, value) in action.0.iter().take(6).enumerate() {
                let (scale, limit) =
                    if entry < 3 { (TRANSLATION_STEP_M, self.speed_mps) } else { (ROTATION_STEP_RAD, self.turn_radps) };
                let speed = f64::from(value.abs()) * scale / period_s;
                if speed > limit {
                    return Err(ChunkRejection::TooFast { row, entry, speed, limit });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_schema::{Action, ChunkError, HoldReason};

    fn chunk(obs_ms: i64, seq: u64) -> ActionChunk {
        let stamp = Stamp(obs_ms * 1_000_000);
        let rows = [Action([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]); 8];
        let mut chunk = ActionChunk::from_rows(stamp, &rows).unwrap();
        chunk.seq = seq;
        chunk
    }

    fn at(ms: i64) -> Stamp {
        Stamp(ms * 1_000_000)
    }

    #[test]
    fn a_restarted_policy_that_counts_from_zero_is_heard_and_a_late_packet_is_not() {
        let mut admission = Admission::new(&ServoConfig::default());
        assert_eq!(admission.admit(at(10), &chunk(0, 900)), Ok(()));
        assert_eq!(admission.admit(at(40), &chunk(33, 0)), Ok(()));
        assert_eq!(admission.admit(at(41), &chunk(0, 901)), Err(ChunkRejection::OutOfOrder { seq: 901, last_seq: 0 }));
    }

    #[test]
    fn chunks_of_the_last_episode_are_refused_after_a_reset() {
        let mut admission = Admission::new(&ServoConfig::default());
        admission.reset(at(100));
        assert!(matches!(admission.admit(at(101), &chunk(99, 5)), Err(ChunkRejection::BeforeReset { .. })));
        assert_eq!(admission.admit(at(101), &chunk(100, 0)), Ok(()));
    }

    #[test]
    fn stale_expired_and_from_the_future() {
        let mut admission = Admission::new(&ServoConfig::default());
        assert!(matches!(admission.admit(at(601), &chunk(0, 0)), Err(ChunkRejection::Stale { age_ns: 601_000_000, .. })));
        assert!(matches!(admission.admit(at(300), &chunk(0, 0)), Err(ChunkRejection::Expired { .. })));
        assert!(matches!(admission.admit(at(0), &chunk(5000, 0)), Err(ChunkRejection::Stale { .. })));
        assert_eq!(admission.admit(at(200), &chunk(0, 0)), Ok(()));
    }

    #[test]
    fn a_short_period_that_would_ask_for_too_much_speed_is_out_of_range() {
        let mut admission = Admission::new(&ServoConfig::default());
        let mut fast = chunk(0, 0);
        fast.period_ns = 10_000_000;
        let rejection = admission.admit(at(1), &fast).unwrap_err();
        assert!(matches!(rejection, ChunkRejection::TooFast { row: 0, entry: 0, .. }), "{rejection}");
        assert_eq!(rejection.hold_reason(), Some(HoldReason::ChunkOutOfRange));
        let mut bad = chunk(0, 0);
        bad.period_ns = 0;
        assert_eq!(admission.admit(at(1), &bad), Err(ChunkRejection::Invalid(ChunkError::Period(0))));
    }
}
