//! Damped least-squares inverse kinematics with joint limits as an active set.
//!
//! A step solves `min |J dq - e|^2 + damping^2 |dq - dq0|^2`, where `e` is the pose error (metres, and the logarithm of the
//! rotation, radians) and `dq0` pulls towards the home posture: `dq = dq0 + J^T (J J^T + damping^2 I)^-1 (e - J dq0)`
//! (Nakamura and Hanafusa 1986; null-space term: Liegeois 1977). A joint that the step would carry over its limit is put on the
//! limit and taken out of the problem, worst first, and the step is solved again with the others.
//!
//! The servo takes at most [`SERVO_ITERATIONS`] steps a tick: twenty followed by a clip can flip the arm.

use nalgebra::{Isometry3, SMatrix, SVector};
use reverie_schema::{N_ARM, derive_seed};

use crate::{Arm, ControlError, Jacobian, euler::rotation_between};

/// The most steps a servo tick takes.
pub const SERVO_ITERATIONS: usize = 3;

/// An offline solution lies within this distance of its target, metres.
pub const SOLVED_POSITION_M: f64 = 1e-4;
/// An offline solution lies within this angle of its target, radians.
pub const SOLVED_ROTATION_RAD: f64 = 1e-3;

/// Below this error (metres and radians) a servo tick needs no further step.
const CONVERGED: f64 = 1e-9;
/// Share of a joint's travel in a tick that the pull towards home may use, so that it never starves the task.
const NULL_SPACE_SHARE: f64 = 0.2;
/// Offline solutions stay this far inside the joint limits, radians: room for the servo's own margin.
const OFFLINE_MARGIN_RAD: f64 = 0.02;
/// Longest offline step of a joint, radians: beyond it the linearisation misleads.
const OFFLINE_STEP_RAD: f64 = 0.3;
/// Offline attempts after those from the given posture and from home.
const OFFLINE_RESTARTS: u64 = 10;

type Joints = SVector<f64, N_ARM>;
type PoseError = SVector<f64, 6>;

/// How far a servo tick may go, and how it weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IkStep {
    /// Time since the last tick, seconds.
    pub dt_s: f64,
    /// See [`crate::ServoConfig::ik_damping`].
    pub damping: f64,
    /// See [`crate::ServoConfig::null_space_rate_per_s`].
    pub null_space_rate_per_s: f64,
    /// See [`crate::ServoConfig::joint_margin_rad`].
    pub joint_margin_rad: f64,
    /// See [`crate::ServoConfig::joint_speed_scale`].
    pub joint_speed_scale: f64,
}

/// One linear problem: the pose error to remove and the box that the joints must stay in.
struct Problem {
    jacobian: Jacobian,
    error: PoseError,
    pull: Joints,
    damping: f64,
    lowest_step: Joints,
    highest_step: Joints,
}

impl Arm {
    /// Moves `q` (radians) one servo tick towards `world_from_tcp`: at most [`SERVO_ITERATIONS`] damped steps, joints frozen at
    /// their limits, and the whole scaled down so that no joint exceeds its speed. A joint found outside its limits is let in
    /// but no further out. Returns the error left, metres and radians.
    pub fn ik_step(&self, q: &mut [f64; N_ARM], world_from_tcp: &Isometry3<f64>, step: &IkStep) -> (f64, f64) {
        let before = Joints::from(*q);
        let cap = Joints::from(self.speed_radps) * (step.joint_speed_scale * step.dt_s);
        let home = Joints::from(self.home_rad);
        let lowest = Joints::from(self.lower_rad).add_scalar(step.joint_margin_rad).inf(&before);
        let highest = Joints::from(self.upper_rad).add_scalar(-step.joint_margin_rad).sup(&before);
        let mut now = before;
        for iteration in 0..SERVO_ITERATIONS {
            let pose = self.pose(&now.into());
            let error = pose_error(&pose.world_from_tcp, world_from_tcp);
            if iteration > 0 && error.norm() < CONVERGED {
                break;
            }
            let pull = if iteration == 0 {
                ((home - now) * (step.null_space_rate_per_s * step.dt_s))
                    .zip_map(&cap, |dq, cap| dq.clamp(-NULL_SPACE_SHARE * cap, NULL_SPACE_SHARE * cap))
            } else {
                Joints::zeros()
            };
            let problem = Problem {
                jacobian: pose.jacobian(),
                error,
                pull,
                damping: step.damping,
                lowest_step: lowest - now,
                highest_step: highest - now,
            };
            now = (now + problem.solve()).sup(&lowest).inf(&highest);
            let excess = (now - before).zip_map(&cap, |dq, cap| dq.abs() / cap).max();
            if excess > 1.0 {
                now = before + (now - before) / excess;
                break;
            }
        }
        *q = now.into();
        let left = pose_error(&self.world_from_tcp(q), world_from_tcp);
        (left.fixed_rows::<3>(0).norm(), left.fixed_rows::<3>(3).norm())
    }

