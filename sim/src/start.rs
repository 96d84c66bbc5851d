//! Start states of episodes.
//!
//! Blocks as CALVIN resets them (a random surface each, rejected until nothing touches), mechanisms and TCP as DiWA samples
//! its dream starts; the block that a task is about lies where the task wants it. Deviations: the TCP stays clear of handle and lever, a
//! block that would touch anything but its surface is drawn again, and a block that is to be taken lies so that the hand fits around it:
//! away from the other blocks, and from the cabinet unless the hand can be turned along it. Whether the arm reaches the pose is for the
//! caller to see.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use reverie_schema::derive_seed;

use crate::{
    Lamp, Link, Rule, SimError, Slide, Task,
    benchmark::InitialPlacement,
    geometry::{DRAWER_RANGE_M, Layout, SWITCH_RANGE_M, SceneId, Surface},
};

/// Where everything is when an episode begins.
#[derive(Clone, Debug, PartialEq)]
pub struct StartState {
    /// TCP position (m) and extrinsic x-y-z Euler angles (rad), world frame.
    pub tcp_in_world: [f64; 6],
    /// Sliding door, metres.
    pub slider_m: f32,
    /// Drawer, metres.
    pub drawer_m: f32,
    /// Light bulb; the switch stands accordingly.
    pub bulb: bool,
    /// LED.
    pub led: bool,
    /// Position (m) and yaw (rad) of red, blue and pink.
    pub blocks: [[f32; 4]; 3],
}

/// Highest number of draws before giving up; one in about three is rejected.
const MAX_TRIES: usize = 500;
/// Rest height of a block's centre.
const BLOCK_Z_M: f32 = 0.46;
/// Room that the fingers need between the block that they take and any other.
const FINGER_ROOM_M: f32 = 0.03;
/// Furthest right that the hand reaches a block straight down and can still turn it.
const REACH_X_M: f32 = 0.32;

impl StartState {
    /// Everything closed and dark, blocks on the table, the TCP where CALVIN's neutral pose has it.
    pub fn neutral() -> Self {
        Self {
            tcp_in_world: [0.026, -0.231, 0.571, 3.090, -0.029, 1.500],
            slider_m: 0.0,
            drawer_m: 0.0,
            bulb: false,
            led: false,
            blocks: [[0.05, -0.12, BLOCK_Z_M, 0.0], [0.16, -0.06, BLOCK_Z_M, 0.0], [0.28, -0.12, BLOCK_Z_M, 0.0]],
        }
    }

    /// CALVIN's physical reset for a chain's symbolic state, the TCP where its neutral pose has it.
    pub fn from_placement(placement: &InitialPlacement) -> Self {
        let InitialPlacement { slider_m, drawer_m, bulb, led, blocks } = *placement;
        Self { slider_m, drawer_m, bulb, led, blocks, ..Self::neutral() }
    }

