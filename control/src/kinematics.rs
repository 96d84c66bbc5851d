//! Forward kinematics and the geometric Jacobian of the arm.

use nalgebra::{Isometry3, SMatrix, SVector, Translation3, UnitQuaternion, Vector3};
use reverie_schema::{N_ARM, RobotSpec};

/// The geometric Jacobian `[6, 7]`, world axes: rows 0-2 give the TCP's velocity (m/s), rows 3-5 its angular velocity (rad/s),
/// for joint velocities in rad/s.
pub type Jacobian = SMatrix<f64, 6, N_ARM>;

/// A TCP velocity, world axes: m/s, then rad/s.
pub type Twist = SVector<f64, 6>;

/// Where the links and the TCP are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmPose {
    /// `world_from_link` of each link; the z axis is its joint's axis.
    pub world_from_link: [Isometry3<f64>; N_ARM],
    /// `world_from_tcp`.
    pub world_from_tcp: Isometry3<f64>,
}

/// The arm's kinematics and joint limits, prepared for evaluation without allocation.
#[derive(Clone, Debug)]
pub struct Arm {
    world_from_base: Isometry3<f64>,
    parent_from_joint: [Isometry3<f64>; N_ARM],
    link7_from_tcp: Isometry3<f64>,
    pub(crate) lower_rad: [f64; N_ARM],
    pub(crate) upper_rad: [f64; N_ARM],
    pub(crate) speed_radps: [f64; N_ARM],
    pub(crate) home_rad: [f64; N_ARM],
}

impl Arm {
    /// The arm that `spec` describes.
    pub fn new(spec: &RobotSpec) -> Self {
        Self {
            world_from_base: spec.world_from_base(),
            parent_from_joint: spec.joints.each_ref().map(|joint| joint.parent_from_joint()),
            link7_from_tcp: spec.link7_from_hand() * spec.hand_from_tcp(),
            lower_rad: spec.joints.each_ref().map(|joint| joint.lower_rad),
            upper_rad: spec.joints.each_ref().map(|joint| joint.upper_rad),
            speed_radps: spec.joints.each_ref().map(|joint| joint.velocity_radps),
            home_rad: spec.home_rad,
        }
    }

    /// Forward kinematics at the joint angles `q`, radians.
    pub fn pose(&self, q: &[f64; N_ARM]) -> ArmPose {
        let mut parent = self.world_from_base;
        let world_from_link = std::array::from_fn(|i| {
            let turn = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), q[i]);
            parent = parent * self.parent_from_joint[i] * Isometry3::from_parts(Translation3::identity(), turn);
            parent
        });
        ArmPose { world_from_link, world_from_tcp: parent * self.link7_from_tcp }
    }

    /// `world_from_tcp` at the joint angles `q`, radians.
    pub fn world_from_tcp(&self, q: &[f64; N_ARM]) -> Isometry3<f64> {
        self.pose(q).world_from_tcp
    }

    /// Nearest posture to `q` within the joint limits, radians.
    pub fn clamp(&self, q: &[f64; N_ARM]) -> [f64; N_ARM] {
        std::array::from_fn(|i| q[i].clamp(self.lower_rad[i], self.upper_rad[i]))
    }
}

impl ArmPose {
    /// The geometric Jacobian of the TCP in this posture.
    pub fn jacobian(&self) -> Jacobian {
        let tcp = self.world_from_tcp.translation.vector;
        let mut jacobian = Jacobian::zeros();
        for (i, link) in self.world_from_link.iter().enumerate() {
            let axis = link.rotation * Vector3::z();
            let linear = axis.cross(&(tcp - link.translation.vector));
            jacobian.fixed_view_mut::<3, 1>(0, i).copy_from(&linear);
            jacobian.fixed_view_mut::<3, 1>(3, i).copy_from(&axis);
        }
        jacobian
    }

    /// The TCP's velocity for the joint velocities `qd`, rad/s.
    pub fn twist(&self, qd: &[f64; N_ARM]) -> Twist {
        self.jacobian() * SVector::<f64, N_ARM>::from(*qd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::euler::rotation_between;

    #[test]
    fn forward_kinematics_agrees_with_the_robot_description() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        for q in [spec.home_rad, [0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.7], [1.0, -0.5, 0.3, -2.0, 2.0, 3.0, -2.0]] {
            let (ours, theirs) = (arm.world_from_tcp(&q), spec.world_from_tcp(&q));
            assert!((ours.translation.vector - theirs.translation.vector).norm() < 1e-14);
            assert!(ours.rotation.angle_to(&theirs.rotation) < 1e-7);
        }
    }

    /// The Panda's flange stands at (0.088, 0, 0.333 + 0.316 + 0.384 - 0.107) with all joints at zero (published
    /// Denavit-Hartenberg table), and the TCP 0.14 m further down.
    #[test]
    fn zero_posture_is_the_published_one() {
        let mut spec = RobotSpec::panda();
        spec.base_in_world_m = [0.0; 3];
        let tcp = Arm::new(&spec).world_from_tcp(&[0.0; N_ARM]).translation.vector;
        assert!((tcp - Vector3::new(0.088, 0.0, 0.926 - 0.14)).norm() < 1e-12, "{tcp}");
    }

    #[test]
    fn jacobian_is_the_derivative_of_the_pose() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        let q = [-1.0, 0.8, 1.9, -2.0, -0.7, 1.9, 0.4];
        let jacobian = arm.pose(&q).jacobian();
        let h = 1e-6;
        for i in 0..N_ARM {
            let (mut minus, mut plus) = (q, q);
            minus[i] -= h;
            plus[i] += h;
            let (minus, plus) = (arm.world_from_tcp(&minus), arm.world_from_tcp(&plus));
            let linear = (plus.translation.vector - minus.translation.vector) / (2.0 * h);
            let angular = rotation_between(&minus.rotation, &plus.rotation) / (2.0 * h);
            assert!((linear - jacobian.fixed_view::<3, 1>(0, i)).norm() < 1e-8);
            assert!((angular - jacobian.fixed_view::<3, 1>(3, i)).norm() < 1e-8);
        }
    }
}
