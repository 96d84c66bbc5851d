//! Scripted demonstrators, one per task.
//!
//! Each is a list of way-points for the TCP relative to what is to be moved, reached by proportional feedback on the *measured*
//! pose. Speed, way-points, patience, the moment at which the fingers close and a slowly varying hand tremor differ between
//! episodes, as people differ between attempts.

mod blocks;
mod mechanisms;
mod motion;
mod probe;
mod reach;

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use reverie_schema::{Action, GripperCommand, N_ACT, Observation, ROTATION_STEP_RAD, TRANSLATION_STEP_M, derive_seed};

use crate::{
    Link, Rule, Task,
    geometry::{Layout, SceneId},
};
use blocks::Plan;
use motion::{add, distance, wrap};
pub use probe::Probe;

/// Share of the remaining way commanded in one control step.
const GAIN: f32 = 0.35;
/// Fingers down, opening along x (roll, pitch, yaw; radians).
const FINGERS_DOWN: [f32; 3] = [std::f32::consts::PI, 0.0, std::f32::consts::FRAC_PI_2];
/// Empty fingers count as closed below this width, metres. Open ones would straddle the button's cap.
const CLOSED_M: f32 = 0.01;
/// Fingers count as open above this width, metres.
const OPEN_M: f32 = 0.07;
/// Half of the closed fingers' extent along their way and across it.
const FINGERS_HALF_M: [f32; 2] = [0.015, 0.010];
/// Standard deviation of way-points between episodes, metres.
const WAYPOINT_STD_M: f32 = 0.003;
/// Memory of the tremor over one control step.
const TREMOR_MEMORY: f32 = 0.9;
/// Below this height over the table top the hand rises before it goes anywhere.
const LOW_M: f32 = 0.49;
/// Behind this line the hand is in the cabinet, and leaves it towards the robot first.
const CABINET_Y_M: f32 = 0.0;
/// Control steps after which a held block is put where it has got to: something is in the way.
const PATIENCE_STEPS: u32 = 70;
/// Height at which the hand travels.
const TRAVEL_M: f32 = 0.58;

/// Demonstrates one task in one episode.
#[derive(Clone, Debug)]
pub struct Expert {
    rule: Rule,
    layout: &'static Layout,
    rng: ChaCha8Rng,
    phase: usize,
    /// Control steps for which the present way-point has been held.
    settled: u32,
    /// Control steps since the present phase began.
    phase_steps: u32,
    /// Where the TCP was when the present phase began.
    anchor: [f32; 3],
    /// How the block at hand is taken; chosen when the approach begins.
    plan: Option<Plan>,
    /// What is done before the work: a block that the last task left in the hand is put down.
    first: Option<Box<Expert>>,
    /// Ways out of where the last task ended, before the work begins.
    leave: Option<VecDeque<[f32; 3]>>,
    /// Largest entry of an action, 0-1.
    speed: f32,
    offset: [f32; 3],
    /// Where along the drawer's bar it is taken, metres from the middle.
    along_bar_m: f32,
    clearance_m: f32,
    /// How far a block is turned, pushed, lifted, as a share between the least and the most that is done.
    effort: f32,
    tremor: [f32; 6],
    tremor_std: f32,
    steps: u32,
    close_after: u32,
    /// A mistake, and the control step at which it is noticed.
    error_m: [f32; 3],
    errs_until: u32,
}

/// What the fingers do at a way-point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    /// Closed on nothing: a way-point counts only once they are.
    Shut,
    /// Open: a way-point counts only once they are.
    Open,
    /// Closed on a block.
    Hold,
}

#[derive(Clone, Copy, Debug)]
struct Waypoint {
    at: [f32; 3],
    /// Roll, pitch, yaw; the yaw counts on from -1.2 without a jump.
    turn: [f32; 3],
    hand: Hand,
    /// Distance at which the next way-point is taken up; `None` for the last.
    near_m: Option<f32>,
    /// Control steps for which it is held.
    settle: u32,
}

impl Waypoint {
    /// Angle at which the next way-point is taken up, radians.
    const NEAR_RAD: f32 = 0.12;

    fn is_reached(&self, observation: &Observation) -> bool {
        let width = observation.robot[6];
        let hand = match self.hand {
            Hand::Shut => width < CLOSED_M,
            Hand::Open => width > OPEN_M,
            Hand::Hold => true,
        };
        // What is done with closed fingers is done wherever they point.
        let turned =
            self.hand == Hand::Shut || turn_error(self.turn, observation).iter().all(|error| error.abs() < Self::NEAR_RAD);
        self.near_m.is_some_and(|near| distance(observation.tcp_in_world(), self.at) < near) && hand && turned
    }
}

