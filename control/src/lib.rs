//! The servo loop between action chunks and joint commands.
//!
//! ```text
//! chunk -> admission -> player -> leash -> tracker -> inverse kinematics -> joint command
//! ```
//!
//! [`Servo`] is a pure state machine: time comes in with every call, so that lockstep evaluation repeats to the last bit.
//! [`run_servo`] drives it on its own thread at [`ServoConfig::period_ns`] and exchanges with others through
//! [`servo_channels`], without locks or allocation.
//!
//! Units are SI and radians. Poses are `world_from_tcp` (world: the table's frame, z up; TCP: the point between the
//! fingertips); [`EulerPose`] holds x, y, z and extrinsic x-y-z Euler angles, which actions are simply added to, as in CALVIN.
//!
//! ```
//! use reverie_control::{Servo, ServoConfig};
//! use reverie_schema::{Action, ActionChunk, JointCommand, JointState, RobotSpec, Stamp};
//!
//! let spec = RobotSpec::panda();
//! let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
//! let mut measured = JointState { position: spec.home_rad, ..JointState::default() };
//! servo.reset(Stamp(0), &measured);
//! let x_before = spec.world_from_tcp(&spec.home_rad).translation.x;
//!
//! // Ten rows of full scale along x: 10 * 0.02 m.
//! let chunk = ActionChunk::from_rows(Stamp(0), &[Action([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]); 10]).unwrap();
//! servo.offer(Stamp(0), &chunk).unwrap();
//! let mut command = JointCommand::default();
//! for ms in 1..=1500 {
//!     servo.tick(Stamp(ms * 1_000_000), &measured, &mut command);
//!     // A robot that follows at once.
//!     measured = JointState { stamp: command.stamp, position: command.position, ..measured };
//! }
//! let x_after = spec.world_from_tcp(&command.position).translation.x;
//! assert!((x_after - x_before - 0.2).abs() < 1e-6);
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod cadence;
mod channels;
mod config;
mod error;
pub mod euler;
mod ik;
mod kinematics;
pub mod leash;
pub mod player;
mod realtime;
mod sample;
mod servo;
pub mod tracker;

pub use cadence::{Cadence, CadenceReport, QuantilesUs};
pub use channels::{
    ChunkSender, PlantPort, REQUEST_CAPACITY, SAMPLE_CAPACITY, SampleReader, ServoHandle, ServoPorts, ServoRequest, Supervisor,
    servo_channels,
};
pub use config::ServoConfig;
pub use error::{ChunkRejection, ControlError};
pub use euler::EulerPose;
pub use ik::{IkStep, SERVO_ITERATIONS, SOLVED_POSITION_M, SOLVED_ROTATION_RAD};
pub use kinematics::{Arm, ArmPose, Jacobian, Twist};
pub use realtime::run_servo;
pub use sample::ServoSample;
pub use servo::{MAX_TICK_NS, Servo};
