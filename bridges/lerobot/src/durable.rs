//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What a file is called until it is complete. LeRobot looks for `*.parquet` and known JSON names only.
const SUFFIX: &str = "partial";

/// The name of `path` until it is complete.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Whether this file was never completed.
pub(crate) fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == SUFFIX)
}

/// Opens the incomplete form of `path`, with the folders above it.
pub(crate) fn begin(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let partial = partial(path);
    File::create(&partial).map_err(Error::io("create", &partial))
}

/// Gives a file that is written its name, replacing an older one in one step.
///
/// The operating system keeps this when the process ends; only a power cut needs [`crate::Writer::sync`].
pub(crate) fn complete(path: &Path) -> Result<()> {
    let partial = partial(path);
    fs::rename(&partial, path).map_err(Error::io("rename", &partial))
}

/// Writes a small file as a whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = begin(path)?;
    file.write_all(bytes).map_err(Error::io("write", &partial(path)))?;
    complete(path)
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
