//! The arm's kinematics, masses and limits.

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

use crate::joint::N_ARM;

/// A revolute joint (about its own z) and the link behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointSpec {
    /// `parent_link_from_joint` at angle 0: translation, metres.
    pub origin_m: [f64; 3],
    /// `parent_link_from_joint` at angle 0: Euler angles, radians.
    pub origin_rpy_rad: [f64; 3],
    /// Lowest angle, radians.
    pub lower_rad: f64,
    /// Highest angle, radians.
    pub upper_rad: f64,
    /// Speed limit, radians a second.
    pub velocity_radps: f64,
    /// Torque limit, newton metres.
    pub effort_nm: f64,
    /// The link's mass, kilograms.
    pub mass_kg: f64,
    /// The link's centre of mass in its joint frame, metres.
    pub com_m: [f64; 3],
    /// The link's inertia about its centre of mass, joint axes: xx, xy, xz, yy, yz, zz, kg m^2.
    pub inertia_kgm2: [f64; 6],
}

/// A seven-joint arm with a two-finger hand.
#[derive(Clone, Debug, PartialEq)]
pub struct RobotSpec {
    /// Name used in key expressions and messages.
    pub name: &'static str,
    /// `world_from_base`: translation, metres. The base stands upright.
    pub base_in_world_m: [f64; 3],
    /// The joints, from the base.
    pub joints: [JointSpec; N_ARM],
    /// `link7_from_hand`: translation, metres.
    pub hand_origin_m: [f64; 3],
    /// `link7_from_hand`: Euler angles, radians.
    pub hand_origin_rpy_rad: [f64; 3],
    /// `hand_from_tcp`: translation, metres. Same axes.
    pub tcp_origin_m: [f64; 3],
    /// The hand's mass, kilograms.
    pub hand_mass_kg: f64,
    /// Farthest travel of each finger from the middle, metres.
    pub finger_travel_m: f64,
    /// Rest posture of the arm, radians.
    pub home_rad: [f64; N_ARM],
}

impl RobotSpec {
    /// The Franka Emika Panda of CALVIN: base at (-0.34, -0.46, 0.24), TCP 0.14 m in front of the hand frame ("longer finger").
    ///
    /// Kinematics and limits: Franka Control Interface documentation (Denavit-Hartenberg parameters, joint limits). Masses,
    /// centres of mass and inertias: Gaz et al. 2019, "Dynamic identification of the Franka Emika Panda robot", as in
    /// `franka_description`. Joint position limits 4 and 6 as published; CALVIN's clip uses the same numbers.
    pub fn panda() -> Self {
        use std::f64::consts::FRAC_PI_2 as H;
        let joint = |origin_m, roll, (lower_rad, upper_rad), velocity_radps, effort_nm, mass_kg, com_m, inertia_kgm2| JointSpec {
            origin_m,
            origin_rpy_rad: [roll, 0.0, 0.0],
            lower_rad,
            upper_rad,
            velocity_radps,
            effort_nm,
            mass_kg,
            com_m,
            inertia_kgm2,
        };
        Self {
            name: "panda",
            base_in_world_m: [-0.34, -0.46, 0.24],
            joints: [
                joint(
                    [0.0, 0.0, 0.333],
                    0.0,
                    (-2.8973, 2.8973),
                    2.175,
                    87.0,
                    4.970684,
                    [0.003875, 0.002081, -0.04762],
                    [0.70337, -0.000139, 0.006772, 0.70661, 0.019169, 0.009117],
                ),
                joint(
                    [0.0, 0.0, 0.0],
                    -H,
                    (-1.7628, 1.7628),
                    2.175,
                    87.0,
                    0.646926,
                    [-0.003141, -0.02872, 0.003495],
                    [0.007962, -0.003925, 0.010254, 0.02811, 0.000704, 0.025995],
                ),
                joint(
                    [0.0, -0.316, 0.0],
                    H,
                    (-2.8973, 2.8973),
                    2.175,
                    87.0,
                    3.228604,
                    [0.027518, 0.039252, -0.066502],
                    [0.037242, -0.004761, -0.011396, 0.036155, -0.012805, 0.01083],
                ),
                joint(
                    [0.0825, 0.0, 0.0],
                    H,
                    (-3.0718, -0.0698),
                    2.175,
                    87.0,
                    3.587895,
                    [-0.05317, 0.104419, 0.027454],
                    [0.025853, 0.007796, -0.001332, 0.019552, 0.008641, 0.028323],
                ),
                joint(
                    [-0.0825, 0.384, 0.0],
                    -H,
                    (-2.8973, 2.8973),
                    2.61,
                    12.0,
                    1.225946,
                    [-0.011953, 0.041065, -0.038437],
                    [0.035549, -0.002117, -0.004037, 0.029474, 0.000229, 0.008627],
                ),
                joint(
                    [0.0, 0.0, 0.0],
                    H,
                    (-0.0175, 3.7525),
                    2.61,
                    12.0,
                    1.666555,
                    [0.060149, -0.014117, -0.010517],
                    [0.001964, 0.000109, -0.001158, 0.004354, 0.000341, 0.005433],
                ),
                joint(
                    [0.088, 0.0, 0.0],
                    H,
                    (-2.8973, 2.8973),
                    2.61,
                    12.0,
                    0.735522,
                    [0.010517, -0.004252, 0.061597],
                    [0.012516, -0.000428, -0.001196, 0.010027, -0.000741, 0.004815],
                ),
            ],
            hand_origin_m: [0.0, 0.0, 0.107],
            hand_origin_rpy_rad: [0.0, 0.0, -std::f64::consts::FRAC_PI_4],
            tcp_origin_m: [0.0, 0.0, 0.14],
            hand_mass_kg: 0.73,
            finger_travel_m: 0.04,
            home_rad: [-1.218, 1.040, 2.120, -2.342, -0.870, 1.641, 0.553],
        }
    }

