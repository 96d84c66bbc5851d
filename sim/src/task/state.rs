use nalgebra::{UnitQuaternion, Vector3};
use reverie_schema::SCENE_OBS;

use crate::LinkSet;

/// Everything the oracles read at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneState {
    /// CALVIN's `scene_obs`.
    pub scene: [f32; SCENE_OBS],
    /// What each block touches: red, blue, pink.
    pub block_contacts: [LinkSet; 3],
    /// What hand and fingers touch.
    pub robot_contacts: LinkSet,
    /// Linear (m/s) and angular (rad/s) velocity of each block.
    pub block_velocity: [[f32; 6]; 3],
}

/// Where a block's six entries begin in `scene_obs`.
const fn block_at(block: usize) -> usize {
    6 + 6 * block
}

impl SceneState {
    /// Position of a block, metres.
    pub(super) fn position(&self, block: usize) -> Vector3<f64> {
        let at = block_at(block);
        Vector3::new(self.scene[at].into(), self.scene[at + 1].into(), self.scene[at + 2].into())
    }

    /// Orientation of a block, from its extrinsic x-y-z Euler angles.
    pub(super) fn orientation(&self, block: usize) -> UnitQuaternion<f64> {
        let at = block_at(block) + 3;
        UnitQuaternion::from_euler_angles(self.scene[at].into(), self.scene[at + 1].into(), self.scene[at + 2].into())
    }
}
