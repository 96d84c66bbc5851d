//! World models, success classifiers, and the fine-tuning of policies in dreams.

pub mod finetune;
mod moments;
#[cfg(feature = "view")]
mod person;
pub mod recorded;
pub mod reward;
mod sight;
mod simulation;
#[cfg(feature = "view")]
mod view;
mod world_model;

pub use finetune::Args as FinetuneArgs;
pub use reward::{Args as RewardArgs, run as train_reward};
pub use sight::ModelSight;
#[cfg(feature = "view")]
pub use view::{Args as ViewArgs, run as view};
pub use world_model::{Args as WorldModelArgs, run as train_world_model};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use reverie_sim::{Rule, Task};
use reverie_world_model::{LEASH_M, Provenance, TrainedWorldModel, WorldModelCheckpoint};

use crate::{config::Config, models, report};

/// Where a world model is written and read unless told otherwise.
const WORLD_MODEL: &str = "runs/world_model";

/// What a policy is tuned with.
#[derive(Clone, clap::Args)]
pub struct Folders {
    /// Folder of the world model
    #[arg(long, default_value = WORLD_MODEL)]
    pub world_model: PathBuf,
    /// Folder of the success classifiers
    #[arg(long, default_value = "runs/reward")]
    pub reward: PathBuf,
    /// Folder of demonstrations, at whose beginnings dreams begin
    #[arg(long, default_value = "data/demos")]
    pub demos: PathBuf,
    /// Folder of play, of which moments like those are taken too
    #[arg(long, default_value = "data/play")]
    pub play: PathBuf,
}

impl Folders {
    /// All under `folder`.
    pub fn under(folder: &Path) -> Self {
        let [world_model, reward, demos, play] = ["world_model", "reward", "demos", "play"].map(|name| folder.join(name));
        Self { world_model, reward, demos, play }
    }

    /// Each with the option that names it.
    pub fn options(&self) -> [(&'static str, &Path); 4] {
        [("--world-model", &self.world_model), ("--reward", &self.reward), ("--demos", &self.demos), ("--play", &self.play)]
    }
}

/// World models reckon how far the command is ahead of the arm, within the leash that it is on.
fn ensure_leash(config: &Config) -> Result<()> {
    let leash_m = config.servo.leash_m;
    ensure!((leash_m - LEASH_M).abs() < 1e-9, "servo.leash_m = {leash_m}: world models take the leash to be {LEASH_M} m long");
    Ok(())
}

/// Loads a world model.
fn load_world_model(path: &Path, device: &str) -> Result<TrainedWorldModel> {
    ensure!(
        path.join("world_model.json").exists(),
        "no world model in {}; make one with `reverie train world-model --out {}`",
        path.display(),
        path.display()
    );
    let checkpoint = WorldModelCheckpoint::load(path).with_context(|| format!("world model {}", path.display()))?;
    Ok(TrainedWorldModel::new(&checkpoint, models::torch_device(device)?)?)
}

/// Whether a task is done can be told from `scene_obs` alone only for mechanisms; contacts are not in a data set.
fn ensure_told_by_scene(task: Task) -> Result<()> {
    ensure!(
        matches!(task.rule(), Rule::Move { .. } | Rule::Switch { .. }),
        "{task}: its success hangs on contacts, which recordings don't hold; dreams know {}",
        Task::MECHANISM.map(Task::name).join(", ")
    );
    Ok(())
}

fn provenance(dataset: String) -> Provenance {
    let command = format!("reverie {}", std::env::args().skip(1).collect::<Vec<_>>().join(" "));
    Provenance { command, commit: report::commit(), dataset }
}

/// The file beside `out` that an interrupted run goes on from.
fn state_file(out: &Path) -> PathBuf {
    let mut state = out.as_os_str().to_owned();
    state.push(".state");
    state.into()
}
