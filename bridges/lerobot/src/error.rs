use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;

/// Why a data set can't be written or read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: a full disk, a missing file, no permission.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `write`, `read`, `rename`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no `meta/info.json`, so this is no data set.
    #[error("{} holds no LeRobot data set: meta/info.json is missing", folder.display())]
    NotADataset {
        /// The folder.
        folder: PathBuf,
    },
    /// A data set is already there, or something else is.
    #[error("{} is not empty; append to the data set in it, or name a new folder", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// Another writer holds the data set.
    #[error("{} is being written by another process; wait until it ends", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The data set is of another version of the format.
    #[error("{}: codebase_version is {got:?}, this reads \"v3.0\"; convert it with lerobot's convert_dataset_v21_to_v30", path.display())]
    Version {
        /// `meta/info.json`.
        path: PathBuf,
        /// The version found.
        got: String,
    },
    /// A JSON file can't be understood.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column, or what is missing.
        reason: String,
    },
    /// A parquet file can't be understood: cut short, or damaged.
    #[error("{}: {reason}; the file is damaged or cut short", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// A parquet file lacks a column or holds it in another type.
    #[error("{}: column {column:?}: {reason}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value of a parquet file is not what it must be.
    #[error("{}: row {row}, column {column:?}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The row in the file, from 0.
        row: usize,
        /// The column.
        column: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Two files of the data set contradict each other.
    #[error("{}: {reason}", path.display())]
    Mismatch {
        /// The file that says otherwise than `meta/info.json`.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A feature can't be stored, or can't be read here.
    #[error("feature {feature:?}: {reason}")]
    Feature {
        /// The feature.
        feature: String,
        /// Why.
        reason: String,
    },
    /// The data set was recorded at another rate.
    #[error("{}: recorded at {got} frames per second, {expected} expected", path.display())]
    Fps {
        /// `meta/info.json`.
        path: PathBuf,
        /// The rate that the caller needs, Hz.
        expected: u32,
        /// The rate of the data set, Hz.
        got: u32,
    },
    /// A frame that was pushed doesn't fit the data set; it was not added.
    #[error("frame {frame}, feature {feature:?}: {reason}")]
    Frame {
        /// Index of the frame in its episode.
        frame: usize,
        /// The feature.
        feature: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An episode has no frame, so there is nothing to keep.
    #[error("episode {episode} has no frame; push at least one before it is finished")]
    EmptyEpisode {
        /// Index that the episode would have had.
        episode: usize,
    },
    /// A write failed earlier in this episode, which can't be finished any more.
    #[error("episode {episode} was lost when a write failed; discard it and record it again")]
    EpisodeLost {
        /// Index that the episode would have had.
        episode: usize,
    },
    /// No such episode.
    #[error("{} has {episodes} episodes, number {episode} was asked for", folder.display())]
    NoEpisode {
        /// The data set.
        folder: PathBuf,
        /// The index asked for.
        episode: usize,
        /// How many there are.
        episodes: usize,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |error| match error {
            // The writer wraps what the system said about the disk; it's no damage of the file.
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(source) => Self::Io { action: "write", path, source: *source },
                Err(other) => Self::Parquet { path, reason: other.to_string() },
            },
            other => Self::Parquet { path, reason: other.to_string() },
        }
    }

    pub(crate) fn arrow(path: &Path) -> impl FnOnce(arrow_schema::ArrowError) -> Self {
        let path = path.to_owned();
        move |error| Self::Parquet { path, reason: error.to_string() }
    }

    pub(crate) fn column(path: &Path, column: &str, reason: impl Into<String>) -> Self {
        Self::Column { path: path.to_owned(), column: column.to_owned(), reason: reason.into() }
    }

    pub(crate) fn mismatch(path: &Path, reason: impl Into<String>) -> Self {
        Self::Mismatch { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn feature(feature: &str, reason: impl Into<String>) -> Self {
        Self::Feature { feature: feature.to_owned(), reason: reason.into() }
    }
}
