//! LeRobotDataset v3.0, written and read without Python.
//!
//! A data set is a folder of parquet tables and JSON files that the Python package `lerobot` (0.4) opens. Its frames come at a
//! fixed rate and hold vectors of numbers and camera images; images are PNG in the tables (`dtype` `image`), without loss. Video
//! is not read or written. Two files are ours and other programs pass over them: `meta/reverie.jsonl` holds a JSON value for each
//! episode, `meta/reverie.json` one for the data set.
//!
//! Units are the recorder's; timestamps are in seconds from the start of the episode.
//!
//! ```
//! use reverie_lerobot::{DatasetSpec, Feature, FrameValue, Reader, Writer};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("pushes");
//! let spec = DatasetSpec {
//!     fps: 30,
//!     robot_type: "panda".into(),
//!     features: vec![Feature::floats("action", ["x", "y"]), Feature::image("observation.images.static", 2, 2)],
//! };
//! let mut writer = Writer::create(&folder, spec)?;
//! for frame in 0..3 {
//!     let pixels = [frame as u8; 12];
//!     writer.push("push the block", &[FrameValue::F32(&[frame as f32, 0.5]), FrameValue::Image(&pixels)])?;
//! }
//! writer.finish_episode(&serde_json::json!({ "seed": 7 }))?;
//!
//! let reader = Reader::open(&folder)?;
//! reader.expect_fps(30)?;
//! let action = reader.spec().position("action")?;
//! let episode = reader.read_episode(0)?;
//! assert_eq!(episode.columns[action].as_f32(), Some(&[0.0, 0.5, 1.0, 0.5, 2.0, 0.5][..]));
//! assert_eq!(reader.stats()?[action].1.mean, [1.0, 0.5]);
//! # Ok(())
//! # }
//! ```

mod column;
mod durable;
mod episodes;
mod error;
mod extras;
mod frames;
mod info;
mod layout;
mod numpy_order;
mod open_episode;
mod parquet_file;
mod picture;
mod pixels;
mod reader;
mod spec;
mod stats;
mod tasks;
mod writer;

pub use column::{Column, FrameValue};
pub use error::{Error, Result};
pub use frames::{FrameBlock, Frames};
pub use reader::{Episode, EpisodeInfo, Reader};
pub use spec::{DatasetSpec, Dtype, Feature, FeatureKind};
pub use stats::FeatureStats;
pub use writer::Writer;
