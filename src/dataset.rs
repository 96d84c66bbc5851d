//! Recorded episodes on disk, as LeRobotDataset v3.0.
//!
//! Features: `observation.state` (CALVIN's `robot_obs`, 15), `observation.environment_state` (`scene_obs`, 24), `action` (relative, 7), and
//! `observation.images.<camera>` for each camera that was recorded. A frame's task is the sentence that tells what is being done, `play`
//! where nothing in particular is. What LeRobot has no place for stands beside it ([`Beside`], [`About`]).

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use reverie_lerobot::{Column, DatasetSpec, Feature, FrameValue, Reader, Writer};
use reverie_schema::{Action, CONTROL_PERIOD_NS, Episode, Frame, N_ACT, Observation, ROBOT_OBS, SCENE_OBS, Stamp};
use reverie_sim::SceneId;
use serde::{Deserialize, Serialize};

/// Frames a second.
pub const FPS: u32 = 30;
/// The task of frames in which nothing in particular is being done.
pub const PLAY: &str = "play";

const ROBOT: &str = "observation.state";
const SCENE: &str = "observation.environment_state";
const ACTION: &str = "action";
pub const IMAGES: &str = "observation.images.";

/// Frames of an episode in which a task was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// First frame.
    pub from: usize,
    /// Last frame, inclusive: of play the one at which the task was seen to be done, of a demonstration the last recorded.
    pub to: usize,
    /// CALVIN's name of the task.
    pub task: String,
    /// A sentence for it.
    pub text: String,
}

/// What is kept beside an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// Seed of the episode; none for those of another recorder.
    pub seed: Option<u64>,
    /// Whether the episode's task was done; none for play.
    pub success: Option<bool>,
    /// The scene, if it is known.
    pub scene: Option<SceneId>,
    /// What was done when.
    pub labels: Vec<Label>,
}

/// What is kept beside a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub command: String,
    pub commit: String,
    /// The resolved configuration that it was made under.
    pub config: serde_json::Value,
    /// What must be the same for a recording to be taken up again.
    pub recipe: serde_json::Value,
}

impl About {
    pub fn new(config: &impl Serialize, recipe: &impl Serialize) -> Result<Self> {
        Ok(Self {
            command: format!("reverie {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
            commit: crate::report::commit(),
            config: serde_json::to_value(config)?,
            recipe: serde_json::to_value(recipe)?,
        })
    }
}

/// The task of each of an episode's `length` frames: a label's sentence, or [`PLAY`]. Of labels that overlap the later one counts.
pub fn texts(length: usize, labels: &[Label]) -> Vec<&str> {
    let mut texts = vec![PLAY; length];
    for label in labels {
        if let Some(frames) = texts.get_mut(label.from..=label.to) {
            frames.fill(&label.text);
        }
    }
    texts
}

/// An image feature: name and `[height, width]`.
pub type ImageFeature = (String, [usize; 2]);

fn spec(images: &[ImageFeature]) -> DatasetSpec {
    let numbered =
        |prefix: &'static str, names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("{prefix}{name}")).collect() };
    let pose = ["x", "y", "z", "roll", "pitch", "yaw"];
    let mut robot = numbered("tcp_", &pose);
    robot.push("gripper_width".into());
    robot.extend((1..=7).map(|joint| format!("joint_{joint}")));
    robot.push("gripper_command".into());
    let mut scene: Vec<String> =
        ["slider", "drawer", "button", "switch", "lightbulb", "led"].map(str::to_owned).into_iter().collect();
    for prefix in ["red_", "blue_", "pink_"] {
        scene.extend(numbered(prefix, &pose));
    }
    let mut action = numbered("delta_", &pose);
    action.push("gripper".into());
    let mut features = vec![Feature::floats(ROBOT, robot), Feature::floats(SCENE, scene), Feature::floats(ACTION, action)];
    features.extend(images.iter().map(|(name, [height, width])| Feature::image(format!("{IMAGES}{name}"), *height, *width)));
    DatasetSpec { fps: FPS, robot_type: "panda".into(), features }
}

/// A data set being recorded.
pub struct Recording {
    writer: Writer,
    path: String,
}

impl Recording {
    /// Begins a data set in `folder`, or takes up one that was recorded by the same recipe.
    pub fn open(folder: &Path, images: &[ImageFeature], about: &About) -> Result<Self> {
        let path = folder.display().to_string();
        let spec = spec(images);
        let there = folder.join("meta/info.json").exists();
        // Looked at before anything is cleaned up: it may be somebody else's.
        let mut is_new = !there;
        if there {
            let reader = Reader::open(folder).with_context(|| format!("data set {path}"))?;
            // One that was killed before its first episode may not say what it is.
            is_new = reader.about()?.is_none() && reader.episodes().is_empty();
            if !is_new {
                let before =
                    read_about(&reader).with_context(|| format!("{path} holds another data set; record into an empty folder"))?;
                ensure!(
                    before.recipe == about.recipe && before.config == about.config && reader.spec() == &spec,
                    "{path} was recorded by `{}` under another recipe or configuration; record into an empty folder",
                    before.command
                );
            }
        }
        let writer = if there { Writer::append(folder) } else { Writer::create(folder, spec) };
        let writer = writer.with_context(|| format!("data set {path}"))?;
        if is_new {
            writer.describe(&serde_json::to_value(about)?)?;
        }
        Ok(Self { writer, path })
    }

