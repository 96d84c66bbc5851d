//! CALVIN's success conditions (`calvin_env/envs/tasks.py`) over two moments of a scene.
//!
//! Contacts are sets of links where CALVIN compares (body, link) pairs, and sets of bodies where it compares body ids: there the table
//! and its mechanisms are one. All comparisons are strict and made in `f64`, as CALVIN's are.

use super::SceneState;
use crate::{
    Link, LinkSet,
    geometry::{DRAWER_RANGE_M, Layout},
};

/// Furthest that a block may move while it is rotated, metres.
const ROTATED_IN_PLACE_M: f64 = 0.1;
/// Furthest that a block may turn about x and y while it is rotated, degrees.
const ROTATED_UPRIGHT_DEG: f64 = 30.0;
/// Half a turn, beyond which a rotation counts as the opposite one, degrees.
const HALF_TURN_DEG: f64 = 180.0;
/// A block counts as at rest while every component of its velocity is below this, m/s and rad/s.
const AT_REST: f32 = 1.0;
/// Travel that a mechanism must have left beyond the threshold for the task to be worth a try, metres.
const ROOM_M: f64 = 0.01;

/// A mechanism with a travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slide {
    /// The sliding door; its travel grows to the left.
    Door,
    /// The drawer; its travel grows outwards.
    Drawer,
}

impl Slide {
    const fn entry(self) -> usize {
        match self {
            Self::Door => 0,
            Self::Drawer => 1,
        }
    }

    const fn range_m(self, layout: &Layout) -> f32 {
        match self {
            Self::Door => layout.slider_range_m,
            Self::Drawer => DRAWER_RANGE_M,
        }
    }
}

/// A lamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lamp {
    /// The yellow bulb, which follows the switch.
    Bulb,
    /// The green LED, which the button toggles.
    Led,
}

impl Lamp {
    const fn entry(self) -> usize {
        match self {
            Self::Bulb => 4,
            Self::Led => 5,
        }
    }
}

/// What must have happened between the start of a task and now. Blocks are indices: red 0, blue 1, pink 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The block has turned about z by more than `degrees` (positive: counter-clockwise, to the left) and by less than 180, by less
    /// than 30 about x and y, has moved by at most 0.1 m, and touches something other than the robot.
    ///
    /// The turn is `R_now R_start^-1` as extrinsic x-y-z Euler angles: z in [-180, 180], y in [-90, 90]. A right turn of 200 degrees is
    /// therefore one of 160 to the left. The gimbal lock at |y| = 90 has no say, since 30 is exceeded there.
    Rotate {
        /// Which block.
        block: usize,
        /// Least turn.
        degrees: f64,
    },
    /// The block has moved along x by more than `by_m` (negative: to the left), touched something other than the robot at the start, and
    /// still touches all of that.
    Push {
        /// Which block.
        block: usize,
        /// Least way.
        by_m: f64,
    },
    /// The block touched `surface` at the start, is higher by more than `by_m`, and touches the robot and no other body.
    Lift {
        /// Which block.
        block: usize,
        /// Least way up.
        by_m: f64,
        /// What it lay on.
        surface: Link,
    },
    /// At the start the robot touched one body, a block, which touched the robot alone; now the robot does not touch that block,
    /// and the block touches `surface`.
    Place {
        /// Where it is put.
        surface: Link,
    },
    /// A block that touched no other block at the start now touches blocks and nothing else, and is at rest.
    Stack,
    /// A block that touched blocks and nothing else at the start, at rest, touches no block now.
    Unstack,
    /// The mechanism has travelled by more than `by_m` (negative: back).
    Move {
        /// Which mechanism.
        slide: Slide,
        /// Least way.
        by_m: f64,
    },
    /// The lamp was not `on` at the start and is now, or the reverse.
    Switch {
        /// Which lamp.
        lamp: Lamp,
        /// What it is to be.
        on: bool,
    },
    /// A block that touched `from` and nothing else at the start touches `to` now. CALVIN also means to ask that the robot touches it at
    /// neither moment, but compares an id with pairs, which excludes nothing: now the robot may touch it.
    PushInto {
        /// What the block lay on.
        from: Link,
        /// What it lies on now.
        to: Link,
    },
}

