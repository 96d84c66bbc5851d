use reverie_schema::{HoldReason, JointCommand, JointState, ServoState, Stamp};

use crate::EulerPose;

/// Everything about one servo tick, for the logger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServoSample {
    /// Number of the tick, from 1. A gap means that samples were dropped.
    pub tick: u64,
    /// When the tick ran.
    pub stamp: Stamp,
    /// How late the tick woke, nanoseconds; 0 in lockstep.
    pub lateness_ns: i64,
    /// How long the tick took, nanoseconds; 0 in lockstep.
    pub tick_ns: i64,
    /// Ticks left out since the start.
    pub ticks_skipped: u64,
    /// Resets since the start.
    pub resets: u64,
    /// What the servo is doing.
    pub state: ServoState,
    /// Why it holds, if it does.
    pub hold_reason: HoldReason,
    /// What it told the robot.
    pub command: JointCommand,
    /// The newest usable joint state.
    pub measured: JointState,
    /// TCP of the commanded joints.
    pub tcp_command: EulerPose,
    /// TCP of the measured joints; angles near those of `tcp_command`.
    pub tcp_measured: EulerPose,
    /// Speed of the commanded TCP, m/s.
    pub tcp_speed_mps: f64,
    /// Chunk of the row begun last.
    pub chunk_seq: u64,
    /// Rows executed since the reset.
    pub rows_executed: u64,
}
