//! Chains of five tasks, by CALVIN's rules (`calvin_agent/evaluation/multistep_sequences.py`).
//!
//! The chains are spread evenly over the 192 initial states, the first states getting one more where it does not divide. For each, five
//! different tasks are drawn in random order until every one of them has exactly one successor state in CALVIN's tables and all five
//! have different categories. Then all chains are shuffled. Two deviations:
//! - CALVIN's own 1000 chains come from numpy's generator, seeded by the state's number. They can't be reproduced without it; the streams
//!   here are our own.
//! - CALVIN's table puts a block that is stored on the shelf into the half *behind* the door, while the scene and the conditions of
//!   `lift_*_slider` have it in the open half. A chain that stores a block, moves the door and then lifts the same block off the shelf
//!   would need a block from behind the door: one in 200 of CALVIN's. Chains must therefore also be valid with the stored block in the
//!   open half.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};

use super::symbolic::{ShelfRule, SymbolicState};
use crate::Task;

/// Tasks of a chain.
pub const CHAIN_LENGTH: usize = 5;

/// An initial state and the tasks to be done from there, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chain {
    /// Where it begins.
    pub initial: SymbolicState,
    /// What is to be done.
    pub tasks: [Task; CHAIN_LENGTH],
}

impl Chain {
    /// Whether every task has exactly one successor state and the categories differ, by CALVIN's tables and with stored blocks in the open
    /// half of the cabinet.
    pub fn is_valid(&self) -> bool {
        let categories = self.tasks.iter().fold(0_u16, |seen, task| seen | 1 << task.category());
        categories.count_ones() as usize == CHAIN_LENGTH
            && [ShelfRule::Calvin, ShelfRule::Open].into_iter().all(|rule| self.walks(rule))
    }

    fn walks(&self, shelf_rule: ShelfRule) -> bool {
        let end = self.tasks.iter().try_fold(self.initial, |state, &task| match *state.successors_by(task, shelf_rule) {
            [next] => Some(next),
            _ => None,
        });
        end.is_some()
    }
}

/// `count` chains (CALVIN evaluates 1000). The same count and seed give the same chains.
pub fn chains(count: usize, seed: u64) -> Vec<Chain> {
    let states = SymbolicState::initial();
    let mut chains = Vec::with_capacity(count);
    for (index, &initial) in states.iter().enumerate() {
        let share = count / states.len() + usize::from(index < count % states.len());
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, &format!("chains of state {index}")));
        chains.extend((0..share).map(|_| draw(initial, &mut rng)));
    }
    chains.shuffle(&mut ChaCha8Rng::seed_from_u64(derive_seed(seed, "order of chains")));
    chains
}

/// Ends, since every initial state has valid chains: about one draw in 7000.
fn draw(initial: SymbolicState, rng: &mut ChaCha8Rng) -> Chain {
    let mut pool = Task::ALL;
    loop {
        let tasks = std::array::from_fn(|step| {
            pool.swap(step, rng.random_range(step..Task::ALL.len()));
            pool[step]
        });
        let chain = Chain { initial, tasks };
        if chain.is_valid() {
            return chain;
        }
    }
}
