use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong in this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The engine's threads could not be started.
    #[error("cannot start a thread of the decode engine: {0}")]
    Threads(std::io::Error),
    /// A JSON file that doesn't hold what it should.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and key.
        source: serde_json::Error,
    },
    /// A file that is not a whole safetensors file.
    #[error("{}: truncated or no safetensors file: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The tensors are not those that the description was written for.
    #[error("{}: SHA-256 is {got}, policy.json says {expected}: the file is damaged or belongs to another checkpoint", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// The hash in the description.
        expected: String,
        /// The hash of the file.
        got: String,
    },
    /// A format that this version doesn't read.
    #[error("{}: format version {got}, this program reads {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that is read.
        expected: u32,
        /// The version found.
        got: u64,
    },
    /// A tensor that the network needs is not in the file.
    #[error("{}: tensor `{name}` is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor that the network doesn't have.
    #[error("{}: tensor `{name}` belongs to no layer of the network", path.display())]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of the wrong shape.
    #[error("{}: tensor `{name}` has shape {got:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape found.
        got: Vec<usize>,
    },
    /// A tensor of a type that is not read.
    #[error("{}: tensor `{name}` has type {got}, expected F32", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        got: String,
    },
    /// NaN or infinity in a stored tensor.
    #[error("{}: tensor `{name}`, entry {index} is {value}", path.display())]
    TensorNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Index in the flattened tensor.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// NaN or infinity in a value that is computed or handed over.
    #[error("{what}, entry {index} is {value}")]
    NotFinite {
        /// What it is.
        what: &'static str,
        /// Index in the flattened array.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// A slice of the wrong length.
    #[error("{what} has {got} entries, expected {expected}")]
    Length {
        /// What it is.
        what: &'static str,
        /// The length needed.
        expected: usize,
        /// The length found.
        got: usize,
    },
    /// A setting that can't be used.
    #[error("{key} = {value}: {reason}")]
    Config {
        /// The key, as in the configuration file.
        key: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        reason: String,
    },
    /// A draft was asked of a policy that has no drafter.
    #[error("this policy has no drafter, which a cold start from a draft needs; make one with `reverie train draft`")]
    NoDrafter,
    /// A task that the policy was not trained for.
    #[error("unknown task `{task}`; this policy knows {}", known.join(", "))]
    UnknownTask {
        /// The task asked for.
        task: String,
        /// The tasks of the checkpoint.
        known: Vec<String>,
    },
    /// Demonstrations that can't be trained on.
    #[error("demonstrations: {0}")]
    Data(String),
    /// Training produced a loss that is no number.
    #[error("training diverged: the loss of step {step} is {loss}; lower the learning rate")]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
    },
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl PolicyError {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn config(key: &'static str, value: impl std::fmt::Debug, reason: impl Into<String>) -> Self {
        Self::Config { key, value: format!("{value:?}"), reason: reason.into() }
    }
}

/// Fails unless `got == expected`.
pub(crate) fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), PolicyError> {
    if got == expected { Ok(()) } else { Err(PolicyError::Length { what, expected, got }) }
}

/// Fails on the first entry that is NaN or infinite.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<(), PolicyError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(PolicyError::NotFinite { what, index, value: values[index] }),
    }
}
