//! Blocks: grasped from above, carried, turned, put down; or pushed with closed fingers.
//!
//! A block is taken across one of its level, narrow sides. The hand is 20 cm wide along the fingers' way, so that beside the cabinet
//! and in the drawer the way of taking it matters: candidates are weighed by what the hand and the fingers would run into.

use std::f32::consts::{FRAC_PI_2, PI};

use reverie_schema::Observation;

use super::{
    CABINET_Y_M, Expert, FINGERS_DOWN, FINGERS_HALF_M, Hand, TRAVEL_M, Waypoint, distance,
    motion::{add, axes},
};
use crate::{
    Link, Rule,
    geometry::{DRAWER_RANGE_M, Layout, PLANK_HALF_M, TABLE_TOP_M},
};

/// The widest side that open fingers (0.08 m) take with room on both sides, metres.
const WIDEST_GRASP_M: f32 = 0.06;
/// Yaws within which the wrist turns freely at any place on the table.
const YAW_RANGE_RAD: [f32; 2] = [-0.6, 4.4];
/// Half of the hand's extent along the fingers' way and across it.
const HAND_HALF_M: [f32; 2] = [0.104, 0.034];
/// The TCP stays this high inside the drawer, so that the hand stays above the table top.
const LOWEST_IN_DRAWER_M: f32 = 0.368;
/// Lowest TCP over the table and the shelf: fingertips are 1 cm lower.
const LOWEST_ON_TABLE_M: f32 = TABLE_TOP_M + 0.017;
/// Control steps for which the fingers close.
const CLOSING_STEPS: u32 = 11;
/// Control steps after which a way-point of an approach is given up.
const STUCK_STEPS: u32 = 45;
/// Control steps for which they open.
const OPENING_STEPS: u32 = 5;
/// Height from which a held block is put on something.
const PLACE_GAP_M: f32 = 0.004;
/// Distance between a block's middle and the TCP beyond which it is not between the fingers.
const IN_HAND_M: f32 = 0.04;

/// A block as the observation has it.
#[derive(Clone, Copy, Debug)]
struct Block {
    index: usize,
    at: [f32; 3],
    axes: [[f32; 3]; 3],
    half: [f32; 3],
}

/// How a block is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    block: usize,
    /// Hand yaw.
    yaw: f32,
    /// Width between the fingers.
    width_m: f32,
    /// How far to turn it, for rotations.
    turn_rad: f32,
    /// Where it stood when the plan was made.
    from: [f32; 3],
    /// Where it goes, for what is carried; the block under it, for stacks.
    to: [f32; 3],
    /// Whether it is dragged instead of pushed.
    drag: bool,
}

impl Block {
    fn of(layout: &Layout, observation: &Observation, index: usize) -> Self {
        let scene = &observation.scene;
        let entry = |i: usize| scene[6 + 6 * index + i];
        Self {
            index,
            at: [entry(0), entry(1), entry(2)],
            axes: axes([entry(3), entry(4), entry(5)]),
            half: layout.block_half_size_m[index],
        }
    }

    /// Half of its extent along a horizontal direction.
    fn reach(&self, x: f32, y: f32) -> f32 {
        self.axes.iter().zip(self.half).map(|(axis, half)| (axis[0] * x + axis[1] * y).abs() * half).sum()
    }

    /// Half of its height as it lies.
    fn half_height(&self) -> f32 {
        self.axes.iter().zip(self.half).map(|(axis, half)| axis[2].abs() * half).sum()
    }

    /// Hand yaws that take it across a level side, with the side's width: within the wrist's range.
    fn grasps(&self) -> impl Iterator<Item = (f32, f32)> {
        self.axes.into_iter().zip(self.half).filter(|(axis, half)| axis[2].abs() < 0.3 && 2.0 * half < WIDEST_GRASP_M).flat_map(
            |(axis, half)| {
                // With the fingers down and the hand at yaw psi they move along (sin psi, -cos psi).
                let yaw = axis[0].atan2(-axis[1]);
                (-2..=3).map(move |half_turns| (yaw + half_turns as f32 * PI, 2.0 * half))
            },
        )
    }
}

