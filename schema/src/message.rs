use serde::{Deserialize, Serialize};

use crate::{Stamp, joint::N_ARM};

/// Version of every payload on the wire; raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// A payload with its version, as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`SCHEMA_VERSION`] of the sender.
    pub schema_version: u32,
    /// The payload's own fields, beside the version.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Versioned<T> {
    /// `body` in the present version.
    pub const fn new(body: T) -> Self {
        Self { schema_version: SCHEMA_VERSION, body }
    }
}

/// What the servo is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServoState {
    /// At rest on its last commanded pose.
    #[default]
    Holding,
    /// Playing a chunk.
    Tracking,
    /// Slowing down to a hold.
    Decelerating,
}

/// Why the servo holds instead of playing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// It does not hold.
    #[default]
    None,
    /// No chunk has come since the reset.
    AwaitingFirstChunk,
    /// The last chunk was played to its end and no newer one came.
    ChunkExhausted,
    /// The last chunk had NaN or infinity in it.
    ChunkNotFinite,
    /// The last chunk had entries outside `[-1, 1]`.
    ChunkOutOfRange,
    /// The last chunk was computed from an observation that is too old.
    ChunkStale,
    /// Told to stop.
    Stopped,
    /// The robot's joint state stopped coming.
    StateStale,
}

/// The robot side's report, 10 times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Number of this report.
    pub seq: u64,
    /// When it was made.
    pub stamp: Stamp,
    /// What the servo is doing.
    pub servo: ServoState,
    /// Why it holds, if it does.
    pub hold_reason: HoldReason,
    /// Servo ticks since the start.
    pub ticks: u64,
    /// Ticks left out because the one before took too long or woke too late.
    pub ticks_skipped: u64,
    /// Chunks played.
    pub chunks_accepted: u64,
    /// Chunks refused.
    pub chunks_rejected: u64,
    /// The chunk played last.
    pub chunk_seq: u64,
    /// Commanded joint positions, radians.
    pub position_command: [f64; N_ARM],
    /// Commanded joint speed, the largest of the joints, radians a second.
    pub speed_command_radps: f64,
}

/// What a decoder began from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeStart {
    /// Gaussian noise.
    #[default]
    Noise,
    /// Its own last chunk.
    Previous,
    /// A draft made in one pass.
    Draft,
}

/// Why a decoder stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All its steps were done.
    #[default]
    ChainEnd,
    /// The rows to be executed had settled.
    Settled,
    /// It had done as many evaluations as it may.
    Cap,
}

/// What a decode took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecodeReport {
    /// Network evaluations.
    pub nfe: u32,
    /// Time from observation in hand to chunk in hand, microseconds.
    pub decode_us: f64,
    /// What it began from.
    pub start: DecodeStart,
    /// Why it stopped.
    pub stop: StopReason,
}

/// Orders to the robot side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Control {
    /// Put the scene into the start state of `task` and `seed`, and begin an episode.
    Reset {
        /// Number of the order; the robot answers with an [`EpisodeEvent`] that carries it.
        seq: u64,
        /// Task whose oracle judges the episode.
        task: String,
        /// Seed of the start state.
        seed: u64,
        /// The episode ends after this many control steps.
        max_steps: u32,
    },
    /// Decelerate and hold.
    Stop {
        /// Number of the order.
        seq: u64,
    },
}

/// What happened to an episode on the robot side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EpisodeEvent {
    /// An episode began.
    Started {
        /// The order's number.
        seq: u64,
        /// Its task.
        task: String,
        /// When.
        stamp: Stamp,
    },
    /// An episode ended.
    Ended {
        /// The order's number.
        seq: u64,
        /// Its task.
        task: String,
        /// When.
        stamp: Stamp,
        /// Whether the oracle was satisfied.
        success: bool,
        /// Control steps taken.
        steps: u32,
    },
    /// An order could not be carried out.
    Refused {
        /// The order's number.
        seq: u64,
        /// Why.
        reason: String,
    },
}