    /// A posture (radians) that puts the TCP at `world_from_tcp` within [`SOLVED_POSITION_M`] and [`SOLVED_ROTATION_RAD`], inside
    /// the joint limits: from `q_start`, else from home, else from postures around home. `iterations` is the most steps of each
    /// attempt; 100 is plenty. For resets, not for the servo.
    ///
    /// The damping follows the error (Sugihara 2011, "Solvability-unconcerned inverse kinematics by the Levenberg-Marquardt
    /// method"): `damping^2 = |e|^2 / 2 + 1e-6`.
    ///
    /// # Errors
    /// [`ControlError::NotFinite`], or [`ControlError::Unreachable`] with the best error of all attempts.
    pub fn solve_ik(
        &self,
        world_from_tcp: &Isometry3<f64>,
        q_start: &[f64; N_ARM],
        iterations: usize,
    ) -> Result<[f64; N_ARM], ControlError> {
        if q_start.iter().any(|q| !q.is_finite()) {
            return Err(ControlError::NotFinite { what: "start posture" });
        }
        if world_from_tcp.to_homogeneous().iter().any(|x| !x.is_finite()) {
            return Err(ControlError::NotFinite { what: "TCP pose" });
        }
        let lowest = Joints::from(self.lower_rad).add_scalar(OFFLINE_MARGIN_RAD);
        let highest = Joints::from(self.upper_rad).add_scalar(-OFFLINE_MARGIN_RAD);
        let mut best = (f64::INFINITY, f64::INFINITY);
        for attempt in 0..OFFLINE_RESTARTS + 2 {
            let start = match attempt {
                0 => Joints::from(*q_start),
                1 => Joints::from(self.home_rad),
                _ => self.restart(attempt),
            };
            let mut q = start.sup(&lowest).inf(&highest);
            for iteration in 0..=iterations {
                let pose = self.pose(&q.into());
                let error = pose_error(&pose.world_from_tcp, world_from_tcp);
                let left = (error.fixed_rows::<3>(0).norm(), error.fixed_rows::<3>(3).norm());
                if left.0 + left.1 < best.0 + best.1 {
                    best = left;
                }
                if left.0 < 0.5 * SOLVED_POSITION_M && left.1 < 0.5 * SOLVED_ROTATION_RAD {
                    return Ok(q.into());
                }
                let homing = if iteration < iterations / 2 { 0.05 } else { 0.0 };
                let problem = Problem {
                    jacobian: pose.jacobian(),
                    error,
                    pull: (Joints::from(self.home_rad) - q) * homing,
                    damping: (0.5 * error.norm_squared() + 1e-6).sqrt(),
                    lowest_step: lowest - q,
                    highest_step: highest - q,
                };
                let dq = problem.solve();
                let scale = (OFFLINE_STEP_RAD / dq.amax().max(OFFLINE_STEP_RAD)).min(1.0);
                q = (q + dq * scale).sup(&lowest).inf(&highest);
            }
        }
        Err(ControlError::Unreachable { position_m: best.0, rotation_rad: best.1 })
    }

    /// A posture around home, wider with every attempt.
    fn restart(&self, attempt: u64) -> Joints {
        let width = 0.2 * attempt as f64;
        Joints::from_fn(|i, _| {
            let unit = derive_seed(attempt * N_ARM as u64 + i as u64, "ik restart") as f64 / u64::MAX as f64;
            self.home_rad[i] + width * (2.0 * unit - 1.0)
        })
    }
}

impl Problem {
    /// The damped step within the box.
    fn solve(&self) -> Joints {
        let mut jacobian = self.jacobian;
        let mut pull = self.pull;
        let mut error = self.error;
        let mut frozen = [false; N_ARM];
        let mut fixed = Joints::zeros();
        loop {
            let system = jacobian * jacobian.transpose() + SMatrix::<f64, 6, 6>::identity() * self.damping.powi(2);
            let Some(factor) = system.cholesky() else { return Joints::zeros() };
            let dq = pull + jacobian.transpose() * factor.solve(&(error - jacobian * pull)) + fixed;
            let outside = |i: usize| (dq[i] - self.highest_step[i]).max(self.lowest_step[i] - dq[i]);
            let worst = (0..N_ARM).filter(|&i| !frozen[i] && outside(i) > 0.0).max_by(|&a, &b| outside(a).total_cmp(&outside(b)));
            let Some(worst) = worst else { return dq };
            let limit = dq[worst].clamp(self.lowest_step[worst], self.highest_step[worst]);
            error -= self.jacobian.column(worst) * limit;
            jacobian.column_mut(worst).fill(0.0);
            frozen[worst] = true;
            fixed[worst] = limit;
            pull[worst] = 0.0;
        }
    }
}