impl Expert {
    fn block(&self, observation: &Observation, index: usize) -> Block {
        Block::of(self.layout, observation, index)
    }

    /// The block between the fingers, if there is one.
    fn held(&self, observation: &Observation) -> Option<usize> {
        let tcp = observation.tcp_in_world();
        let away = |index: usize| distance(self.block(observation, index).at, tcp);
        (0..3).filter(|&index| away(index) < IN_HAND_M).min_by(|&a, &b| away(a).total_cmp(&away(b)))
    }

    /// Whether a block is between the fingers, clear of what it could stand on.
    pub(super) fn holds_in_the_air(&self, observation: &Observation) -> bool {
        let closed_on = observation.robot[14] < 0.0 && observation.robot[6] > 0.03;
        closed_on
            && self.held(observation).is_some_and(|index| {
                let [.., z] = self.block(observation, index).at;
                // On the table, the shelf or in the drawer it can be let go.
                z > TABLE_TOP_M + 0.03 || (0.38..TABLE_TOP_M).contains(&z)
            })
    }

    /// Whether the fingers are beside a block, where they would take it if they closed.
    pub(super) fn near_block(&self, observation: &Observation) -> bool {
        let tcp = observation.tcp_in_world();
        (0..3).any(|index| distance(self.block(observation, index).at, tcp) < 0.07)
    }

    /// Whether a held block was put down and let go.
    pub(super) const fn is_done(&self) -> bool {
        self.phase >= 4
    }

    /// Whether what was grasped is no longer between the fingers, or what is pushed has gone past them.
    pub(super) fn lost_block(&self, observation: &Observation) -> bool {
        let Some(plan) = self.plan else { return true };
        let tcp = observation.tcp_in_world();
        let block = self.block(observation, plan.block);
        let away = distance(block.at, tcp);
        let empty = observation.robot[6] < plan.width_m - 0.012;
        let carried = matches!(self.rule, Rule::Place { .. } | Rule::Stack);
        if !carried && self.phase < 3 && self.phase_steps > STUCK_STEPS {
            // A finger stands on something.
            return true;
        }
        match self.rule {
            Rule::Push { .. } | Rule::PushInto { .. } if !plan.drag => {
                self.phase > 1 && ((block.at[0] - tcp[0]).hypot(block.at[1] - tcp[1]) > 0.09 || block.at[2] < tcp[2] - 0.05)
            }
            Rule::Lift { .. } | Rule::Unstack => self.phase >= self.grasp_len(&block) && (empty || away > IN_HAND_M),
            Rule::Rotate { .. } | Rule::Push { .. } | Rule::PushInto { .. } => {
                // After the turn come the release and the way up, and then another try.
                let held = self.phase >= 3 && self.phase < 4;
                (held && (empty || away > IN_HAND_M)) || self.phase > 5
            }
            // Nothing can be done about a block that was dropped on the way: the rule asks that it be held at the start.
            _ => false,
        }
    }

    /// Way-points of a grasp before the block is moved.
    fn grasp_len(&self, block: &Block) -> usize {
        if self.on_shelf(block) { 4 } else { 3 }
    }

    fn on_shelf(&self, block: &Block) -> bool {
        block.at[1] > 0.02 && (block.at[0] - self.layout.plank_x_m).abs() < PLANK_HALF_M && block.at[2] > 0.4
    }

    pub(super) fn handle_block(&mut self, observation: &Observation, rule: Rule) -> Vec<Waypoint> {
        let plan = match self.plan {
            Some(plan) => plan,
            None => *self.plan.insert(self.make_plan(observation, rule)),
        };
        let block = self.block(observation, plan.block);
        match rule {
            Rule::Lift { .. } | Rule::Unstack => self.lift(observation, &plan, &block),
            Rule::Rotate { .. } => self.rotate(observation, &plan, &block),
            Rule::Push { .. } | Rule::PushInto { .. } if plan.drag => self.drag(observation, &plan, &block),
            Rule::Push { by_m, .. } => self.push(&block, [(by_m as f32).signum(), 0.0]),
            Rule::PushInto { .. } => self.push(&block, [0.0, -1.0]),
            Rule::Place { surface: Link::Drawer | Link::Table } | Rule::Stack => self.lower(observation, &plan, &block),
            Rule::Place { .. } => self.put_on_shelf(observation, &plan, &block),
            Rule::Move { .. } | Rule::Switch { .. } => Vec::new(),
        }
    }

