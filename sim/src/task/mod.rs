//! CALVIN's 34 tasks and their success conditions.

mod rule;
mod set;
mod state;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use rule::{Lamp, Rule, Slide};
pub use set::TaskSet;
pub use state::SceneState;

use crate::{Link, SceneId, SimError};

/// A task of CALVIN; [`Task::rule`] has its success condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Turn the red block by more than 60 degrees clockwise, seen from above.
    RotateRedBlockRight,
    /// Turn the red block by more than 60 degrees counter-clockwise, seen from above.
    RotateRedBlockLeft,
    /// Turn the blue block by more than 60 degrees clockwise, seen from above.
    RotateBlueBlockRight,
    /// Turn the blue block by more than 60 degrees counter-clockwise, seen from above.
    RotateBlueBlockLeft,
    /// Turn the pink block by more than 60 degrees clockwise, seen from above.
    RotatePinkBlockRight,
    /// Turn the pink block by more than 60 degrees counter-clockwise, seen from above.
    RotatePinkBlockLeft,
    /// Push the red block by more than 0.1 m to the right, on what it lies on.
    PushRedBlockRight,
    /// Push the red block by more than 0.1 m to the left, on what it lies on.
    PushRedBlockLeft,
    /// Push the blue block by more than 0.1 m to the right, on what it lies on.
    PushBlueBlockRight,
    /// Push the blue block by more than 0.1 m to the left, on what it lies on.
    PushBlueBlockLeft,
    /// Push the pink block by more than 0.1 m to the right, on what it lies on.
    PushPinkBlockRight,
    /// Push the pink block by more than 0.1 m to the left, on what it lies on.
    PushPinkBlockLeft,
    /// Move the door by more than 0.15 m to the left.
    MoveSliderLeft,
    /// Move the door by more than 0.15 m to the right.
    MoveSliderRight,
    /// Pull the drawer out by more than 0.12 m.
    OpenDrawer,
    /// Push the drawer in by more than 0.12 m.
    CloseDrawer,
    /// Lift the red block off the table, by more than 0.05 m.
    LiftRedBlockTable,
    /// Lift the red block off the shelf, by more than 0.03 m.
    LiftRedBlockSlider,
    /// Lift the red block out of the drawer, by more than 0.05 m.
    LiftRedBlockDrawer,
    /// Lift the blue block off the table, by more than 0.05 m.
    LiftBlueBlockTable,
    /// Lift the blue block off the shelf, by more than 0.03 m.
    LiftBlueBlockSlider,
    /// Lift the blue block out of the drawer, by more than 0.05 m.
    LiftBlueBlockDrawer,
    /// Lift the pink block off the table, by more than 0.05 m.
    LiftPinkBlockTable,
    /// Lift the pink block off the shelf, by more than 0.03 m.
    LiftPinkBlockSlider,
    /// Lift the pink block out of the drawer, by more than 0.05 m.
    LiftPinkBlockDrawer,
    /// Put the held block on the shelf.
    PlaceInSlider,
    /// Put the held block into the drawer.
    PlaceInDrawer,
    /// Put a block on another.
    StackBlock,
    /// Take a block off another.
    UnstackBlock,
    /// Light the bulb.
    TurnOnLightbulb,
    /// Put the bulb out.
    TurnOffLightbulb,
    /// Light the LED.
    TurnOnLed,
    /// Put the LED out.
    TurnOffLed,
    /// Push a block off the table into the drawer.
    PushIntoDrawer,
}

struct Entry {
    task: Task,
    name: &'static str,
    category: u8,
    rule: Rule,
}

const fn entry(task: Task, name: &'static str, category: u8, rule: Rule) -> Entry {
    Entry { task, name, category, rule }
}

