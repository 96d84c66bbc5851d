//! Rollouts and training curves in the rerun viewer.
//!
//! [`Viewer`] draws the world in 3-D, with the planned chunk and the executed path, plots joints, gripper, tracking error, decode
//! time and servo lateness, and keeps a text log; [`Curves`] plots training. Both write an `.rrd` file or stream to a running
//! viewer, with a layout of their own, so that the file opens ready to look at.
//!
//! Frame `world`, metres, radians. All is logged on the timeline `time` (rollouts; seconds since the first episode began) or
//! `step` (training). Logging copies what it is given and may wait for a slow disk or viewer: call it from a thread of your own,
//! never from the servo.
//!
//! A file appears under its name only when [`Viewer::finish`] has written all of it.
//!
//! ```
//! # fn main() -> Result<(), reverie_rerun::Error> {
//! use reverie_rerun::{Level, Viewer, ViewerOptions};
//! use reverie_schema::{Stamp, scene::Scene};
//! # let folder = std::env::temp_dir().join(format!("reverie-rerun-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let file = folder.join("run.rrd");
//! let mut viewer = Viewer::to_file(&file, &Scene::default(), &ViewerOptions::default())?;
//! viewer.begin_episode("open_drawer", Stamp(0))?;
//! viewer.event(Stamp(1_000_000), Level::Info, "hello")?;
//! viewer.finish()?;
//! assert_eq!(&std::fs::read(&file).unwrap()[..4], b"RRF2");
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(()) }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blueprint;
mod body;
mod curves;
mod disk;
mod error;
mod layout;
mod path;
mod recording;
mod servo;
mod viewer;

pub use curves::{CurvePlot, Curves};
pub use error::Error;
pub use layout::MOST_PLOTS;
pub use recording::Written;
pub use servo::ServoPoint;
pub use viewer::{CALVIN_CAMERAS, Level, Plots, Viewer, ViewerOptions};
