//! The arm as a rapier multibody, and its actuators.
//!
//! Masses, centres of mass, inertias, joint, speed and torque limits are the published ones of [`RobotSpec`]. Deviations:
//! gravity does not act on the arm (the real robot compensates it itself), each finger weighs 0.1 kg instead of 0.015 kg and has
//! 0.2 kg of reflected inertia (lighter ones lose grasps in rapier), and only hand and fingers collide.

use rapier3d::{na, prelude::*};
use reverie_schema::{GripperCommand, JointCommand, N_ARM, RobotSpec, scene::Form};
use serde::{Deserialize, Serialize};

use crate::{
    WorldConfig, convert,
    motor::{Demand, Motor, Stops, hold_within},
    part::{Link, Part},
};

const FINGER_MASS_KG: f32 = 0.1;
const FINGER_ARMATURE_KG: f32 = 0.2;
/// Closing speed of a finger, m/s.
const FINGER_SPEED_MPS: f32 = 0.2;
/// Velocity gain of a finger's motor, N s/m: stiff enough that only the force limit matters once the pads touch.
const FINGER_DAMPING: f32 = 2000.0;
/// Where the joints' and the fingers' stops begin to act.
const JOINT_STOP_REACH_RAD: f32 = 1.0e-3;
const FINGER_STOP_REACH_M: f32 = 1.0e-4;

const WHITE: [u8; 3] = [236, 238, 240];
const GREY: [u8; 3] = [70, 76, 84];

/// Handles of the arm's joints and bodies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Arm {
    /// A joint of the arm's multibody, to look it up by.
    base: MultibodyJointHandle,
    joints: [Motor; N_ARM],
    fingers: [Motor; 2],
    /// The last link, with the hand.
    link7: RigidBodyHandle,
    link7_from_tcp: Pose,
    velocity_limit: [f32; N_ARM],
    effort_limit: [f32; N_ARM],
    gains: [f32; 2],
    grip_force: f32,
    release_force: f32,
    /// What the position motors track: it follows the command no faster than the joints may move.
    reference: [f32; N_ARM],
}

pub(crate) struct BuiltBody {
    pub name: String,
    pub handle: RigidBodyHandle,
    pub body_from_drawn: Pose,
    pub parts: Vec<Part>,
}