    /// Number of finished episodes.
    pub fn episodes(&self) -> usize {
        self.writer.episodes()
    }

    /// Number of frames in finished episodes.
    pub fn frames(&self) -> usize {
        self.writer.frames()
    }

    /// Adds a frame to the present episode; `images` are in the order of the features, `[height, width, 3]`.
    pub fn push<'a>(&mut self, task: &str, frame: &'a Frame, images: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let Frame { observation, action } = frame;
        let mut values =
            vec![FrameValue::F32(&observation.robot), FrameValue::F32(&observation.scene), FrameValue::F32(&action.0)];
        values.extend(images.into_iter().map(FrameValue::Image));
        self.writer.push(task, &values).with_context(|| format!("data set {}", self.path))
    }

    /// Completes the present episode: it is on the disk then.
    pub fn finish_episode(&mut self, beside: &Beside) -> Result<()> {
        let value = serde_json::to_value(beside)?;
        self.writer.finish_episode(&value).with_context(|| format!("data set {}", self.path))?;
        Ok(())
    }

    /// Waits until everything is on the disk itself.
    pub fn finish(self) -> Result<()> {
        self.writer.sync().with_context(|| format!("data set {}", self.path))
    }
}

/// What is kept beside every episode so far, to take a recording up again.
pub fn read_beside(folder: &Path) -> Result<Vec<(usize, Beside)>> {
    if !folder.join("meta/info.json").exists() {
        return Ok(Vec::new());
    }
    let reader = Reader::open(folder)?;
    let episodes = reader.episodes().iter().enumerate();
    episodes.map(|(index, info)| Ok((info.length, beside(folder, index, info.extra.as_ref())?))).collect()
}

fn read_about(reader: &Reader) -> Result<About> {
    let about = reader.about()?.context("there is no meta/reverie.json: it was made by another program")?;
    serde_json::from_value(about).context("meta/reverie.json")
}

fn beside(folder: &Path, index: usize, extra: Option<&serde_json::Value>) -> Result<Beside> {
    let place = || format!("{}: meta/reverie.jsonl, episode {index}", folder.display());
    let extra = extra.with_context(|| format!("{} is not there: the data set was made by another program", place()))?;
    serde_json::from_value(extra.clone()).with_context(place)
}

/// An open data set of ours.
pub struct Dataset {
    reader: Reader,
    path: String,
    columns: [usize; 3],
}

impl Dataset {
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.display().to_string();
        ensure!(
            folder.join("meta/info.json").exists(),
            "no data set in {path} (it has no meta/info.json); make one with `reverie collect demos --out {path}`"
        );
        let reader = Reader::open(folder).with_context(|| format!("data set {path}"))?;
        reader.expect_fps(FPS)?;
        let column = |name: &str, size: usize| -> Result<usize> {
            let position = reader.spec().position(name).with_context(|| format!("data set {path}"))?;
            let found = reader.spec().features[position].size();
            ensure!(found == size, "data set {path}: feature {name} has {found} entries, expected {size}");
            Ok(position)
        };
        let columns = [column(ROBOT, ROBOT_OBS)?, column(SCENE, SCENE_OBS)?, column(ACTION, N_ACT)?];
        Ok(Self { columns, path, reader })
    }

    pub fn len(&self) -> usize {
        self.reader.episodes().len()
    }

    /// The robot's name; empty in data sets that don't say.
    pub fn robot_type(&self) -> &str {
        &self.reader.spec().robot_type
    }

    /// Names of the recorded cameras with `[height, width]`.
    pub fn images(&self) -> Vec<ImageFeature> {
        let features = self.reader.spec().features.iter();
        features
            .filter_map(|feature| {
                let name = feature.name.strip_prefix(IMAGES)?;
                match feature.kind {
                    reverie_lerobot::FeatureKind::Image { height, width } => Some((name.to_owned(), [height, width])),
                    reverie_lerobot::FeatureKind::Vector { .. } => None,
                }
            })
            .collect()
    }

    /// What is kept beside an episode; nothing in the data sets of other programs.
    pub fn beside(&self, episode: usize) -> Result<Option<Beside>> {
        let info = self.info(episode)?;
        info.extra.as_ref().map(|extra| beside(Path::new(&self.path), episode, Some(extra))).transpose()
    }

    /// The sentences of an episode's frames.
    pub fn sentences(&self, episode: usize) -> Result<&[String]> {
        Ok(&self.info(episode)?.tasks)
    }

    fn info(&self, episode: usize) -> Result<&reverie_lerobot::EpisodeInfo> {
        let count = self.len();
        self.reader
            .episodes()
            .get(episode)
            .with_context(|| format!("data set {} has {count} episodes, there is no episode {episode}", self.path))
    }

    /// Shows each frame of an episode to `see`, with its images in the order of [`Dataset::images`], if they are wanted.
    pub fn each_frame(&self, episode: usize, images: bool, mut see: impl FnMut(&Frame, &[&[u8]]) -> Result<()>) -> Result<()> {
        self.info(episode)?;
        let cameras = if images { self.images() } else { Vec::new() };
        let mut wanted = self.columns.to_vec();
        for (name, _) in &cameras {
            wanted.push(self.reader.spec().position(&format!("{IMAGES}{name}"))?);
        }
        let mut number = 0;
        for block in self.reader.blocks(episode, &wanted)? {
            let block = block.with_context(|| format!("data set {}, episode {episode}", self.path))?;
            let floats = |column: usize| block.columns[column].as_f32().context("the spec says float32");
            let (robot, scene, action) = (floats(0)?, floats(1)?, floats(2)?);
            let (robot, _) = robot.as_chunks::<ROBOT_OBS>();
            let (scene, _) = scene.as_chunks::<SCENE_OBS>();
            let (action, _) = action.as_chunks::<N_ACT>();
            for index in 0..block.frames() {
                let observation = Observation {
                    seq: number,
                    stamp: Stamp(number as i64 * CONTROL_PERIOD_NS),
                    robot: robot[index],
                    scene: scene[index],
                };
                let mut pictures = Vec::with_capacity(cameras.len());
                for (column, (_, [height, width])) in block.columns[3..].iter().zip(&cameras) {
                    let size = 3 * height * width;
                    let Column::Image(pixels) = column else { bail!("the spec says image") };
                    pictures.push(&pixels[index * size..(index + 1) * size]);
                }
                see(&Frame { observation, action: Action(action[index]) }, &pictures)?;
                number += 1;
            }
        }
        Ok(())
    }
}

