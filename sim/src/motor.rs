//! Joint motors that are part of the multibody's own equations.
//!
//! A motor pulls with `stiffness (target - q) + damping (speed - q')`, at most `max_force`. Rapier integrates a multibody's springs and
//! damping implicitly, in the mass matrix that contacts are solved with as well. A motor as a solver constraint competes with the
//! contacts instead: a grasp then creeps unless the solver takes twice as many sub-steps, each with a mass matrix of its own.
//!
//! Implicit terms know no force limit. A motor whose demand is beyond it pulls with exactly `max_force` until the demand is back
//! below. What it cannot foresee is an impact within a step: the limit then holds from the next step on.

use rapier3d::{na, prelude::*};
use serde::{Deserialize, Serialize};

/// Stiffness of the spring that carries a constant force, N/m or N m/rad: small beside any motor's gains, since it gives way with
/// the travel of one step, and large enough for its rest position to carry the force in single precision.
const CARRIER_STIFFNESS: f32 = 1.0;

/// What a motor is to do in the next step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// Pull towards `target`, N/m or N m/rad.
    pub stiffness: f32,
    pub target: f32,
    /// Pull towards `speed`, N s/m or N m s/rad.
    pub damping: f32,
    pub speed: f32,
    pub max_force: f32,
}

impl Demand {
    /// The force that is asked for at coordinate `q` and speed `q_dot`.
    fn force(&self, q: f32, q_dot: f32) -> f32 {
        self.stiffness * (self.target - q) + self.damping * (self.speed - q_dot)
    }
}

/// A motor on a one-axis joint of a multibody, and the stops at the ends of the joint's range.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Motor {
    link: usize,
    dof: usize,
    axis: JointAxis,
    stops: Stops,
    state: State,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// No step yet: the multibody's mass matrix is unknown.
    New,
    /// Spring and damper as demanded.
    Following(Demand),
    /// A constant force, which met the joint at a speed of `q_dot`.
    Limited { force: f32, q_dot: f32 },
}

/// What a step left beyond the end of a range is taken back from here on, metres or radians: the solver's stops give way under what
/// the arm can press.
const HARD_STOP: f32 = 0.001;

/// Takes the multibody `root`'s coordinates back to the ends of their ranges where a step left them beyond, and stops them there. `joints`
/// are link, degree of freedom, index of the coordinate and range.
pub(crate) fn hold_within(
    world: &mut PhysicsWorld,
    root: MultibodyJointHandle,
    joints: impl Iterator<Item = (usize, usize, usize, [f32; 2])>,
) {
    let PhysicsWorld { multibody_joints, bodies, .. } = world;
    let Some((multibody, _)) = multibody_joints.get_mut(root) else { return };
    let mut displacement: Option<Vec<f32>> = None;
    for (link, dof, axis, [lower, upper]) in joints {
        let Some(q) = multibody.link(link).map(|link| link.joint.coords()[axis]) else { continue };
        if q < lower - HARD_STOP || q > upper + HARD_STOP {
            displacement.get_or_insert_with(|| vec![0.0; multibody.ndofs()])[dof] = q.clamp(lower, upper) - q;
            multibody.generalized_velocity_mut()[dof] = 0.0;
        }
    }
    if let Some(displacement) = displacement {
        multibody.apply_displacements(&displacement);
        multibody.forward_kinematics(bodies, false);
        multibody.update_rigid_bodies(bodies, true);
    }
}

impl Motor {
    /// What [`hold_within`] asks for.
    pub fn range(&self) -> (usize, usize, usize, [f32; 2]) {
        (self.link, self.dof, self.axis as usize, self.stops.range)
    }

    /// For a prismatic (`LinX`) or revolute (`AngX`) joint. The multibody must have all its joints, and its
    /// root must have become fixed.
    pub fn new(world: &PhysicsWorld, joint: MultibodyJointHandle, axis: JointAxis, stops: Stops) -> Self {
        let (link, dof) = world
            .multibody_joints
            .get(joint)
            .and_then(|(multibody, id)| multibody.link(id).map(|link| (id, link.assembly_id())))
            .unwrap_or_default();
        Self { link, dof, axis, stops, state: State::New }
    }

    /// The id of the joint's link in its multibody.
    pub const fn link(&self) -> usize {
        self.link
    }

    /// Coordinate and speed.
    pub fn coordinate(&self, multibody: &Multibody) -> (f32, f32) {
        let q = multibody.link(self.link).map_or(0.0, |link| link.joint.coords()[self.axis as usize]);
        (q, multibody.generalized_velocity()[self.dof])
    }

