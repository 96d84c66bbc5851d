use std::sync::atomic::{AtomicU64, Ordering};

use rapier3d::prelude::*;
use reverie_schema::{
    GripperCommand, JointCommand, JointState, N_ARM, Observation, RobotSpec, SCENE_OBS, Stamp,
    scene::{self, Scene},
};
use serde::{Deserialize, Serialize};

use crate::{
    LinkSet, SceneState, SimError, StartState, WorldConfig,
    arm::{Arm, BuiltBody},
    convert,
    geometry::{self, BUTTON_PRESSED_M, Layout, SWITCH_ON_M},
    mechanism::{Mechanisms, Positions},
    part::{Link, Part},
    snapshot::WorldSnapshot,
};

/// Physics steps a second (CALVIN, PyBullet's default).
pub const STEPS_PER_SECOND: i64 = 240;
/// Physics steps of one 30 Hz control step.
pub const STEPS_PER_CONTROL: u64 = 8;

/// Sweeps over all constraints in a sub-step, with and without position correction each. They cost little beside the arm's mass
/// matrix; one leaves a light lever between hand and stop unsolved.
const SWEEPS: usize = 4;

/// The table, its mechanisms, three blocks and the arm, in rapier.
///
/// Stepping is lockstep: time moves only by [`World::step`], 1/240 s each. The same start state and the same commands give the
/// same bytes in every run on a machine, and a restored snapshot goes on identically. Real time is the caller's matter.
pub struct World {
    physics: PhysicsWorld,
    arm: Arm,
    mechanisms: Mechanisms,
    blocks: [RigidBodyHandle; 3],
    bodies: Vec<(Drawn, scene::Body)>,
    logic: Logic,
    layout: &'static Layout,
}

/// Where a drawn body gets its pose from.
#[derive(Clone, Copy, Debug)]
enum Drawn {
    /// A body, and `body_from_drawn`.
    Body(RigidBodyHandle, Pose),
    BulbLight,
    LedLight,
}

/// What is not in the bodies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Logic {
    steps: u64,
    observations: u64,
    led: bool,
    bulb: bool,
    pressed: bool,
    gripper: GripperCommand,
}

/// Physics steps that all worlds of this process have taken.
static STEPS_TAKEN: AtomicU64 = AtomicU64::new(0);

/// Physics steps that all worlds of this process have taken so far: who claims to need none is checked by it.
pub fn steps_taken() -> u64 {
    STEPS_TAKEN.load(Ordering::Relaxed)
}

impl World {
    /// Builds the scene of the configuration in the start state `start`, the arm at the joint angles `q` (radians) with open fingers.
    ///
    /// # Errors
    /// [`SimError::Config`], [`SimError::StartOutOfRange`].
    pub fn new(config: &WorldConfig, spec: &RobotSpec, start: &StartState, q: &[f64; N_ARM]) -> Result<Self, SimError> {
        config.validate()?;
        start.validate(config.scene.layout())?;
        for (joint, (&value, limits)) in q.iter().zip(&spec.joints).enumerate() {
            if !value.is_finite() {
                return Err(SimError::CommandNotFinite { joint, value });
            }
            let (lower, upper) = (limits.lower_rad - 1e-6, limits.upper_rad + 1e-6);
            if !(lower..=upper).contains(&value) {
                return Err(SimError::StartOutOfRange { quantity: "joint angle (rad)", value, lower, upper });
            }
        }
        let layout = config.scene.layout();
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::new(0.0, 0.0, -9.81);
        set_solver(&mut physics.integration_parameters, config);

        let mut built = vec![fixture(&mut physics, "table/body", Link::Table, layout.table())];
        built.push(fixture(&mut physics, "table/plank", Link::Plank, layout.plank()));
        // Not drawn: cameras have a floor of their own.
        let floor = Part::cuboid([0.0, 0.0, -0.1], [5.0, 5.0, 0.1], [0; 3]).collider(Link::Floor);
        physics.insert_collider(floor, None);
        let positions = Positions { door: start.slider_m, drawer: start.drawer_m, button: 0.0, switch: start.switch_m() };
        let (mechanisms, more) = Mechanisms::build(&mut physics, config, &positions);
        built.extend(more);
        let blocks = std::array::from_fn(|index| {
            let body = block(&mut physics, config, index, start);
            let handle = body.handle;
            built.push(body);
            handle
        });
        let (arm, more) = Arm::build(&mut physics, spec, config, q);
        built.extend(more);

        if config.friction_scale != 1.0 {
            // The coefficients of a pair multiply.
            let factor = config.friction_scale.sqrt();
            for (_, collider) in physics.colliders.iter_mut() {
                collider.set_friction(collider.friction() * factor);
            }
        }

        let rigid = built.into_iter().map(|body| {
            let shapes = body.parts.into_iter().map(|part| part.shape).collect();
            (Drawn::Body(body.handle, body.body_from_drawn), scene::Body { name: body.name, shapes })
        });
        let light = |drawn, name: &str, part: Part| (drawn, scene::Body { name: name.into(), shapes: vec![part.shape] });
        let bodies = rigid
            .chain([
                light(Drawn::BulbLight, "table/bulb_light", geometry::bulb_light()),
                light(Drawn::LedLight, "table/led_light", geometry::led_light()),
            ])
            .collect();
        let logic =
            Logic { steps: 0, observations: 0, led: start.led, bulb: start.bulb, pressed: false, gripper: GripperCommand::Open };
        let mut world = Self { physics, arm, mechanisms, blocks, bodies, logic, layout };
        // One step before time begins, as CALVIN takes one after a reset: contacts are there from the first observation on.
        let hold = JointCommand { position: *q, ..JointCommand::default() };
        world.arm.drive(&mut world.physics, &hold);
        world.mechanisms.set_stops(&mut world.physics);
        world.physics.step();
        Ok(world)
    }

