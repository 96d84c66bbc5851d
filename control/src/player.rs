//! Plays chunks by time: the target pose that the tracker follows.
//!
//! A row moves the target linearly through its action over its period; actions add up on the *commanded* target (CALVIN's
//! `use_target_pose`), world axes, Euler angles simply added. At every moment at most one row is in force:
//!
//! - A new chunk replaces what is queued from its own start on; queued rows before that stay, cut off where it starts.
//! - The row that is playing runs to its own end. The new rows follow at whatever is left of them.
//! - A row begun late executes only its remaining fraction: there is no jump to catch up. Rows played back to back add up to
//!   exactly their sum.

use reverie_schema::{Action, ActionChunk, GripperCommand, MAX_CHUNK_ROWS, Stamp};

use crate::EulerPose;

/// Rows that can wait: those left of the old chunks, and a whole new one.
const QUEUE_ROWS: usize = 2 * MAX_CHUNK_ROWS;

/// A row that has not begun.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    begin: Stamp,
    end: Stamp,
    /// Time in which the whole action would be done.
    period_ns: i64,
    action: Action,
    chunk_seq: u64,
}

/// The row that is playing: the target goes from `from` by `delta` between `begin` and `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Playing {
    begin: Stamp,
    end: Stamp,
    from: EulerPose,
    delta: EulerPose,
    /// Whether at least half of the row is played, so that it counts as executed.
    counts: bool,
}

/// The chunk player. Pure: moves only when told the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    time: Stamp,
    target: EulerPose,
    gripper: GripperCommand,
    playing: Option<Playing>,
    queue: [Row; QUEUE_ROWS],
    head: usize,
    len: usize,
    rows_executed: u64,
    chunk_seq: u64,
}

impl Player {
    /// At rest on `target` at `now`, gripper open, counters at zero.
    pub fn new(now: Stamp, target: EulerPose) -> Self {
        let none = Row { begin: now, end: now, period_ns: 1, action: Action::hold(GripperCommand::Open), chunk_seq: 0 };
        Self {
            time: now,
            target,
            gripper: GripperCommand::Open,
            playing: None,
            queue: [none; QUEUE_ROWS],
            head: 0,
            len: 0,
            rows_executed: 0,
            chunk_seq: 0,
        }
    }

    /// At rest on `target` at `now` with nothing queued; the gripper keeps its command, `rows_executed` begins at zero.
    pub fn reset(&mut self, now: Stamp, target: EulerPose) {
        self.time = now;
        self.target = target;
        self.rows_executed = 0;
        self.clear();
    }

    /// Drops the row that is playing and all queued ones; the target stops where it is.
    pub fn clear(&mut self) {
        self.playing = None;
        self.head = 0;
        self.len = 0;
    }

    /// Takes over the rows of `chunk` that end after `now`; see the module's rules. The caller has validated it. Rows beyond the
    /// room of the queue (two chunks) are left out, from the end.
    pub fn merge(&mut self, now: Stamp, chunk: &ActionChunk) {
        let mut kept = 0;
        for i in self.head..self.head + self.len {
            let mut row = self.queue[i];
            if row.begin < chunk.start && row.end > now {
                row.end = row.end.min(chunk.start);
                self.queue[kept] = row;
                kept += 1;
            }
        }
        self.head = 0;
        self.len = kept;
        for (i, &action) in chunk.rows().iter().enumerate() {
            let end = chunk.row_start(i + 1);
            if end <= now || self.len == QUEUE_ROWS {
                continue;
            }
            let begin = chunk.row_start(i).max(now);
            self.queue[self.len] = Row { begin, end, period_ns: chunk.period_ns, action, chunk_seq: chunk.seq };
            self.len += 1;
        }
    }

