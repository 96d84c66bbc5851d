//! Tasks as they are named on the command line.

use std::str::FromStr;

use reverie_sim::{SimError, Task};

/// One task, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<Task>);

impl Selection {
    /// The tasks of all selections, each once.
    pub fn tasks(selections: &[Self]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for &task in selections.iter().flat_map(|selection| &selection.0) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        tasks
    }
}

impl FromStr for Selection {
    type Err = SimError;

    /// A task's name, `mechanism` for the eight of drawer, slider, bulb and LED, or `all` for the 34.
    fn from_str(name: &str) -> Result<Self, SimError> {
        match name {
            "all" => Ok(Self(Task::ALL.to_vec())),
            "mechanism" => Ok(Self(Task::MECHANISM.to_vec())),
            name => Ok(Self(vec![name.parse()?])),
        }
    }
}
