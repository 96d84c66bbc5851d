//! Poses as six numbers: position (metres) and extrinsic x-y-z Euler angles (radians), as CALVIN accumulates them.

use std::f64::consts::{PI, TAU};

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

/// `world_from_tcp` as x, y, z (metres) and roll, pitch, yaw (radians; `R = Rz(yaw) Ry(pitch) Rx(roll)`).
pub type EulerPose = [f64; 6];

/// The transform that the six numbers stand for. Angles beyond a half turn are fine.
pub fn isometry_from_euler(&[x, y, z, roll, pitch, yaw]: &EulerPose) -> Isometry3<f64> {
    Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::from_euler_angles(roll, pitch, yaw))
}

/// The six numbers of `world_from_tcp` with pitch within a quarter turn, as CALVIN reports and begins to accumulate them.
///
/// The other triple of the same rotation (see [`euler_near`]) answers a change of pitch with the opposite turn.
pub fn euler_from_isometry(world_from_tcp: &Isometry3<f64>) -> EulerPose {
    let (roll, pitch, yaw) = world_from_tcp.rotation.euler_angles();
    let position = world_from_tcp.translation.vector;
    [position.x, position.y, position.z, roll, pitch, yaw]
}

/// The six numbers of `world_from_tcp` whose angles lie nearest to those of `near`.
///
/// A rotation has two triples within one turn, (roll, pitch, yaw) and (roll + pi, pi - pitch, yaw + pi), and each repeats every
/// turn. Taking the nearest keeps an accumulated pose free of jumps (CALVIN's home posture lies at roll 3.09, beside the wrap).
pub fn euler_near(world_from_tcp: &Isometry3<f64>, near: &EulerPose) -> EulerPose {
    let [x, y, z, roll, pitch, yaw] = euler_from_isometry(world_from_tcp);
    let [first, second] = [[roll, pitch, yaw], [roll + PI, PI - pitch, yaw + PI]].map(|angles| {
        let unwrapped: [f64; 3] = std::array::from_fn(|i| angles[i] + TAU * ((near[3 + i] - angles[i]) / TAU).round());
        let distance: f64 = unwrapped.iter().zip(&near[3..]).map(|(a, b)| (a - b).powi(2)).sum();
        (unwrapped, distance)
    });
    let [roll, pitch, yaw] = if second.1 < first.1 { second.0 } else { first.0 };
    [x, y, z, roll, pitch, yaw]
}

/// The rotation vector (axis times angle, radians, world axes) that turns `from` into `to`: the logarithm of the quaternion
/// `to * from^-1`, shorter way round.
pub fn rotation_between(from: &UnitQuaternion<f64>, to: &UnitQuaternion<f64>) -> Vector3<f64> {
    (to * from.inverse()).scaled_axis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_stay_near_the_reference_across_wraps_and_past_vertical() {
        for near in [[0.0, 0.0, 0.0, 3.3, -0.03, 1.5], [0.0, 0.0, 0.0, -9.0, 1.2, 7.0], [1.0, 2.0, 3.0, 0.2, 1.9, -0.4], [0.0; 6]]
        {
            let got = euler_near(&isometry_from_euler(&near), &near);
            for (g, n) in got.iter().zip(near) {
                assert!((g - n).abs() < 1e-9, "{got:?} {near:?}");
            }
        }
    }

    #[test]
    fn rotation_vector_of_a_quarter_turn_about_world_z() {
        let from = UnitQuaternion::from_euler_angles(0.4, -0.3, 0.2);
        let to = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), PI / 2.0) * from;
        assert!((rotation_between(&from, &to) - Vector3::new(0.0, 0.0, PI / 2.0)).norm() < 1e-12);
        assert!(rotation_between(&from, &from).norm() < 1e-15);
    }
}