    /// One physics step of 1/240 s under `command`. After every eighth, lights follow their switches (CALVIN evaluates them once a
    /// control step).
    ///
    /// # Errors
    /// [`SimError::CommandNotFinite`]; the world is then unchanged.
    pub fn step(&mut self, command: &JointCommand) -> Result<(), SimError> {
        if let Some((joint, &value)) = command.position.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(SimError::CommandNotFinite { joint, value });
        }
        self.arm.drive(&mut self.physics, command);
        self.mechanisms.set_stops(&mut self.physics);
        self.physics.step();
        self.arm.hold_within_limits(&mut self.physics);
        self.mechanisms.hold_within_ends(&mut self.physics);
        self.logic.gripper = command.gripper;
        self.logic.steps += 1;
        STEPS_TAKEN.fetch_add(1, Ordering::Relaxed);
        if self.logic.steps.is_multiple_of(STEPS_PER_CONTROL) {
            let positions = self.mechanisms.positions(&self.physics);
            let pressed = positions.button > BUTTON_PRESSED_M;
            self.logic.led ^= pressed && !self.logic.pressed;
            self.logic.pressed = pressed;
            self.logic.bulb = positions.switch > SWITCH_ON_M;
        }
        Ok(())
    }

    /// Simulated time since the start state.
    pub fn stamp(&self) -> Stamp {
        Stamp((self.logic.steps as i64 * 1_000_000_000) / STEPS_PER_SECOND)
    }

    /// Physics steps since the start state.
    pub fn steps(&self) -> u64 {
        self.logic.steps
    }

    /// The observation at this moment, numbered from 0.
    pub fn observe(&mut self) -> Observation {
        let seq = self.logic.observations;
        self.logic.observations += 1;
        let tcp = convert::position_and_euler(&self.arm.world_from_tcp(&self.physics));
        let (angles, _) = self.arm.joint_state(&self.physics);
        let mut robot = [0.0; reverie_schema::ROBOT_OBS];
        robot[..6].copy_from_slice(&tcp);
        robot[6] = self.arm.gripper_width(&self.physics);
        for (to, from) in robot[7..14].iter_mut().zip(angles) {
            *to = from as f32;
        }
        robot[14] = self.logic.gripper.sign();
        Observation { seq, stamp: self.stamp(), robot, scene: self.scene_obs() }
    }

    /// CALVIN's `scene_obs`.
    pub fn scene_obs(&self) -> [f32; SCENE_OBS] {
        let positions = self.mechanisms.positions(&self.physics);
        let mut scene = [0.0; SCENE_OBS];
        scene[0] = positions.door;
        scene[1] = positions.drawer;
        scene[2] = positions.button;
        scene[3] = positions.switch;
        scene[4] = f32::from(u8::from(self.logic.bulb));
        scene[5] = f32::from(u8::from(self.logic.led));
        for (index, &block) in self.blocks.iter().enumerate() {
            let pose = convert::position_and_euler(self.physics.bodies[block].position());
            scene[6 + 6 * index..12 + 6 * index].copy_from_slice(&pose);
        }
        scene
    }

    /// What the joint sensors read.
    pub fn joint_state(&self) -> JointState {
        let (position, velocity) = self.arm.joint_state(&self.physics);
        let gripper_width = self.arm.gripper_width(&self.physics).into();
        JointState { stamp: self.stamp(), position, velocity, gripper_width }
    }

    /// Pairs in contact: an active contact with a distance below 1 mm. (The flag alone stays set up to the prediction distance.)
    pub fn contacts(&self) -> Vec<(Link, Link)> {
        let mut pairs: Vec<(Link, Link)> = self
            .physics
            .narrow_phase
            .contact_pairs()
            .filter(|pair| pair.has_any_active_contact())
            .filter(|pair| pair.find_deepest_contact().is_some_and(|(_, contact)| contact.dist < 0.001))
            .filter_map(|pair| {
                let link = |handle| self.physics.colliders.get(handle).and_then(Link::of);
                let (a, b) = (link(pair.collider1)?, link(pair.collider2)?);
                Some(if a <= b { (a, b) } else { (b, a) })
            })
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Deepest overlap of `link` with anything, metres; 0 without contact.
    pub fn deepest_penetration_m(&self, link: Link) -> f32 {
        self.physics
            .narrow_phase
            .contact_pairs()
            .filter(|pair| {
                [pair.collider1, pair.collider2]
                    .into_iter()
                    .any(|handle| self.physics.colliders.get(handle).and_then(Link::of) == Some(link))
            })
            .filter_map(|pair| pair.find_deepest_contact())
            .fold(0.0, |deepest, (_, contact)| deepest.max(-contact.dist))
    }

    /// Force between two links in the last step, newtons: the size of the sum of all contact impulses over the step.
    pub fn contact_force_n(&self, a: Link, b: Link) -> f32 {
        let link = |handle| self.physics.colliders.get(handle).and_then(Link::of);
        let impulse = self
            .physics
            .narrow_phase
            .contact_pairs()
            .filter(|pair| {
                let (first, second) = (link(pair.collider1), link(pair.collider2));
                (first, second) == (Some(a), Some(b)) || (first, second) == (Some(b), Some(a))
            })
            .fold(Vector::ZERO, |sum, pair| sum + pair.total_impulse());
        impulse.length() / self.physics.integration_parameters.dt
    }

    /// Linear speed of a block, m/s.
    pub fn block_speed_mps(&self, index: usize) -> f32 {
        self.blocks.get(index).map_or(0.0, |&block| self.physics.bodies[block].linvel().length())
    }

    /// What the task oracles read.
    pub fn scene_state(&self) -> SceneState {
        let mut state = SceneState {
            scene: self.scene_obs(),
            block_contacts: [LinkSet::EMPTY; 3],
            robot_contacts: LinkSet::EMPTY,
            block_velocity: self.blocks.map(|block| {
                let body = &self.physics.bodies[block];
                let ([vx, vy, vz], [wx, wy, wz]) = (body.linvel().to_array(), body.angvel().to_array());
                [vx, vy, vz, wx, wy, wz]
            }),
        };
        for (a, b) in self.contacts() {
            for (link, other) in [(a, b), (b, a)] {
                match link {
                    Link::Robot => state.robot_contacts.insert(other),
                    Link::Block(index) => state.block_contacts[index].insert(other),
                    _ => {}
                }
            }
        }
        state
    }

    /// All bodies and their shapes, for drawing. Lights that are off hide inside the table.
    pub fn scene(&self) -> Scene {
        Scene { bodies: self.bodies.iter().map(|(_, body)| body.clone()).collect() }
    }

    /// `world_from_body` of every body of [`World::scene`], in its order.
    pub fn poses(&self, out: &mut Vec<scene::Pose>) {
        let light = |on: bool, at: [f32; 3]| scene::Pose {
            translation: if on { at } else { geometry::DARK_PLACE_M },
            ..scene::Pose::IDENTITY
        };
        out.clear();
        out.extend(self.bodies.iter().map(|(drawn, _)| match *drawn {
            Drawn::Body(handle, body_from_drawn) => {
                convert::scene_pose(&(*self.physics.bodies[handle].position() * body_from_drawn))
            }
            Drawn::BulbLight => light(self.logic.bulb, self.layout.bulb_m),
            Drawn::LedLight => light(self.logic.led, self.layout.led_m),
        }));
    }

    /// The state at this moment.
    pub fn snapshot(&self) -> WorldSnapshot {
        let physics = &self.physics;
        WorldSnapshot {
            bodies: physics.bodies.clone(),
            colliders: physics.colliders.clone(),
            impulse_joints: physics.impulse_joints.clone(),
            multibody_joints: physics.multibody_joints.clone(),
            islands: physics.islands.clone(),
            broad_phase: physics.broad_phase.clone(),
            narrow_phase: physics.narrow_phase.clone(),
            arm: self.arm.clone(),
            logic: self.logic,
            scene: self.layout.id,
        }
    }

    /// Goes back to `snapshot`, which must come from this world or from one built alike; what follows is then identical to the
    /// last bit.
    ///
    /// # Errors
    /// [`SimError::SnapshotScene`]; the world is then unchanged.
    pub fn restore(&mut self, snapshot: &WorldSnapshot) -> Result<(), SimError> {
        if snapshot.scene != self.layout.id {
            return Err(SimError::SnapshotScene { found: snapshot.scene, expected: self.layout.id });
        }
        let physics = &mut self.physics;
        physics.bodies = snapshot.bodies.clone();
        physics.colliders = snapshot.colliders.clone();
        physics.impulse_joints = snapshot.impulse_joints.clone();
        physics.multibody_joints = snapshot.multibody_joints.clone();
        physics.islands = snapshot.islands.clone();
        physics.broad_phase = snapshot.broad_phase.clone();
        physics.narrow_phase = snapshot.narrow_phase.clone();
        self.arm = snapshot.arm.clone();
        self.logic = snapshot.logic;
        Ok(())
    }

    /// FNV-1a over the bits of every body's pose and velocity and of the lights: equal states, equal hashes.
    pub fn state_hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |value: u32| hash = (hash ^ u64::from(value)).wrapping_mul(0x0100_0000_01b3);
        for (_, body) in self.physics.bodies.iter() {
            let pose = body.position();
            let parts = [pose.translation.to_array(), body.linvel().to_array(), body.angvel().to_array()];
            parts.iter().flatten().chain(&pose.rotation.to_array()).for_each(|value| add(value.to_bits()));
        }
        add(u32::from(self.logic.led) + 2 * u32::from(self.logic.bulb) + 4 * u32::from(self.logic.pressed));
        hash
    }
}

