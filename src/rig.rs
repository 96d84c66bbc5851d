//! World and servo in lockstep: time moves only when told, and everything repeats to the last bit.

use anyhow::{Context, Result};
use reverie_control::{Arm, Servo, euler::isometry_from_euler};
use reverie_schema::{ActionChunk, CONTROL_PERIOD_NS, JointCommand, N_ARM, Observation, RobotSpec, SCENE_OBS, Stamp};
use reverie_sim::{STEPS_PER_CONTROL, StartState, Task, World};

use crate::config::Config;

/// Draws of a start state before giving up on a seed: some TCP poses are out of reach or touch something.
const START_TRIES: u64 = 50;
/// Iterations of the inverse kinematics for a start pose.
const START_IK_ITERATIONS: usize = 100;

/// An episode's world in its start state.
pub struct Start {
    pub world: World,
}

impl Start {
    /// The start of `task` and `seed`: the first draw whose pose the arm reaches and at which the robot touches nothing.
    pub fn new(config: &Config, task: Task, seed: u64) -> Result<Self> {
        let spec = RobotSpec::panda();
        let arm = Arm::new(&spec);
        for draw in 0..START_TRIES {
            let start = StartState::sample(task, reverie_schema::derive_seed(seed, "start").wrapping_add(draw))?;
            let Ok(q) = arm.solve_ik(&isometry_from_euler(&start.tcp_in_world), &spec.home_rad, START_IK_ITERATIONS) else {
                continue;
            };
            let mut world = World::new(&config.sim, &spec, &start, &q)?;
            if settles_free(&mut world, &q)? {
                return Ok(Self { world: World::new(&config.sim, &spec, &start, &q)? });
            }
        }
        anyhow::bail!("no start state within reach for {task} with seed {seed} in {START_TRIES} draws")
    }
}

/// Whether one control step at rest leaves the robot out of contact.
fn settles_free(world: &mut World, q: &[f64; N_ARM]) -> Result<bool> {
    let hold = JointCommand { position: *q, ..JointCommand::default() };
    for _ in 0..STEPS_PER_CONTROL {
        world.step(&hold)?;
    }
    Ok(world.contacts().iter().all(|pair| pair.0 != reverie_sim::Link::Robot))
}

/// A world with its servo, stepped by control steps.
pub struct Rig {
    pub world: World,
    task: Task,
    servo: Servo,
    command: JointCommand,
    start_obs: [f32; SCENE_OBS],
    steps: u32,
}

impl Rig {
    /// The start of `task` and `seed`, ready for the first observation.
    pub fn new(config: &Config, task: Task, seed: u64) -> Result<Self> {
        let Start { world } = Start::new(config, task, seed)?;
        let mut servo = Servo::new(&RobotSpec::panda(), &config.servo).context("servo")?;
        servo.reset(world.stamp(), &world.joint_state());
        let start_obs = world.scene_obs();
        Ok(Self { world, task, servo, command: JointCommand::default(), start_obs, steps: 0 })
    }

    /// Control steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Whether the oracle is satisfied.
    pub fn solved(&self) -> bool {
        self.task.solved(&self.start_obs, &self.world.scene_obs())
    }

    /// When the present control step began.
    pub fn step_start(&self) -> Stamp {
        Stamp(i64::from(self.steps) * CONTROL_PERIOD_NS)
    }

    /// The observation at this moment, stamped with the beginning of the control step.
    pub fn observe(&mut self) -> Observation {
        Observation { stamp: self.step_start(), ..self.world.observe() }
    }

    /// Hands the servo a plan.
    pub fn offer(&mut self, chunk: &ActionChunk) -> Result<()> {
        let now = self.step_start();
        self.servo.offer(now, chunk).with_context(|| format!("chunk {} refused", chunk.seq))
    }

    /// One control step: eight physics steps, the servo before each.
    pub fn step(&mut self) -> Result<()> {
        let begin = self.step_start();
        for substep in 0..STEPS_PER_CONTROL as i64 {
            let now = begin.plus_ns(substep * CONTROL_PERIOD_NS / STEPS_PER_CONTROL as i64);
            let mut measured = self.world.joint_state();
            measured.stamp = now;
            self.servo.tick(now, &measured, &mut self.command);
            self.world.step(&self.command)?;
        }
        self.steps += 1;
        Ok(())
    }
}

/// What demonstrating needs.
#[cfg(feature = "learn")]
impl Rig {
    /// Makes the present state the one that the oracle compares with. False if the task can't be done from here.
    pub fn begin_here(&mut self) -> bool {
        let here = self.world.scene_obs();
        let possible = !self.task.solved(&self.start_obs, &here) && self.task.is_possible_from(&here);
        self.start_obs = here;
        possible
    }

    /// Hands the servo a plan of one row that begins now.
    pub fn offer_action(&mut self, seq: u64, action: reverie_schema::Action) -> Result<()> {
        let mut chunk = ActionChunk::from_rows(self.step_start(), &[action])?;
        chunk.seq = seq;
        self.offer(&chunk)
    }
}
