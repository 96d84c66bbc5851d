//! Rigid transforms in the renderer's own arithmetic.

use glam::{Mat3, Quat, Vec3};
use reverie_schema::scene::Pose;

/// `target_from_source`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rigid {
    pub rotation: Mat3,
    pub translation: Vec3,
}

impl Rigid {
    /// `None` if a number is not finite or the quaternion is far from unit length.
    pub fn from_pose(pose: &Pose) -> Option<Self> {
        let translation = Vec3::from_array(pose.translation);
        let quaternion = Quat::from_array(pose.rotation_xyzw);
        let length = quaternion.length();
        // NaN and infinity fail this comparison, too.
        let unit = (0.5..2.0).contains(&length);
        (unit && translation.is_finite()).then(|| Self { rotation: Mat3::from_quat(quaternion / length), translation })
    }

    pub fn to_pose(self) -> Pose {
        Pose { translation: self.translation.to_array(), rotation_xyzw: Quat::from_mat3(&self.rotation).to_array() }
    }

    pub fn then(&self, inner: &Self) -> Self {
        Self { rotation: self.rotation * inner.rotation, translation: self.point(inner.translation) }
    }

    pub fn inverse(&self) -> Self {
        let rotation = self.rotation.transpose();
        Self { rotation, translation: -(rotation * self.translation) }
    }

    pub fn point(&self, point: Vec3) -> Vec3 {
        self.rotation * point + self.translation
    }
}
