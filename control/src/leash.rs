//! Keeps the target near the measured TCP, so that a command blocked by an obstacle does not wind up.
//!
//! It departs from CALVIN, which accumulates without bound; a length of 0 switches it off.

use nalgebra::{Isometry3, UnitQuaternion};

use crate::{
    EulerPose, Twist,
    euler::{euler_near, isometry_from_euler, rotation_between},
};

/// The lengths; 0 leaves the target free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leash {
    /// Farthest distance of the target from the measured TCP, metres.
    pub position_m: f64,
    /// Farthest angle, radians.
    pub rotation_rad: f64,
}

impl Leash {
    /// Pulls `target` back to the leash's length from `world_from_tcp`, the measured pose, and takes out of `velocity` what would
    /// carry it away faster than the measured TCP follows (`measured_twist`). Whether it had to.
    pub fn pull(
        &self,
        target: &mut EulerPose,
        velocity: &mut EulerPose,
        world_from_tcp: &Isometry3<f64>,
        measured_twist: &Twist,
    ) -> bool {
        let wanted = isometry_from_euler(target);
        let offset = wanted.translation.vector - world_from_tcp.translation.vector;
        let distance = offset.norm();
        let mut pulled = false;
        if self.position_m > 0.0 && distance > self.position_m {
            pulled = true;
            let outward = offset / distance;
            let speed = (0..3).map(|i| velocity[i] * outward[i]).sum::<f64>();
            let followed = (0..3).map(|i| measured_twist[i] * outward[i]).sum::<f64>().max(0.0);
            let excess = (speed - followed).max(0.0).min(speed.max(0.0));
            for i in 0..3 {
                target[i] = world_from_tcp.translation.vector[i] + outward[i] * self.position_m;
                velocity[i] -= outward[i] * excess;
            }
        }
        let turn = rotation_between(&world_from_tcp.rotation, &wanted.rotation);
        let angle = turn.norm();
        if self.rotation_rad > 0.0 && angle > self.rotation_rad {
            pulled = true;
            let rotation = UnitQuaternion::from_scaled_axis(turn * (self.rotation_rad / angle)) * world_from_tcp.rotation;
            let near = euler_near(&Isometry3::from_parts(wanted.translation, rotation), target);
            target[3..].copy_from_slice(&near[3..]);
            velocity[3..].fill(0.0);
        }
        pulled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASH: Leash = Leash { position_m: 0.04, rotation_rad: 0.3 };

    #[test]
    fn target_ends_on_the_sphere_around_the_measured_pose_and_keeps_its_sideways_speed() {
        let measured = isometry_from_euler(&[0.1, 0.2, 0.3, 3.09, 0.0, 1.5]);
        let mut target = [0.2, 0.2, 0.3, 3.09, 0.0, 2.5];
        let mut velocity = [0.6, 0.3, 0.0, 0.0, 0.0, 1.5];
        assert!(LEASH.pull(&mut target, &mut velocity, &measured, &Twist::new(0.2, 0.0, 0.0, 0.0, 0.0, 0.0)));
        let pulled = isometry_from_euler(&target);
        assert!((target[0] - 0.14).abs() < 1e-12 && target[1] == 0.2 && target[2] == 0.3);
        assert!((pulled.rotation.angle_to(&measured.rotation) - 0.3).abs() < 1e-9);
        assert!((target[5] - 1.8).abs() < 1e-9, "turned about z only: {target:?}");
        assert!((velocity[0] - 0.2).abs() < 1e-12 && velocity[1] == 0.3 && velocity[5] == 0.0);
    }

    #[test]
    fn a_target_within_reach_or_without_a_leash_is_untouched() {
        let measured = isometry_from_euler(&[0.0; 6]);
        let (mut target, mut velocity) = ([0.03, 0.0, 0.0, 0.0, 0.2, 0.0], [0.6; 6]);
        assert!(!LEASH.pull(&mut target, &mut velocity, &measured, &Twist::zeros()));
        let mut far = [3.0, 0.0, 0.0, 0.0, 1.2, 0.0];
        assert!(!Leash { position_m: 0.0, rotation_rad: 0.0 }.pull(&mut far, &mut velocity, &measured, &Twist::zeros()));
        assert_eq!((target, far, velocity), ([0.03, 0.0, 0.0, 0.0, 0.2, 0.0], [3.0, 0.0, 0.0, 0.0, 1.2, 0.0], [0.6; 6]));
    }
}
