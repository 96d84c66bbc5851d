//! Instructions in English. Those of training are our own wording; those of validation are CALVIN's, one a task
//! (`new_playtable_validation.yaml`), and no phrase of training, so that they tell how a policy takes words it has not seen.

use crate::Task;

macro_rules! rotate {
    ($block:literal, $side:literal, $sense:literal) => {
        &[
            concat!("spin the ", $block, " block ", $sense),
            concat!("turn the ", $block, " block ", $sense, " where it lies"),
            concat!("give the ", $block, " block a quarter turn to the ", $side),
            concat!("twist the ", $block, " block to the ", $side),
            concat!("pick the ", $block, " block and swivel it ", $side, "wards"),
            concat!("hold the ", $block, " block and turn it about 90 degrees to the ", $side),
            concat!("make the ", $block, " block face further ", $side),
            concat!("the ", $block, " block should be rotated ", $side, "wards"),
        ]
    };
}

macro_rules! push {
    ($block:literal, $side:literal) => {
        &[
            concat!("shove the ", $block, " block ", $side, "wards"),
            concat!("move the ", $block, " block along to the ", $side),
            concat!("nudge the ", $block, " block over to the ", $side),
            concat!("get the ", $block, " block further to the ", $side, " without lifting it"),
            concat!("press against the ", $block, " block until it slides ", $side),
            concat!("the ", $block, " block belongs further ", $side, ", push it there"),
            concat!("shift the ", $block, " block a hand's breadth to the ", $side),
        ]
    };
}

macro_rules! lift_from {
    ($block:literal, $place:literal) => {
        &[
            concat!("pick the ", $block, " block up off ", $place),
            concat!("raise the ", $block, " block from ", $place),
            concat!("take hold of the ", $block, " block on ", $place, " and raise it"),
            concat!("fetch the ", $block, " block that lies on ", $place),
            concat!("get the ", $block, " block off ", $place),
            concat!("close the gripper on the ", $block, " block and lift it clear of ", $place),
            concat!("hold up the ", $block, " block that is on ", $place),
        ]
    };
}

macro_rules! lift_out {
    ($block:literal) => {
        &[
            concat!("lift the ", $block, " block out of the drawer"),
            concat!("get the ", $block, " block out of the drawer"),
            concat!("fetch the ", $block, " block that lies inside the drawer"),
            concat!("reach into the drawer and bring up the ", $block, " block"),
            concat!("remove the ", $block, " block from the open drawer"),
            concat!("the ", $block, " block is in the drawer, pick it out"),
            concat!("grab the ", $block, " block inside the drawer and raise it"),
        ]
    };
}

