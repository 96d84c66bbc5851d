//! Fingers put down beside, before, on and behind a mechanism, and dragged or moved here and there about it, whatever its state: what gives
//! and what does not.
//!
//! Demonstrators alone show a drawer's hand behind the bar when it is shut and before it when it is open, since they do what makes sense. Who
//! learns from that learns to expect, not where things are: that a shut drawer opens when a hand pulls, wherever the hand is.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use reverie_schema::{Action, GripperCommand, Observation, derive_seed};

use super::{
    FINGERS_DOWN,
    mechanisms::{FINGERS_ON_LEVER, FINGERS_UNDER_LEVER, bar, crossbar, handle},
    motion::{add, distance, scale},
    steer, turn_error,
};
use crate::{
    Lamp, Rule, Slide, Task,
    geometry::{BUTTON_TOP_M, Layout, OUT_OF_FRONT, SceneId, UP_THE_FRONT},
};

/// From where the fingers come, metres.
const APPROACH_M: f32 = 0.10;
/// Standard deviation of their tilt, radians.
const TILT_STD_RAD: f32 = 0.1;
/// Distance at which the way there ends, metres.
const NEAR_M: f32 = 0.015;

/// Feels about one mechanism.
#[derive(Clone, Debug)]
pub struct Probe {
    rule: Rule,
    layout: &'static Layout,
    rng: ChaCha8Rng,
    gripper: GripperCommand,
    turn: [f32; 3],
    /// Passes that have not begun.
    passes: u32,
    /// What is left of the present pass, the last first.
    legs: Vec<Leg>,
}

#[derive(Clone, Copy, Debug)]
struct Leg {
    at: [f32; 3],
    /// Control steps that it takes at most.
    steps: u32,
    /// Whether it ends as soon as it is reached.
    ends_there: bool,
    /// Largest entry of an action.
    speed: f32,
}

/// Directions about a mechanism, and where fingers meet it, metres.
struct Place {
    middle: [f32; 3],
    /// Where fingers come from, where it slides (the way the task asks for first), and across.
    axes: [[f32; 3]; 3],
    /// Along: least and most. Towards it: usual place, least and most. Across: most.
    along: [f32; 2],
    depth: [f32; 3],
    across: f32,
}