/// What is left to turn about each Euler angle.
fn turn_error(turn: [f32; 3], observation: &Observation) -> [f32; 3] {
    let now = &observation.robot[3..6];
    [wrap(turn[0] - now[0]), wrap(turn[1] - now[1]), turn[2] - unwrapped_yaw(now[2])]
}

/// An action, but for its gripper, by proportional feedback on what is left to go (metres) and to turn (radians). `most`: largest entries of both
/// parts; the direction is kept where the way is limited.
fn steer(left_m: [f32; 3], left_rad: [f32; 3], most: [f32; 2]) -> [f32; N_ACT] {
    let mut action = [0.0; N_ACT];
    for axis in 0..3 {
        action[axis] = left_m[axis] * GAIN / TRANSLATION_STEP_M as f32;
        action[3 + axis] = (left_rad[axis] * GAIN / ROTATION_STEP_RAD as f32).clamp(-most[1], most[1]);
    }
    let largest = action[..3].iter().fold(0.0_f32, |largest, entry| largest.max(entry.abs()));
    if largest > most[0] {
        action[..3].iter_mut().for_each(|entry| *entry *= most[0] / largest);
    }
    action
}

/// The hand's yaw in the range `[-1.2, 5.08)`, within which the wrist can turn it.
fn unwrapped_yaw(yaw: f32) -> f32 {
    const LOWEST: f32 = -1.2;
    (yaw - LOWEST).rem_euclid(std::f32::consts::TAU) + LOWEST
}

impl Expert {
    /// The demonstrator of `task` in `scene` for the episode `seed`.
    pub fn new(task: Task, scene: SceneId, seed: u64) -> Self {
        Self::by_rule(task.rule(), scene, seed)
    }

    /// One that puts the held block on a free place of the table, which is no task of CALVIN's.
    pub fn put_down(scene: SceneId, seed: u64) -> Self {
        Self::by_rule(Rule::Place { surface: Link::Table }, scene, seed)
    }

    /// Makes it err: for its first `steps` control steps it takes every way-point to be `off_m` from where it is.
    #[must_use]
    pub const fn erring(mut self, off_m: [f32; 3], steps: u32) -> Self {
        self.error_m = off_m;
        self.errs_until = steps;
        self
    }

