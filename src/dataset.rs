//! Recorded episodes on disk: `dataset.json` and `frames.safetensors` in one folder.
//!
//! Format 1. Tensors, all with one row a control step, episodes one after the other: `robot_obs` `[frames, 15]` f32, `scene_obs`
//! `[frames, 24]` f32, `action` `[frames, 7]` f32, `stamp_ns` `[frames]` i64. The JSON lists the episodes with task, seed,
//! success and number of frames, and names the command, the commit and the configuration.

use std::{borrow::Cow, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use reverie_schema::{Action, Episode, Frame, N_ACT, Observation, ROBOT_OBS, SCENE_OBS, Stamp};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::report::write_atomically;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    command: String,
    commit: String,
    /// The resolved configuration that it was made under.
    config: serde_json::Value,
    episodes: Vec<IndexEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexEntry {
    task: String,
    seed: u64,
    success: bool,
    frames: usize,
}

struct Raw {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Raw {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes `episodes` into `folder`. Each file is whole or not there; the index comes last.
pub fn write(folder: &Path, episodes: &[Episode], config: &impl Serialize) -> Result<()> {
    let frames = || episodes.iter().flat_map(|episode| &episode.frames);
    let rows = frames().count();
    let floats = |width: usize, values: &mut dyn Iterator<Item = f32>| Raw {
        dtype: Dtype::F32,
        shape: vec![rows, width],
        bytes: values.flat_map(f32::to_le_bytes).collect(),
    };
    let tensors = [
        ("robot_obs", floats(ROBOT_OBS, &mut frames().flat_map(|frame| frame.observation.robot))),
        ("scene_obs", floats(SCENE_OBS, &mut frames().flat_map(|frame| frame.observation.scene))),
        ("action", floats(N_ACT, &mut frames().flat_map(|frame| frame.action.0))),
        (
            "stamp_ns",
            Raw {
                dtype: Dtype::I64,
                shape: vec![rows],
                bytes: frames().flat_map(|frame| frame.observation.stamp.0.to_le_bytes()).collect(),
            },
        ),
    ];
    let index = Index {
        format: FORMAT,
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        commit: crate::report::commit(),
        config: serde_json::to_value(config)?,
        episodes: episodes
            .iter()
            .map(|episode| IndexEntry {
                task: episode.task.clone(),
                seed: episode.seed,
                success: episode.success,
                frames: episode.frames.len(),
            })
            .collect(),
    };
    write_atomically(&folder.join("frames.safetensors"), &safetensors::serialize(tensors, None)?)?;
    write_atomically(&folder.join("dataset.json"), &serde_json::to_vec_pretty(&index)?)
}

/// Reads the data set in `folder`.
pub fn read(folder: &Path) -> Result<Vec<Episode>> {
    let index_path = folder.join("dataset.json");
    let text = fs::read(&index_path).with_context(|| {
        format!("cannot read {}; make a data set with `reverie collect --out {}`", index_path.display(), folder.display())
    })?;
    let index: Index = serde_json::from_slice(&text).with_context(|| format!("{} is no data set index", index_path.display()))?;
    ensure!(index.format == FORMAT, "{} has format {}, this program reads {FORMAT}", index_path.display(), index.format);

    let path = folder.join("frames.safetensors");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tensors =
        SafeTensors::deserialize(&bytes).with_context(|| format!("{} is truncated or no safetensors file", path.display()))?;
    let rows: usize = index.episodes.iter().map(|episode| episode.frames).sum();
    let floats = |name: &str, width: usize| -> Result<Vec<f32>> {
        let tensor = tensors.tensor(name).with_context(|| format!("{}: tensor {name}", path.display()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [rows, width] {
            bail!(
                "{}: tensor {name} is {:?} {:?}, expected F32 [{rows}, {width}]",
                path.display(),
                tensor.dtype(),
                tensor.shape()
            );
        }
        let values: Vec<f32> = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            bail!("{}: tensor {name}, row {} holds {}", path.display(), at / width, values[at]);
        }
        Ok(values)
    };
    let (robot, scene, action) = (floats("robot_obs", ROBOT_OBS)?, floats("scene_obs", SCENE_OBS)?, floats("action", N_ACT)?);
    let stamps = tensors.tensor("stamp_ns").with_context(|| format!("{}: tensor stamp_ns", path.display()))?;
    ensure!(
        stamps.dtype() == Dtype::I64 && stamps.shape() == [rows],
        "{}: tensor stamp_ns is {:?} {:?}, expected I64 [{rows}]",
        path.display(),
        stamps.dtype(),
        stamps.shape()
    );
    let (robot, _) = robot.as_chunks::<ROBOT_OBS>();
    let (scene, _) = scene.as_chunks::<SCENE_OBS>();
    let (action, _) = action.as_chunks::<N_ACT>();
    let (stamps, _) = stamps.data().as_chunks::<8>();

    let mut first = 0;
    let mut episodes = Vec::with_capacity(index.episodes.len());
    for entry in index.episodes {
        let frames = (first..first + entry.frames)
            .map(|row| Frame {
                observation: Observation {
                    seq: (row - first) as u64,
                    stamp: Stamp(i64::from_le_bytes(stamps[row])),
                    robot: robot[row],
                    scene: scene[row],
                },
                action: Action(action[row]),
            })
            .collect();
        first += entry.frames;
        episodes.push(Episode { task: entry.task, seed: entry.seed, success: entry.success, frames });
    }
    Ok(episodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(task: &str, frames: usize) -> Episode {
        let frame = |i: usize| Frame {
            observation: Observation {
                seq: i as u64,
                stamp: Stamp(i as i64 * 7),
                robot: [i as f32; ROBOT_OBS],
                scene: [-(i as f32); SCENE_OBS],
            },
            action: Action([i as f32 / 10.0; N_ACT]),
        };
        Episode { task: task.into(), seed: 3, success: true, frames: (0..frames).map(frame).collect() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let episodes = vec![episode("open_drawer", 3), episode("turn_on_led", 5)];
        write(folder.path(), &episodes, &()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), episodes);
    }

    #[test]
    fn a_truncated_file_and_a_nan_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut episodes = vec![episode("open_drawer", 3)];
        write(folder.path(), &episodes, &()).unwrap();
        let path = folder.path().join("frames.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.contains("frames.safetensors is truncated"), "{error}");
        episodes[0].frames[2].action.0[1] = f32::NAN;
        write(folder.path(), &episodes, &()).unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.contains("tensor action, row 2"), "{error}");
    }
}
