//! World and servo in lockstep: time moves only when told, and everything repeats to the last bit.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use reverie_control::{Arm, Servo, euler::isometry_from_euler};
use reverie_schema::{Action, ActionChunk, CONTROL_PERIOD_NS, JointCommand, N_ARM, Observation, RobotSpec, Stamp, derive_seed};
use reverie_sim::{Expert, Link, STEPS_PER_CONTROL, SceneId, SceneState, SimError, StartState, Task, World};

use crate::config::{Config, DelaySection};

/// Draws of a start state before giving up on a seed: some TCP poses are out of reach or touch something.
const START_TRIES: u64 = 50;
/// Iterations of the inverse kinematics for a start pose.
const START_IK_ITERATIONS: usize = 100;
/// Control steps that a demonstrator has.
pub const EXPERT_STEPS: u32 = 240;

/// No start of a task was found from which it can be done.
#[derive(Debug)]
pub struct NoStart {
    task: Task,
    scene: SceneId,
    seed: u64,
}

impl std::fmt::Display for NoStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { task, scene, seed } = self;
        write!(f, "no valid start for {task} in scene {scene} with seed {seed} in {START_TRIES} draws")
    }
}

impl std::error::Error for NoStart {}

/// A world with its servo, stepped by control steps.
pub struct Rig {
    pub world: World,
    scene: SceneId,
    task: Task,
    servo: Servo,
    command: JointCommand,
    start: SceneState,
    /// Control steps since the rig was made.
    steps: u32,
    /// Control steps before the present task began.
    steps_before: u32,
    delay: DelaySection,
    /// Observations under way, the newest at the back.
    seen: VecDeque<Observation>,
    /// Plans under way with the control step at which they arrive, and actions under way.
    plans: VecDeque<(u32, ActionChunk)>,
    actions: VecDeque<Action>,
}

impl Rig {
    /// The start of `task` and `seed`, ready for the first observation: the first draw whose pose the arm reaches and at which the
    /// robot touches nothing; for a task that begins with a block in the hand, after it was lifted.
    pub fn new(config: &Config, task: Task, seed: u64) -> Result<Self> {
        let scene = config.sim.scene;
        for draw in 0..START_TRIES {
            let start_seed = derive_seed(seed, "start").wrapping_add(draw);
            let start = match StartState::sample(scene, task, start_seed) {
                Err(SimError::NoStart { .. }) => continue,
                start => start?,
            };
            let Some(mut rig) = Self::from_start(config, &start, task)? else { continue };
            if rig.touches_when_at_rest()? {
                continue;
            }
            let Some(before) = StartState::before(task, start_seed) else { return Ok(rig) };
            rig.begin(before);
            if rig.demonstrate(start_seed, |_, _| Ok(()))? {
                rig.begin(task);
                if task.is_possible_from(scene, &rig.start) {
                    return Ok(rig);
                }
            }
        }
        Err(NoStart { task, scene, seed }.into())
    }

    /// A given start, ready for the first observation. `None` if the arm does not reach it.
    pub fn from_start(config: &Config, start: &StartState, task: Task) -> Result<Option<Self>> {
        let spec = RobotSpec::panda();
        let Ok(q) = Arm::new(&spec).solve_ik(&isometry_from_euler(&start.tcp_in_world), &spec.home_rad, START_IK_ITERATIONS)
        else {
            return Ok(None);
        };
        let world = World::new(&config.sim, &spec, start, &q)?;
        let mut servo = Servo::new(&spec, &config.servo).context("servo")?;
        servo.reset(world.stamp(), &world.joint_state());
        let state = world.scene_state();
        Ok(Some(Self {
            world,
            scene: config.sim.scene,
            task,
            servo,
            command: JointCommand::default(),
            start: state,
            steps: 0,
            steps_before: 0,
            delay: config.delay.clone(),
            seen: VecDeque::new(),
            plans: VecDeque::new(),
            actions: VecDeque::new(),
        }))
    }

