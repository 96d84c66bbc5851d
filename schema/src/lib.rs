//! Plain types that cross a crate or process border.
//!
//! Units are SI and radians. Transforms are named `target_from_source`; `world` is the table's frame (z up, origin under
//! the table's centre), `base` the robot's foot, `tcp` the point between the fingertips. Euler angles are extrinsic x-y-z
//! (roll, pitch, yaw; `R = Rz(yaw) Ry(pitch) Rx(roll)`), as in CALVIN.
//!
//! ```
//! use reverie_schema::{Action, ActionChunk, CONTROL_PERIOD_NS, Stamp};
//! let row = Action([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]);
//! let chunk = ActionChunk::from_rows(Stamp(0), &[row, row]).unwrap();
//! assert_eq!(chunk.end(), Stamp(2 * CONTROL_PERIOD_NS));
//! ```

mod action;
mod chunk;
mod episode;
mod joint;
mod message;
mod observation;
pub mod robot;
pub mod scene;
mod seed;
mod stamp;

pub use action::{Action, GripperCommand, N_ACT, ROTATION_STEP_RAD, TRANSLATION_STEP_M};
pub use chunk::{ActionChunk, ChunkError, MAX_CHUNK_ROWS};
pub use episode::{Episode, Frame};
pub use joint::{JointCommand, JointState, N_ARM};
pub use message::{
    Control, DecodeReport, DecodeStart, EpisodeEvent, HoldReason, SCHEMA_VERSION, ServoState, Status, StopReason, Versioned,
};
pub use observation::{Observation, ROBOT_OBS, SCENE_OBS};
pub use robot::RobotSpec;
pub use seed::derive_seed;
pub use stamp::{CONTROL_PERIOD_NS, Clock, ManualClock, Stamp};