impl Task {
    /// Instructions for training, several a task.
    pub const fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::RotateRedBlockRight => rotate!("red", "right", "clockwise"),
            Self::RotateRedBlockLeft => rotate!("red", "left", "counter-clockwise"),
            Self::RotateBlueBlockRight => rotate!("blue", "right", "clockwise"),
            Self::RotateBlueBlockLeft => rotate!("blue", "left", "counter-clockwise"),
            Self::RotatePinkBlockRight => rotate!("pink", "right", "clockwise"),
            Self::RotatePinkBlockLeft => rotate!("pink", "left", "counter-clockwise"),
            Self::PushRedBlockRight => push!("red", "right"),
            Self::PushRedBlockLeft => push!("red", "left"),
            Self::PushBlueBlockRight => push!("blue", "right"),
            Self::PushBlueBlockLeft => push!("blue", "left"),
            Self::PushPinkBlockRight => push!("pink", "right"),
            Self::PushPinkBlockLeft => push!("pink", "left"),
            Self::MoveSliderLeft => &[
                "slide the cabinet door leftwards",
                "take the door's handle and bring it to the left",
                "shift the sliding door over to the left",
                "uncover the right half of the cabinet",
                "the door of the cabinet should stand on the left",
                "draw the door across to the left end",
                "push the door's handle leftwards as far as it goes",
            ],
            Self::MoveSliderRight => &[
                "slide the cabinet door rightwards",
                "take the door's handle and bring it to the right",
                "shift the sliding door over to the right",
                "uncover the left half of the cabinet",
                "the door of the cabinet should stand on the right",
                "draw the door across to the right end",
                "push the door's handle rightwards as far as it goes",
            ],
            Self::OpenDrawer => &[
                "pull the drawer out",
                "draw the drawer towards the front",
                "hook the drawer's bar and pull it out",
                "get the drawer open",
                "slide out the drawer under the table",
                "make the inside of the drawer reachable",
                "take the drawer by its bar and open it wide",
            ],
            Self::CloseDrawer => &[
                "push the drawer in",
                "shut the drawer",
                "slide the drawer back under the table",
                "get the drawer closed",
                "press on the drawer's front until it is shut",
                "the drawer stands open, shut it",
                "shove the drawer back in by its bar",
            ],
            Self::LiftRedBlockTable => lift_from!("red", "the table top"),
            Self::LiftBlueBlockTable => lift_from!("blue", "the table top"),
            Self::LiftPinkBlockTable => lift_from!("pink", "the table top"),
            Self::LiftRedBlockSlider => lift_from!("red", "the cabinet's shelf"),
            Self::LiftBlueBlockSlider => lift_from!("blue", "the cabinet's shelf"),
            Self::LiftPinkBlockSlider => lift_from!("pink", "the cabinet's shelf"),
            Self::LiftRedBlockDrawer => lift_out!("red"),
            Self::LiftBlueBlockDrawer => lift_out!("blue"),
            Self::LiftPinkBlockDrawer => lift_out!("pink"),
            Self::PlaceInSlider => &[
                "set down what you hold on the cabinet's shelf",
                "put the held block behind the door's rail, on the shelf",
                "leave the block in the open half of the cabinet",
                "lay the block you are holding on the shelf",
                "bring the block to the sliding cabinet and let go",
                "the block in your hand goes into the cabinet",
                "release the block on the shelf",
            ],
            Self::PlaceInDrawer => &[
                "set down what you hold in the drawer",
                "drop the held block into the drawer",
                "lay the block you are holding in the open drawer",
                "bring the block over the drawer and let go",
                "the block in your hand goes into the drawer",
                "release the block inside the drawer",
                "leave the block in the drawer",
            ],
            Self::StackBlock => &[
                "set the held block on another block",
                "build a tower with the block you are holding",
                "put what you hold on a block that lies on the table",
                "make a stack of two blocks",
                "lay the block in your hand on top of a second one",
                "let go of the block on the top of another",
                "pile the block onto another one",
            ],
            Self::UnstackBlock => &[
                "take the tower of blocks apart",
                "take the upper block down",
                "get the top block off the lower one",
                "knock the upper block off the stack",
                "undo the stack",
                "separate the two blocks that lie on each other",
                "pull the upper block off the one below",
            ],
            Self::TurnOnLightbulb => &[
                "switch the yellow bulb on",
                "flip the lever up",
                "raise the lever so that the bulb lights up",
                "make the yellow bulb shine",
                "slide the lever to the top",
                "light the bulb with the lever",
                "let there be yellow light",
            ],
            Self::TurnOffLightbulb => &[
                "switch the yellow bulb off",
                "flip the lever down",
                "lower the lever so that the bulb goes out",
                "make the yellow bulb go dark",
                "slide the lever to the bottom",
                "put the bulb out with the lever",
                "no more yellow light",
            ],
            Self::TurnOnLed => &[
                "switch the green lamp on",
                "press the button so that the LED lights up",
                "light up the green LED",
                "make the green lamp shine by the button",
                "the LED is dark, press the button",
                "tap the button until green light comes on",
                "let there be green light",
            ],
            Self::TurnOffLed => &[
                "switch the green lamp off",
                "press the button so that the LED goes out",
                "put out the green LED",
                "make the green lamp go dark by the button",
                "the LED is lit, press the button",
                "tap the button until the green light is gone",
                "no more green light",
            ],
            Self::PushIntoDrawer => &[
                "shove a block over the edge into the drawer",
                "make the block on the table drop into the drawer",
                "push the block off the table so that it lands in the drawer",
                "sweep the block over the table's edge into the open drawer",
                "get the block into the drawer without picking it up",
                "slide the block forward until it falls into the drawer",
                "move the block across the edge, the drawer will catch it",
            ],
        }
    }

    /// The instruction held out for validation, CALVIN's.
    pub const fn validation_phrase(self) -> &'static str {
        match self {
            Self::RotateRedBlockRight => "take the red block and rotate it to the right",
            Self::RotateRedBlockLeft => "take the red block and rotate it to the left",
            Self::RotateBlueBlockRight => "take the blue block and rotate it to the right",
            Self::RotateBlueBlockLeft => "take the blue block and rotate it to the left",
            Self::RotatePinkBlockRight => "take the pink block and rotate it to the right",
            Self::RotatePinkBlockLeft => "take the pink block and rotate it to the left",
            Self::PushRedBlockRight => "go push the red block right",
            Self::PushRedBlockLeft => "go push the red block left",
            Self::PushBlueBlockRight => "go push the blue block right",
            Self::PushBlueBlockLeft => "go push the blue block left",
            Self::PushPinkBlockRight => "go push the pink block right",
            Self::PushPinkBlockLeft => "go push the pink block left",
            Self::MoveSliderLeft => "push the sliding door to the left side",
            Self::MoveSliderRight => "push the sliding door to the right side",
            Self::OpenDrawer => "pull the handle to open the drawer",
            Self::CloseDrawer => "push the handle to close the drawer",
            Self::LiftRedBlockTable => "grasp and lift the red block",
            Self::LiftBlueBlockTable => "grasp and lift the blue block",
            Self::LiftPinkBlockTable => "grasp and lift the pink block",
            Self::LiftRedBlockSlider => "lift the red block from the sliding cabinet",
            Self::LiftBlueBlockSlider => "lift the blue block from the sliding cabinet",
            Self::LiftPinkBlockSlider => "lift the pink block from the sliding cabinet",
            Self::LiftRedBlockDrawer => "Take the red block from the drawer",
            Self::LiftBlueBlockDrawer => "Take the blue block from the drawer",
            Self::LiftPinkBlockDrawer => "Take the pink block from the drawer",
            Self::PlaceInSlider => "store the grasped block in the sliding cabinet",
            Self::PlaceInDrawer => "store the grasped block in the drawer",
            Self::StackBlock => "stack the grasped block",
            Self::UnstackBlock => "remove the stacked block",
            Self::TurnOnLightbulb => "use the switch to turn on the light bulb",
            Self::TurnOffLightbulb => "use the switch to turn off the light bulb",
            Self::TurnOnLed => "press the button to turn on the led light",
            Self::TurnOffLed => "press the button to turn off the led light",
            Self::PushIntoDrawer => "slide the block that it falls into the drawer",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// An instruction that two tasks share would be no instruction, and one seen in training no test.
    #[test]
    fn every_phrase_belongs_to_one_task() {
        let mut owners = HashMap::new();
        for task in Task::ALL {
            assert!((6..=11).contains(&task.phrases().len()), "{task}");
            for phrase in task.phrases().iter().chain([&task.validation_phrase()]) {
                let plain = phrase.to_lowercase();
                assert_eq!(owners.insert(plain, task), None, "'{phrase}' of {task}");
            }
        }
    }

    #[test]
    fn phrases_name_the_block_of_their_task() {
        for task in Task::ALL {
            for phrase in task.phrases().iter().chain([&task.validation_phrase()]) {
                for word in ["red", "blue", "pink"] {
                    let named = phrase.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
                    assert_eq!(named, task.name().contains(word), "'{phrase}' of {task}");
                }
            }
        }
    }
}
