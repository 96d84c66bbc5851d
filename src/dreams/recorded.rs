//! Recorded frames, as world models learn from them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use reverie_policy::{STATE_FEATURES, observation_of_features, state_features};
use reverie_schema::{SCENE_OBS, Stamp};
use reverie_sim::{LinkSet, SceneId, SceneState, Task};
use reverie_world_model::{CAMERAS, PlayData, RawPlay, TrainedWorldModel, Window, reduce};

use crate::dataset::Dataset;

/// The robot that actions and observations are of.
const ROBOT: &str = "panda";
/// Index of the gripper's width among the state features.
const WIDTH: usize = 9;

/// Frames of a data set.
pub struct Recorded {
    pub raw: RawPlay,
    /// `scene_obs` of each frame.
    scenes: Vec<[f32; SCENE_OBS]>,
    /// The task of each episode, if it has one alone.
    pub tasks: Vec<Option<String>>,
}

/// What is seen of a scene: neither contacts nor velocities.
fn without_contacts(scene: [f32; SCENE_OBS]) -> SceneState {
    SceneState {
        scene,
        block_contacts: [LinkSet::default(); 3],
        robot_contacts: LinkSet::default(),
        block_velocity: [[0.0; 6]; 3],
    }
}

/// Reads `folder`, recorded in `scene`, with what both cameras saw if `pictures`.
pub fn read(folder: &Path, pictures: bool, scene: SceneId) -> Result<Recorded> {
    let dataset = Dataset::open(folder)?;
    let robot = dataset.robot_type();
    ensure!(robot == ROBOT, "data set {} is of robot `{robot}`; world models here are of `{ROBOT}`", folder.display());
    let images = dataset.images();
    let cameras: Vec<usize> = if pictures {
        let find = |name: &str| {
            images.iter().position(|(camera, _)| camera == name).with_context(|| {
                let there: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
                format!(
                    "data set {} has no camera `{name}` (it has: {}); record with `--camera static --camera gripper`",
                    folder.display(),
                    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
                )
            })
        };
        CAMERAS.iter().map(|name| find(name)).collect::<Result<_>>()?
    } else {
        Vec::new()
    };
    let mut recorded = Recorded {
        raw: RawPlay { pictures: vec![Vec::new(); cameras.len()], ..RawPlay::default() },
        scenes: Vec::new(),
        tasks: Vec::new(),
    };
    for episode in 0..dataset.len() {
        let from = recorded.scenes.len();
        dataset.each_frame(episode, pictures, |frame, seen| {
            recorded.raw.state.extend_from_slice(&state_features(&frame.observation));
            recorded.raw.actions.extend_from_slice(&frame.action.0);
            recorded.scenes.push(frame.observation.scene);
            for (to, &camera) in recorded.raw.pictures.iter_mut().zip(&cameras) {
                let [height, width] = images[camera].1;
                to.extend(reduce(seen[camera], height, width));
            }
            Ok(())
        })?;
        recorded.raw.episodes.push(from..recorded.scenes.len());
        let beside = dataset.beside(episode)?;
        if let Some(other) = beside.as_ref().and_then(|beside| beside.scene).filter(|other| *other != scene) {
            bail!(
                "data set {}: episode {episode} is of scene {other:?}, where drawer, door and lamps are elsewhere than in scene {scene:?}; record it anew, or choose the scene by `--set sim.scene={other:?}`",
                folder.display()
            );
        }
        let labels = beside.map(|beside| beside.labels).unwrap_or_default();
        let whole = |label: &crate::dataset::Label| label.from == 0 && label.to + 1 >= recorded.scenes.len() - from;
        recorded.tasks.push(labels.first().filter(|label| labels.len() == 1 && whole(label)).map(|label| label.task.clone()));
    }
    Ok(recorded)
}

impl Recorded {
    /// The frames as `world` sees them. What moments are chosen by stays: states and episodes.
    pub fn data_for(&mut self, world: &TrainedWorldModel) -> Result<PlayData> {
        let raw = RawPlay {
            state: self.raw.state.clone(),
            actions: std::mem::take(&mut self.raw.actions),
            pictures: std::mem::take(&mut self.raw.pictures),
            episodes: self.raw.episodes.clone(),
        };
        Ok(PlayData::new(raw, Some(world.info.observation_normaliser.clone()), world.device())?)
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.scenes.len()
    }

    /// The scene at a frame as far as a recording holds it.
    pub fn scene(&self, frame: usize) -> SceneState {
        without_contacts(self.scenes[frame])
    }

    /// Tells of windows, `stride` frames a step, whether `task` is done where the state features are these.
    pub fn oracle(&self, task: Task, stride: usize) -> impl Fn(&Window, &[f32; STATE_FEATURES]) -> bool {
        move |window, features| {
            let start = self.scene(window.first + window.context * stride);
            task.solved(&start, &without_contacts(observation_of_features(features, Stamp::default()).scene))
        }
    }

    /// TCP position, metres.
    pub fn tcp(&self, frame: usize) -> [f32; 3] {
        let at = frame * STATE_FEATURES;
        [self.raw.state[at], self.raw.state[at + 1], self.raw.state[at + 2]]
    }

    /// Width between the fingers, metres.
    pub fn width(&self, frame: usize) -> f32 {
        self.raw.state[frame * STATE_FEATURES + WIDTH]
    }

    /// Episodes of `task`.
    pub fn episodes_of(&self, task: Task) -> Vec<std::ops::Range<usize>> {
        let named = self.tasks.iter().zip(&self.raw.episodes);
        named.filter(|(name, _)| name.as_deref() == Some(task.name())).map(|(_, range)| range.clone()).collect()
    }
}

#[cfg(test)]
impl Recorded {
    /// One episode a slice, of frames by the TCP's x, the width between the fingers and how far the drawer is open, metres.
    pub fn of(episodes: &[&[[f32; 3]]], task: &str) -> Self {
        let mut recorded = Self { raw: RawPlay::default(), scenes: Vec::new(), tasks: Vec::new() };
        for episode in episodes {
            let from = recorded.scenes.len();
            for [x, width, drawer] in *episode {
                let mut state = [0.0; STATE_FEATURES];
                (state[0], state[WIDTH]) = (*x, *width);
                let mut scene = [0.0; SCENE_OBS];
                scene[1] = *drawer;
                recorded.raw.state.extend(state);
                recorded.raw.actions.extend([0.0; reverie_schema::N_ACT]);
                recorded.scenes.push(scene);
            }
            recorded.raw.episodes.push(from..recorded.scenes.len());
            recorded.tasks.push(Some(task.to_owned()));
        }
        recorded
    }
}
