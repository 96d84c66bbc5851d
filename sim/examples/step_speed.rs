//! Microseconds of one physics step, without the servo: `cargo run -p reverie-sim --example step_speed`.
//!
//! Each case is recorded once through the servo, then its commands are played back from a snapshot, again and again. As every
//! repeat does the same work and what else the machine runs only adds, each step counts with its least and its middle time over
//! the repeats; printed are the means over the steps.

#![allow(clippy::unwrap_used)]

#[path = "../tests/arm_rig/mod.rs"]
mod arm_rig;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use arm_rig::ArmRig;
use reverie_schema::{
    Action,
    GripperCommand::{Close, Open},
    JointCommand,
};
use reverie_sim::{Expert, SceneId, StartState, Task, World, WorldConfig, WorldSnapshot};

const CONTROL_STEPS: usize = 60;

struct Case {
    name: &'static str,
    world: World,
    begin: WorldSnapshot,
    commands: Vec<JointCommand>,
}

impl Case {
    /// Sixty control steps from here on, under the actions that `act` gives.
    fn record(name: &'static str, mut rig: ArmRig, mut act: impl FnMut(&mut ArmRig) -> Action) -> Self {
        let begin = rig.world.snapshot();
        let mut commands = Vec::new();
        for _ in 0..CONTROL_STEPS {
            let action = act(&mut rig);
            rig.step_observed(action, |command| commands.push(*command));
        }
        Self { name, world: rig.world, begin, commands }
    }

    /// Adds the time of each step to `times`, `[step][repeat]`.
    fn play(&mut self, times: &mut [Vec<Duration>]) {
        self.world.restore(&self.begin).unwrap();
        for (command, times) in self.commands.iter().zip(times) {
            let start = Instant::now();
            self.world.step(black_box(command)).unwrap();
            times.push(start.elapsed());
        }
    }
}

fn free() -> Case {
    let mut rig = ArmRig::new(&WorldConfig::default(), &StartState::neutral()).unwrap();
    for _ in 0..30 {
        rig.step(Action::hold(Open));
    }
    let mut step = 0;
    Case::record("(a) slow over the table", rig, |_| {
        step += 1;
        let mut action = Action::hold(Open);
        action.0[0] = if step % 40 < 20 { 0.2 } else { -0.2 };
        action
    })
}

fn held() -> Case {
    let mut start = StartState::neutral();
    let [x, y] = [0.05, -0.12];
    start.blocks = [[0.30, -0.08, 0.46, 0.0], [x, y, 0.46, 0.0], [0.20, -0.08, 0.46, 1.57]];
    start.tcp_in_world = [x.into(), y.into(), 0.56, std::f64::consts::PI, 0.0, std::f64::consts::FRAC_PI_2];
    let mut rig = ArmRig::new(&WorldConfig::default(), &start).unwrap();
    rig.go([x, y, 0.465], Open, 30);
    rig.go([x, y, 0.465], Close, 20);
    rig.go([x, y, 0.565], Close, 40);
    assert!(rig.world.scene_obs()[14] > 0.54, "the block hangs");
    Case::record("(b) holding a block", rig, |_| Action::hold(Close))
}

fn drawer() -> Case {
    let (mut rig, mut expert) = (0..)
        .find_map(|seed| {
            let start = StartState::sample(SceneId::D, Task::OpenDrawer, seed).unwrap();
            Some((ArmRig::new(&WorldConfig::default(), &start)?, Expert::new(Task::OpenDrawer, SceneId::D, seed)))
        })
        .unwrap();
    while rig.world.scene_obs()[1] < 0.02 {
        let action = expert.act(&rig.world.observe());
        rig.step(action);
        assert!(rig.steps < 300, "the drawer opens");
    }
    Case::record("(c) pulling the drawer", rig, |rig| expert.act(&rig.world.observe()))
}

/// `step_speed [CASE [REPEATS]]`: a single case, for profilers.
fn main() {
    let mut arguments = std::env::args().skip(1);
    let only: Option<usize> = arguments.next().and_then(|index| index.parse().ok());
    let repeats = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(60);
    let cases: [fn() -> Case; 3] = [free, held, drawer];
    for (_, build) in cases.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index)) {
        let mut case = build();
        let mut times = vec![Vec::new(); case.commands.len()];
        (0..repeats).for_each(|_| case.play(&mut times));
        times.iter_mut().for_each(|times| times.sort_unstable());
        let mean = |rank: usize| times.iter().map(|times| times[rank].as_secs_f64() * 1e6).sum::<f64>() / times.len() as f64;
        println!("{:26} least {:6.2} us, middle {:6.2} us a step", case.name, mean(0), mean(repeats / 2));
    }
}