    fn make_plan(&self, observation: &Observation, rule: Rule) -> Plan {
        let all: [Block; 3] = std::array::from_fn(|index| self.block(observation, index));
        let block = match rule {
            Rule::Lift { block, .. } | Rule::Rotate { block, .. } | Rule::Push { block, .. } => block,
            // The highest lies on another.
            Rule::Unstack => (0..3).max_by(|&a, &b| all[a].at[2].total_cmp(&all[b].at[2])).unwrap_or(0),
            Rule::PushInto { .. } => self.before_the_drawer(observation, &all),
            _ => self.held(observation).unwrap_or(0),
        };
        let block = &all[block];
        let turn_rad = match rule {
            Rule::Rotate { degrees, .. } => (degrees as f32).to_radians().signum() * (1.25 + 0.2 * self.effort),
            _ => 0.0,
        };
        let yaw_now = super::unwrapped_yaw(observation.robot[5]);
        let carried = matches!(rule, Rule::Place { .. } | Rule::Stack);
        let (yaw, width_m) = if carried { (yaw_now, observation.robot[6]) } else { self.choose_grasp(block, &all, turn_rad) };
        let to = match rule {
            Rule::Stack => self.stack_on(block, &all).at,
            Rule::Place { surface: Link::Drawer } => self.place_in_drawer(observation, &all),
            Rule::Place { surface: Link::Table } => self.place_on_table(block, &all),
            Rule::Place { .. } => self.place_on_shelf(observation, &all),
            Rule::Push { by_m, .. } => self.place_aside(block, &all, (by_m as f32).signum() * (0.112 + 0.02 * self.effort)),
            Rule::PushInto { .. } => [block.at[0], -0.28, block.at[2]],
            _ => block.at,
        };
        let drag = match rule {
            Rule::Push { by_m, .. } => self.push_is_blocked(block, &all, [(by_m as f32).signum(), 0.0]),
            Rule::PushInto { .. } => self.push_is_blocked(block, &all, [0.0, -1.0]),
            _ => false,
        };
        Plan { block: block.index, yaw, width_m, turn_rad, from: block.at, to, drag }
    }

    /// The way of taking `block` that runs into least, and turns the hand least.
    fn choose_grasp(&self, block: &Block, all: &[Block; 3], turn_rad: f32) -> (f32, f32) {
        let cost = |yaw: f32, width: f32| {
            let [lowest, highest] = YAW_RANGE_RAD;
            let outside = [yaw, yaw + turn_rad].iter().map(|&y| (lowest - y).max(y - highest).max(0.0)).sum::<f32>();
            let (sin, cos) = yaw.sin_cos();
            // The cabinet's front at the hand's height, with handle and lever, stands at y = 0.03; the shelf's back at 0.168.
            let back = if self.on_shelf(block) { 0.165 } else { 0.03 };
            let hand_y = block.at[1] + HAND_HALF_M[0] * cos.abs() + HAND_HALF_M[1] * sin.abs();
            let into_cabinet = if block.at[2] > 0.4 { (hand_y - back).max(0.0) } else { 0.0 };
            let finger = 0.5 * width + 0.03;
            let crowded = [1.0_f32, -1.0].iter().any(|side| {
                let at = [block.at[0] + side * finger * sin, block.at[1] - side * finger * cos];
                all.iter().filter(|other| other.index != block.index).any(|other| {
                    let (x, y) = (at[0] - other.at[0], at[1] - other.at[1]);
                    let level = (other.at[2] - block.at[2]).abs() < 0.03;
                    level && x.hypot(y) < other.reach(x, y) / x.hypot(y).max(1e-6) + 0.012
                })
            });
            20.0 * outside
                + 40.0 * into_cabinet
                + if crowded { 3.0 } else { 0.0 }
                + (yaw - FRAC_PI_2).abs()
                + 20.0 * (width - 0.04)
        };
        block
            .grasps()
            .map(|(yaw, width)| (cost(yaw, width), yaw, width))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or((FRAC_PI_2, 0.04), |(_, yaw, width)| (yaw, width))
    }

