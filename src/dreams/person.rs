//! A person who prefers one of two dreams, asked in the terminal with both side by side in the rerun viewer.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use reverie_policy::{Checkpoint, MinMax, STATE_FEATURES, observation_of_features};
use reverie_schema::{CONTROL_PERIOD_NS, RobotSpec, Stamp};
use reverie_sim::{Replay, SceneId};
use reverie_world_model::{Judge, Outcome, Preference, SeenRollout, WorldModelError};
use serde_json::json;

use super::view::{Pair, Rollout, write_pair};

/// Asks for each pair whose outcomes the classifier can tell apart or not: a person sees more than success.
pub struct Person {
    replay: Replay,
    normaliser: MinMax,
    rows: usize,
    folder: PathBuf,
    asked: usize,
}

impl Person {
    /// Recordings of the pairs and `preferences.jsonl` go to `folder`.
    pub fn new(scene: SceneId, policy: &Checkpoint, rows: usize, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let replay = Replay::new(scene, RobotSpec::panda())?;
        let asked = std::fs::read_to_string(folder.join("preferences.jsonl")).map_or(0, |text| text.lines().count());
        Ok(Self { replay, normaliser: policy.info.observation_normaliser.clone(), rows, folder: folder.to_owned(), asked })
    }

    fn rollout(&self, seen: &SeenRollout, outcome: Outcome) -> Result<Rollout> {
        let mut rollout = Rollout::default();
        for (index, cond) in seen.iter().enumerate() {
            let mut features: [f32; STATE_FEATURES] =
                cond.get(..STATE_FEATURES).and_then(|values| values.try_into().ok()).context("51 features")?;
            self.normaliser.unnormalise(&mut features);
            let stamp = Stamp((index * self.rows) as i64 * CONTROL_PERIOD_NS);
            rollout.observations.push(observation_of_features(&features, stamp));
        }
        rollout.done_at = outcome.success.then_some(seen.len().saturating_sub(1) * self.rows);
        Ok(rollout)
    }

    fn ask(&mut self, outcomes: [Outcome; 2], seen: &[SeenRollout]) -> Result<Preference> {
        let [first, second] = [0, 1].map(|which| self.rollout(&seen[which], outcomes[which]));
        let path = self.folder.join(format!("pair_{}.rrd", self.asked));
        let pair = Pair { title: "1 left, 2 right", names: ["first", "second"], pictures: &[], rollouts: [&first?, &second?] };
        write_pair(&self.replay, &pair, &path)?;
        if let Err(error) = crate::view::open(&path) {
            eprintln!("{error:#}\nthe pair is in {}", path.display());
        }
        let preference = answer(&mut std::io::stdin().lock())?;
        let line = json!({
            "pair": self.asked, "recording": path, "outcomes": outcomes, "preference": preference, "labeller": "person",
        });
        let file = self.folder.join("preferences.jsonl");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&file)?;
        writeln!(file, "{line}")?;
        self.asked += 1;
        Ok(preference)
    }
}

/// Reads answers until there is one that says something.
fn answer(input: &mut impl BufRead) -> Result<Preference> {
    loop {
        eprint!("which is better? 1 (left), 2 (right), 0 (neither), q (stop): ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        anyhow::ensure!(input.read_line(&mut line)? > 0, "the terminal was closed before the pair was judged");
        match line.trim() {
            "1" => return Ok(Preference::First),
            "2" => return Ok(Preference::Second),
            "0" => return Ok(Preference::Neither),
            "q" => anyhow::bail!("stopped while pairs were judged; the same command goes on from the last saved state"),
            other => eprintln!("`{other}` is none of 1, 2, 0 and q"),
        }
    }
}

impl Judge for Person {
    fn looks(&self) -> bool {
        true
    }

    fn prefer(&mut self, _: usize, outcomes: [Outcome; 2], seen: &[SeenRollout]) -> Result<Preference, WorldModelError> {
        self.ask(outcomes, seen).map_err(|error| WorldModelError::Environment(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_asked_for_until_one_says_something() {
        assert_eq!(answer(&mut &b"x\n\n2\n1\n"[..]).unwrap(), Preference::Second);
        assert_eq!(answer(&mut &b"0\n"[..]).unwrap(), Preference::Neither);
        assert!(answer(&mut &b"q\n"[..]).is_err() && answer(&mut &b"9\n"[..]).is_err());
    }
}
