use reverie_schema::{Episode, N_ACT};

use super::TrainConfig;
use crate::features::{FeatureHistory, STATE_FEATURES, state_features};
use crate::normaliser::{ActionNormaliser, DiscreteEntries, MinMax};
use crate::{Checkpoint, PolicyError, PolicyShape};

/// Index of the gripper in an action.
const GRIPPER: usize = 6;

/// Demonstrations, normalised and cut into windows.
///
/// Every frame begins a window of `horizon` rows. Row 0 is the action taken at the observation's time; past the end of an
/// episode its last row is repeated. (Diffusion Policy's windows begin `n_obs - 1` rows in the past, and it executes from
/// row `n_obs - 1`.)
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// Conditions, `[frames, n_cond]`.
    pub cond: Vec<f32>,
    /// Normalised actions, `[frames, n_act]`.
    pub actions: Vec<f32>,
    /// Frame indices of each window's rows, `[windows, horizon]`.
    pub windows: Vec<i64>,
    /// Sizes.
    pub shape: PolicyShape,
    /// The tasks, in the order of the one-hot.
    pub tasks: Vec<String>,
    /// Fitted to the state features.
    pub observation_normaliser: MinMax,
    /// Fitted to the actions.
    pub action_normaliser: ActionNormaliser,
}

impl TrainingData {
    /// Takes all of `episodes`; leave failures out beforehand. The tasks are those of `tasks`, in that order.
    ///
    /// # Errors
    /// [`PolicyError::Data`] without frames or with an action outside its range, [`PolicyError::UnknownTask`],
    /// [`PolicyError::NotFinite`], [`PolicyError::Config`].
    pub fn from_episodes(episodes: &[Episode], tasks: &[String], config: &TrainConfig) -> Result<Self, PolicyError> {
        let mut features = Vec::new();
        let mut actions = Vec::new();
        for frame in episodes.iter().flat_map(|e| &e.frames) {
            features.extend_from_slice(&state_features(&frame.observation));
            actions.extend_from_slice(&frame.action.0);
        }
        if features.is_empty() {
            return Err(PolicyError::Data("there is no frame to learn from".into()));
        }
        let discrete = DiscreteEntries { indices: vec![GRIPPER], factor: config.gripper_factor };
        let observation_normaliser = MinMax::fit(&features, STATE_FEATURES)?;
        let action_normaliser = ActionNormaliser::fit(&actions, N_ACT, discrete)?;
        Self::assemble(episodes, tasks.to_vec(), config, observation_normaliser, action_normaliser)
    }

    /// Like [`from_episodes`](Self::from_episodes) with the tasks and the normalisation of `checkpoint`, whose weights go on
    /// being trained.
    ///
    /// # Errors
    /// As there.
    pub fn for_checkpoint(episodes: &[Episode], checkpoint: &Checkpoint, config: &TrainConfig) -> Result<Self, PolicyError> {
        let info = &checkpoint.info;
        let (observation, action) = (info.observation_normaliser.clone(), info.action_normaliser.clone());
        Self::assemble(episodes, info.tasks.clone(), config, observation, action)
    }

    fn assemble(
        episodes: &[Episode],
        tasks: Vec<String>,
        config: &TrainConfig,
        observation_normaliser: MinMax,
        action_normaliser: ActionNormaliser,
    ) -> Result<Self, PolicyError> {
        config.validate(tasks.len())?;
        let shape = config.shape(tasks.len());
        let n_frames: usize = episodes.iter().map(|e| e.frames.len()).sum();
        let mut cond = vec![0.0; n_frames * shape.n_cond];
        let mut actions = Vec::with_capacity(n_frames * N_ACT);
        let mut windows = Vec::with_capacity(n_frames * config.horizon);
        let mut rows = cond.chunks_exact_mut(shape.n_cond);
        for episode in episodes {
            let unknown = || PolicyError::UnknownTask { task: episode.task.clone(), known: tasks.clone() };
            let task = tasks.iter().position(|t| *t == episode.task).ok_or_else(unknown)?;
            let first = actions.len() / N_ACT;
            let last = (first + episode.frames.len()).saturating_sub(1);
            let mut history = FeatureHistory::new(config.n_obs);
            for (index, (frame, row)) in episode.frames.iter().zip(&mut rows).enumerate() {
                history.push(&frame.observation)?;
                history.write_condition(&observation_normaliser, task, row)?;
                actions.extend_from_slice(&frame.action.0);
                windows.extend((0..config.horizon).map(|k| (first + index + k).min(last) as i64));
            }
        }
        action_normaliser.normalise(&mut actions);
        Ok(Self { cond, actions, windows, shape, tasks, observation_normaliser, action_normaliser })
    }

    /// Number of windows, which is the number of frames.
    pub fn len(&self) -> usize {
        self.windows.len() / self.shape.horizon
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use reverie_schema::{Action, Frame, Observation, ROBOT_OBS, SCENE_OBS, Stamp};

    use super::*;

    fn episode(task: &str, values: &[f32]) -> Episode {
        let frame = |&value: &f32| Frame {
            observation: Observation { seq: 0, stamp: Stamp(0), robot: [value; ROBOT_OBS], scene: [0.0; SCENE_OBS] },
            action: Action([value, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
        };
        Episode { task: task.into(), seed: 0, success: true, frames: values.iter().map(frame).collect() }
    }

    #[test]
    fn windows_begin_at_the_observation_and_stay_in_their_episode() {
        let config = TrainConfig { horizon: 3, ..TrainConfig::default() };
        let tasks = ["a".to_owned(), "b".to_owned()];
        let episodes = [episode("b", &[-1.0, 0.0, 0.5]), episode("a", &[0.5, 1.0])];
        let data = TrainingData::from_episodes(&episodes, &tasks, &config).unwrap();
        assert_eq!(data.len(), 5);
        assert_eq!(data.windows, [0, 1, 2, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]);
        let one_hot = |frame: usize| &data.cond[frame * 53 + 51..frame * 53 + 53];
        assert_eq!((one_hot(2), one_hot(3)), (&[0.0, 1.0][..], &[1.0, 0.0][..]));
        assert_eq!((data.actions[7], data.cond[53]), (0.0, 0.0), "normalised over all episodes");
    }

    #[test]
    fn episodes_of_other_tasks_are_refused() {
        let error = TrainingData::from_episodes(&[episode("c", &[0.0])], &["a".to_owned()], &TrainConfig::default());
        assert_eq!(error.unwrap_err().to_string(), "unknown task `c`; this policy knows a");
        assert!(TrainingData::from_episodes(&[], &["a".to_owned()], &TrainConfig::default()).is_err());
    }
}