/// Each value's reason is in `docs/simulation.md`; rapier's own defaults let a squeezed block sink in by 5-10 mm and slip by 29.
pub(crate) fn set_solver(parameters: &mut IntegrationParameters, config: &WorldConfig) {
    parameters.dt = 1.0 / STEPS_PER_SECOND as f32;
    parameters.num_solver_iterations = config.solver_iterations;
    parameters.num_internal_pgs_iterations = SWEEPS;
    parameters.num_internal_stabilization_iterations = SWEEPS;
    // It reuses normals and points until 5 cm of drift, which breaks both grasps and contact sets.
    parameters.contact_recycling = false;
    parameters.contact_softness = SpringCoefficients::new(config.contact_frequency_hz, 1.0);
    parameters.static_contact_softness = SpringCoefficients::new(config.contact_frequency_hz, 5.0);
    parameters.normalized_prediction_distance = 0.005;
}

fn fixture(physics: &mut PhysicsWorld, name: &str, link: Link, parts: Vec<Part>) -> BuiltBody {
    let handle = physics.insert_body(RigidBodyBuilder::fixed());
    for part in parts.iter().filter(|part| part.solid) {
        physics.insert_collider(part.collider(link), Some(handle));
    }
    BuiltBody { name: name.into(), handle, body_from_drawn: Pose::IDENTITY, parts }
}

fn block(physics: &mut PhysicsWorld, config: &WorldConfig, index: usize, start: &StartState) -> BuiltBody {
    let layout = config.scene.layout();
    let [x, y, z, yaw] = start.blocks[index];
    let half = layout.block_half_size_m[index];
    let (a, b, c) = (half[0] * half[0], half[1] * half[1], half[2] * half[2]);
    let inertia = Vector::new(b + c, a + c, a + b) * (config.block_mass_kg / 3.0);
    let handle = physics.insert_body(
        RigidBodyBuilder::dynamic()
            .pose(convert::pose([x, y, z], [0.0, 0.0, yaw]))
            .additional_mass_properties(MassProperties::new(Vector::ZERO, config.block_mass_kg, inertia)),
    );
    let parts = layout.block(index);
    for part in &parts {
        physics.insert_collider(part.collider(Link::Block(index)), Some(handle));
    }
    BuiltBody { name: format!("block/{}", ["red", "blue", "pink"][index]), handle, body_from_drawn: Pose::IDENTITY, parts }
}
