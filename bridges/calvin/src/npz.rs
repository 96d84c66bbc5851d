//! Numpy's `.npz`: a zip of `.npy` files.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::error::Error;
use crate::npy::Array;

/// A frame of CALVIN with all its images is about 1 MB unpacked; beyond this, a file is damaged or hostile.
const MAX_BYTES: u64 = 64 << 20;

/// An open `.npz`, held in memory.
pub(crate) struct Npz {
    path: PathBuf,
    archive: ZipArchive<Cursor<Vec<u8>>>,
}

impl Npz {
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let bytes = read_file(&path, MAX_BYTES)?;
        if bytes.is_empty() {
            return Err(Error::Damaged { path, reason: "the file is empty".to_owned() });
        }
        let length = bytes.len();
        match ZipArchive::new(Cursor::new(bytes)) {
            Ok(archive) => Ok(Self { path, archive }),
            Err(error) => Err(Error::Damaged { path, reason: format!("it is no whole npz (a zip of {length} bytes): {error}") }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the arrays, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> =
            self.archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned())).collect();
        keys.sort_unstable();
        keys
    }

    /// Unpacks one array into `buffer` and hands it to `take`; the others stay packed.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        buffer: &mut Vec<u8>,
        take: impl FnOnce(&Path, Array<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let damaged = |path: &Path, reason| Error::DamagedArray { path: path.to_owned(), key: key.to_owned(), reason };
        let Some(index) = self.archive.index_for_name(&format!("{key}.npy")) else {
            return Err(Error::MissingArray { path: self.path.clone(), key: key.to_owned(), present: self.keys() });
        };
        let mut entry = self.archive.by_index(index).map_err(|error| damaged(&self.path, error.to_string()))?;
        buffer.clear();
        // To the end of the entry, where its checksum is compared.
        let read =
            entry.by_ref().take(MAX_BYTES + 1).read_to_end(buffer).map_err(|error| damaged(&self.path, error.to_string()))?;
        if read as u64 > MAX_BYTES {
            return Err(damaged(&self.path, format!("it unpacks to more than {MAX_BYTES} bytes")));
        }
        let array = Array::parse(buffer).map_err(|reason| damaged(&self.path, reason))?;
        take(&self.path, array)
    }
}

/// The whole file, if it is no larger than `limit`.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(limit)).unwrap_or(0) + 1);
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if read as u64 > limit {
        return Err(Error::Damaged { path: path.to_owned(), reason: format!("it is larger than {limit} bytes") });
    }
    Ok(bytes)
}