impl Rule {
    /// Whether the condition holds between `start` and `now`.
    pub fn solved(self, start: &SceneState, now: &SceneState) -> bool {
        match self {
            Self::Rotate { block, degrees } => rotated(block, degrees, start, now),
            Self::Push { block, by_m } => {
                let surfaces = |state: &SceneState| state.block_contacts[block].without(LinkSet::ROBOT);
                let way = now.position(block).x - start.position(block).x;
                beyond(way, by_m) && !surfaces(start).is_empty() && surfaces(start).is_subset(surfaces(now))
            }
            Self::Lift { block, by_m, surface } => {
                now.position(block).z - start.position(block).z > by_m
                    && now.block_contacts[block].bodies() == LinkSet::ROBOT
                    && start.block_contacts[block].contains(surface)
            }
            Self::Place { surface } => held_alone(start).is_some_and(|block| {
                !now.robot_contacts.contains(Link::Block(block)) && now.block_contacts[block].contains(surface)
            }),
            Self::Stack => {
                (0..3).any(|block| touches_no_block(start, block) && touches_blocks_alone(now, block) && at_rest(now, block))
            }
            Self::Unstack => {
                (0..3).any(|block| touches_blocks_alone(start, block) && at_rest(start, block) && touches_no_block(now, block))
            }
            Self::Move { slide, by_m } => {
                let [before, after] = [start, now].map(|state| f64::from(state.scene[slide.entry()]));
                beyond(after - before, by_m)
            }
            Self::Switch { lamp, on } => is_on(start, lamp) != on && is_on(now, lamp) == on,
            Self::PushInto { from, to } => {
                (0..3).any(|block| start.block_contacts[block] == LinkSet::of(&[from]) && now.block_contacts[block].contains(to))
            }
        }
    }

    /// Whether the condition can still come true from `start`: what it asks of the start holds, and a mechanism has 1 cm more travel left
    /// than it asks for (a half-open drawer can be neither opened nor closed by 0.12 m).
    pub fn is_possible_from(self, layout: &Layout, start: &SceneState) -> bool {
        match self {
            Self::Rotate { .. } => true,
            Self::Push { block, .. } => !start.block_contacts[block].without(LinkSet::ROBOT).is_empty(),
            Self::Lift { block, surface, .. } => start.block_contacts[block].contains(surface),
            Self::Place { .. } => held_alone(start).is_some(),
            Self::Stack => (0..3).any(|block| touches_no_block(start, block)),
            Self::Unstack => (0..3).any(|block| touches_blocks_alone(start, block) && at_rest(start, block)),
            Self::Move { slide, by_m } => {
                let travel = f64::from(start.scene[slide.entry()]);
                let room = if by_m > 0.0 { f64::from(slide.range_m(layout)) - travel } else { travel };
                room > by_m.abs() + ROOM_M
            }
            Self::Switch { lamp, on } => is_on(start, lamp) != on,
            Self::PushInto { from, .. } => start.block_contacts.contains(&LinkSet::of(&[from])),
        }
    }
}

fn rotated(block: usize, degrees: f64, start: &SceneState, now: &SceneState) -> bool {
    if (now.position(block) - start.position(block)).norm() > ROTATED_IN_PLACE_M
        || now.block_contacts[block].without(LinkSet::ROBOT).is_empty()
    {
        return false;
    }
    let turn = now.orientation(block) * start.orientation(block).inverse();
    let (x, y, z) = turn.euler_angles();
    let (x, y, z) = (x.to_degrees(), y.to_degrees(), z.to_degrees());
    beyond(z, degrees) && z.abs() < HALF_TURN_DEG && x.abs() < ROTATED_UPRIGHT_DEG && y.abs() < ROTATED_UPRIGHT_DEG
}

/// Whether `value` is further from zero than `threshold`, on its side.
fn beyond(value: f64, threshold: f64) -> bool {
    if threshold > 0.0 { value > threshold } else { value < threshold }
}

/// The block that is all the robot touches, and that touches the robot alone.
fn held_alone(state: &SceneState) -> Option<usize> {
    (0..3).find(|&block| {
        state.robot_contacts.bodies() == LinkSet::of(&[Link::Block(block)])
            && state.block_contacts[block].bodies() == LinkSet::ROBOT
    })
}

fn touches_no_block(state: &SceneState, block: usize) -> bool {
    state.block_contacts[block].intersection(LinkSet::BLOCKS).is_empty()
}

fn touches_blocks_alone(state: &SceneState, block: usize) -> bool {
    let contacts = state.block_contacts[block];
    !contacts.is_empty() && contacts.is_subset(LinkSet::BLOCKS)
}

fn at_rest(state: &SceneState, block: usize) -> bool {
    state.block_velocity[block].iter().all(|component| component.abs() < AT_REST)
}

fn is_on(state: &SceneState, lamp: Lamp) -> bool {
    state.scene[lamp.entry()] > 0.5
}