/// Reads the demonstrations of `folder` for training: each episode with one task, and each labelled part of play.
pub fn read(folder: &Path) -> Result<Vec<Episode>> {
    let dataset = Dataset::open(folder)?;
    let mut demonstrations = Vec::new();
    for index in 0..dataset.len() {
        let beside = dataset.beside(index)?.with_context(|| {
            format!("{}: episode {index} has no labels (meta/reverie.jsonl), so that its task is not known", folder.display())
        })?;
        let mut frames = Vec::new();
        dataset.each_frame(index, false, |frame, _| {
            frames.push(*frame);
            Ok(())
        })?;
        for label in &beside.labels {
            let part = frames.get(label.from..=label.to).filter(|part| !part.is_empty()).with_context(|| {
                let length = frames.len();
                format!("{}: episode {index} has {length} frames, a label says {} to {}", folder.display(), label.from, label.to)
            })?;
            demonstrations.push(Episode {
                task: label.task.clone(),
                seed: beside.seed.unwrap_or_default(),
                success: beside.success.unwrap_or(true),
                frames: part.to_vec(),
            });
        }
    }
    Ok(demonstrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: usize) -> Vec<Frame> {
        let frame = |i: usize| Frame {
            observation: Observation {
                seq: i as u64,
                stamp: Stamp(i as i64 * CONTROL_PERIOD_NS),
                robot: [i as f32; ROBOT_OBS],
                scene: [-(i as f32); SCENE_OBS],
            },
            action: Action([i as f32 / 10.0; N_ACT]),
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn demonstrations_and_labelled_play_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("set");
        let about = About::new(&(), &"recipe").unwrap();
        let mut recording = Recording::open(&folder, &[], &about).unwrap();
        let label = |from, to, task: &str| Label { from, to, task: task.into(), text: format!("please {task}") };
        for (count, labels) in
            [(5, vec![label(0, 4, "open_drawer")]), (9, vec![label(2, 4, "turn_on_led"), label(3, 8, "stack_block")])]
        {
            for frame in frames(count) {
                recording.push("play", &frame, []).unwrap();
            }
            recording.finish_episode(&Beside { seed: Some(3), success: None, scene: Some(SceneId::B), labels }).unwrap();
        }
        recording.finish().unwrap();
        let read = read(&folder).unwrap();
        let found: Vec<(&str, usize, f32)> =
            read.iter().map(|e| (e.task.as_str(), e.frames.len(), e.frames[0].observation.robot[0])).collect();
        assert_eq!(found, [("open_drawer", 5, 0.0), ("turn_on_led", 3, 2.0), ("stack_block", 6, 3.0)]);

        let other = About::new(&(), &"another recipe").unwrap();
        let error = format!("{:#}", Recording::open(&folder, &[], &other).err().unwrap());
        assert!(error.contains("another recipe"), "{error}");
        assert_eq!(Recording::open(&folder, &[], &about).unwrap().episodes(), 2);
    }
}