/// Names and thresholds: `new_playtable_tasks.yaml`; categories: `multistep_sequences.py`.
const TABLE: [Entry; 34] = [
    entry(Task::RotateRedBlockRight, "rotate_red_block_right", 1, Rule::Rotate { block: 0, degrees: -60.0 }),
    entry(Task::RotateRedBlockLeft, "rotate_red_block_left", 1, Rule::Rotate { block: 0, degrees: 60.0 }),
    entry(Task::RotateBlueBlockRight, "rotate_blue_block_right", 1, Rule::Rotate { block: 1, degrees: -60.0 }),
    entry(Task::RotateBlueBlockLeft, "rotate_blue_block_left", 1, Rule::Rotate { block: 1, degrees: 60.0 }),
    entry(Task::RotatePinkBlockRight, "rotate_pink_block_right", 1, Rule::Rotate { block: 2, degrees: -60.0 }),
    entry(Task::RotatePinkBlockLeft, "rotate_pink_block_left", 1, Rule::Rotate { block: 2, degrees: 60.0 }),
    entry(Task::PushRedBlockRight, "push_red_block_right", 1, Rule::Push { block: 0, by_m: 0.1 }),
    entry(Task::PushRedBlockLeft, "push_red_block_left", 1, Rule::Push { block: 0, by_m: -0.1 }),
    entry(Task::PushBlueBlockRight, "push_blue_block_right", 1, Rule::Push { block: 1, by_m: 0.1 }),
    entry(Task::PushBlueBlockLeft, "push_blue_block_left", 1, Rule::Push { block: 1, by_m: -0.1 }),
    entry(Task::PushPinkBlockRight, "push_pink_block_right", 1, Rule::Push { block: 2, by_m: 0.1 }),
    entry(Task::PushPinkBlockLeft, "push_pink_block_left", 1, Rule::Push { block: 2, by_m: -0.1 }),
    entry(Task::MoveSliderLeft, "move_slider_left", 2, Rule::Move { slide: Slide::Door, by_m: 0.15 }),
    entry(Task::MoveSliderRight, "move_slider_right", 2, Rule::Move { slide: Slide::Door, by_m: -0.15 }),
    entry(Task::OpenDrawer, "open_drawer", 3, Rule::Move { slide: Slide::Drawer, by_m: 0.12 }),
    entry(Task::CloseDrawer, "close_drawer", 3, Rule::Move { slide: Slide::Drawer, by_m: -0.12 }),
    entry(Task::LiftRedBlockTable, "lift_red_block_table", 4, Rule::Lift { block: 0, by_m: 0.05, surface: Link::Table }),
    entry(Task::LiftRedBlockSlider, "lift_red_block_slider", 5, Rule::Lift { block: 0, by_m: 0.03, surface: Link::Plank }),
    entry(Task::LiftRedBlockDrawer, "lift_red_block_drawer", 6, Rule::Lift { block: 0, by_m: 0.05, surface: Link::Drawer }),
    entry(Task::LiftBlueBlockTable, "lift_blue_block_table", 4, Rule::Lift { block: 1, by_m: 0.05, surface: Link::Table }),
    entry(Task::LiftBlueBlockSlider, "lift_blue_block_slider", 5, Rule::Lift { block: 1, by_m: 0.03, surface: Link::Plank }),
    entry(Task::LiftBlueBlockDrawer, "lift_blue_block_drawer", 6, Rule::Lift { block: 1, by_m: 0.05, surface: Link::Drawer }),
    entry(Task::LiftPinkBlockTable, "lift_pink_block_table", 4, Rule::Lift { block: 2, by_m: 0.05, surface: Link::Table }),
    entry(Task::LiftPinkBlockSlider, "lift_pink_block_slider", 5, Rule::Lift { block: 2, by_m: 0.03, surface: Link::Plank }),
    entry(Task::LiftPinkBlockDrawer, "lift_pink_block_drawer", 6, Rule::Lift { block: 2, by_m: 0.05, surface: Link::Drawer }),
    entry(Task::PlaceInSlider, "place_in_slider", 7, Rule::Place { surface: Link::Plank }),
    entry(Task::PlaceInDrawer, "place_in_drawer", 7, Rule::Place { surface: Link::Drawer }),
    entry(Task::StackBlock, "stack_block", 10, Rule::Stack),
    entry(Task::UnstackBlock, "unstack_block", 11, Rule::Unstack),
    entry(Task::TurnOnLightbulb, "turn_on_lightbulb", 8, Rule::Switch { lamp: Lamp::Bulb, on: true }),
    entry(Task::TurnOffLightbulb, "turn_off_lightbulb", 8, Rule::Switch { lamp: Lamp::Bulb, on: false }),
    entry(Task::TurnOnLed, "turn_on_led", 8, Rule::Switch { lamp: Lamp::Led, on: true }),
    entry(Task::TurnOffLed, "turn_off_led", 8, Rule::Switch { lamp: Lamp::Led, on: false }),
    entry(Task::PushIntoDrawer, "push_into_drawer", 9, Rule::PushInto { from: Link::Table, to: Link::Drawer }),
];

