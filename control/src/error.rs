use reverie_schema::{ChunkError, HoldReason, Stamp};
use thiserror::Error;

/// What can go wrong when a servo is set up or a posture is solved for.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ControlError {
    /// A setting outside its range.
    #[error("servo setting `{field}` is {value}, must be {expected}")]
    Config {
        /// Name of the field of [`crate::ServoConfig`].
        field: &'static str,
        /// What was there.
        value: f64,
        /// What may be there.
        expected: &'static str,
    },
    /// A joint whose limits leave no room within the margin.
    #[error("joint {joint} has limits [{lower_rad}, {upper_rad}] rad, which leave no room within the margin")]
    JointRange {
        /// Index of the joint.
        joint: usize,
        /// Lowest angle, radians.
        lower_rad: f64,
        /// Highest angle, radians.
        upper_rad: f64,
    },
    /// A pose or posture with NaN or infinity in it.
    #[error("{what} has an entry that is not finite")]
    NotFinite {
        /// Which argument.
        what: &'static str,
    },
    /// No posture reaches the pose.
    #[error("no posture found for the TCP pose: best is {position_m:.6} m and {rotation_rad:.6} rad away")]
    Unreachable {
        /// Distance of the best posture, metres.
        position_m: f64,
        /// Angle of the best posture, radians.
        rotation_rad: f64,
    },
}

/// Why the servo refused a chunk. The chunk before it plays on.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ChunkRejection {
    /// NaN, infinity, out of `[-1, 1]`, or a bad period.
    #[error(transparent)]
    Invalid(#[from] ChunkError),
    /// A row that asks for more speed than the limit, because its period is short.
    #[error("chunk row {row}, entry {entry} asks for a speed of {speed} (m/s or rad/s), the limit is {limit}")]
    TooFast {
        /// Index of the row.
        row: usize,
        /// Index in the action.
        entry: usize,
        /// Speed asked for, metres or radians a second.
        speed: f64,
        /// The limit, same unit.
        limit: f64,
    },
    /// Computed from an observation too far from the present.
    #[error("chunk was computed from an observation {age_ns} ns old, the limit is {limit_ns} ns")]
    Stale {
        /// Age of the observation; negative if it claims to be from the future.
        age_ns: i64,
        /// The limit.
        limit_ns: i64,
    },
    /// All rows lie in the past.
    #[error("the last row of the chunk ended {ago_ns} ns ago")]
    Expired {
        /// Time since its end.
        ago_ns: i64,
    },
    /// Begins too far in the future, or has rows too long to be overruled.
    #[error("chunk begins in {starts_in_ns} ns with rows of {period_ns} ns, which is too far ahead or too slow")]
    TooSlow {
        /// Time until its start.
        starts_in_ns: i64,
        /// Its period.
        period_ns: i64,
    },
    /// Older than the chunk accepted last.
    #[error("chunk {seq} is older than chunk {last_seq}, which was accepted before it")]
    OutOfOrder {
        /// Its number.
        seq: u64,
        /// Number of the chunk accepted last.
        last_seq: u64,
    },
    /// Computed from an observation of the previous episode.
    #[error("chunk was computed from an observation at {}, before the reset at {}", obs_stamp.0, reset.0)]
    BeforeReset {
        /// When the observation was made.
        obs_stamp: Stamp,
        /// When the episode began.
        reset: Stamp,
    },
    /// The servo was told to stop and has not been reset.
    #[error("the servo is stopped until it is reset")]
    Stopped,
    /// No joint state has come yet, so there is no pose to start from.
    #[error("the servo has not seen a joint state yet")]
    NotReady,
}

impl ChunkRejection {
    /// The reason shown when the arm comes to rest because of it; `None` where it's not the cause, as a newer chunk was
    /// accepted or is to be expected.
    pub const fn hold_reason(&self) -> Option<HoldReason> {
        match self {
            Self::Invalid(ChunkError::NotFinite { .. }) => Some(HoldReason::ChunkNotFinite),
            Self::Invalid(_) | Self::TooFast { .. } | Self::TooSlow { .. } => Some(HoldReason::ChunkOutOfRange),
            Self::Stale { .. } | Self::Expired { .. } => Some(HoldReason::ChunkStale),
            Self::OutOfOrder { .. } | Self::BeforeReset { .. } | Self::Stopped | Self::NotReady => None,
        }
    }
}
