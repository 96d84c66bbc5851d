use std::{fmt, str::FromStr};

use reverie_schema::SCENE_OBS;
use serde::{Deserialize, Serialize};

use crate::{
    SimError,
    geometry::{DRAWER_RANGE_M, SLIDER_RANGE_M},
};

/// A task of CALVIN, with its success condition (`calvin_env/envs/tasks.py`, `new_playtable_tasks.yaml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Drawer more than 0.12 m further out than at the start.
    OpenDrawer,
    /// Drawer more than 0.12 m further in than at the start.
    CloseDrawer,
    /// Door more than 0.15 m further left than at the start.
    MoveSliderLeft,
    /// Door more than 0.15 m further right than at the start.
    MoveSliderRight,
    /// Bulb off at the start and on now.
    TurnOnLightbulb,
    /// Bulb on at the start and off now.
    TurnOffLightbulb,
    /// LED off at the start and on now.
    TurnOnLed,
    /// LED on at the start and off now.
    TurnOffLed,
}

const SLIDER: usize = 0;
const DRAWER: usize = 1;
const BULB: usize = 4;
const LED: usize = 5;

impl Task {
    /// All tasks, in the order of tables and one-hot encodings.
    pub const ALL: [Self; 8] = [
        Self::OpenDrawer,
        Self::CloseDrawer,
        Self::MoveSliderLeft,
        Self::MoveSliderRight,
        Self::TurnOnLightbulb,
        Self::TurnOffLightbulb,
        Self::TurnOnLed,
        Self::TurnOffLed,
    ];

    /// CALVIN's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenDrawer => "open_drawer",
            Self::CloseDrawer => "close_drawer",
            Self::MoveSliderLeft => "move_slider_left",
            Self::MoveSliderRight => "move_slider_right",
            Self::TurnOnLightbulb => "turn_on_lightbulb",
            Self::TurnOffLightbulb => "turn_off_lightbulb",
            Self::TurnOnLed => "turn_on_led",
            Self::TurnOffLed => "turn_off_led",
        }
    }

    /// Whether the mechanism's range leaves room for the task from `start` (`scene_obs`): a half-open drawer can be neither opened nor
    /// closed by 0.12 m.
    pub fn is_possible_from(self, start: &[f32; SCENE_OBS]) -> bool {
        match self {
            Self::OpenDrawer => DRAWER_RANGE_M - start[DRAWER] > 0.13,
            Self::CloseDrawer => start[DRAWER] > 0.13,
            Self::MoveSliderLeft => SLIDER_RANGE_M - start[SLIDER] > 0.16,
            Self::MoveSliderRight => start[SLIDER] > 0.16,
            Self::TurnOnLightbulb => start[BULB] < 0.5,
            Self::TurnOffLightbulb => start[BULB] > 0.5,
            Self::TurnOnLed => start[LED] < 0.5,
            Self::TurnOffLed => start[LED] > 0.5,
        }
    }

    /// Whether the task is solved: `start` and `now` are `scene_obs` at the beginning of the task and at this control step.
    pub fn solved(self, start: &[f32; SCENE_OBS], now: &[f32; SCENE_OBS]) -> bool {
        let change = |index: usize| now[index] - start[index];
        let switched = |index: usize, on: bool| (start[index] > 0.5) != on && (now[index] > 0.5) == on;
        match self {
            Self::OpenDrawer => change(DRAWER) > 0.12,
            Self::CloseDrawer => change(DRAWER) < -0.12,
            Self::MoveSliderLeft => change(SLIDER) > 0.15,
            Self::MoveSliderRight => change(SLIDER) < -0.15,
            Self::TurnOnLightbulb => switched(BULB, true),
            Self::TurnOffLightbulb => switched(BULB, false),
            Self::TurnOnLed => switched(LED, true),
            Self::TurnOffLed => switched(LED, false),
        }
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
    use super::*;

    fn scene(changes: &[(usize, f32)]) -> [f32; SCENE_OBS] {
        let mut scene = [0.0; SCENE_OBS];
        for &(index, value) in changes {
            scene[index] = value;
        }
        scene
    }

    /// (task, start, end, solved), written down from CALVIN's rules; thresholds are strict.
    #[test]
    fn oracles_on_hand_made_transitions() {
        use Task::{
            CloseDrawer, MoveSliderLeft, MoveSliderRight, OpenDrawer, TurnOffLed, TurnOffLightbulb, TurnOnLed, TurnOnLightbulb,
        };
        type Changes = &'static [(usize, f32)];
        let cases: &[(Task, Changes, Changes, bool)] = &[
            (OpenDrawer, &[], &[(1, 0.121)], true),
            (OpenDrawer, &[], &[(1, 0.12)], false),
            // Half open at the start: the range of 0.22 can't give 0.12 more.
            (OpenDrawer, &[(1, 0.11)], &[(1, 0.22)], false),
            (OpenDrawer, &[], &[(0, 0.2)], false),
            (CloseDrawer, &[(1, 0.2)], &[(1, 0.079)], true),
            (CloseDrawer, &[(1, 0.1)], &[(1, 0.0)], false),
            (MoveSliderLeft, &[(0, 0.02)], &[(0, 0.18)], true),
            (MoveSliderLeft, &[(0, 0.02)], &[(0, 0.16)], false),
            (MoveSliderLeft, &[(0, 0.2)], &[(0, 0.0)], false),
            (MoveSliderRight, &[(0, 0.26)], &[(0, 0.10)], true),
            (MoveSliderRight, &[(0, 0.26)], &[(0, 0.12)], false),
            (TurnOnLightbulb, &[], &[(4, 1.0)], true),
            // On from the start: it can't be turned on.
            (TurnOnLightbulb, &[(4, 1.0)], &[(4, 1.0)], false),
            (TurnOnLightbulb, &[], &[(5, 1.0)], false),
            (TurnOffLightbulb, &[(4, 1.0)], &[], true),
            (TurnOffLightbulb, &[], &[], false),
            (TurnOnLed, &[], &[(5, 1.0)], true),
            (TurnOnLed, &[(5, 1.0)], &[], false),
            (TurnOffLed, &[(5, 1.0)], &[], true),
            (TurnOffLed, &[(5, 1.0)], &[(4, 1.0), (5, 1.0)], false),
        ];
        for (index, (task, start, end, solved)) in cases.iter().enumerate() {
            assert_eq!(task.solved(&scene(start), &scene(end)), *solved, "case {index}: {task}");
        }
    }

    #[test]
    fn names_read_back_and_unknown_ones_list_the_known() {
        for task in Task::ALL {
            assert_eq!(task.name().parse::<Task>(), Ok(task));
        }
        let error = "open_window".parse::<Task>().unwrap_err().to_string();
        assert!(error.contains("open_window") && error.contains("turn_off_led"), "{error}");
    }
}
