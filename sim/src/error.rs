use thiserror::Error;

use crate::SceneId;

/// What can go wrong in the simulation.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum SimError {
    /// A task name that is not known.
    #[error("unknown task '{name}'; known are {known}")]
    UnknownTask {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A scene that is not known.
    #[error("unknown scene '{name}'; known are A, B, C and D")]
    UnknownScene {
        /// What was asked for.
        name: String,
    },
    /// A snapshot of another scene.
    #[error("the snapshot is of scene {found}, this world is scene {expected}: build one of scene {found} (sim.scene)")]
    SnapshotScene {
        /// The snapshot's scene.
        found: SceneId,
        /// The world's scene.
        expected: SceneId,
    },
    /// A start state outside of the mechanism's range.
    #[error("start state: {quantity} is {value}, must be within [{lower}, {upper}]")]
    StartOutOfRange {
        /// Which quantity, with its unit.
        quantity: &'static str,
        /// What it was.
        value: f64,
        /// Lowest allowed.
        lower: f64,
        /// Highest allowed.
        upper: f64,
    },
    /// A joint command with NaN or infinity.
    #[error("joint command: joint {joint} is {value}, which is no angle")]
    CommandNotFinite {
        /// Index of the joint.
        joint: usize,
        /// What was commanded.
        value: f64,
    },
    /// No start state without unwanted contact was found.
    #[error("no valid start state for '{task}' with seed {seed} in {tries} tries")]
    NoStart {
        /// The task.
        task: &'static str,
        /// The seed.
        seed: u64,
        /// Draws made.
        tries: usize,
    },
    /// A configuration value that makes no sense.
    #[error("config key sim.{key} is {value}, must be {expected}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        expected: &'static str,
    },
    /// A snapshot file that could not be written or read.
    #[error("world snapshot {path}: {reason}")]
    SnapshotFile {
        /// The file.
        path: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A snapshot file of another format version.
    #[error("world snapshot {path} has format version {found}, this program reads {expected}; save it again with this program")]
    SnapshotVersion {
        /// The file.
        path: String,
        /// The version in its header.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
}
