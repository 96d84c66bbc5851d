use serde::{Deserialize, Serialize};

/// Length of an action: position (3), Euler angles (3), gripper (1).
pub const N_ACT: usize = 7;
/// Commanded translation of a full-scale action in one control step, metres (CALVIN `max_rel_pos`).
pub const TRANSLATION_STEP_M: f64 = 0.02;
/// Commanded rotation of a full-scale action in one control step, radians (CALVIN `max_rel_orn`).
pub const ROTATION_STEP_RAD: f64 = 0.05;

/// CALVIN's relative action: each entry in `[-1, 1]`, world axes, accumulated on the *commanded* pose.
///
/// `[0..3]` times [`TRANSLATION_STEP_M`] is added to the commanded TCP position, `[3..6]` times [`ROTATION_STEP_RAD`] to its
/// Euler angles, `[6]` is the gripper: exactly +1 opens, -1 closes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Action(pub [f32; N_ACT]);

/// What the gripper is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GripperCommand {
    /// Fingers apart.
    #[default]
    Open,
    /// Fingers together, with the closing force.
    Close,
}

impl GripperCommand {
    /// CALVIN's encoding: +1 open, -1 close.
    pub const fn sign(self) -> f32 {
        match self {
            Self::Open => 1.0,
            Self::Close => -1.0,
        }
    }
}

impl Action {
    /// No motion.
    pub const fn hold(gripper: GripperCommand) -> Self {
        Self([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, gripper.sign()])
    }

    /// The gripper entry read as a command: `>= 0` opens.
    pub fn gripper(&self) -> GripperCommand {
        if self.0[6] >= 0.0 { GripperCommand::Open } else { GripperCommand::Close }
    }

    /// The translation that this action adds, metres.
    pub fn translation_m(&self) -> [f64; 3] {
        std::array::from_fn(|i| f64::from(self.0[i]) * TRANSLATION_STEP_M)
    }

    /// The Euler angles that this action adds, radians.
    pub fn rotation_rad(&self) -> [f64; 3] {
        std::array::from_fn(|i| f64::from(self.0[3 + i]) * ROTATION_STEP_RAD)
    }
}