    /// A random start in `scene` from which `task` can be done. The same arguments give the same start.
    ///
    /// Tasks that begin with a block in the hand start one task earlier: see [`StartState::before`].
    ///
    /// # Errors
    /// [`SimError::NoStart`] if no draw was free of contact.
    pub fn sample(scene: SceneId, task: Task, seed: u64) -> Result<Self, SimError> {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, task.name()));
        let layout = scene.layout();
        let taken = taken_block(task, seed);
        (0..MAX_TRIES)
            .map(|_| Self::draw(layout, task.rule(), taken, &mut rng))
            .find(|start| start.is_free(layout) && taken.is_none_or(|block| start.is_graspable(layout, block)))
            .ok_or(SimError::NoStart { task: task.name(), seed, tries: MAX_TRIES })
    }

    /// The task that is done unrecorded before `task` begins, in the start of `seed`: a block can be put down only by a hand that
    /// has lifted it.
    pub fn before(task: Task, seed: u64) -> Option<Task> {
        let lifts = [Task::LiftRedBlockTable, Task::LiftBlueBlockTable, Task::LiftPinkBlockTable];
        let in_hand = matches!(task.rule(), Rule::Place { .. } | Rule::Stack);
        taken_block(task, seed).filter(|_| in_hand).map(|block| lifts[block])
    }

    fn draw(layout: &Layout, rule: Rule, taken: Option<usize>, rng: &mut ChaCha8Rng) -> Self {
        let range = layout.slider_range_m;
        let slider_m = match rule {
            Rule::Move { slide: Slide::Door, by_m } if by_m > 0.0 => *[0.0, 0.02].choose(rng).expect("not empty"),
            Rule::Move { slide: Slide::Door, .. } => *[range - 0.03, range - 0.02, range].choose(rng).expect("not empty"),
            Rule::Lift { surface: Link::Plank, .. } | Rule::Place { surface: Link::Plank } => {
                *[0.0, range].choose(rng).expect("not empty")
            }
            _ => rng.random_range(0.0..range),
        };
        let drawer_m = match rule {
            Rule::Move { slide: Slide::Drawer, by_m } if by_m > 0.0 => 0.0,
            Rule::Move { slide: Slide::Drawer, .. }
            | Rule::Lift { surface: Link::Drawer, .. }
            | Rule::Place { surface: Link::Drawer }
            | Rule::PushInto { .. } => rng.random_range(0.19..DRAWER_RANGE_M),
            _ => *[0.0, 0.19, 0.22].choose(rng).expect("not empty"),
        };
        let mut lamp = |lamp: Lamp| match rule {
            Rule::Switch { lamp: which, on } if which == lamp => !on,
            _ => rng.random(),
        };
        let (bulb, led) = (lamp(Lamp::Bulb), lamp(Lamp::Led));
        let mut blocks: [[f32; 4]; 3] = std::array::from_fn(|_| block_on_a_surface(layout, rng));
        let about = place_blocks(layout, rule, taken, slider_m, &mut blocks, rng);
        if drawer_m > 0.1 && !matches!(rule, Rule::PushInto { .. }) {
            // As DiWA: an open drawer has a block in it.
            let inside = match rule {
                Rule::Lift { block, surface: Link::Drawer, .. } => Some(block),
                _ => (0..3_usize).filter(|block| !about.contains(block)).collect::<Vec<_>>().choose(rng).copied(),
            };
            if let Some(inside) = inside {
                let yaw = rng.random_range(-std::f32::consts::PI..std::f32::consts::PI);
                let x = layout.drawer_x_m - 0.03 + rng.random_range(0.0..0.10);
                blocks[inside] = [x, rng.random_range(-0.30..-0.25), 0.36, yaw];
            }
        }
        let mut tcp_in_world = tcp(rng);
        if rule == Rule::Unstack {
            // Above a stack.
            tcp_in_world[2] += 0.05;
        }
        Self { tcp_in_world, slider_m, drawer_m, bulb, led, blocks }
    }

    /// Whether the blocks keep clear of each other and of the leaning door in front of the shelf.
    fn is_free(&self, layout: &Layout) -> bool {
        let half = layout.block_half_size_m;
        let reach = |index: usize| half[index][0].hypot(half[index][1]);
        for (i, &[x, y, z, yaw]) in self.blocks.iter().enumerate() {
            let on_shelf = y > 0.0 && z > 0.4;
            // The door's face at the block's top is at y = 0.045; its reach towards the door must stay behind.
            let towards_door = half[i][0] * yaw.sin().abs() + half[i][1] * yaw.cos().abs();
            if on_shelf && (y - towards_door < 0.052 || y + towards_door > 0.155) {
                return false;
            }
            for j in 0..i {
                let [other_x, other_y, other_z, _] = self.blocks[j];
                if (z - other_z).abs() < 0.038 && (x - other_x).hypot(y - other_y) < reach(i) + reach(j) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether the hand fits around a block.
    fn is_graspable(&self, layout: &Layout, taken: usize) -> bool {
        let half = layout.block_half_size_m;
        let reach = |index: usize| half[index][0].hypot(half[index][1]);
        let [x, y, z, yaw] = self.blocks[taken];
        let crowded = (0..3).filter(|&other| other != taken).any(|other| {
            let [other_x, other_y, other_z, _] = self.blocks[other];
            (z - other_z).abs() < 0.045 && (x - other_x).hypot(y - other_y) < reach(taken) + reach(other) + FINGER_ROOM_M
        });
        // A short block can be taken across either side.
        let along_cabinet = if half[taken][0] < 0.03 { yaw.sin().abs().max(yaw.cos().abs()) } else { yaw.sin().abs() };
        let hand = 0.104 * (1.0 - along_cabinet * along_cabinet).sqrt() + 0.034 * along_cabinet;
        !crowded && (y > 0.0 || z < 0.4 || y + hand < 0.025)
    }

    /// Travel of the switch that goes with the bulb.
    pub(crate) const fn switch_m(&self) -> f32 {
        if self.bulb { SWITCH_RANGE_M } else { 0.0 }
    }

    pub(crate) fn validate(&self, layout: &Layout) -> Result<(), SimError> {
        for (quantity, value, upper) in
            [("sliding door (m)", self.slider_m, layout.slider_range_m), ("drawer (m)", self.drawer_m, DRAWER_RANGE_M)]
        {
            if !(0.0..=upper).contains(&value) {
                return Err(SimError::StartOutOfRange { quantity, value: value.into(), lower: 0.0, upper: upper.into() });
            }
        }
        for value in self.blocks.as_flattened() {
            if value.is_nan() || value.abs() > 10.0 {
                return Err(SimError::StartOutOfRange {
                    quantity: "block pose (m, rad)",
                    value: (*value).into(),
                    lower: -10.0,
                    upper: 10.0,
                });
            }
        }
        Ok(())
    }
}

/// CALVIN's reset of a block.
fn block_on_a_surface(layout: &Layout, rng: &mut ChaCha8Rng) -> [f32; 4] {
    let surface = match rng.random_range(0..3) {
        0 => &layout.table,
        1 => &layout.shelf_left,
        _ => &layout.shelf_right,
    };
    on(surface, rng)
}

fn on(&[[x0, y0], [x1, y1]]: &Surface, rng: &mut ChaCha8Rng) -> [f32; 4] {
    let (x, y) = (rng.random_range(x0..x1), rng.random_range(y0..y1));
    [x, y, BLOCK_Z_M, rng.random_range(-std::f32::consts::PI..std::f32::consts::PI)]
}

/// The block that a task takes.
fn taken_block(task: Task, seed: u64) -> Option<usize> {
    match task.rule() {
        Rule::Lift { block, .. } | Rule::Rotate { block, .. } | Rule::Push { block, .. } => Some(block),
        Rule::Place { .. } | Rule::Stack => Some((derive_seed(seed, "taken") % 3) as usize),
        Rule::Unstack | Rule::PushInto { .. } | Rule::Move { .. } | Rule::Switch { .. } => None,
    }
}

/// Puts the blocks that the task is about where it wants them; returns which these are.
fn place_blocks(
    layout: &Layout,
    rule: Rule,
    taken: Option<usize>,
    slider_m: f32,
    blocks: &mut [[f32; 4]; 3],
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    let [[x0, y0], [x1, y1]] = layout.table;
    let reachable = [[x0, y0], [x1.min(REACH_X_M), y1]];
    match rule {
        Rule::Rotate { block, .. } | Rule::Lift { block, surface: Link::Table, .. } => {
            blocks[block] = on(&reachable, rng);
            vec![block]
        }
        Rule::Push { block, by_m } => {
            // Room for the way and for the fingers behind it.
            let (from, to) = if by_m > 0.0 { (x0, x1.min(0.42) - 0.16) } else { (x0.max(-0.2) + 0.13, x1 - 0.08) };
            blocks[block] = on(&[[from, y0], [to, y1]], rng);
            vec![block]
        }
        Rule::Lift { block, surface: Link::Plank, .. } => {
            // As in the long-horizon benchmark: across the open half, its long side towards the back.
            let surface = if slider_m > 0.5 * layout.slider_range_m { layout.shelf_right } else { layout.shelf_left };
            let [[left, _], [right, _]] = surface;
            let x = 0.5 * (left + right) + rng.random_range(-0.02..0.02);
            let yaw = std::f32::consts::FRAC_PI_2 + rng.random_range(-1.0..1.0) * std::f32::consts::FRAC_PI_8;
            blocks[block] = [x, rng.random_range(0.088..0.096), BLOCK_Z_M, yaw];
            vec![block]
        }
        Rule::Lift { block, .. } => vec![block],
        Rule::Unstack => {
            let order: Vec<usize> = rand::seq::index::sample(rng, 3, 2).into_vec();
            let mut below = on(&reachable, rng);
            below[1] = below[1].min(-0.09);
            blocks[order[0]] = below;
            let [x, y, z, yaw] = below;
            // Put there by hand: not quite in the middle, not quite aligned.
            let mut off = || rng.random_range(-0.006..0.006);
            let (dx, dy) = (off(), off());
            blocks[order[1]] = [x + dx, y + dy, z + 0.04, yaw + rng.random_range(-0.3..0.3)];
            order
        }
        Rule::Place { .. } | Rule::Stack => {
            // One is lifted from the table first, another is to be stacked on.
            for (i, block) in blocks.iter_mut().enumerate() {
                if rule == Rule::Stack || Some(i) == taken {
                    *block = on(&reachable, rng);
                    block[1] = block[1].min(-0.05);
                }
            }
            vec![0, 1, 2]
        }
        Rule::PushInto { .. } => {
            let block = rng.random_range(0..3);
            let x = layout.drawer_x_m + rng.random_range(-0.11..0.11);
            let yaw = rng.random_range(-std::f32::consts::PI..std::f32::consts::PI);
            blocks[block] = [x, rng.random_range(-0.14..-0.08), BLOCK_Z_M, yaw];
            // The others in the cabinet, as the benchmark's conditions have it.
            for (other, surface) in (0..3).filter(|&other| other != block).zip([layout.shelf_left, layout.shelf_right]) {
                blocks[other] = on(&surface, rng);
            }
            vec![0, 1, 2]
        }
        Rule::Move { .. } | Rule::Switch { .. } => Vec::new(),
    }
}

/// DiWA's recipe, world frame.
fn tcp(rng: &mut ChaCha8Rng) -> [f64; 6] {
    let tilt = Normal::new(-0.1_f64, 0.1).expect("a positive deviation");
    let x = if rng.random_bool(0.75) { rng.random_range(-0.3..0.3) } else { rng.random_range(-0.1..0.25) };
    let y: f64 = if rng.random_bool(0.75) { rng.random_range(-0.15..0.0) } else { rng.random_range(-0.3..-0.15) };
    let roll = rng.random_range(3.0..std::f64::consts::PI) * if rng.random_bool(0.8) { 1.0 } else { -1.0 };
    let pitch = tilt.sample(rng).clamp(-0.3, 0.1);
    let yaw = 1.57 + Normal::new(0.0_f64, 0.1).expect("a positive deviation").sample(rng).clamp(-0.25, 0.25);
    // The door's handle and the lever reach out to y = 0.
    [x, y.min(-0.06), rng.random_range(0.50..0.575), roll, pitch, yaw]
}