impl Probe {
    /// About the mechanism of `task` in `scene`; `None` if it has none.
    pub fn new(task: Task, scene: SceneId, seed: u64) -> Option<Self> {
        let rule = task.rule();
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "probe"));
        let fingers = match rule {
            Rule::Switch { lamp: Lamp::Bulb, on: true } => FINGERS_UNDER_LEVER,
            Rule::Switch { lamp: Lamp::Bulb, on: false } => FINGERS_ON_LEVER,
            Rule::Switch { .. } | Rule::Move { .. } => FINGERS_DOWN,
            _ => return None,
        };
        let tilt = Normal::new(0.0, TILT_STD_RAD).ok()?;
        Some(Self {
            rule,
            layout: scene.layout(),
            gripper: if rng.random_bool(0.85) { GripperCommand::Close } else { GripperCommand::Open },
            turn: fingers.map(|angle| angle + tilt.sample(&mut rng)),
            passes: rng.random_range(1..5),
            legs: Vec::new(),
            rng,
        })
    }

    /// The action for this control step; `None` when it is over.
    pub fn act(&mut self, observation: &Observation) -> Option<Action> {
        let tcp = observation.tcp_in_world();
        while self.legs.last().is_some_and(|leg| leg.steps == 0 || leg.ends_there && distance(leg.at, tcp) < NEAR_M) {
            self.legs.pop();
        }
        if self.legs.is_empty() {
            self.passes = self.passes.checked_sub(1)?;
            self.begin(observation);
        }
        let leg = self.legs.last_mut()?;
        leg.steps -= 1;
        let turn = turn_error(self.turn, observation);
        let mut action = steer(std::array::from_fn(|axis| leg.at[axis] - tcp[axis]), turn, [leg.speed, 1.0]);
        action[6] = self.gripper.sign();
        Some(Action(action))
    }

    /// A pass: over to it, in, perhaps a rest, and one or two drags, or here and there about it: a policy that misses comes at a mechanism from
    /// every side.
    fn begin(&mut self, observation: &Observation) {
        let place = self.place(observation);
        let [towards, along, across] = place.axes;
        let rng = &mut self.rng;
        let off = |[a, b, c]: [f32; 3]| add(place.middle, add(scale(towards, a), add(scale(along, b), scale(across, c))));
        let beside = rng.random_range(-place.across..place.across) * if rng.random_bool(0.15) { 1.6 } else { 1.0 };
        let slid = rng.random_range(place.along[0]..place.along[1]);
        let [usual, least, most] = place.depth;
        let deep = if rng.random() { usual + rng.random_range(-0.014..0.014) } else { rng.random_range(least..most) };
        let mut legs = vec![
            Leg { at: off([APPROACH_M, slid, beside]), steps: 25, ends_there: true, speed: 0.9 },
            Leg { at: off([deep, slid, beside]), steps: 12, ends_there: true, speed: rng.random_range(0.3..1.0) },
        ];
        if rng.random_bool(0.3) {
            legs.push(Leg { at: off([deep, slid, beside]), steps: rng.random_range(2..12), ends_there: false, speed: 0.3 });
        }
        let mut from = [deep, slid, beside];
        let about = rng.random_bool(0.6);
        let count = if about { rng.random_range(3..9) } else { rng.random_range(1..3) };
        for _ in 0..count {
            let steps = if about {
                from = [
                    rng.random_range(least - 0.02..most),
                    rng.random_range(place.along[0] - 0.03..place.along[1] + 0.03),
                    rng.random_range(-place.across..place.across),
                ];
                5..14
            } else {
                let far = rng.random_range(0.03..0.14);
                let [into, on] = match rng.random_range(0..20) {
                    0..12 => [rng.random_range(-0.5..0.5), 1.0],
                    12..15 => [rng.random_range(-0.5..0.5), -1.0],
                    _ => {
                        let angle = rng.random_range(0.0..std::f32::consts::TAU);
                        [angle.sin(), angle.cos()]
                    }
                };
                from = [from[0] + into * far, from[1] + on * far, from[2]];
                6..20
            };
            let (steps, speed) = (rng.random_range(steps), rng.random_range(0.3..1.0));
            legs.push(Leg { at: off(from), steps, ends_there: false, speed });
        }
        legs.reverse();
        self.legs = legs;
    }

    fn place(&self, observation: &Observation) -> Place {
        const X: [f32; 3] = [1.0, 0.0, 0.0];
        const Y: [f32; 3] = [0.0, 1.0, 0.0];
        const Z: [f32; 3] = [0.0, 0.0, 1.0];
        let (layout, scene) = (self.layout, &observation.scene);
        match self.rule {
            Rule::Move { slide: Slide::Drawer, .. } => Place {
                middle: bar(layout, scene[1]),
                axes: [Z, scale(Y, -1.0), X],
                along: [-0.065, 0.09],
                depth: [0.03, -0.02, 0.06],
                across: 0.09,
            },
            Rule::Move { by_m, .. } => Place {
                middle: handle(layout, scene[0]),
                axes: [OUT_OF_FRONT, scale(X, -(by_m as f32).signum()), UP_THE_FRONT],
                along: [-0.09, 0.09],
                depth: [0.006, -0.02, 0.06],
                across: 0.05,
            },
            Rule::Switch { lamp: Lamp::Bulb, on } => Place {
                middle: crossbar(layout, scene[3]),
                axes: [OUT_OF_FRONT, scale(UP_THE_FRONT, if on { 1.0 } else { -1.0 }), X],
                along: if on { [-0.06, 0.05] } else { [-0.05, 0.06] },
                depth: [0.01, -0.02, 0.05],
                across: 0.08,
            },
            _ => {
                let [x, y] = layout.button_xy();
                Place {
                    middle: [x, y, BUTTON_TOP_M],
                    axes: [Z, X, Y],
                    along: [-0.05, 0.05],
                    depth: [0.0, -0.02, 0.04],
                    across: 0.05,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_schema::{ROBOT_OBS, SCENE_OBS, Stamp};

    use super::*;

    /// However a mechanism stands, and though this hand never gets anywhere.
    #[test]
    fn a_probe_stays_about_its_mechanism_and_ends() {
        for task in Task::MECHANISM {
            for seed in 0..50 {
                let mut scene = [0.0; SCENE_OBS];
                scene[..4].fill(0.01 * (seed % 3) as f32);
                let observation = Observation { seq: 0, stamp: Stamp(0), robot: [0.1; ROBOT_OBS], scene };
                let mut probe = Probe::new(task, SceneId::D, seed).unwrap();
                let middle = probe.place(&observation).middle;
                let mut steps = 0;
                while let Some(Action(action)) = probe.act(&observation) {
                    assert!(action.iter().all(|entry| entry.abs() <= 1.0), "{action:?}");
                    assert!(probe.legs.iter().all(|leg| distance(leg.at, middle) < 0.5));
                    steps += 1;
                    assert!(steps < 4 * 160, "{task:?} {seed}");
                }
                assert!(steps > 40);
            }
        }
        assert!(Probe::new(Task::LiftRedBlockTable, SceneId::D, 1).is_none());
    }
}
