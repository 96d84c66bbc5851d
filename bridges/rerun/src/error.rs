use std::path::PathBuf;

use thiserror::Error as ThisError;

/// Why nothing can be shown or recorded.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The recording can't be written; nothing is left of it.
    #[error("cannot write the recording {}: {reason}", path.display())]
    File {
        /// The file that was asked for.
        path: PathBuf,
        /// Why, in the operating system's words where it was the system.
        reason: String,
    },
    /// No viewer answers, or it went away.
    #[error("no rerun viewer at {url}: {reason}; start one with `rerun --bind 127.0.0.1`")]
    Viewer {
        /// Where it was looked for.
        url: String,
        /// What rerun said.
        reason: String,
    },
    /// Two bodies of the scene have one name, or one has none.
    #[error("scene body {index} is named {name:?}, which is empty or taken")]
    BodyName {
        /// Index in the scene.
        index: usize,
        /// The name.
        name: String,
    },
    /// The number of poses is not the scene's number of bodies.
    #[error("{got} poses for {expected} bodies")]
    PoseCount {
        /// Bodies of the scene.
        expected: usize,
        /// Poses given.
        got: usize,
    },
    /// An image's pixels are not its width times its height times three.
    #[error("camera {camera}: {got} bytes for an image of {expected}")]
    ImageSize {
        /// The camera.
        camera: String,
        /// Bytes that its size asks for.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Rerun refused what was logged.
    #[error("rerun refuses to log {entity}: {reason}")]
    Log {
        /// The entity.
        entity: String,
        /// What rerun said.
        reason: String,
    },
}
