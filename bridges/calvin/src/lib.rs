//! Reads the data sets of CALVIN in their own form: a folder with a file `episode_0000000.npz` for each frame.
//!
//! Units, frames and layouts are those of [`reverie_schema`], which took them from CALVIN. The form, as CALVIN's renderer writes
//! it and its loaders read it:
//!
//! | file of a split's folder | holds |
//! |---|---|
//! | `episode_%07d.npz` | `robot_obs` (15), `scene_obs` (24), `actions` (7), `rel_actions` (7), `rgb_*` (uint8), `depth_*` (float32) |
//! | `ep_start_end_ids.npy` | first and last frame of each recording |
//! | `ep_lens.npy` | their lengths; compared if it is there |
//! | `scene_info.npy` | pickled dict: which frames are of which scene; optional |
//! | `lang_annotations/auto_lang_ann.npy` | pickled dict: task and phrase of stretches of frames; optional |
//!
//! ```
//! use reverie_calvin::CalvinFolder;
//! let folder = CalvinFolder::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/training"))?;
//! let cameras = folder.cameras()?;
//! let static_color: Vec<_> = cameras.into_iter().filter(|array| array.key == "rgb_static").collect();
//! let mut pixels = 0;
//! for recording in folder.recordings() {
//!     for id in recording.frames.clone() {
//!         pixels += folder.read_frame(id, &static_color)?.images["rgb_static"].len() / 3;
//!     }
//! }
//! assert_eq!(pixels, 7 * 8 * 8);
//! # Ok::<(), reverie_calvin::Error>(())
//! ```

mod annotation;
mod error;
mod folder;
mod frame;
mod npy;
mod npz;
mod object;
mod pickle;
mod recording;

pub use annotation::Annotation;
pub use error::Error;
pub use folder::CalvinFolder;
pub use frame::{CalvinFrame, ImageArray, ImageKind};
pub use npy::Shape;
pub use recording::Recording;
