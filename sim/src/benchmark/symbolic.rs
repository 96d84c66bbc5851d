//! Symbolic states, and what each task asks of them and makes of them (`calvin_agent/evaluation/multistep_sequences.py`).

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};

use crate::{
    Link, SceneId, Task,
    geometry::DRAWER_RANGE_M,
    task::{Lamp, Rule, Slide},
};

/// A side of the sliding cabinet, seen from the robot's side of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Towards negative x.
    Left,
    /// Towards positive x.
    Right,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockPlace {
    /// On the table.
    Table,
    /// On the shelf, in this half of the sliding cabinet; the door covers it while it stands on the same side.
    Shelf(Side),
    /// In the drawer.
    Drawer,
    /// In the hand.
    Grasped,
    /// On another block.
    StackedTop,
    /// Under another block.
    StackedBottom,
}

/// A state of the scene as CALVIN's chains know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SymbolicState {
    /// LED.
    pub led: bool,
    /// Light bulb.
    pub bulb: bool,
    /// Where the sliding door stands.
    pub door: Side,
    /// Drawer.
    pub drawer_open: bool,
    /// Where red, blue and pink are.
    pub blocks: [BlockPlace; 3],
}

/// Which half of the cabinet a block that is put on the shelf goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShelfRule {
    /// The half that CALVIN's table names: the one behind the door.
    Calvin,
    /// The half that stands open.
    Open,
}

/// Where everything stands at the beginning of a chain. The robot has CALVIN's neutral pose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitialPlacement {
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

const SHELF_LEFT_M: [f32; 3] = [-0.240_851_66, 0.092_404_47, 0.460_99];
const SHELF_RIGHT_M: [f32; 3] = [0.070_341_63, 0.092_404_47, 0.460_99];
const TABLE_SLOTS_M: [[f32; 3]; 2] = [[0.050_000_09, -0.120_000_18, 0.459_99], [0.229_995_41, -0.119_995_14, 0.459_99]];

impl SymbolicState {
    /// The 192 states in which chains begin, in CALVIN's order: one or two blocks on the table, the others on the shelf, at most one in
    /// each half of the cabinet.
    pub fn initial() -> Vec<Self> {
        const PLACES: [BlockPlace; 3] = [BlockPlace::Table, BlockPlace::Shelf(Side::Right), BlockPlace::Shelf(Side::Left)];
        let mut states = Vec::with_capacity(192);
        // The last factor of the product runs fastest.
        for mechanisms in 0..16_u8 {
            let is = |factor: u8| mechanisms >> factor & 1 == 1;
            for blocks in 0..27 {
                let state = Self {
                    led: is(3),
                    bulb: is(2),
                    door: if is(1) { Side::Left } else { Side::Right },
                    drawer_open: is(0),
                    blocks: [PLACES[blocks / 9], PLACES[blocks / 3 % 3], PLACES[blocks % 3]],
                };
                if state.is_initial() {
                    states.push(state);
                }
            }
        }
        states
    }

    /// Whether chains begin in this state.
    pub fn is_initial(&self) -> bool {
        let count = |place| self.blocks.iter().filter(|&&block| block == place).count();
        let (left, right) = (count(BlockPlace::Shelf(Side::Left)), count(BlockPlace::Shelf(Side::Right)));
        let table = count(BlockPlace::Table);
        (1..=2).contains(&table) && left < 2 && right < 2 && table + left + right == 3
    }

    /// Every state that `task` can lead to by CALVIN's tables: none if it can't be done, more than one if it can be done in several
    /// ways.
    pub fn successors(&self, task: Task) -> Vec<Self> {
        self.successors_by(task, ShelfRule::Calvin)
    }