    /// `world_from_base`.
    pub fn world_from_base(&self) -> Isometry3<f64> {
        transform(self.base_in_world_m, [0.0; 3])
    }

    /// `link7_from_hand`.
    pub fn link7_from_hand(&self) -> Isometry3<f64> {
        transform(self.hand_origin_m, self.hand_origin_rpy_rad)
    }

    /// `hand_from_tcp`.
    pub fn hand_from_tcp(&self) -> Isometry3<f64> {
        transform(self.tcp_origin_m, [0.0; 3])
    }

    /// `world_from_tcp` at the joint angles `q`, radians.
    pub fn world_from_tcp(&self, q: &[f64; N_ARM]) -> Isometry3<f64> {
        let link7 =
            self.joints.iter().zip(q).fold(self.world_from_base(), |pose, (joint, &angle)| pose * joint.parent_from_link(angle));
        link7 * self.link7_from_hand() * self.hand_from_tcp()
    }
}

impl JointSpec {
    /// `parent_link_from_joint` at angle 0.
    pub fn parent_from_joint(&self) -> Isometry3<f64> {
        transform(self.origin_m, self.origin_rpy_rad)
    }

    /// `parent_link_from_link` at `angle`, radians.
    pub fn parent_from_link(&self, angle: f64) -> Isometry3<f64> {
        self.parent_from_joint() * UnitQuaternion::from_axis_angle(&Vector3::z_axis(), angle)
    }
}

fn transform(xyz: [f64; 3], [roll, pitch, yaw]: [f64; 3]) -> Isometry3<f64> {
    Isometry3::from_parts(Translation3::from(xyz), UnitQuaternion::from_euler_angles(roll, pitch, yaw))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CALVIN prints these for its home posture.
    #[test]
    fn home_posture_puts_the_tcp_where_calvin_has_it() {
        let spec = RobotSpec::panda();
        let tcp = spec.world_from_tcp(&spec.home_rad);
        let expected = [0.026, -0.231, 0.571];
        for (got, want) in tcp.translation.vector.iter().zip(expected) {
            assert!((got - want).abs() < 0.002, "{got} {want}");
        }
        let (roll, pitch, yaw) = tcp.rotation.euler_angles();
        for (got, want) in [roll, pitch, yaw].iter().zip([3.090, -0.029, 1.500]) {
            assert!((got - want).abs() < 0.01, "{got} {want}");
        }
    }
}