    /// Whether another block, the button or the table's end is where the fingers go down or where the block goes.
    fn push_is_blocked(&self, block: &Block, all: &[Block; 3], along: [f32; 2]) -> bool {
        let behind = block.reach(along[0], along[1]) + 0.03;
        let fingers = [block.at[0] - along[0] * behind, block.at[1] - along[1] * behind];
        let [button_x, button_y] = self.layout.button_xy();
        let way = if along[1] < 0.0 { 0.0 } else { 0.13 };
        let goal = [block.at[0] + along[0] * way, block.at[1] + along[1] * way];
        let near = |at: [f32; 2], x: f32, y: f32, clear: f32| (at[0] - x).hypot(at[1] - y) < clear;
        let reach = block.half[0].hypot(block.half[1]);
        let others = all.iter().filter(|other| other.index != block.index && (other.at[2] - block.at[2]).abs() < 0.03);
        others.clone().any(|other| {
            let size = other.half[0].hypot(other.half[1]);
            near(fingers, other.at[0], other.at[1], size + 0.02) || near(goal, other.at[0], other.at[1], size + reach)
        }) || near(fingers, button_x, button_y, 0.06)
            || near(goal, button_x, button_y, 0.04 + reach)
            || fingers[1] > -0.01
    }

    fn before_the_drawer(&self, observation: &Observation, all: &[Block; 3]) -> usize {
        let off = |block: &Block| {
            let beside = ((block.at[0] - self.layout.drawer_x_m).abs() - 0.12).max(0.0);
            let off_table = if block.at[2] > 0.5 || block.at[2] < 0.42 || block.at[1] > 0.03 { 10.0 } else { 0.0 };
            beside + off_table + 0.1 * distance(block.at, observation.tcp_in_world())
        };
        (0..3).min_by(|&a, &b| off(&all[a]).total_cmp(&off(&all[b]))).unwrap_or(0)
    }

