//! The engine under our solver settings against textbook values.

use rapier3d::prelude::*;
use reverie_schema::{JointCommand, RobotSpec};

use crate::{
    Link, StartState, World, WorldConfig, arm,
    motor::{Demand, Motor, Stops},
    world,
};

const MASS: f32 = 2.0;
const LENGTH: f32 = 0.5;

/// A rod of `MASS` whose centre hangs `LENGTH` from a horizontal hinge along y; angle 0 points along x.
fn rod(motor: impl FnOnce(GenericJointBuilder) -> GenericJointBuilder) -> (PhysicsWorld, MultibodyJointHandle) {
    let mut physics = PhysicsWorld::new();
    physics.gravity = Vector::new(0.0, 0.0, -9.81);
    world::set_solver(&mut physics.integration_parameters, &WorldConfig::default());
    let root = physics.insert_body(RigidBodyBuilder::fixed());
    let inertia = Vector::splat(1.0e-3);
    let rod = physics.insert_body(RigidBodyBuilder::dynamic().can_sleep(false).additional_mass_properties(MassProperties::new(
        Vector::new(LENGTH, 0.0, 0.0),
        MASS,
        inertia,
    )));
    // x of the joint frame along world -y, so that positive angles lift the rod.
    let frame = Pose::from_rotation(Rotation::from_rotation_arc(Vector::X, -Vector::Y));
    let joint = GenericJointBuilder::new(JointAxesMask::LOCKED_REVOLUTE_AXES).local_frame1(frame).local_frame2(frame);
    let handle = arm::insert(&mut physics, root, rod, motor(joint).build());
    arm::place_joints(&mut physics, &[(handle, 0.0)]);
    physics.multibody_joints.get_mut(handle).unwrap().0.damping_mut().fill(0.0);
    (physics, handle)
}

/// m g c cos(q) = kp (target - q).
#[test]
fn a_position_motor_sags_by_the_gravity_torque_over_its_stiffness() {
    let (stiffness, target) = (400.0, 0.2);
    let (mut physics, joint) = rod(|joint| {
        joint.motor_model(JointAxis::AngX, MotorModel::ForceBased).motor_max_force(JointAxis::AngX, 200.0).motor_position(
            JointAxis::AngX,
            target,
            stiffness,
            60.0,
        )
    });
    for _ in 0..2400 {
        physics.step();
    }
    let (angle, speed) = arm::coordinate(&physics, joint, 3);
    let torque = MASS * 9.81 * LENGTH * angle.cos();
    assert!(speed.abs() < 1e-4);
    assert!((stiffness * (target - angle) / torque - 1.0).abs() < 1e-3, "angle {angle}");
}

/// A torque limit below the load lets the rod fall: effort limits hold.
#[test]
fn a_motor_gives_no_more_than_its_effort_limit() {
    let limit = 0.5 * MASS * 9.81 * LENGTH;
    let (mut physics, joint) = rod(|joint| {
        joint.motor_model(JointAxis::AngX, MotorModel::ForceBased).motor_max_force(JointAxis::AngX, limit).motor_position(
            JointAxis::AngX,
            0.0,
            4000.0,
            300.0,
        )
    });
    let dt = physics.integration_parameters.dt;
    for _ in 0..12 {
        physics.step();
    }
    let (_, speed) = arm::coordinate(&physics, joint, 3);
    // Half of the gravity torque is left over: I q'' = -m g c / 2.
    let expected = -limit / (MASS * LENGTH * LENGTH + 1.0e-3) * 12.0 * dt;
    assert!((speed / expected - 1.0).abs() < 0.05, "{speed} {expected}");
}

/// The arm's own kind of motor on the rod, asked to hold the angle `target`.
fn hold(physics: &mut PhysicsWorld, joint: MultibodyJointHandle, motor: &mut Motor, target: f32, max_force: f32) {
    let demand = Demand { stiffness: 4000.0, target, damping: 300.0, speed: 0.0, max_force };
    let parameters = &physics.integration_parameters;
    motor.drive(physics.multibody_joints.get_mut(joint).unwrap().0, &demand, parameters);
    physics.step();
}

fn rod_with_motor() -> (PhysicsWorld, MultibodyJointHandle, Motor) {
    let (physics, joint) = rod(|joint| joint);
    let stops = Stops { range: [-3.0, 3.0], reach: 0.0 };
    let motor = Motor::new(&physics, joint, JointAxis::AngX, stops);
    (physics, joint, motor)
}

