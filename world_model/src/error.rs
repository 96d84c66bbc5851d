use std::path::PathBuf;

use reverie_policy::PolicyError;
use thiserror::Error;

/// What can go wrong in this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorldModelError {
    /// From the policy, its files or its settings.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A setting that can't be used.
    #[error("{key} = {value}: {reason}")]
    Config {
        /// The key in its section.
        key: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        reason: String,
    },
    /// Data that can't be learned from.
    #[error("{0}")]
    Data(String),
    /// Two parts that were made for different things.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What is needed.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file that doesn't hold what it should.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An environment outside this crate failed.
    #[error("{0}")]
    Environment(String),
    /// A loss that is no number. The last saved state is as it was.
    #[error(
        "{what} is {loss} at update {update}; what was saved before is kept; begin anew with `--fresh` and a lower learning rate"
    )]
    Diverged {
        /// Which loss.
        what: &'static str,
        /// The update, from 0.
        update: u64,
        /// Its value.
        loss: f64,
    },
}

impl WorldModelError {
    pub(crate) fn config(key: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Config { key, value: value.to_string(), reason: reason.into() }
    }

    pub(crate) fn mismatch(what: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Mismatch { what, expected: expected.to_string(), got: got.to_string() }
    }

    pub(crate) fn file(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::File { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, WorldModelError>;
