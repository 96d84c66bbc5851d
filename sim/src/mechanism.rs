//! Drawer, sliding door, switch and button: one-axis joints on the table.

use rapier3d::prelude::*;

use crate::{
    WorldConfig,
    arm::{self, BuiltBody},
    convert,
    geometry::{self, LEAN_RAD},
    motor::{Stops, hold_within},
    part::{Link, Part},
};

/// Velocity gain that acts as dry friction up to the force limit, N s/m. 1e3 creeps.
const DRY_FRICTION_DAMPING: f32 = 1.0e5;
/// Spring of the button, N/m: the force limit is reached after 4 mm.
const BUTTON_STIFFNESS: f32 = 1000.0;
/// Damping of the button, N s/m.
const BUTTON_DAMPING: f32 = 20.0;
/// Where their stops begin to act, metres.
const STOP_REACH_M: f32 = 1.0e-3;
/// Damping of a stop, N s/m: what presses a light lever or cap against it meets something heavy, as a sweep-wise solver needs it
/// between the arm and a wall.
const STOP_DAMPING: f32 = 1.0e4;
/// Mass of the lever and of the cap, kg.
const SMALL_MASS_KG: f32 = 0.2;

/// Positions of the mechanisms, metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Positions {
    pub door: f32,
    pub drawer: f32,
    pub button: f32,
    pub switch: f32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Mechanisms {
    door: Mechanism,
    drawer: Mechanism,
    button: Mechanism,
    switch: Mechanism,
}

#[derive(Clone, Copy, Debug)]
struct Mechanism {
    joint: MultibodyJointHandle,
    stops: Stops,
}

struct Slide {
    name: &'static str,
    link: Link,
    parts: Vec<Part>,
    origin: [f32; 3],
    lean: f32,
    /// Where positive travel points, world frame.
    along: [f32; 3],
    range: f32,
    mass: f32,
    sprung: bool,
}

impl Mechanisms {
    /// Each is a multibody of its own, which sleeps until something touches it: touching one does not wake the others' equations.
    pub fn build(world: &mut PhysicsWorld, config: &WorldConfig, start: &Positions) -> (Self, Vec<BuiltBody>) {
        let layout = config.scene.layout();
        let mut bodies = Vec::new();
        let mut add = |slide: Slide, position: f32| {
            let stops = Stops { range: [0.0, slide.range], reach: STOP_REACH_M };
            let (joint, body) = slide.build(world, config, position);
            bodies.push(body);
            Mechanism { joint, stops }
        };
        let door = add(
            Slide {
                name: "table/door",
                link: Link::Door,
                parts: layout.door(),
                origin: layout.door_origin(),
                lean: LEAN_RAD,
                along: [-1.0, 0.0, 0.0],
                range: layout.slider_range_m,
                mass: geometry::DOOR_MASS_KG,
                sprung: false,
            },
            start.door,
        );
        let drawer = add(
            Slide {
                name: "table/drawer",
                link: Link::Drawer,
                parts: layout.drawer(),
                origin: layout.drawer_origin(),
                lean: 0.0,
                along: [0.0, -1.0, 0.0],
                range: geometry::DRAWER_RANGE_M,
                mass: geometry::DRAWER_MASS_KG,
                sprung: false,
            },
            start.drawer,
        );
        let button = add(
            Slide {
                name: "table/button",
                link: Link::Button,
                parts: geometry::button(),
                origin: layout.button_origin(),
                lean: 0.0,
                along: [0.0, 0.0, -1.0],
                range: geometry::BUTTON_RANGE_M,
                mass: SMALL_MASS_KG,
                sprung: true,
            },
            start.button,
        );
        let switch = add(
            Slide {
                name: "table/switch",
                link: Link::Switch,
                parts: geometry::switch(),
                origin: layout.switch_origin(),
                lean: LEAN_RAD,
                along: geometry::UP_THE_FRONT,
                range: geometry::SWITCH_RANGE_M,
                mass: SMALL_MASS_KG,
                sprung: false,
            },
            start.switch,
        );
        (Self { door, drawer, button, switch }, bodies)
    }

