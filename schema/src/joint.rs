use serde::{Deserialize, Serialize};

use crate::{GripperCommand, Stamp};

/// Joints of the arm.
pub const N_ARM: usize = 7;

/// What the servo tells the robot: joint positions to track and what the gripper does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointCommand {
    /// When it was computed.
    pub stamp: Stamp,
    /// Joint positions, radians.
    pub position: [f64; N_ARM],
    /// The gripper.
    pub gripper: GripperCommand,
}

/// What the robot measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointState {
    /// When it was measured.
    pub stamp: Stamp,
    /// Joint positions, radians.
    pub position: [f64; N_ARM],
    /// Joint velocities, radians a second.
    pub velocity: [f64; N_ARM],
    /// Distance between the fingers, metres.
    pub gripper_width: f64,
}