impl Task {
    /// All tasks, in CALVIN's order.
    pub const ALL: [Self; 34] = {
        let mut all = [Self::StackBlock; 34];
        let mut index = 0;
        while index < all.len() {
            all[index] = TABLE[index].task;
            index += 1;
        }
        all
    };

    /// The tasks of drawer, door, bulb and LED, which need no block.
    pub const MECHANISM: [Self; 8] = [
        Self::OpenDrawer,
        Self::CloseDrawer,
        Self::MoveSliderLeft,
        Self::MoveSliderRight,
        Self::TurnOnLightbulb,
        Self::TurnOffLightbulb,
        Self::TurnOnLed,
        Self::TurnOffLed,
    ];

    /// Position in [`Task::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// CALVIN's name.
    pub const fn name(self) -> &'static str {
        TABLE[self.index()].name
    }

    /// CALVIN's category, 1 to 11. The tasks of a chain have different ones.
    pub const fn category(self) -> u8 {
        TABLE[self.index()].category
    }

    /// The success condition.
    pub const fn rule(self) -> Rule {
        TABLE[self.index()].rule
    }

    /// Whether the task is solved: `start` is the state at its beginning, `now` the one at this control step.
    pub fn solved(self, start: &SceneState, now: &SceneState) -> bool {
        self.rule().solved(start, now)
    }

    /// All tasks that are solved between `start` and `now`.
    pub fn solved_set(start: &SceneState, now: &SceneState) -> TaskSet {
        Self::ALL.into_iter().filter(|task| task.solved(start, now)).collect()
    }

    /// Whether the task can still be solved from `start`; see [`Rule::is_possible_from`].
    pub fn is_possible_from(self, scene: SceneId, start: &SceneState) -> bool {
        self.rule().is_possible_from(scene.layout(), start)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = SimError;

    fn from_str(name: &str) -> Result<Self, SimError> {
        Self::ALL
            .into_iter()
            .find(|task| task.name() == name)
            .ok_or_else(|| SimError::UnknownTask { name: name.to_owned(), known: Self::ALL.map(Self::name).join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::value::StrDeserializer};

    use super::*;

    /// The table is read by index, and a task is written to files by serde's name for it.
    #[test]
    fn names_read_back_everywhere_and_unknown_ones_list_the_known() {
        for (index, task) in Task::ALL.into_iter().enumerate() {
            assert_eq!(task.index(), index);
            assert_eq!(task.name().parse::<Task>(), Ok(task));
            let named = StrDeserializer::<serde::de::value::Error>::new(task.name());
            assert_eq!(Task::deserialize(named), Ok(task));
        }
        let error = "open_window".parse::<Task>().unwrap_err().to_string();
        assert!(error.contains("open_window") && error.contains("push_into_drawer"), "{error}");
    }
}
