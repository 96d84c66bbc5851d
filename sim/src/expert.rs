//! Scripted demonstrators, one per task.
//!
//! Each is a list of way-points for the TCP relative to what is to be moved, reached by proportional feedback on the *measured*
//! pose, so that what it does is a function of what a policy can see. Speed, way-points, patience, the moment at which the
//! fingers close and a slowly varying hand tremor differ between episodes, as people differ between attempts.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use reverie_schema::{Action, Observation, ROTATION_STEP_RAD, TRANSLATION_STEP_M, derive_seed};

use crate::{
    Task,
    geometry::{
        BAR_HALF_DEPTH_M, BAR_IN_DRAWER_M, BUTTON_TOP_M, BUTTON_XY_M, CROSSBAR_IN_SWITCH_M, CROSSBAR_RADIUS_M, DOOR_ORIGIN_M,
        DRAWER_ORIGIN_M, HANDLE_HALF_WIDTH_M, HANDLE_IN_DOOR_M, OUT_OF_FRONT, SWITCH_ORIGIN_M, UP_THE_FRONT,
    },
};

/// Share of the remaining way commanded in one control step.
const GAIN: f32 = 0.35;
/// Fingers down, opening along x (roll, pitch, yaw; radians).
const FINGERS_DOWN: [f32; 3] = [std::f32::consts::PI, 0.0, std::f32::consts::FRAC_PI_2];
/// Fingers tilted away from the base, since straight down the lever is at the very end of the arm's reach; more to lift the lever
/// than to press it.
const FINGERS_UNDER_LEVER: [f32; 3] = [std::f32::consts::PI - 0.35, -0.50, std::f32::consts::FRAC_PI_2];
const FINGERS_ON_LEVER: [f32; 3] = [std::f32::consts::PI - 0.40, -0.45, std::f32::consts::FRAC_PI_2];
/// Fingers count as closed below this width, metres. Open ones would straddle the button's cap.
const CLOSED_M: f32 = 0.01;
/// Half of the closed fingers' extent along x and along y.
const FINGERS_HALF_M: [f32; 2] = [0.015, 0.010];
/// Standard deviation of way-points between episodes, metres.
const WAYPOINT_STD_M: f32 = 0.003;
/// Memory of the tremor over one control step.
const TREMOR_MEMORY: f32 = 0.9;

/// Demonstrates one task in one episode.
#[derive(Clone, Debug)]
pub struct Expert {
    task: Task,
    rng: ChaCha8Rng,
    phase: usize,
    /// Largest entry of an action, 0-1.
    speed: f32,
    offset: [f32; 3],
    /// Where along the drawer's bar it is taken, metres from the middle.
    along_bar_m: f32,
    clearance_m: f32,
    tremor: [f32; 6],
    tremor_std: f32,
    steps: u32,
    close_after: u32,
}

struct Waypoint {
    at: [f32; 3],
    /// Distance at which the next way-point is taken up; `None` for the last.
    near_m: Option<f32>,
}