/// What is missing from `from` to `to`: metres, then the rotation vector, world axes.
fn pose_error(from: &Isometry3<f64>, to: &Isometry3<f64>) -> PoseError {
    let linear = to.translation.vector - from.translation.vector;
    let angular = rotation_between(&from.rotation, &to.rotation);
    PoseError::new(linear.x, linear.y, linear.z, angular.x, angular.y, angular.z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Translation3, UnitQuaternion, Vector3};
    use reverie_schema::RobotSpec;

    fn random(k: u64) -> f64 {
        derive_seed(k, "ik test") as f64 / u64::MAX as f64
    }

    const STEP: IkStep =
        IkStep { dt_s: 1e-3, damping: 0.03, null_space_rate_per_s: 0.5, joint_margin_rad: 0.01, joint_speed_scale: 0.9 };

    #[test]
    fn offline_solution_reaches_poses_of_random_postures_from_home() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        for k in 0..200 {
            let q: [f64; N_ARM] = std::array::from_fn(|i| {
                let joint = &spec.joints[i];
                let wide = spec.home_rad[i] + 1.6 * (random(k * 7 + i as u64) - 0.5);
                wide.clamp(joint.lower_rad + 0.05, joint.upper_rad - 0.05)
            });
            let target = spec.world_from_tcp(&q);
            let solved = arm.solve_ik(&target, &spec.home_rad, 100).unwrap();
            let reached = spec.world_from_tcp(&solved);
            assert!((reached.translation.vector - target.translation.vector).norm() < SOLVED_POSITION_M);
            assert!(reached.rotation.angle_to(&target.rotation) < SOLVED_ROTATION_RAD);
            for (angle, joint) in solved.iter().zip(&spec.joints) {
                assert!((joint.lower_rad..=joint.upper_rad).contains(angle));
            }
        }
    }

    #[test]
    fn a_pose_out_of_reach_and_a_pose_that_is_no_number_are_errors() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        let mut target = spec.world_from_tcp(&spec.home_rad);
        target.translation.vector.x += 3.0;
        match arm.solve_ik(&target, &spec.home_rad, 60) {
            Err(ControlError::Unreachable { position_m, .. }) => assert!(position_m > 1.5, "{position_m}"),
            other => panic!("{other:?}"),
        }
        target.translation.vector.x = f64::NAN;
        assert_eq!(arm.solve_ik(&target, &spec.home_rad, 60), Err(ControlError::NotFinite { what: "TCP pose" }));
    }

    #[test]
    fn a_servo_step_removes_a_small_error_and_the_elbow_moves_home_behind_it() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        let mut q = spec.home_rad;
        let shift = Translation3::new(0.0003, -0.0002, 0.0004);
        let turn = UnitQuaternion::from_scaled_axis(Vector3::new(0.0004, 0.0, -0.0005));
        let home = spec.world_from_tcp(&spec.home_rad);
        let target = Isometry3::from_parts(shift * home.translation, turn * home.rotation);
        let (position_m, rotation_rad) = arm.ik_step(&mut q, &target, &STEP);
        assert!(position_m < 1e-7 && rotation_rad < 1e-7, "{position_m} {rotation_rad}");

        // Swing the elbow away from home with the TCP fixed, then let the null space bring it back.
        let mut swung = spec.home_rad;
        swung[2] -= 0.3;
        let mut q = arm.solve_ik(&home, &swung, 100).unwrap();
        let fixed = spec.world_from_tcp(&q);
        let distance = |q: &[f64; N_ARM]| (Joints::from(*q) - Joints::from(spec.home_rad)).norm();
        let before = distance(&q);
        for _ in 0..10_000 {
            let (position_m, rotation_rad) = arm.ik_step(&mut q, &fixed, &STEP);
            assert!(position_m < 1e-6 && rotation_rad < 1e-6);
        }
        assert!(distance(&q) < 0.2 * before + 1e-3, "{before} -> {}", distance(&q));
    }

    #[test]
    fn joints_stop_at_their_limits_and_keep_their_speeds_under_unreachable_targets() {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        for k in 0..40 {
            let mut q = spec.home_rad;
            let home = spec.world_from_tcp(&q);
            let far = Vector3::from_fn(|i, _| 4.0 * (random(k * 6 + i as u64) - 0.5));
            let turn = UnitQuaternion::from_scaled_axis(Vector3::from_fn(|i, _| 6.0 * (random(k * 6 + 3 + i as u64) - 0.5)));
            let target = Isometry3::from_parts(Translation3::from(home.translation.vector + far), turn * home.rotation);
            for _ in 0..3000 {
                let before = q;
                arm.ik_step(&mut q, &target, &STEP);
                for i in 0..N_ARM {
                    let joint = &spec.joints[i];
                    assert!(q[i] >= joint.lower_rad + 0.01 - 1e-12 && q[i] <= joint.upper_rad - 0.01 + 1e-12);
                    assert!((q[i] - before[i]).abs() <= 0.9e-3 * joint.velocity_radps * (1.0 + 1e-9));
                }
            }
        }
    }
}
