use serde::{Deserialize, Serialize};

use crate::{Action, Observation};

/// One control step of a recording: what was seen, and what was then commanded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The observation at the beginning of the step.
    pub observation: Observation,
    /// The action of the step.
    pub action: Action,
}

/// A recorded attempt at one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The task's name, for example `open_drawer`.
    pub task: String,
    /// The seed of the start state.
    pub seed: u64,
    /// Whether the task's oracle was satisfied at the end.
    pub success: bool,
    /// The steps, 30 a second.
    pub frames: Vec<Frame>,
}
