//! Reverie's messages over zenoh.
//!
//! Two ends: [`RobotLink`] beside the robot (simulated or real) with its servo, [`PolicyLink`] in the process that decodes.
//! What crosses is the observation, the chunk, and a few orders; never the 1 kHz command.
//!
//! | key | sender | message | delivery |
//! |---|---|---|---|
//! | `reverie/<robot>/obs` | robot, 30 Hz | [`Observation`] | newest wins, may be dropped |
//! | `reverie/<robot>/chunk` | policy | [`ActionChunk`] | newest wins, may be dropped |
//! | `reverie/<robot>/status` | robot, 10 Hz | [`Status`] | newest wins, may be dropped |
//! | `reverie/<robot>/episode` | robot | [`EpisodeEvent`] | each one, the sender waits |
//! | `reverie/<robot>/control` | policy | [`Control`] | each one, the sender waits |
//! | `reverie/<robot>/alive/{robot,policy}/<id>` | both | liveliness token | gone when its process is |
//!
//! A payload is one MessagePack map with named fields, `schema_version` beside them (see [`wire`]). Numbers that skip tell of
//! messages that were dropped or overtaken ([`InboxCounts`]).
//!
//! Calls block; zenoh brings its own threads and no async runtime is needed. They must not be made from a tokio
//! `current_thread` runtime, where zenoh panics.
//!
//! ```
//! # fn main() -> Result<(), reverie_zenoh::Error> {
//! use reverie_zenoh::wire;
//! use reverie_schema::Control;
//! let bytes = wire::encode("reverie/panda/control", &Control::Stop { seq: 7 })?;
//! assert_eq!(wire::decode::<Control>("reverie/panda/control", &bytes)?, Control::Stop { seq: 7 });
//! # Ok(()) }
//! ```
//!
//! [`Observation`]: reverie_schema::Observation
//! [`ActionChunk`]: reverie_schema::ActionChunk
//! [`Status`]: reverie_schema::Status
//! [`EpisodeEvent`]: reverie_schema::EpisodeEvent
//! [`Control`]: reverie_schema::Control
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod error;
mod inbox;
mod link;
mod outbox;
mod presence;
mod session;
pub mod wire;

pub use config::{DEFAULT_ENDPOINT, LinkConfig};
pub use error::Error;
pub use inbox::{Inbox, InboxCounts};
pub use link::{PolicyLink, RobotLink};
pub use presence::Presence;