    /// Sets the joint's spring, damping and stops for the next step.
    pub fn drive(&mut self, multibody: &mut Multibody, demand: &Demand, parameters: &IntegrationParameters) {
        let (q, q_dot) = self.coordinate(multibody);
        self.state = self.next_state(multibody, demand, parameters);
        let (stiffness, rest, damping) = match self.state {
            State::Limited { force, .. } => (CARRIER_STIFFNESS, q + force / CARRIER_STIFFNESS, 0.0),
            _ if demand.stiffness > 0.0 => {
                (demand.stiffness, demand.target + demand.damping * demand.speed / demand.stiffness, demand.damping)
            }
            _ => (CARRIER_STIFFNESS, q + demand.damping * demand.speed / CARRIER_STIFFNESS, demand.damping),
        };
        multibody.damping_mut()[self.dof] = damping;
        if let Some(link) = multibody.link_mut(self.link) {
            link.joint.set_spring(self.axis as usize, stiffness, rest);
            self.stops.set(&mut link.joint.data, self.axis, [q, q_dot], parameters.dt);
        }
    }

    fn next_state(&self, multibody: &Multibody, demand: &Demand, parameters: &IntegrationParameters) -> State {
        let (q, q_dot) = self.coordinate(multibody);
        let (force, limit) = (demand.force(q, q_dot), demand.max_force);
        if force.abs() <= limit {
            return State::Following(*demand);
        }
        // What the demand comes to by the end of the step, if the joint answers as it does to this motor alone.
        let added = |demand: &Demand, dt: f32| demand.damping * dt + demand.stiffness * dt * dt;
        let implicit = |inertia: f32| force / (1.0 + added(demand, parameters.dt) / inertia);
        let is_beyond = |force_then: f32| force_then * force.signum() > limit;
        let is_limited = match self.state {
            State::New => false,
            // How the joint answered to the constant force shows what holds it: against a wall its inertia is endless.
            State::Limited { force: before, q_dot: q_dot_before } => {
                let gained = (q_dot - q_dot_before) * before.signum();
                let inertia = if gained > 0.0 { before.abs() * parameters.dt / gained } else { f32::INFINITY };
                is_beyond(implicit(inertia))
            }
            State::Following(last) => {
                let substep = parameters.dt / parameters.num_solver_iterations as f32;
                is_beyond(last.force(q, q_dot)) || is_beyond(implicit(self.inertia(multibody) - added(&last, substep)))
            }
        };
        if is_limited { State::Limited { force: limit.copysign(force), q_dot } } else { State::Following(*demand) }
    }

    /// What resists a force on this joint alone: the inertia, and what the last sub-step's springs and damping added to it.
    fn inertia(&self, multibody: &Multibody) -> f32 {
        let mut unit = na::DVector::zeros(multibody.ndofs());
        unit[self.dof] = 1.0;
        if multibody.inv_augmented_mass().solve_mut(&mut unit) { 1.0 / unit[self.dof] } else { f32::INFINITY }
    }
}

/// The ends of a one-axis joint's range.
///
/// Rapier's stops act beyond the range only: a light lever that is hit at its end would jump over it by a step's travel. Here the
/// joint is held where it is as soon as it comes within `reach` of an end, or would within the step. Elsewhere there is no stop to
/// solve for, and each costs a solve with the mass matrix.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stops {
    /// Lower and upper end, m or rad.
    pub range: [f32; 2],
    pub reach: f32,
}

impl Stops {
    /// Prepares the joint at coordinate `q` and speed `q_dot` for the next step.
    pub fn set(&self, joint: &mut GenericJoint, axis: JointAxis, [q, q_dot]: [f32; 2], dt: f32) {
        // Rapier's stops are on where the coordinate is beyond them.
        const JUST_BEYOND: f32 = 1.0e-6;
        let [lower, upper] = self.range;
        let at_lower = q + q_dot.min(0.0) * dt < lower + self.reach;
        let at_upper = q + q_dot.max(0.0) * dt > upper - self.reach;
        // A joint that is flung through its whole range within the step can't be held at both ends: the nearer one counts.
        let (at_lower, at_upper) = match (at_lower, at_upper) {
            (true, true) => (q - lower <= upper - q, q - lower > upper - q),
            other => other,
        };
        let limits = &mut joint.limits[axis as usize];
        limits.min = if at_lower { lower.max(q + JUST_BEYOND) } else { lower };
        limits.max = if at_upper { upper.min(q - JUST_BEYOND) } else { upper };
        joint.limit_axes.set(axis.into(), at_lower || at_upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At any place and speed the limits leave room: rapier panics where the lower one is above the upper.
    #[test]
    fn stops_never_cross() {
        let stops = Stops { range: [0.0, 0.04], reach: 0.001 };
        for q in [-0.001, 0.0, 0.0005, 0.02, 0.0395, 0.04, 0.041] {
            for q_dot in [-100.0, -1.0, 0.0, 1.0, 100.0] {
                let mut joint = GenericJoint::default();
                stops.set(&mut joint, JointAxis::LinX, [q, q_dot], 1e-3);
                let limits = joint.limits[JointAxis::LinX as usize];
                assert!(limits.min < limits.max, "{q} {q_dot}: {limits:?}");
            }
        }
    }
}