    fn by_rule(rule: Rule, scene: SceneId, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "expert"));
        let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
        let offset = std::array::from_fn(|_| normal() * WAYPOINT_STD_M);
        Self {
            rule,
            error_m: [0.0; 3],
            errs_until: 0,
            layout: scene.layout(),
            phase: 0,
            settled: 0,
            phase_steps: 0,
            anchor: [0.0; 3],
            plan: None,
            first: None,
            leave: None,
            speed: rng.random_range(0.6..1.0),
            along_bar_m: rng.random_range(-0.05..0.05),
            offset,
            clearance_m: rng.random_range(0.02..0.045),
            tremor: [0.0; 6],
            tremor_std: rng.random_range(0.02..0.12),
            steps: 0,
            close_after: rng.random_range(0..6),
            effort: rng.random_range(0.0..1.0),
            rng,
        }
    }

    /// The action for this control step.
    pub fn act(&mut self, observation: &Observation) -> Action {
        if self.steps == 0 && !self.carries() && self.holds_in_the_air(observation) {
            let scene = self.layout.id;
            self.first = Some(Box::new(Self::put_down(scene, derive_seed(self.rng.random(), "put down"))));
        }
        self.steps += 1;
        if let Some(first) = &mut self.first {
            if !first.is_done() {
                return first.act(observation);
            }
            self.first = None;
        }
        let waypoint = match self.way_out(observation) {
            Some(waypoint) => waypoint,
            None => self.work(observation),
        };
        let (tcp, turn) = (observation.tcp_in_world(), turn_error(waypoint.turn, observation));
        let at = if self.steps < self.errs_until { add(waypoint.at, self.error_m) } else { waypoint.at };
        let mut action = steer(std::array::from_fn(|axis| at[axis] - tcp[axis]), turn, [self.speed, self.speed]);
        for (entry, tremor) in action.iter_mut().zip(&mut self.tremor) {
            let kick: f32 = StandardNormal.sample(&mut self.rng);
            *tremor = TREMOR_MEMORY * *tremor + (1.0 - TREMOR_MEMORY * TREMOR_MEMORY).sqrt() * self.tremor_std * kick;
            *entry = (*entry + *tremor).clamp(-1.0, 1.0);
        }
        let opens = waypoint.hand == Hand::Open || (waypoint.hand == Hand::Shut && self.steps < self.close_after);
        action[6] = if opens { GripperCommand::Open } else { GripperCommand::Close }.sign();
        Action(action)
    }

    /// Whether the work begins with a block in the hand.
    const fn carries(&self) -> bool {
        matches!(self.rule, Rule::Place { .. } | Rule::Stack)
    }

    /// The next way-point out of the cabinet or up from the table; `None` once the hand is free to go anywhere.
    fn way_out(&mut self, observation: &Observation) -> Option<Waypoint> {
        let tcp = observation.tcp_in_world();
        let [width, command] = [observation.robot[6], observation.robot[14]];
        let near = !self.carries() && self.near_block(observation);
        if !self.carries() && self.leave.is_none() && width > CLOSED_M && width < OPEN_M {
            // The last task ended with a block in the hand, or with the fingers on their way.
            let turn = [observation.robot[3], observation.robot[4], unwrapped_yaw(observation.robot[5])];
            return Some(Waypoint { at: tcp, turn, hand: Hand::Open, near_m: None, settle: 0 });
        }
        let leave = self.leave.get_or_insert_with(|| {
            let mut points = VecDeque::new();
            let [x, mut y, z] = tcp;
            if y > CABINET_Y_M {
                y = -0.07;
                points.push_back([x, y, z.max(0.5)]);
            }
            if z < LOW_M || near || !points.is_empty() {
                points.push_back([x, y, (z + if near { 0.07 } else { 0.0 }).max(TRAVEL_M)]);
            }
            points
        });
        while leave.front().is_some_and(|&at| distance(tcp, at) < 0.02) {
            leave.pop_front();
        }
        leave.front().map(|&at| Waypoint {
            at,
            turn: [observation.robot[3], observation.robot[4], unwrapped_yaw(observation.robot[5])],
            hand: if command < 0.0 { Hand::Hold } else { Hand::Open },
            near_m: None,
            settle: 0,
        })
    }

    /// The present way-point of the work, after going on to the next as far as they are reached.
    fn work(&mut self, observation: &Observation) -> Waypoint {
        if self.phase > 0 && self.lost_it(observation) {
            self.enter(0, observation);
        }
        self.phase_steps += 1;
        loop {
            let waypoints = self.waypoints(observation);
            let waypoint = waypoints[self.phase.min(waypoints.len() - 1)];
            let gives_up = self.carries() && waypoint.near_m.is_some() && self.phase_steps > PATIENCE_STEPS;
            if !gives_up && !waypoint.is_reached(observation) {
                return waypoint;
            }
            if self.settled < waypoint.settle {
                self.settled += 1;
                return waypoint;
            }
            self.enter(self.phase + 1, observation);
        }
    }

    fn enter(&mut self, phase: usize, observation: &Observation) {
        self.phase = phase;
        self.settled = 0;
        self.phase_steps = 0;
        self.anchor = observation.tcp_in_world();
        if phase == 0 {
            self.plan = None;
        }
    }

    /// Whether the fingers are no longer where the way-points behind the first make sense.
    fn lost_it(&self, observation: &Observation) -> bool {
        match self.rule {
            Rule::Move { .. } | Rule::Switch { .. } => self.lost_mechanism(observation),
            _ => self.lost_block(observation),
        }
    }

    fn waypoints(&mut self, observation: &Observation) -> Vec<Waypoint> {
        match self.rule {
            Rule::Move { slide, by_m } => self.move_slide(observation, slide, by_m > 0.0),
            Rule::Switch { lamp, on } => self.switch(observation, lamp, on),
            rule => self.handle_block(observation, rule),
        }
    }

    /// The action that moves towards `point` without turning, fingers closed.
    pub fn towards(point: [f32; 3], observation: &Observation) -> Action {
        let tcp = observation.tcp_in_world();
        let mut action = [0.0; 7];
        for axis in 0..3 {
            action[axis] = ((point[axis] - tcp[axis]) * GAIN / TRANSLATION_STEP_M as f32).clamp(-0.9, 0.9);
        }
        action[6] = GripperCommand::Close.sign();
        Action(action)
    }
}