    /// Whether one control step at rest brings the robot into contact; the world is then as it was.
    fn touches_when_at_rest(&mut self) -> Result<bool> {
        let before = self.world.snapshot();
        let position: [f64; N_ARM] = self.world.joint_state().position;
        let hold = JointCommand { position, ..JointCommand::default() };
        for _ in 0..STEPS_PER_CONTROL {
            self.world.step(&hold)?;
        }
        let touches = self.world.contacts().iter().any(|pair| pair.0 == Link::Robot);
        self.world.restore(&before)?;
        Ok(touches)
    }

    /// Makes `task` the present one and this state the one that its oracle compares with.
    pub fn begin(&mut self, task: Task) {
        self.task = task;
        self.start = self.world.scene_state();
        self.steps_before = self.steps;
        // What is under way belongs to the task before.
        self.plans.clear();
        self.actions.clear();
    }

    /// The scripted demonstrator does the present task; `see` is shown each observation with the action that follows. Whether the
    /// oracle was satisfied in time.
    pub fn demonstrate(&mut self, seed: u64, mut see: impl FnMut(&Observation, Action) -> Result<()>) -> Result<bool> {
        let mut expert = Expert::new(self.task, self.scene, seed);
        while self.task_steps() < EXPERT_STEPS {
            let observation = self.observe();
            let action = expert.act(&observation);
            see(&observation, action)?;
            self.act(action)?;
            if self.solved() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Control steps of the present task.
    pub fn task_steps(&self) -> u32 {
        self.steps - self.steps_before
    }

    /// Whether the oracle is satisfied.
    pub fn solved(&self) -> bool {
        self.task.solved(&self.start, &self.world.scene_state())
    }

    /// When the present control step began.
    pub fn step_start(&self) -> Stamp {
        Stamp(i64::from(self.steps) * CONTROL_PERIOD_NS)
    }

    /// Control steps since the rig was made.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The control step that begins at `stamp`.
    pub fn step_of(&self, stamp: Stamp) -> u32 {
        u32::try_from(stamp.0 / CONTROL_PERIOD_NS).unwrap_or(0)
    }

    /// When a plan that is handed over now arrives at the servo.
    pub fn next_arrival(&self) -> Stamp {
        Stamp(i64::from(self.steps + self.delay.action_steps) * CONTROL_PERIOD_NS)
    }

    /// The observation of this control step, stamped with its beginning; under a delay, the newest that has arrived.
    pub fn observe(&mut self) -> Observation {
        let now = Observation { stamp: self.step_start(), ..self.world.observe() };
        self.seen.push_back(now);
        while self.seen.len() > self.delay.observation_steps as usize + 1 {
            self.seen.pop_front();
        }
        self.seen.front().copied().unwrap_or(now)
    }

    /// Hands the servo a plan; under a delay it arrives later.
    pub fn offer(&mut self, chunk: &ActionChunk) -> Result<()> {
        self.plans.push_back((self.steps + self.delay.action_steps, *chunk));
        self.deliver()
    }

    fn deliver(&mut self) -> Result<()> {
        let now = self.step_start();
        while let Some((_, chunk)) = self.plans.pop_front_if(|(arrives, _)| *arrives <= self.steps) {
            self.servo.offer(now, &chunk).with_context(|| format!("chunk {} refused", chunk.seq))?;
        }
        Ok(())
    }

    /// One control step: eight physics steps, the servo before each.
    pub fn step(&mut self) -> Result<()> {
        self.deliver()?;
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

    /// One control step under an action; under a delay, under the one that arrives now, and at rest before the first has.
    pub fn act(&mut self, action: Action) -> Result<()> {
        self.actions.push_back(action);
        if self.actions.len() > self.delay.action_steps as usize
            && let Some(action) = self.actions.pop_front()
        {
            let now = self.step_start();
            let mut chunk = ActionChunk::from_rows(now, &[action])?;
            chunk.seq = u64::from(self.steps) + 1;
            chunk.obs_stamp = now.plus_ns(-i64::from(self.delay.observation_steps) * CONTROL_PERIOD_NS);
            self.servo.offer(now, &chunk).with_context(|| format!("action of step {} refused", self.steps))?;
        }
        self.step()
    }
}