/// m g c cos(q) = kp (target - q).
#[test]
fn an_implicit_motor_sags_by_the_gravity_torque_over_its_stiffness() {
    let (mut physics, joint, mut motor) = rod_with_motor();
    for _ in 0..2400 {
        hold(&mut physics, joint, &mut motor, 0.2, 200.0);
    }
    let (angle, speed) = arm::coordinate(&physics, joint, 3);
    let torque = MASS * 9.81 * LENGTH * angle.cos();
    assert!(speed.abs() < 1e-4);
    assert!((4000.0 * (0.2 - angle) / torque - 1.0).abs() < 2e-3, "angle {angle}");
}

/// Under a load of twice the limit, I q'' = limit - m g c cos(q); against a far target, I q'' = limit - m g c: from the first step on.
#[test]
fn an_implicit_motor_gives_no_more_than_its_effort_limit() {
    let load = MASS * 9.81 * LENGTH;
    let inertia = MASS * LENGTH * LENGTH + 1.0e-3;
    for (target, limit) in [(0.0, 0.5 * load), (2.0, 1.5 * load), (2.0, 3.0 * load)] {
        let (mut physics, joint, mut motor) = rod_with_motor();
        let dt = physics.integration_parameters.dt;
        // One step for the mass matrix, which is unknown before.
        let steps = 12;
        hold(&mut physics, joint, &mut motor, 0.0, limit);
        let before = arm::coordinate(&physics, joint, 3).1;
        for _ in 0..steps {
            hold(&mut physics, joint, &mut motor, target, limit);
        }
        let gained = arm::coordinate(&physics, joint, 3).1 - before;
        let expected = (limit - load) / inertia * steps as f32 * dt;
        assert!((gained / expected - 1.0).abs() < 0.05, "limit {limit}: {gained} {expected}");
    }
}

/// Thrown at its stop, the rod ends there.
#[test]
fn a_stop_is_not_passed() {
    let (mut physics, joint) = rod(|joint| joint);
    let stops = Stops { range: [-1.0, 0.3], reach: 0.001 };
    let mut motor = Motor::new(&physics, joint, JointAxis::AngX, stops);
    let demand = Demand { stiffness: 0.0, target: 0.0, damping: 300.0, speed: 4.0, max_force: 60.0 };
    for _ in 0..480 {
        let parameters = &physics.integration_parameters;
        motor.drive(physics.multibody_joints.get_mut(joint).unwrap().0, &demand, parameters);
        physics.step();
        let angle = arm::coordinate(&physics, joint, 3).0;
        assert!(angle < 0.302, "{angle}");
    }
    let angle = arm::coordinate(&physics, joint, 3).0;
    assert!((angle - 0.3).abs() < 0.002, "{angle}");
}

/// E = m g c sin(q) + I q'^2 / 2 stays what it was.
#[test]
fn a_free_pendulum_keeps_its_energy() {
    let (mut physics, joint) = rod(|joint| joint);
    let energy = |physics: &PhysicsWorld| {
        let (angle, speed) = arm::coordinate(physics, joint, 3);
        MASS * 9.81 * LENGTH * angle.sin() + 0.5 * (MASS * LENGTH * LENGTH + 1.0e-3) * speed * speed
    };
    let scale = MASS * 9.81 * LENGTH;
    let (mut lowest, mut highest, mut travelled) = (0.0_f32, 0.0_f32, 0.0_f32);
    for _ in 0..5 * 240 {
        physics.step();
        lowest = lowest.min(energy(&physics) / scale);
        highest = highest.max(energy(&physics) / scale);
        travelled += arm::coordinate(&physics, joint, 3).1.abs() / 240.0;
    }
    assert!(travelled > 10.0, "it swings");
    assert!(lowest > -0.05 && highest < 0.05, "{lowest} {highest}");
}

#[test]
fn a_resting_block_presses_with_its_weight() {
    let spec = RobotSpec::panda();
    let mut world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad).unwrap();
    let hold = JointCommand { position: spec.home_rad, ..JointCommand::default() };
    for _ in 0..120 {
        world.step(&hold).unwrap();
    }
    let force = world.contact_force_n(Link::Block(0), Link::Table);
    assert!((force - 9.81).abs() < 0.05, "{force} N");
    assert!(world.deepest_penetration_m(Link::Block(0)) < 2.0e-4);
}