impl Arm {
    pub fn build(world: &mut PhysicsWorld, spec: &RobotSpec, config: &WorldConfig, q: &[f64; N_ARM]) -> (Self, Vec<BuiltBody>) {
        let mut bodies = Vec::new();
        let base = world.insert_body(RigidBodyBuilder::fixed().pose(convert::pose_from_isometry(&spec.world_from_base())));
        bodies.push(BuiltBody {
            name: "robot/base".into(),
            handle: base,
            body_from_drawn: Pose::IDENTITY,
            parts: vec![
                Part::new(Form::Cylinder { radius: 0.09, half_height: 0.12 }, [0.0, 0.0, -0.12], [0.0; 3], GREY).drawn_only(),
                Part::new(Form::Cylinder { radius: 0.075, half_height: 0.14 }, [0.0, 0.0, 0.14], [0.0; 3], WHITE).drawn_only(),
            ],
        });

        let link7_from_hand = convert::pose_from_isometry(&spec.link7_from_hand());
        // Inertia of a solid 0.06 x 0.2 x 0.066 m box of that mass.
        let (hand_com, hand_inertia) = (Vector::new(0.0, 0.0, 0.03), Vector::new(0.0027, 0.0005, 0.0026));
        let hand_mass = MassProperties::new(hand_com, spec.hand_mass_kg as f32, hand_inertia).transform_by(&link7_from_hand);
        let mut parent = base;
        let mut world_from_link = spec.world_from_base();
        let joints = std::array::from_fn(|i| {
            let joint = &spec.joints[i];
            world_from_link *= joint.parent_from_link(q[i]);
            let own_mass = mass_properties(joint.com_m, joint.mass_kg, joint.inertia_kgm2);
            let mass = if i + 1 == N_ARM { own_mass + hand_mass } else { own_mass };
            let link = world.insert_body(link_body(&world_from_link).additional_mass_properties(mass));
            let data = revolute(&joint.parent_from_joint(), [joint.lower_rad as f32, joint.upper_rad as f32]);
            let handle = insert(world, parent, link, data.build());
            bodies.push(BuiltBody {
                name: format!("robot/link{}", i + 1),
                handle: link,
                body_from_drawn: Pose::IDENTITY,
                parts: link_parts(i),
            });
            parent = link;
            handle
        });

        // The hand is one body with the last link, to which it is bolted: a link less in the mass matrix.
        let hand = parent;
        let hand_parts = vec![Part::cuboid([0.0, 0.0, 0.033], [0.0315, 0.102, 0.033], WHITE)];
        for part in &hand_parts {
            let in_hand = part.collider(Link::Robot);
            let in_link7 = link7_from_hand * in_hand.position;
            world.insert_collider(in_hand.position(in_link7), Some(hand));
        }
        bodies.push(BuiltBody { name: "robot/hand".into(), handle: hand, body_from_drawn: link7_from_hand, parts: hand_parts });
        let world_from_hand = world_from_link * spec.link7_from_hand();

        let fingers = std::array::from_fn(|side| {
            let sign = if side == 0 { 1.0 } else { -1.0 };
            let finger = world.insert_body(link_body(&world_from_hand).additional_mass_properties(MassProperties::new(
                Vector::new(0.0, 0.0, 0.1),
                FINGER_MASS_KG,
                Vector::splat(1.0e-4),
            )));
            // The pad: 2 cm wide, inner face in the middle plane at joint position 0, tip 1 cm beyond the TCP.
            let parts = vec![Part::cuboid([0.0, sign * 0.0075, 0.108], [0.010, 0.0075, 0.042], GREY)];
            for part in &parts {
                world.insert_collider(part.collider(Link::Robot), Some(finger));
            }
            // x of the joint frame points along the finger's way out.
            let along = Pose::from_rotation(Rotation::from_rotation_z(sign * std::f32::consts::FRAC_PI_2));
            let travel = spec.finger_travel_m as f32;
            let data = GenericJointBuilder::new(JointAxesMask::LOCKED_PRISMATIC_AXES)
                .local_frame1(link7_from_hand * along)
                .local_frame2(along)
                .limits(JointAxis::LinX, [0.0, travel])
                .contacts_enabled(false);
            let handle = insert(world, hand, finger, data.build());
            bodies.push(BuiltBody {
                name: format!("robot/finger{}", side + 1),
                handle: finger,
                body_from_drawn: Pose::IDENTITY,
                parts,
            });
            handle
        });

        place(world, &joints, &fingers, spec, config, q);
        let arm = Self {
            base: joints[0],
            joints: std::array::from_fn(|i| {
                let range = [spec.joints[i].lower_rad as f32, spec.joints[i].upper_rad as f32];
                Motor::new(world, joints[i], JointAxis::AngX, Stops { range, reach: JOINT_STOP_REACH_RAD })
            }),
            fingers: fingers.map(|finger| {
                let stops = Stops { range: [0.0, spec.finger_travel_m as f32], reach: FINGER_STOP_REACH_M };
                Motor::new(world, finger, JointAxis::LinX, stops)
            }),
            link7: hand,
            link7_from_tcp: link7_from_hand * convert::pose_from_isometry(&spec.hand_from_tcp()),
            velocity_limit: std::array::from_fn(|i| spec.joints[i].velocity_radps as f32),
            effort_limit: std::array::from_fn(|i| spec.joints[i].effort_nm as f32),
            gains: [config.arm_stiffness, config.arm_damping],
            grip_force: config.grip_force_n,
            release_force: config.release_force_n,
            reference: q.map(|angle| angle as f32),
        };
        arm.couple_fingers(world);
        (arm, bodies)
    }

    /// After a step: no joint stays beyond its limits.
    pub fn hold_within_limits(&self, world: &mut PhysicsWorld) {
        hold_within(world, self.base, self.joints.iter().chain(&self.fingers).map(Motor::range));
    }

    /// One motor moves both fingers in the real hand.
    fn couple_fingers(&self, world: &mut PhysicsWorld) {
        let Some((multibody, _)) = world.multibody_joints.get_mut(self.base) else { return };
        multibody.add_dof_coupling(MultibodyDofCoupling {
            link1: self.fingers[0].link(),
            dof1: 0,
            axis1: 0,
            link2: self.fingers[1].link(),
            dof2: 0,
            axis2: 0,
            coeff: 1.0,
            offset: 0.0,
        });
    }

