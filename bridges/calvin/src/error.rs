use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::npy::Shape;

/// Why a CALVIN folder can't be read; each names the file, and the array, row or frame in it.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The folder is no CALVIN split.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it, and what to give instead.
        reason: String,
    },
    /// The operating system refuses the file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// The file is damaged, or is not what its name says.
    #[error("{}: {reason}; copy or download the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it breaks off.
        reason: String,
    },
    /// An array of a file is damaged.
    #[error("{}: array `{key}` is unreadable: {reason}; copy or download the file again", path.display())]
    DamagedArray {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
        /// Where it breaks off.
        reason: String,
    },
    /// The file lacks an array.
    #[error("{}: no array `{key}`; it holds {}", path.display(), present.join(", "))]
    MissingArray {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
        /// The arrays that are there.
        present: Vec<String>,
    },
    /// An array has another shape than CALVIN's, or than the same array in the first frame.
    #[error("{}: array `{key}` has shape {got}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        got: Shape,
    },
    /// An array has elements that this reader doesn't take.
    #[error("{}: array `{key}` has dtype {got}, expected {expected}", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
        /// What it should be, in numpy's spelling.
        expected: &'static str,
        /// What it is, in numpy's spelling.
        got: String,
    },
    /// A number that can't be.
    #[error("{}: `{key}[{index}]` is {value}, {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
        /// Index in the flattened array.
        index: usize,
        /// The number.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A row of `ep_start_end_ids.npy` or `ep_lens.npy` contradicts the others.
    #[error("{}: row {row}: {reason}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// Frames inside a recording have no file.
    #[error(
        "{}: no file {file}: {missing} of the {frames} frames of recording {first}-{last} are missing; download them again, or \
         take the recording out of ep_start_end_ids.npy",
        folder.display()
    )]
    Hole {
        /// The folder.
        folder: PathBuf,
        /// Name of the first missing file.
        file: String,
        /// Files missing in this recording.
        missing: usize,
        /// Frames that the recording should have.
        frames: usize,
        /// The recording's first frame.
        first: u32,
        /// The recording's last frame.
        last: u32,
    },
    /// A pickled Python object is unreadable, or not of the form that CALVIN writes.
    #[error("{}: {reason}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// `scene_info.npy` contradicts the recordings.
    #[error(
        "{}: scene `{scene}`: {reason}; early downloads carried a wrong scene_info.npy: take the corrected one, or remove the \
         file and the scenes stay unknown",
        path.display()
    )]
    Scene {
        /// The file.
        path: PathBuf,
        /// The key.
        scene: String,
        /// What is wrong.
        reason: String,
    },
    /// A language annotation can't be.
    #[error("{}: annotation {row}: {reason}", path.display())]
    Annotation {
        /// The file.
        path: PathBuf,
        /// The annotation, from 0.
        row: usize,
        /// What is wrong.
        reason: String,
    },
}
