//! World and servo in lockstep, as the program composes them.

use reverie_control::{Arm, Servo, ServoConfig, euler::isometry_from_euler};
use reverie_schema::{Action, ActionChunk, CONTROL_PERIOD_NS, GripperCommand, JointCommand, RobotSpec, Stamp};
use reverie_sim::{STEPS_PER_CONTROL, StartState, World, WorldConfig};

pub struct ArmRig {
    pub world: World,
    pub servo: Servo,
    pub steps: i64,
}

impl ArmRig {
    /// `None` if the arm does not reach the start.
    pub fn new(config: &WorldConfig, start: &StartState) -> Option<Self> {
        let spec = RobotSpec::panda();
        let q = Arm::new(&spec).solve_ik(&isometry_from_euler(&start.tcp_in_world), &spec.home_rad, 100).ok()?;
        let world = World::new(config, &spec, start, &q).unwrap();
        let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
        servo.reset(Stamp(0), &world.joint_state());
        Some(Self { world, servo, steps: 0 })
    }

    #[allow(dead_code, reason = "not everybody who shares this file looks at the commands, or does not")]
    pub fn step(&mut self, action: Action) {
        self.step_observed(action, |_| ());
    }

    /// As [`ArmRig::step`], and shows each joint command to `see`.
    pub fn step_observed(&mut self, action: Action, mut see: impl FnMut(&JointCommand)) {
        let begin = Stamp(self.steps * CONTROL_PERIOD_NS);
        let mut chunk = ActionChunk::from_rows(begin, &[action]).unwrap();
        chunk.seq = self.steps as u64 + 1;
        self.servo.offer(begin, &chunk).unwrap();
        let mut command = JointCommand::default();
        for substep in 0..STEPS_PER_CONTROL as i64 {
            let now = begin.plus_ns(substep * CONTROL_PERIOD_NS / STEPS_PER_CONTROL as i64);
            let mut measured = self.world.joint_state();
            measured.stamp = now;
            self.servo.tick(now, &measured, &mut command);
            see(&command);
            self.world.step(&command).unwrap();
        }
        self.steps += 1;
    }

    /// Drives the TCP towards `target` for `steps` control steps.
    #[allow(dead_code, reason = "not every test that shares this file moves to a point")]
    pub fn go(&mut self, target: [f32; 3], gripper: GripperCommand, steps: usize) {
        for _ in 0..steps {
            let tcp = self.world.observe().tcp_in_world();
            let mut action = Action::hold(gripper);
            for axis in 0..3 {
                action.0[axis] = ((target[axis] - tcp[axis]) * 0.35 / 0.02).clamp(-0.7, 0.7);
            }
            self.step(action);
        }
    }
}