    /// Prepares the stops for the next step, of what rests as well: it may be hit.
    pub fn set_stops(&self, world: &mut PhysicsWorld) {
        let dt = world.integration_parameters.dt;
        for Mechanism { joint, stops } in [self.door, self.drawer, self.button, self.switch] {
            let (q, q_dot) = arm::coordinate(world, joint, 0);
            let Some((multibody, id)) = world.multibody_joints.get_mut(joint) else { continue };
            let is_beyond = q < stops.range[0] || q > stops.range[1];
            multibody.damping_mut().fill(if is_beyond { STOP_DAMPING } else { 0.0 });
            if let Some(link) = multibody.link_mut(id) {
                stops.set(&mut link.joint.data, JointAxis::LinX, [q, q_dot], dt);
            }
        }
    }

    /// After a step: no mechanism stays beyond its ends.
    pub fn hold_within_ends(&self, world: &mut PhysicsWorld) {
        for Mechanism { joint, stops } in [self.door, self.drawer, self.button, self.switch] {
            let place = world.multibody_joints.get(joint).and_then(|(multibody, id)| {
                let link = multibody.link(id)?;
                Some((id, link.assembly_id(), 0, stops.range))
            });
            hold_within(world, joint, place.into_iter());
        }
    }

    pub fn positions(&self, world: &PhysicsWorld) -> Positions {
        let at = |mechanism: Mechanism| arm::coordinate(world, mechanism.joint, 0).0;
        Positions { door: at(self.door), drawer: at(self.drawer), button: at(self.button), switch: at(self.switch) }
    }
}

impl Slide {
    fn build(self, world: &mut PhysicsWorld, config: &WorldConfig, position: f32) -> (MultibodyJointHandle, BuiltBody) {
        let frame = convert::pose(self.origin, [self.lean, 0.0, 0.0]);
        let root = world.insert_body(RigidBodyBuilder::fixed().pose(frame));
        let inertia = Vector::splat(self.mass * 0.01);
        let body = world.insert_body(
            RigidBodyBuilder::dynamic()
                .pose(frame)
                .gravity_scale(0.0)
                .sleeping(true)
                .additional_mass_properties(MassProperties::new(Vector::ZERO, self.mass, inertia)),
        );
        for part in self.parts.iter().filter(|part| part.solid) {
            world.insert_collider(part.collider(self.link), Some(body));
        }
        let along = frame.rotation.inverse() * convert::vector(self.along);
        let axis = Pose::from_rotation(Rotation::from_rotation_arc(Vector::X, along.normalize()));
        let joint = GenericJointBuilder::new(JointAxesMask::LOCKED_PRISMATIC_AXES)
            .local_frame1(axis)
            .local_frame2(axis)
            .limits(JointAxis::LinX, [0.0, self.range])
            .motor_model(JointAxis::LinX, MotorModel::ForceBased)
            .motor_max_force(JointAxis::LinX, config.mechanism_force_n)
            .contacts_enabled(false);
        let joint = if self.sprung {
            joint.motor_position(JointAxis::LinX, 0.0, BUTTON_STIFFNESS, BUTTON_DAMPING)
        } else {
            joint.motor_velocity(JointAxis::LinX, 0.0, DRY_FRICTION_DAMPING)
        };
        let handle = arm::insert(world, root, body, joint.build());
        arm::place_joints(world, &[(handle, position)]);
        if let Some((multibody, _)) = world.multibody_joints.get_mut(handle) {
            multibody.damping_mut().fill(0.0);
        }
        (handle, BuiltBody { name: self.name.into(), handle: body, body_from_drawn: Pose::IDENTITY, parts: self.parts })
    }
}