impl Expert {
    /// The demonstrator of `task` for the episode `seed`.
    pub fn new(task: Task, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "expert"));
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let offset = std::array::from_fn(|_| normal() * WAYPOINT_STD_M);
        Self {
            task,
            phase: 0,
            speed: rng.random_range(0.6..1.0),
            along_bar_m: rng.random_range(-0.05..0.05),
            offset,
            clearance_m: rng.random_range(0.02..0.045),
            tremor: [0.0; 6],
            tremor_std: rng.random_range(0.02..0.12),
            steps: 0,
            close_after: rng.random_range(0..6),
            rng,
        }
    }

    /// The action for this control step.
    pub fn act(&mut self, observation: &Observation) -> Action {
        let tcp = observation.tcp_in_world();
        if self.lost_it(observation) {
            self.phase = 0;
        }
        let target = loop {
            let waypoints = self.waypoints(observation);
            let waypoint = &waypoints[self.phase.min(waypoints.len() - 1)];
            match waypoint.near_m {
                Some(near) if distance(tcp, waypoint.at) < near && observation.robot[6] < CLOSED_M => self.phase += 1,
                _ => break waypoint.at,
            }
        };
        let mut action = [0.0; 7];
        let orientation = match self.task {
            Task::TurnOnLightbulb => FINGERS_UNDER_LEVER,
            Task::TurnOffLightbulb => FINGERS_ON_LEVER,
            _ => FINGERS_DOWN,
        };
        for axis in 0..3 {
            let error = target[axis] - tcp[axis];
            action[axis] = error * GAIN / TRANSLATION_STEP_M as f32;
            let turn = wrap(orientation[axis] - observation.robot[3 + axis]);
            action[3 + axis] = (turn * GAIN / ROTATION_STEP_RAD as f32).clamp(-self.speed, self.speed);
        }
        // Keep the direction when the speed is limited.
        let largest = action[..3].iter().fold(0.0_f32, |largest, entry| largest.max(entry.abs()));
        if largest > self.speed {
            action[..3].iter_mut().for_each(|entry| *entry *= self.speed / largest);
        }
        for (entry, tremor) in action.iter_mut().zip(&mut self.tremor) {
            let kick: f32 = StandardNormal.sample(&mut self.rng);
            *tremor = TREMOR_MEMORY * *tremor + (1.0 - TREMOR_MEMORY * TREMOR_MEMORY).sqrt() * self.tremor_std * kick;
            *entry = (*entry + *tremor).clamp(-1.0, 1.0);
        }
        action[6] = if self.steps < self.close_after { 1.0 } else { -1.0 };
        self.steps += 1;
        Action(action)
    }

    /// Whether the fingers are no longer where the way-points behind the first make sense.
    fn lost_it(&self, observation: &Observation) -> bool {
        let (scene, tcp) = (&observation.scene, observation.tcp_in_world());
        self.phase > 0
            && match self.task {
                Task::OpenDrawer => {
                    let [_, bar_y, z] = bar(scene[1]);
                    tcp[1] < bar_y - 0.005 || tcp[2] > z + 0.16
                }
                Task::CloseDrawer => tcp[1] > bar(scene[1])[1] + 0.005,
                Task::MoveSliderLeft => tcp[0] < handle(scene[0])[0],
                Task::MoveSliderRight => tcp[0] > handle(scene[0])[0],
                Task::TurnOnLightbulb => tcp[2] > crossbar(scene[3])[2] + 0.05,
                Task::TurnOffLightbulb => tcp[2] < crossbar(scene[3])[2] - 0.01 || tcp[2] > crossbar(scene[3])[2] + 0.12,
                Task::TurnOnLed | Task::TurnOffLed => (tcp[0] - BUTTON_XY_M[0]).hypot(tcp[1] - BUTTON_XY_M[1]) > 0.05,
            }
    }

    /// A point near the work from which a demonstration may begin: people do not start over from a neutral pose after each try.
    pub fn stray(&mut self, observation: &Observation) -> [f32; 3] {
        let scene = &observation.scene;
        let around = match self.task {
            Task::OpenDrawer => add(bar(scene[1]), [self.along_bar_m, 0.0, 0.05]),
            Task::CloseDrawer => add(bar(scene[1]), [self.along_bar_m, -0.06, 0.06]),
            Task::MoveSliderLeft | Task::MoveSliderRight => add(handle(scene[0]), [0.0, -0.03, 0.02]),
            Task::TurnOnLightbulb => add(crossbar(scene[3]), [-0.03, -0.06, 0.0]),
            // Straight down, the fingers do not reach above the lever.
            Task::TurnOffLightbulb => add(crossbar(scene[3]), [-0.03, -0.09, -0.05]),
            Task::TurnOnLed | Task::TurnOffLed => [BUTTON_XY_M[0], BUTTON_XY_M[1], BUTTON_TOP_M + 0.05],
        };
        add(around, std::array::from_fn(|_| self.rng.random_range(-0.06..0.06)))
    }

    /// The action that moves towards `point` without turning, fingers closed.
    pub fn towards(point: [f32; 3], observation: &Observation) -> Action {
        let tcp = observation.tcp_in_world();
        let mut action = [0.0; 7];
        for axis in 0..3 {
            action[axis] = ((point[axis] - tcp[axis]) * GAIN / TRANSLATION_STEP_M as f32).clamp(-0.9, 0.9);
        }
        action[6] = -1.0;
        Action(action)
    }

    fn waypoints(&self, observation: &Observation) -> Vec<Waypoint> {
        let scene = &observation.scene;
        let (door, drawer, switch) = (scene[0], scene[1], scene[3]);
        let tcp = observation.tcp_in_world();
        let gap = self.clearance_m;
        let pass = |at: [f32; 3], near: f32| Waypoint { at: add(at, self.offset), near_m: Some(near) };
        let last = |at: [f32; 3]| Waypoint { at: add(at, self.offset), near_m: None };
        match self.task {
            Task::OpenDrawer => {
                let [x, bar_y, z] = bar(drawer);
                // Behind the bar, then outwards together with it.
                let y = bar_y + BAR_HALF_DEPTH_M + FINGERS_HALF_M[1] + 0.008;
                let x = x + self.along_bar_m;
                if self.phase == 0 && tcp[2] < z + 0.05 && (tcp[1] - y).abs() > 0.012 {
                    // Beside the bar and below its top: straight up first.
                    return vec![pass([tcp[0], tcp[1], z + 0.10], 0.01)];
                }
                vec![pass([x, y, z + 0.08 + gap], 0.015), pass([x, y, z + 0.012], 0.008), last([x, y - 0.07, z + 0.012])]
            }
            Task::CloseDrawer => {
                let [x, bar_y, z] = bar(drawer);
                let y = bar_y - BAR_HALF_DEPTH_M - FINGERS_HALF_M[1] - gap;
                let x = x + self.along_bar_m;
                vec![pass([x, y, z + 0.10], 0.03), pass([x, y, z + 0.01], 0.015), last([x, y + gap + 0.07, z + 0.01])]
            }
            Task::MoveSliderLeft => self.slide(tcp, door, 1.0),
            Task::MoveSliderRight => self.slide(tcp, door, -1.0),
            Task::TurnOnLightbulb => {
                let lever = crossbar(switch);
                // In front of the crossbar, up to it, then up the front with it.
                let touch = add(lever, [0.0, -CROSSBAR_RADIUS_M - FINGERS_HALF_M[1], -0.014]);
                if self.phase == 0 && tcp[1] > lever[1] - 0.035 {
                    // Over or behind it: back out first.
                    return vec![pass([tcp[0], lever[1] - 0.09, tcp[2].max(lever[2] + 0.02)], 0.01)];
                }
                vec![
                    pass(add(touch, [0.0, -0.015 - gap, 0.0]), 0.012),
                    pass(add(touch, [0.0, 0.004, 0.0]), 0.010),
                    last(add(add(touch, [0.0, 0.02, 0.0]), scale(UP_THE_FRONT, 0.04))),
                ]
            }
            Task::TurnOffLightbulb => {
                let lever = crossbar(switch);
                // Above the crossbar, down to it, then down the front with it.
                let touch = add(lever, [0.0, 0.004, CROSSBAR_RADIUS_M + 0.010]);
                if self.phase == 0 && tcp[2] < lever[2] + 0.035 && (tcp[1] - lever[1]).abs() < 0.08 {
                    // Before or under it: back out and up first.
                    return vec![pass([tcp[0], lever[1] - 0.10, lever[2] + 0.06], 0.01)];
                }
                vec![
                    pass(add(touch, [0.0, 0.0, 0.02 + gap]), 0.010),
                    pass(touch, 0.008),
                    last(add(touch, scale(UP_THE_FRONT, -0.05))),
                ]
            }
            Task::TurnOnLed | Task::TurnOffLed => {
                let [x, y] = BUTTON_XY_M;
                vec![pass([x, y, BUTTON_TOP_M + 0.02 + gap], 0.015), last([x, y, BUTTON_TOP_M - 0.02])]
            }
        }
    }

    /// Beside the handle, in front of the door, then along it; `side` is the side from which to push, in x.
    fn slide(&self, tcp: [f32; 3], door: f32, side: f32) -> Vec<Waypoint> {
        let handle = handle(door);
        let beside = side * (HANDLE_HALF_WIDTH_M + FINGERS_HALF_M[0]);
        let ready = [handle[0] + beside + side * self.clearance_m, handle[1] - 0.012, handle[2] - 0.008];
        let pass = |at: [f32; 3], near: f32| Waypoint { at: add(at, self.offset), near_m: Some(near) };
        if self.phase == 0 && side * (tcp[0] - handle[0]) < 0.03 && tcp[1] > ready[1] - 0.04 {
            // On or beyond the handle: back out before going round it.
            return vec![pass([tcp[0], ready[1] - 0.07, ready[2] + 0.02], 0.01)];
        }
        vec![
            pass(add(ready, [0.0, -0.06, 0.01]), 0.025),
            pass(ready, 0.012),
            Waypoint { at: add([handle[0] + beside - side * 0.05, ready[1], ready[2]], self.offset), near_m: None },
        ]
    }
}

/// Middle of the drawer's bar, world frame.
fn bar(drawer: f32) -> [f32; 3] {
    add(add(DRAWER_ORIGIN_M, BAR_IN_DRAWER_M), [0.0, -drawer, 0.0])
}

/// Middle of the door's handle, world frame.
fn handle(door: f32) -> [f32; 3] {
    add(add(DOOR_ORIGIN_M, [HANDLE_IN_DOOR_M[0] - door, 0.0, 0.0]), scale(OUT_OF_FRONT, -HANDLE_IN_DOOR_M[1]))
}

/// Middle of the lever's crossbar, world frame.
fn crossbar(switch: f32) -> [f32; 3] {
    add(add(SWITCH_ORIGIN_M, scale(OUT_OF_FRONT, -CROSSBAR_IN_SWITCH_M[1])), scale(UP_THE_FRONT, switch))
}

fn add(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

fn scale(a: [f32; 3], factor: f32) -> [f32; 3] {
    a.map(|entry| entry * factor)
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f32>().sqrt()
}

fn wrap(angle: f32) -> f32 {
    (angle + std::f32::consts::PI).rem_euclid(std::f32::consts::TAU) - std::f32::consts::PI
}