    /// Sets the motors for the next step.
    ///
    /// A cascade as in real joint controllers: torque = damping (v - q'), v = reference' + stiffness / damping (reference - q) within
    /// the speed limit, so that a joint held back by contact does not race to catch up when it comes free. At rest this is the
    /// stiffness; the torque is cut at the effort limit.
    pub fn drive(&mut self, world: &mut PhysicsWorld, command: &JointCommand) {
        let parameters = &world.integration_parameters;
        let dt = parameters.dt;
        let Some((multibody, _)) = world.multibody_joints.get_mut(self.base) else { return };
        let [stiffness, damping] = self.gains;
        for (i, motor) in self.joints.iter_mut().enumerate() {
            let limit = self.velocity_limit[i];
            let (angle, _) = motor.coordinate(multibody);
            let change = (command.position[i] as f32 - self.reference[i]).clamp(-limit * dt, limit * dt);
            self.reference[i] += change;
            let speed = change / dt + stiffness / damping * (self.reference[i] - angle);
            let demand = if speed.abs() < limit {
                Demand { stiffness, target: self.reference[i], damping, speed: change / dt, max_force: self.effort_limit[i] }
            } else {
                Demand { stiffness: 0.0, target: angle, damping, speed: limit.copysign(speed), max_force: self.effort_limit[i] }
            };
            motor.drive(multibody, &demand, parameters);
        }
        let (speed, max_force) = match command.gripper {
            GripperCommand::Open => (FINGER_SPEED_MPS, self.release_force),
            GripperCommand::Close => (-FINGER_SPEED_MPS, self.grip_force),
        };
        for motor in &mut self.fingers {
            let demand = Demand { stiffness: 0.0, target: 0.0, damping: FINGER_DAMPING, speed, max_force };
            motor.drive(multibody, &demand, parameters);
        }
    }

    /// Joint angles and speeds.
    pub fn joint_state(&self, world: &PhysicsWorld) -> ([f64; N_ARM], [f64; N_ARM]) {
        let mut state = ([0.0; N_ARM], [0.0; N_ARM]);
        let Some((multibody, _)) = world.multibody_joints.get(self.base) else { return state };
        for (i, joint) in self.joints.iter().enumerate() {
            let (angle, speed) = joint.coordinate(multibody);
            state.0[i] = angle.into();
            state.1[i] = speed.into();
        }
        state
    }

    /// Distance between the pads, metres.
    pub fn gripper_width(&self, world: &PhysicsWorld) -> f32 {
        let Some((multibody, _)) = world.multibody_joints.get(self.base) else { return 0.0 };
        self.fingers.iter().map(|finger| finger.coordinate(multibody).0).sum()
    }

    pub fn world_from_tcp(&self, world: &PhysicsWorld) -> Pose {
        *world.bodies[self.link7].position() * self.link7_from_tcp
    }
}

/// Puts the joints where they belong, the fingers open.
fn place(
    world: &mut PhysicsWorld,
    joints: &[MultibodyJointHandle; N_ARM],
    fingers: &[MultibodyJointHandle; 2],
    spec: &RobotSpec,
    config: &WorldConfig,
    q: &[f64; N_ARM],
) {
    let angles = joints.iter().copied().zip(q.iter().map(|&a| a as f32));
    let all: Vec<_> = angles.chain(fingers.iter().map(|&finger| (finger, spec.finger_travel_m as f32))).collect();
    place_joints(world, &all);
    let ids = fingers.map(|finger| dof_of(&world.multibody_joints, finger));
    let Some((multibody, _)) = world.multibody_joints.get_mut(joints[0]) else { return };
    multibody.damping_mut().fill(0.0);
    let armature = multibody.armature_mut();
    armature.fill(config.arm_armature);
    for dof in ids {
        armature[dof] = FINGER_ARMATURE_KG;
    }
}

/// Moves one-axis joints from 0 to the given coordinates, which must be done before anything else moves them.
pub(crate) fn place_joints(world: &mut PhysicsWorld, coordinates: &[(MultibodyJointHandle, f32)]) {
    let Some(&(first, _)) = coordinates.first() else { return };
    let PhysicsWorld { multibody_joints, bodies, .. } = world;
    let Some((multibody, _)) = multibody_joints.get_mut(first) else { return };
    multibody.forward_kinematics(bodies, true);
    let mut displacement = vec![0.0; multibody.ndofs()];
    for &(joint, value) in coordinates {
        let index = dof_of(multibody_joints, joint);
        displacement[index] = value;
    }
    let Some((multibody, _)) = multibody_joints.get_mut(first) else { return };
    multibody.apply_displacements(&displacement);
    multibody.forward_kinematics(bodies, false);
    multibody.update_rigid_bodies(bodies, true);
}

