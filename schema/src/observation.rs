use serde::{Deserialize, Serialize};

use crate::Stamp;

/// Length of CALVIN's `robot_obs`.
pub const ROBOT_OBS: usize = 15;
/// Length of CALVIN's `scene_obs`.
pub const SCENE_OBS: usize = 24;

/// What the policy sees at 30 Hz, in CALVIN's layouts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Number of this observation, counted by its sender.
    pub seq: u64,
    /// When it was measured.
    pub stamp: Stamp,
    /// `robot_obs`: TCP position (0-2, m), TCP Euler angles (3-5, rad), gripper width (6, m), arm joints (7-13, rad), last
    /// gripper command (14, -1 or +1).
    pub robot: [f32; ROBOT_OBS],
    /// `scene_obs`: sliding door (0, m), drawer (1, m), button (2, m), switch (3, m), light bulb (4, 0 or 1), LED (5, 0 or 1),
    /// then position and Euler angles of the red (6-11), blue (12-17) and pink (18-23) block.
    pub scene: [f32; SCENE_OBS],
}

impl Observation {
    /// TCP position in the world, metres.
    pub fn tcp_in_world(&self) -> [f32; 3] {
        [self.robot[0], self.robot[1], self.robot[2]]
    }
}
