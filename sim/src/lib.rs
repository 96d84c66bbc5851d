//! CALVIN's four scenes in rapier3d: a Franka Panda at a table with a drawer, a sliding door, a switch with a bulb, a button with an
//! LED, and three blocks; its 34 tasks with oracles and scripted experts, and its long-horizon benchmark.
//!
//! The world takes joint commands (what the servo in `reverie-control` gives) at 240 Hz and returns CALVIN's observations.
//! Lengths are metres, angles radians, the world frame has its origin under the table's centre, z up.
//!
//! ```
//! use reverie_schema::{JointCommand, RobotSpec};
//! use reverie_sim::{StartState, World, WorldConfig};
//! let spec = RobotSpec::panda();
//! let mut world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad).unwrap();
//! let hold = JointCommand { position: spec.home_rad, ..JointCommand::default() };
//! for _ in 0..8 {
//!     world.step(&hold).unwrap();
//! }
//! assert!((world.observe().robot[0] - 0.026).abs() < 0.002);
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod annotate;
mod arm;
mod benchmark;
#[cfg(test)]
mod closed_form;
mod config;
mod convert;
mod error;
mod expert;
pub mod geometry;
mod link_set;
mod mechanism;
mod motor;
mod part;
mod phrases;
mod replay;
mod snapshot;
mod start;
mod task;
mod world;

pub use annotate::{Annotator, Segment, WINDOW};
pub use benchmark::{BlockPlace, CHAIN_LENGTH, Chain, ChainReport, InitialPlacement, Side, SymbolicState, chains};
pub use config::WorldConfig;
pub use error::SimError;
pub use expert::{Expert, Probe};
pub use geometry::SceneId;
pub use link_set::LinkSet;
pub use part::Link;
pub use replay::Replay;
pub use snapshot::WorldSnapshot;
pub use start::StartState;
pub use task::{Lamp, Rule, SceneState, Slide, Task, TaskSet};
pub use world::{STEPS_PER_CONTROL, STEPS_PER_SECOND, World, steps_taken};