fn dof_of(joints: &MultibodyJointSet, joint: MultibodyJointHandle) -> usize {
    joints.get(joint).and_then(|(multibody, id)| multibody.link(id)).map_or(0, |link| link.assembly_id())
}

/// Coordinate and speed of a one-axis joint; `axis` is 0 for a prismatic, 3 for a revolute one.
pub(crate) fn coordinate(world: &PhysicsWorld, handle: MultibodyJointHandle, axis: usize) -> (f32, f32) {
    let Some((multibody, id)) = world.multibody_joints.get(handle) else { return (0.0, 0.0) };
    let Some(link) = multibody.link(id) else { return (0.0, 0.0) };
    (link.joint.coords()[axis], multibody.joint_velocity(link)[0])
}

pub(crate) fn insert(
    world: &mut PhysicsWorld,
    parent: RigidBodyHandle,
    child: RigidBodyHandle,
    joint: GenericJoint,
) -> MultibodyJointHandle {
    world.insert_multibody_joint(parent, child, joint).expect("a chain of new bodies has no cycle")
}

fn link_body(world_from_link: &nalgebra::Isometry3<f64>) -> RigidBodyBuilder {
    RigidBodyBuilder::dynamic().pose(convert::pose_from_isometry(world_from_link)).gravity_scale(0.0).can_sleep(false)
}

/// Rapier turns about x of the joint frame, the specification about z of the link.
fn revolute(parent_from_joint: &nalgebra::Isometry3<f64>, limits: [f32; 2]) -> GenericJointBuilder {
    let z_to_x = Pose::from_rotation(Rotation::from_rotation_y(-std::f32::consts::FRAC_PI_2));
    GenericJointBuilder::new(JointAxesMask::LOCKED_REVOLUTE_AXES)
        .local_frame1(convert::pose_from_isometry(parent_from_joint) * z_to_x)
        .local_frame2(z_to_x)
        .limits(JointAxis::AngX, limits)
        .contacts_enabled(false)
}

fn mass_properties(com: [f64; 3], mass: f64, [xx, xy, xz, yy, yz, zz]: [f64; 6]) -> MassProperties {
    let inertia = na::Matrix3::new(xx, xy, xz, xy, yy, yz, xz, yz, zz).cast::<f32>();
    MassProperties::with_inertia_matrix(
        convert::vector(com.map(|c| c as f32)),
        mass as f32,
        Matrix::from_cols_array(inertia.as_slice().first_chunk().expect("3 x 3")),
    )
}

/// What is drawn of each link: a capsule along its bone, and one at its joint.
fn link_parts(index: usize) -> Vec<Part> {
    let capsule = |centre: [f32; 3], half_height: f32, radius: f32, rpy: [f32; 3]| {
        Part::new(Form::Capsule { radius, half_height }, centre, rpy, WHITE).drawn_only()
    };
    let lying = [std::f32::consts::FRAC_PI_2, 0.0, 0.0];
    match index {
        0 => vec![capsule([0.0, 0.0, -0.06], 0.07, 0.062, [0.0; 3])],
        1 => vec![capsule([0.0, 0.0, 0.0], 0.05, 0.062, [0.0; 3]), capsule([0.0, -0.1, 0.0], 0.06, 0.06, lying)],
        2 => vec![capsule([0.0, 0.0, -0.08], 0.05, 0.06, [0.0; 3]), capsule([0.06, 0.0, 0.0], 0.02, 0.058, lying)],
        3 => vec![capsule([0.0, 0.0, 0.0], 0.045, 0.058, [0.0; 3]), capsule([-0.07, 0.08, 0.0], 0.04, 0.055, lying)],
        4 => vec![capsule([0.0, 0.0, -0.2], 0.08, 0.052, [0.0; 3]), capsule([0.0, 0.05, -0.06], 0.07, 0.042, [0.0; 3])],
        5 => vec![capsule([0.0, 0.0, 0.0], 0.05, 0.05, [0.0; 3]), capsule([0.07, 0.0, 0.0], 0.03, 0.047, lying)],
        _ => vec![capsule([0.0, 0.0, 0.06], 0.025, 0.045, [0.0; 3])],
    }
}