    /// The nearest block that lies level with its top free.
    fn stack_on<'a>(&self, held: &Block, all: &'a [Block; 3]) -> &'a Block {
        let away = |block: &Block| {
            let covered = all.iter().any(|other| {
                other.index != block.index
                    && other.index != held.index
                    && other.at[2] > block.at[2] + 0.02
                    && (other.at[0] - block.at[0]).hypot(other.at[1] - block.at[1]) < 0.06
            });
            let out_of_reach = block.at[2] < 0.42 || block.at[1] > 0.02;
            distance(block.at, held.at) + if covered || out_of_reach { 10.0 } else { 0.0 }
        };
        all.iter().filter(|block| block.index != held.index).min_by(|a, b| away(a).total_cmp(&away(b))).unwrap_or(&all[0])
    }

    /// A free place on the table, rather near.
    fn place_on_table(&self, held: &Block, all: &[Block; 3]) -> [f32; 3] {
        let [[x0, _], [x1, _]] = self.layout.table;
        let [button_x, button_y] = self.layout.button_xy();
        let worth = |[x, y]: [f32; 2]| {
            let others = all.iter().filter(|block| block.index != held.index && block.at[2] > 0.4);
            let clear = others
                .map(|block| (block.at[0] - x).hypot(block.at[1] - y))
                .chain([(button_x - x).hypot(button_y - y)])
                .fold(0.16, f32::min);
            clear - 0.1 * (held.at[0] - x).hypot(held.at[1] - y)
        };
        let columns = 0..=12;
        let places = columns.flat_map(|i| {
            let x = x0 + (x1.min(0.32) - x0) * (i as f32 + 0.3 * self.effort) / 12.3;
            [-0.14, -0.12, -0.10].map(|y| [x, y])
        });
        let [x, y] = places.max_by(|a, b| worth(*a).total_cmp(&worth(*b))).unwrap_or([0.5 * (x0 + x1), -0.12]);
        [x, y, TABLE_TOP_M + held.half_height() + PLACE_GAP_M]
    }

    /// Where a block that is dragged by `by_m` along x comes to rest: on its line, or beside it where something stands in the way.
    fn place_aside(&self, block: &Block, all: &[Block; 3], by_m: f32) -> [f32; 3] {
        let x = block.at[0] + by_m;
        let [button_x, button_y] = self.layout.button_xy();
        let clear = |y: f32| {
            let others = all.iter().filter(|other| other.index != block.index && (other.at[2] - block.at[2]).abs() < 0.03);
            others
                .map(|other| (other.at[0] - x).hypot(other.at[1] - y) - other.half[0])
                .chain([(button_x - x).hypot(button_y - y) - 0.04])
                .fold(0.05, f32::min)
                - 0.2 * (y - block.at[1]).abs()
        };
        let lines = [block.at[1], -0.05, -0.07, -0.09, -0.12, -0.15];
        let y = lines.into_iter().max_by(|a, b| clear(*a).total_cmp(&clear(*b))).unwrap_or(block.at[1]);
        [x, y, block.at[2]]
    }

    /// A free place in the open drawer.
    fn place_in_drawer(&self, observation: &Observation, all: &[Block; 3]) -> [f32; 3] {
        let open = observation.scene[1].min(DRAWER_RANGE_M);
        let y = -0.5 * (0.18 + 0.16 + open);
        let x = self.free_x(observation, all, self.layout.drawer_x_m, 0.11, |block| block.at[2] < 0.42);
        [x, y, 0.36 + 0.01]
    }

    /// A free place on the part of the shelf that the door leaves open.
    fn place_on_shelf(&self, observation: &Observation, all: &[Block; 3]) -> [f32; 3] {
        let (left, right) = (self.layout.plank_x_m - PLANK_HALF_M, self.layout.plank_x_m + PLANK_HALF_M);
        let (door_left, door_right) = {
            let at = self.layout.door_x_m - observation.scene[0];
            (at, at + 0.28)
        };
        // The wider opening.
        let (from, to) = if door_left - left > right - door_right { (left, door_left) } else { (door_right, right) };
        let room = (0.5 * (to - from) - HAND_HALF_M[0] - 0.005).max(0.0);
        let x = self.free_x(observation, all, 0.5 * (from + to), room, |block| block.at[1] > 0.02 && block.at[2] > 0.42);
        [x, 0.080, TABLE_TOP_M + 0.02 + PLACE_GAP_M]
    }

    /// The x within `room` of `middle` that is furthest from the blocks that count, a little off by habit.
    fn free_x(
        &self,
        observation: &Observation,
        all: &[Block; 3],
        middle: f32,
        room: f32,
        counts: impl Fn(&Block) -> bool,
    ) -> f32 {
        let held = self.held(observation);
        let others: Vec<&Block> = all.iter().filter(|block| Some(block.index) != held && counts(block)).collect();
        let clearance =
            |x: f32| others.iter().map(|block| (block.at[0] - x).abs()).fold(0.15, f32::min) - 0.05 * (x - middle).abs();
        let candidates = (-8..=8).map(|i| middle + room * i as f32 / 8.0);
        candidates.max_by(|a, b| clearance(*a).total_cmp(&clearance(*b))).unwrap_or(middle)
    }

    fn down(&self, at: [f32; 3], yaw: f32, hand: Hand, near_m: Option<f32>, settle: u32) -> Waypoint {
        Waypoint { at, turn: [FINGERS_DOWN[0], FINGERS_DOWN[1], yaw], hand, near_m, settle }
    }

    /// The way-points up to the closed fingers.
    fn grasp(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let [x, y, z] = block.at;
        let [off_x, off_y, off_z] = self.offset;
        let lowest = if z < 0.42 { LOWEST_IN_DRAWER_M } else { LOWEST_ON_TABLE_M };
        let mut taken = [x + 0.5 * off_x, y + 0.5 * off_y, (z + 0.3 * off_z).max(lowest)];
        let tcp = observation.tcp_in_world();
        let aside = (taken[0] - tcp[0]).hypot(taken[1] - tcp[1]);
        if self.phase == 1 && aside > 0.012 && tcp[2] > z + 0.03 {
            // Over the block first, then down.
            taken[2] = tcp[2];
        }
        let close = self.down(self.anchor, plan.yaw, Hand::Hold, Some(1.0), CLOSING_STEPS);
        if self.on_shelf(block) {
            // In from the front, under the lid.
            return vec![
                self.down([x, -0.06, TRAVEL_M - 0.01], plan.yaw, Hand::Open, Some(0.02), 0),
                self.down([x, y - 0.075, z + 0.012], plan.yaw, Hand::Open, Some(0.008), 1),
                self.down(taken, plan.yaw, Hand::Open, Some(0.007), 1),
                close,
            ];
        }
        vec![
            self.down([x, y, z + 0.07 + self.clearance_m], plan.yaw, Hand::Open, Some(0.012), 1),
            self.down(taken, plan.yaw, Hand::Open, Some(0.007), 1),
            close,
        ]
    }

    fn lift(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let mut waypoints = self.grasp(observation, plan, block);
        let up = 0.09 + 0.05 * self.effort;
        if plan.from[1] > 0.02 && plan.from[2] > 0.4 && (plan.from[0] - self.layout.plank_x_m).abs() < PLANK_HALF_M {
            // Off the shelf and out from under the lid before it goes up.
            waypoints.truncate(4);
            let [x, _, z] = self.anchor;
            let out = if self.phase >= 5 { self.anchor } else { [x, self.anchor[1], z] };
            waypoints.push(self.down(add(out, [0.0, 0.0, 0.015]), plan.yaw, Hand::Hold, Some(0.006), 0));
            waypoints.push(self.down([x, -0.05, z + 0.01], plan.yaw, Hand::Hold, Some(0.02), 0));
            waypoints.push(self.down([x, -0.07, z + up], plan.yaw, Hand::Hold, None, 0));
        } else {
            waypoints.push(self.down(add(self.anchor, [0.0, 0.0, up]), plan.yaw, Hand::Hold, None, 0));
        }
        waypoints
    }

    fn rotate(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let mut waypoints = self.grasp(observation, plan, block);
        waypoints.truncate(3);
        let [lowest, highest] = YAW_RANGE_RAD;
        let turned = (plan.yaw + plan.turn_rad).clamp(lowest - 0.15, highest + 0.15);
        waypoints.push(self.down(self.anchor, turned, Hand::Hold, Some(0.015), 2));
        waypoints.push(self.down(self.anchor, turned, Hand::Open, Some(0.02), OPENING_STEPS));
        waypoints.push(self.down(add(self.anchor, [0.0, 0.0, 0.08]), turned, Hand::Open, Some(0.02), 0));
        waypoints
    }

    /// Takes the block and moves it without lifting it from what it lies on.
    fn drag(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let mut waypoints = self.grasp(observation, plan, block);
        waypoints.truncate(3);
        let to = add(plan.to, [0.0, 0.0, self.anchor[2] - plan.to[2]]);
        waypoints.push(self.down(to, plan.yaw, Hand::Hold, Some(0.012), 2));
        waypoints.push(self.down(self.anchor, plan.yaw, Hand::Open, Some(0.03), OPENING_STEPS));
        waypoints.push(self.down(add(self.anchor, [0.0, 0.0, 0.08]), plan.yaw, Hand::Open, Some(0.02), 0));
        waypoints
    }

    /// Closed fingers go down behind the block and push it along, steering for its middle.
    fn push(&self, block: &Block, along: [f32; 2]) -> Vec<Waypoint> {
        let [x, y, z] = block.at;
        let reach = block.reach(along[0], along[1]);
        let fingers = if along[0].abs() > 0.5 { FINGERS_HALF_M[0] } else { FINGERS_HALF_M[1] };
        let low = (z - 0.001).max(LOWEST_ON_TABLE_M);
        let behind = |gap: f32| {
            let back = reach + fingers + gap;
            [x - along[0] * back, y - along[1] * back, low]
        };
        let ready = behind(0.008 + 0.3 * self.clearance_m);
        vec![
            self.shut(add(ready, [0.0, 0.0, 0.06 + self.clearance_m]), Some(0.012), FINGERS_DOWN),
            self.shut(ready, Some(0.008), FINGERS_DOWN),
            self.shut(behind(-0.045), None, FINGERS_DOWN),
        ]
    }

    /// Carries the held block over its goal, lowers it, opens, and goes up.
    fn lower(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        // The TCP's place that brings the block's middle over the goal.
        let goal: [f32; 3] = if self.rule == Rule::Stack {
            let under = (0..3)
                .filter(|&index| index != plan.block)
                .map(|index| self.block(observation, index))
                .min_by(|a, b| distance(a.at, plan.to).total_cmp(&distance(b.at, plan.to)));
            let Some(under) = under else { return vec![self.down(tcp, plan.yaw, Hand::Hold, None, 0)] };
            add(under.at, [0.0, 0.0, under.half_height() + block.half_height() + PLACE_GAP_M])
        } else {
            plan.to
        };
        let released = self.phase >= 3;
        let at = if released { self.anchor } else { std::array::from_fn(|i| goal[i] + tcp[i] - block.at[i]) };
        let at = if self.rule == Rule::Stack { at } else { [at[0], at[1], at[2].max(LOWEST_IN_DRAWER_M)] };
        let high = (at[2] + 0.08).max(TRAVEL_M);
        // A hand along x stays clear of the table's edge beside the drawer.
        let yaw = plan.yaw;
        vec![
            self.down([tcp[0], tcp[1], high], yaw, Hand::Hold, Some(0.03), 0),
            self.down([at[0], at[1], high], yaw, Hand::Hold, Some(0.010), 1),
            self.down(at, yaw, Hand::Hold, Some(0.005), 2),
            self.down(self.anchor, yaw, Hand::Open, Some(0.03), OPENING_STEPS),
            self.down(add(self.anchor, [0.0, 0.0, 0.12]), yaw, Hand::Open, None, 0),
        ]
    }

    /// Carries the held block in from the front, under the lid, lets go and backs out.
    fn put_on_shelf(&self, observation: &Observation, plan: &Plan, block: &Block) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        // The hand's wide side along x: nearest of the two ways round.
        let yaw = if (plan.yaw - FRAC_PI_2).abs() <= (plan.yaw - 3.0 * FRAC_PI_2).abs() { FRAC_PI_2 } else { 3.0 * FRAC_PI_2 };
        let at = std::array::from_fn(|i| plan.to[i] + tcp[i] - block.at[i]);
        let [x, y, z]: [f32; 3] = if self.phase >= 4 { self.anchor } else { at };
        vec![
            self.down([tcp[0].clamp(-0.3, 0.3), tcp[1].min(-0.10), TRAVEL_M], yaw, Hand::Hold, Some(0.06), 0),
            self.down([x, -0.08, TRAVEL_M], yaw, Hand::Hold, Some(0.012), 0),
            self.down([x, CABINET_Y_M + 0.02, z + 0.025], yaw, Hand::Hold, Some(0.012), 0),
            self.down([x, y, z], yaw, Hand::Hold, Some(0.006), 2),
            self.down(self.anchor, yaw, Hand::Open, Some(0.03), OPENING_STEPS),
            self.down([self.anchor[0], -0.08, self.anchor[2] + 0.03], yaw, Hand::Open, None, 0),
        ]
    }
}
