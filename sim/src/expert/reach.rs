//! What a demonstrator can take on, seen from the state of the scene.

use super::{Expert, motion::axes};
use crate::{
    Link, LinkSet, Rule, SceneState, Slide, Task,
    geometry::{Layout, PLANK_HALF_M, SceneId},
};

/// The drawer counts as open beyond this travel, metres: then hand and block fit in.
const OPEN_M: f32 = 0.17;
/// The door stands at an end within this, metres.
const AT_END_M: f32 = 0.03;
/// Room that the hand needs on either side of a block on the shelf, metres.
const HAND_ROOM_M: f32 = 0.105;

impl Expert {
    /// Whether a demonstrator of `task` has a fair chance from `state`: the rule allows it, and what it is about lies where the hand
    /// gets at it. With a block in the hand only tasks that begin so are possible, and the reverse.
    pub fn can_do(task: Task, scene: SceneId, state: &SceneState) -> bool {
        let layout = scene.layout();
        let rule = task.rule();
        let carries = matches!(rule, Rule::Place { .. } | Rule::Stack);
        if !rule.is_possible_from(layout, state) || Self::holds_block(state) != carries {
            return false;
        }
        let [slider, drawer] = [state.scene[0], state.scene[1]];
        let at_end = slider < AT_END_M || slider > layout.slider_range_m - AT_END_M;
        match rule {
            Rule::Rotate { block, .. } | Rule::Lift { block, surface: Link::Table, .. } => on_table(layout, state, block),
            Rule::Push { block, by_m } => {
                let x = block_pose(state, block)[0];
                on_table(layout, state, block) && if by_m > 0.0 { x < 0.25 } else { x > -0.15 }
            }
            Rule::Lift { block, surface: Link::Plank, .. } => on_open_shelf(layout, state, block),
            Rule::Lift { block, .. } => {
                let [x, y, ..] = block_pose(state, block);
                drawer > OPEN_M && (x - layout.drawer_x_m).abs() < 0.13 && y < -0.235 && y > -0.16 - drawer + 0.05
            }
            Rule::Place { surface: Link::Plank } => at_end,
            Rule::Place { .. } => drawer > OPEN_M,
            Rule::Stack => (0..3).any(|block| on_table(layout, state, block)),
            Rule::Unstack => (0..3).any(|block| {
                let [x, y, z, ..] = block_pose(state, block);
                state.block_contacts[block].is_subset(LinkSet::BLOCKS) && z > 0.47 && x < 0.34 && y < -0.02
            }),
            Rule::PushInto { .. } => {
                drawer > OPEN_M
                    && (0..3).any(|block| {
                        let [x, y, ..] = block_pose(state, block);
                        on_table(layout, state, block) && (x - layout.drawer_x_m).abs() < 0.13 && y < -0.05
                    })
            }
            Rule::Move { slide: Slide::Door | Slide::Drawer, .. } | Rule::Switch { .. } => true,
        }
    }

    /// Whether the robot has a block in its hand: one that touches it and nothing else.
    pub fn holds_block(state: &SceneState) -> bool {
        (0..3).any(|block| {
            state.robot_contacts.contains(Link::Block(block)) && state.block_contacts[block].bodies() == LinkSet::ROBOT
        })
    }
}

fn block_pose(state: &SceneState, block: usize) -> [f32; 6] {
    let mut pose = [0.0; 6];
    pose.copy_from_slice(&state.scene[6 + 6 * block..12 + 6 * block]);
    pose
}

/// On the table alone, within reach, with the hand's way of taking it clear of the cabinet.
fn on_table(layout: &Layout, state: &SceneState, block: usize) -> bool {
    let [x, y, z, roll, pitch, yaw] = block_pose(state, block);
    let along_y = axes([roll, pitch, yaw]).iter().zip(layout.block_half_size_m[block]).any(|(axis, half)| {
        // Some narrow level side whose crossing keeps the hand's wide side along x.
        half < 0.03 && axis[2].abs() < 0.3 && y + 0.104 * axis[1].abs() + 0.034 * axis[0].abs() < 0.03
    });
    let alone = state.block_contacts[block] == LinkSet::of(&[Link::Table]);
    alone && z < 0.48 && (-0.36..0.33).contains(&x) && y > -0.17 && along_y
}

/// On the part of the shelf that the door leaves open, its narrow side across.
fn on_open_shelf(layout: &Layout, state: &SceneState, block: usize) -> bool {
    let [x, y, z, roll, pitch, yaw] = block_pose(state, block);
    let door_left = layout.door_x_m - state.scene[0];
    let (from, to) = if x < door_left {
        (layout.plank_x_m - PLANK_HALF_M, door_left)
    } else {
        (door_left + 0.28, layout.plank_x_m + PLANK_HALF_M)
    };
    let across = axes([roll, pitch, yaw])
        .iter()
        .zip(layout.block_half_size_m[block])
        .any(|(axis, half)| half < 0.03 && axis[2].abs() < 0.3 && axis[0].abs() > 0.85);
    let alone = state.block_contacts[block] == LinkSet::of(&[Link::Plank]);
    alone && z < 0.48 && y < 0.105 && across && x > from + HAND_ROOM_M - 0.02 && x < to - HAND_ROOM_M + 0.02
}
