//! The one border between rapier's glam types (f32), nalgebra (f64) and plain arrays.

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};
use rapier3d::math::{Pose, Rotation, Vector};
use reverie_schema::scene;

pub(crate) fn vector([x, y, z]: [f32; 3]) -> Vector {
    Vector::new(x, y, z)
}

/// Extrinsic x-y-z Euler angles, radians.
pub(crate) fn rotation([roll, pitch, yaw]: [f32; 3]) -> Rotation {
    Rotation::from_rotation_z(yaw) * Rotation::from_rotation_y(pitch) * Rotation::from_rotation_x(roll)
}

pub(crate) fn pose(translation: [f32; 3], rpy: [f32; 3]) -> Pose {
    Pose::from_parts(vector(translation), rotation(rpy))
}

pub(crate) fn pose_from_isometry(iso: &Isometry3<f64>) -> Pose {
    let (t, q) = (iso.translation.vector, iso.rotation);
    Pose::from_parts(
        Vector::new(t.x as f32, t.y as f32, t.z as f32),
        Rotation::from_xyzw(q.i as f32, q.j as f32, q.k as f32, q.w as f32).normalize(),
    )
}

pub(crate) fn isometry_from_pose(pose: &Pose) -> Isometry3<f64> {
    let (t, q) = (pose.translation, pose.rotation);
    let rotation = UnitQuaternion::from_quaternion(Quaternion::new(q.w.into(), q.x.into(), q.y.into(), q.z.into()));
    Isometry3::from_parts(Translation3::new(t.x.into(), t.y.into(), t.z.into()), rotation)
}

pub(crate) fn scene_pose(pose: &Pose) -> scene::Pose {
    scene::Pose { translation: pose.translation.to_array(), rotation_xyzw: pose.rotation.to_array() }
}

/// Position and extrinsic x-y-z Euler angles.
pub(crate) fn position_and_euler(pose: &Pose) -> [f32; 6] {
    let iso = isometry_from_pose(pose);
    let (roll, pitch, yaw) = iso.rotation.euler_angles();
    [pose.translation.x, pose.translation.y, pose.translation.z, roll as f32, pitch as f32, yaw as f32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poses_survive_the_round_trip() {
        let iso = Isometry3::from_parts(Translation3::new(0.1, -0.2, 0.3), UnitQuaternion::from_euler_angles(3.0, -0.4, 1.5));
        let back = isometry_from_pose(&pose_from_isometry(&iso));
        assert!((back.translation.vector - iso.translation.vector).norm() < 1e-7);
        assert!(back.rotation.angle_to(&iso.rotation) < 1e-6);
        let rpy = position_and_euler(&pose([0.1, -0.2, 0.3], [3.0, -0.4, 1.5]));
        for (got, want) in rpy.iter().zip([0.1, -0.2, 0.3, 3.0, -0.4, 1.5]) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }
}