    /// Plays up to `now`. A row that begins at `now` has begun afterwards.
    pub fn advance_to(&mut self, now: Stamp) {
        loop {
            if let Some(playing) = self.playing {
                if playing.end > now {
                    let share = now.since(playing.begin).max(0) as f64 / playing.end.since(playing.begin) as f64;
                    self.target = std::array::from_fn(|i| playing.from[i] + playing.delta[i] * share);
                    break;
                }
                self.target = std::array::from_fn(|i| playing.from[i] + playing.delta[i]);
                self.time = self.time.max(playing.end);
                self.rows_executed += u64::from(playing.counts);
                self.playing = None;
            }
            if self.len == 0 {
                break;
            }
            let row = self.queue[self.head];
            let begin = row.begin.max(self.time);
            if row.end > begin && begin > now {
                break;
            }
            self.head += 1;
            self.len -= 1;
            if row.end > begin {
                self.begin(&row, begin);
            }
        }
        self.time = self.time.max(now);
    }

    /// Lets time pass to `now` without moving: rows meanwhile are lost, the one that is playing goes on with its rest.
    pub fn skip_to(&mut self, now: Stamp) {
        let (target, rows_executed) = (self.target, self.rows_executed);
        self.advance_to(now);
        self.set_target(target);
        self.rows_executed = rows_executed;
    }

    /// Moves the target to `target`; the row that is playing goes on from there.
    pub fn set_target(&mut self, target: EulerPose) {
        if let Some(playing) = &mut self.playing {
            playing.from = std::array::from_fn(|i| playing.from[i] + (target[i] - self.target[i]));
        }
        self.target = target;
    }

    /// The target pose now.
    pub const fn target(&self) -> &EulerPose {
        &self.target
    }

    /// How fast the target moves now, m/s and rad/s (Euler angles).
    pub fn velocity(&self) -> EulerPose {
        self.playing.map_or([0.0; 6], |playing| {
            let duration_s = playing.end.since(playing.begin) as f64 * 1e-9;
            playing.delta.map(|delta| delta / duration_s)
        })
    }

    /// The gripper's command: that of the row begun last.
    pub const fn gripper(&self) -> GripperCommand {
        self.gripper
    }

    /// Rows played to the end, by half or more, since the reset.
    pub const fn rows_executed(&self) -> u64 {
        self.rows_executed
    }

    /// Number of the chunk whose row began last.
    pub const fn chunk_seq(&self) -> u64 {
        self.chunk_seq
    }

    /// Whether neither a row is playing nor one is queued.
    pub const fn is_exhausted(&self) -> bool {
        self.playing.is_none() && self.len == 0
    }

    fn begin(&mut self, row: &Row, begin: Stamp) {
        let share = row.end.since(begin) as f64 / row.period_ns as f64;
        let [x, y, z] = row.action.translation_m();
        let [roll, pitch, yaw] = row.action.rotation_rad();
        let delta = [x, y, z, roll, pitch, yaw].map(|entry| entry * share);
        self.playing = Some(Playing { begin, end: row.end, from: self.target, delta, counts: share >= 0.5 });
        self.gripper = row.action.gripper();
        self.chunk_seq = row.chunk_seq;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_schema::CONTROL_PERIOD_NS as T;

    fn chunk(start: i64, seq: u64, xs: &[f32]) -> ActionChunk {
        let rows: Vec<Action> = xs.iter().map(|&x| Action([x, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])).collect();
        let mut chunk = ActionChunk::from_rows(Stamp(start), &rows).unwrap();
        chunk.seq = seq;
        chunk
    }

    fn x_mm(player: &Player) -> f64 {
        player.target()[0] * 1e3
    }

    #[track_caller]
    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }

