//! Joint motors that are part of the multibody's own equations.
//!
//! A motor pulls with `stiffness (target - q) + damping (speed - q')`, at most `max_force`. Rapier integrates a multibody's springs and
//! damping implicitly, in the mass matrix that contacts are solved with as well. A motor as a solver constraint competes with the
//! contacts instead: a grasp then creeps unless the solver takes twice as many sub-steps, each with a mass matrix of its own.
//!
//! Implicit terms know no force limit. A motor whose demand is beyond it pulls with exactly `max_force` until the demand is back
//! below. What it cannot foresee is an impact within a step: the limit then holds from the next step on.

use rapier3d::{na, prelude::*};

/// Stiffness of the spring that carries a constant force, N/m or N m/rad: small beside any motor's gains, since it gives way with
/// the travel of one step, and large enough for its rest position to carry the force in single precision.
const CARRIER_STIFFNESS: f32 = 1.0;

/// What a motor is to do in the next step.
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Motor {
    link: usize,
    dof: usize,
    axis: JointAxis,
    limits: [f32; 2],
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// No step yet: the multibody's mass matrix is unknown.
    New,
    /// Spring and damper as demanded.
    Following(Demand),
    /// A constant force, +1 or -1 times the limit.
    Limited(f32),
}

impl Motor {
    /// For a prismatic (`LinX`) or revolute (`AngX`) joint with the range `limits`. The multibody must have all its joints, and its
    /// root must have become fixed.
    pub fn new(world: &PhysicsWorld, joint: MultibodyJointHandle, axis: JointAxis, limits: [f32; 2]) -> Self {
        let (link, dof) = world
            .multibody_joints
            .get(joint)
            .and_then(|(multibody, id)| multibody.link(id).map(|link| (id, link.assembly_id())))
            .unwrap_or_default();
        Self { link, dof, axis, limits, state: State::New }
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
            State::Limited(sign) => (CARRIER_STIFFNESS, q + sign * demand.max_force / CARRIER_STIFFNESS, 0.0),
            _ if demand.stiffness > 0.0 => {
                (demand.stiffness, demand.target + demand.damping * demand.speed / demand.stiffness, demand.damping)
            }
            _ => (CARRIER_STIFFNESS, q + demand.damping * demand.speed / CARRIER_STIFFNESS, demand.damping),
        };
        multibody.damping_mut()[self.dof] = damping;
        let near_a_stop = self.near_a_stop(q, q_dot, parameters.dt);
        if let Some(link) = multibody.link_mut(self.link) {
            link.joint.set_spring(self.axis as usize, stiffness, rest);
            link.joint.data.limit_axes.set(self.axis.into(), near_a_stop);
        }
    }

    /// Rapier's stops act beyond the range only, and each costs a solve with the mass matrix: they are left out where the joint
    /// cannot get to in a step.
    fn near_a_stop(&self, q: f32, q_dot: f32, dt: f32) -> bool {
        let [lower, upper] = self.limits;
        let margin = 0.02 * (upper - lower) + 4.0 * q_dot.abs() * dt;
        q < lower + margin || q > upper - margin
    }

    fn next_state(&self, multibody: &Multibody, demand: &Demand, parameters: &IntegrationParameters) -> State {
        let (q, q_dot) = self.coordinate(multibody);
        let (force, limit) = (demand.force(q, q_dot), demand.max_force);
        if force.abs() <= limit {
            return State::Following(*demand);
        }
        let beyond = |force_then: f32| force_then * force.signum() > limit;
        let is_limited = match self.state {
            State::New => false,
            State::Limited(sign) => sign * force > 0.0 || beyond(self.implicit_force(multibody, demand, parameters, force)),
            State::Following(last) => {
                beyond(last.force(q, q_dot)) || beyond(self.implicit_force(multibody, demand, parameters, force))
            }
        };
        if is_limited { State::Limited(force.signum()) } else { State::Following(*demand) }
    }

    /// What a demand of `force` comes to by the end of a step in which only this motor acts.
    fn implicit_force(&self, multibody: &Multibody, demand: &Demand, parameters: &IntegrationParameters, force: f32) -> f32 {
        let mut unit = na::DVector::zeros(multibody.ndofs());
        unit[self.dof] = 1.0;
        if !multibody.inv_augmented_mass().solve_mut(&mut unit) {
            return force;
        }
        let added = |stiffness: f32, damping: f32, dt: f32| damping * dt + stiffness * dt * dt;
        let substep = parameters.dt / parameters.num_solver_iterations as f32;
        // The matrix holds the last step's spring and damper.
        let own = match self.state {
            State::Following(last) => added(last.stiffness.max(CARRIER_STIFFNESS), last.damping, substep),
            _ => added(CARRIER_STIFFNESS, 0.0, substep),
        };
        let inertia = 1.0 / unit[self.dof] - own;
        force / (1.0 + added(demand.stiffness, demand.damping, parameters.dt) / inertia)
    }
}