    pub(super) fn successors_by(&self, task: Task, shelf_rule: ShelfRule) -> Vec<Self> {
        let with = |changes: &[(usize, BlockPlace)]| {
            let mut next = *self;
            changes.iter().for_each(|&(block, place)| next.blocks[block] = place);
            next
        };
        let all_at = |place| (0..3).filter(move |&block| self.blocks[block] == place);
        let held = all_at(BlockPlace::Grasped).next();
        match (task.rule(), held) {
            (Rule::Place { surface: Link::Plank }, Some(block)) => {
                let half = if shelf_rule == ShelfRule::Calvin { self.door } else { self.door.other() };
                vec![with(&[(block, BlockPlace::Shelf(half))])]
            }
            (Rule::Place { .. }, Some(block)) if self.drawer_open => vec![with(&[(block, BlockPlace::Drawer)])],
            (Rule::Stack, Some(top)) => all_at(BlockPlace::Table)
                .map(|bottom| with(&[(top, BlockPlace::StackedTop), (bottom, BlockPlace::StackedBottom)]))
                .collect(),
            // All else asks for an empty hand.
            (Rule::Place { .. } | Rule::Stack, None) | (_, Some(_)) => Vec::new(),
            (Rule::Rotate { block, .. } | Rule::Push { block, .. }, None) => {
                if self.blocks[block] == BlockPlace::Table {
                    vec![*self]
                } else {
                    Vec::new()
                }
            }
            (Rule::Lift { block, surface, .. }, None) => {
                let reachable = match surface {
                    Link::Plank => self.blocks[block] == BlockPlace::Shelf(self.door.other()),
                    Link::Drawer => self.blocks[block] == BlockPlace::Drawer && self.drawer_open,
                    _ => self.blocks[block] == BlockPlace::Table,
                };
                if reachable { vec![with(&[(block, BlockPlace::Grasped)])] } else { Vec::new() }
            }
            (Rule::Unstack, None) => all_at(BlockPlace::StackedTop)
                .flat_map(|top| all_at(BlockPlace::StackedBottom).map(move |bottom| (top, bottom)))
                .map(|(top, bottom)| with(&[(top, BlockPlace::Table), (bottom, BlockPlace::Table)]))
                .collect(),
            (Rule::Move { slide: Slide::Door, by_m }, None) => {
                let to = if by_m > 0.0 { Side::Left } else { Side::Right };
                if self.door == to { Vec::new() } else { vec![Self { door: to, ..*self }] }
            }
            (Rule::Move { slide: Slide::Drawer, by_m }, None) => {
                let open = by_m > 0.0;
                if self.drawer_open == open { Vec::new() } else { vec![Self { drawer_open: open, ..*self }] }
            }
            (Rule::Switch { lamp: Lamp::Bulb, on }, None) => {
                if self.bulb == on {
                    Vec::new()
                } else {
                    vec![Self { bulb: on, ..*self }]
                }
            }
            (Rule::Switch { lamp: Lamp::Led, on }, None) => {
                if self.led == on {
                    Vec::new()
                } else {
                    vec![Self { led: on, ..*self }]
                }
            }
            (Rule::PushInto { .. }, None) => {
                let on_shelf = |block: usize| matches!(self.blocks[block], BlockPlace::Shelf(_));
                all_at(BlockPlace::Table)
                    .filter(|&block| self.drawer_open && (0..3).all(|other| other == block || on_shelf(other)))
                    .map(|block| with(&[(block, BlockPlace::Drawer)]))
                    .collect()
            }
        }
    }

    /// The scene of this state, by CALVIN's rule (`get_env_state_for_initial_condition`): fixed places on the shelf, two slots on the
    /// table in random order, yaw within 22.5 degrees of 90. `None` unless [`SymbolicState::is_initial`].
    ///
    /// The same state and seed give the same placement. CALVIN seeds by the state alone, so that all chains of one state begin alike: pass
    /// one seed for that, or one derived from the chain's number for a placement of its own.
    pub fn placement(&self, seed: u64) -> Option<InitialPlacement> {
        use std::f32::consts::{FRAC_PI_2, FRAC_PI_8};
        let number = Self::initial().into_iter().position(|state| state == *self)?;
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, &format!("placement of state {number}")));
        let mut slots = TABLE_SLOTS_M;
        slots.shuffle(&mut rng);
        let mut slots = slots.into_iter();
        let mut blocks = [[0.0; 4]; 3];
        for (block, place) in blocks.iter_mut().zip(self.blocks) {
            let [x, y, z] = match place {
                BlockPlace::Shelf(Side::Left) => SHELF_LEFT_M,
                BlockPlace::Shelf(Side::Right) => SHELF_RIGHT_M,
                _ => slots.next()?,
            };
            *block = [x, y, z, rng.random_range(FRAC_PI_2 - FRAC_PI_8..FRAC_PI_2 + FRAC_PI_8)];
        }
        Some(InitialPlacement {
            slider_m: if self.door == Side::Left { SceneId::D.layout().slider_range_m } else { 0.0 },
            drawer_m: if self.drawer_open { DRAWER_RANGE_M } else { 0.0 },
            bulb: self.bulb,
            led: self.led,
            blocks,
        })
    }
}