    #[test]
    fn back_to_back_rows_add_up_and_the_target_moves_linearly_within_a_row() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        player.merge(Stamp(0), &chunk(0, 1, &[1.0, -0.5, 0.25]));
        player.advance_to(Stamp(T / 4));
        near(x_mm(&player), 5.0);
        near(player.velocity()[0], 0.02 / (T as f64 * 1e-9));
        assert_eq!((player.gripper(), player.rows_executed()), (GripperCommand::Close, 0));
        player.advance_to(Stamp(2 * T));
        near(x_mm(&player), 10.0);
        assert_eq!(player.rows_executed(), 2);
        player.advance_to(Stamp(50 * T));
        near(x_mm(&player), 15.0);
        assert!(player.is_exhausted() && player.velocity() == [0.0; 6] && player.rows_executed() == 3);
    }

    #[test]
    fn a_chunk_that_comes_late_executes_only_what_is_left() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        let now = Stamp(T + T / 4);
        player.advance_to(now);
        player.merge(now, &chunk(0, 1, &[1.0, 1.0, 1.0]));
        player.advance_to(now);
        near(x_mm(&player), 0.0);
        near(player.velocity()[0], 0.02 / (T as f64 * 1e-9));
        player.advance_to(Stamp(9 * T));
        near(x_mm(&player), 15.0 + 20.0);
        assert_eq!(player.rows_executed(), 2);
    }

    #[test]
    fn rows_are_merged_by_time_and_the_playing_row_runs_to_its_end() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        player.merge(Stamp(0), &chunk(0, 1, &[1.0; 8]));
        let now = Stamp(T + T / 2);
        player.advance_to(now);
        // Rows 0 and 1 are past or playing; from row 2 on the new plan goes back.
        player.merge(now, &chunk(0, 2, &[-1.0; 4]));
        player.advance_to(Stamp(2 * T - 1));
        assert_eq!(player.chunk_seq(), 1);
        player.advance_to(Stamp(2 * T));
        near(x_mm(&player), 40.0);
        assert_eq!(player.chunk_seq(), 2);
        player.advance_to(Stamp(9 * T));
        near(x_mm(&player), 0.0);
        assert_eq!(player.rows_executed(), 4);
    }

    #[test]
    fn a_chunk_on_another_grid_follows_the_playing_row_with_the_rest_of_its_own() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        player.merge(Stamp(0), &chunk(0, 1, &[1.0; 4]));
        let now = Stamp(T / 2);
        player.advance_to(now);
        player.merge(now, &chunk(T / 4, 2, &[-1.0, -1.0]));
        // Old row to T; then a quarter of new row 0, all of row 1.
        player.advance_to(Stamp(T + T / 4));
        near(x_mm(&player), 20.0 - 5.0);
        player.advance_to(Stamp(9 * T));
        near(x_mm(&player), 20.0 - 25.0);
        assert_eq!(player.rows_executed(), 2, "a quarter of a row is not a row");
    }

    #[test]
    fn the_old_plan_holds_until_a_chunk_that_begins_later_sets_in() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        player.merge(Stamp(0), &chunk(0, 1, &[1.0; 8]));
        player.advance_to(Stamp(1));
        player.merge(Stamp(1), &chunk(3 * T + T / 2, 2, &[-1.0]));
        player.advance_to(Stamp(3 * T + T / 2));
        near(x_mm(&player), 70.0);
        player.advance_to(Stamp(20 * T));
        near(x_mm(&player), 50.0);
    }

    #[test]
    fn any_sequence_of_merges_moves_no_faster_than_a_row_and_never_jumps() {
        let random = |k: u64| reverie_schema::derive_seed(k, "player");
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        let mut now = 0_i64;
        for k in 0..20_000_u64 {
            if random(2 * k) % 20 == 0 {
                let start = now + (random(3 * k + 1) % 400) as i64 * 1_000_000 - 200_000_000;
                let xs: Vec<f32> = (0..=random(k + 7) % 63).map(|i| (random(k * 64 + i) % 2001) as f32 / 1000.0 - 1.0).collect();
                player.merge(Stamp(now), &chunk(start, k, &xs));
            }
            let before = *player.target();
            let step = (random(5 * k + 3) % 5_000_000) as i64;
            now += step;
            player.advance_to(Stamp(now));
            let most = 0.02 * step as f64 / T as f64;
            assert!((player.target()[0] - before[0]).abs() <= most + 1e-12);
        }
        assert!(player.rows_executed() > 500);
    }

    #[test]
    fn time_skipped_is_motion_lost() {
        let mut player = Player::new(Stamp(0), [0.0; 6]);
        player.merge(Stamp(0), &chunk(0, 1, &[1.0; 4]));
        player.advance_to(Stamp(T / 2));
        player.skip_to(Stamp(2 * T + T / 2));
        near(x_mm(&player), 10.0);
        player.advance_to(Stamp(9 * T));
        near(x_mm(&player), 10.0 + 10.0 + 20.0);
    }
}
