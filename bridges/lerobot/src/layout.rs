//! Where LeRobotDataset v3.0 keeps its files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// LeRobot's `chunks_size`: files in a folder.
pub(crate) const CHUNK_SIZE: usize = 1000;

/// Place of a numbered parquet file: `chunk-CCC/file-FFF.parquet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileIndex {
    pub chunk: usize,
    pub file: usize,
}

impl FileIndex {
    pub(crate) const FIRST: Self = Self { chunk: 0, file: 0 };

    /// The file after this one.
    pub(crate) fn next(self, chunk_size: usize) -> Self {
        if self.file + 1 >= chunk_size {
            Self { chunk: self.chunk + 1, file: 0 }
        } else {
            Self { chunk: self.chunk, file: self.file + 1 }
        }
    }

    fn in_folder(self, folder: &Path) -> PathBuf {
        folder.join(format!("chunk-{:03}", self.chunk)).join(format!("file-{:03}.parquet", self.file))
    }

    fn parse(path: &Path) -> Option<Self> {
        if path.extension()? != "parquet" {
            return None;
        }
        let file = path.file_stem()?.to_str()?.strip_prefix("file-")?.parse().ok()?;
        let chunk = path.parent()?.file_name()?.to_str()?.strip_prefix("chunk-")?.parse().ok()?;
        Some(Self { chunk, file })
    }
}

/// The folder of a data set.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub folder: PathBuf,
}

impl Layout {
    pub(crate) fn info(&self) -> PathBuf {
        self.folder.join("meta/info.json")
    }
    pub(crate) fn stats(&self) -> PathBuf {
        self.folder.join("meta/stats.json")
    }
    pub(crate) fn tasks(&self) -> PathBuf {
        self.folder.join("meta/tasks.parquet")
    }
    /// Ours: one line of JSON for each episode.
    pub(crate) fn extras(&self) -> PathBuf {
        self.folder.join("meta/reverie.jsonl")
    }
    /// Ours: one JSON value for the data set.
    pub(crate) fn about(&self) -> PathBuf {
        self.folder.join("meta/reverie.json")
    }
    pub(crate) fn data(&self, index: FileIndex) -> PathBuf {
        index.in_folder(&self.data_folder())
    }
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }
    pub(crate) fn episodes(&self, index: FileIndex) -> PathBuf {
        index.in_folder(&self.episodes_folder())
    }
    pub(crate) fn episodes_folder(&self) -> PathBuf {
        self.folder.join("meta/episodes")
    }
}

/// The numbered parquet files of `folder`, in order; none where there is no folder.
pub(crate) fn numbered(folder: &Path) -> Result<Vec<FileIndex>> {
    let mut found: Vec<FileIndex> = files_below(folder, 2)?.iter().filter_map(|p| FileIndex::parse(p)).collect();
    found.sort_unstable();
    Ok(found)
}

/// All files in `folder`, down to `depth` levels; none where there is no folder.
pub(crate) fn files_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if !path.is_dir() {
            files.push(path);
        } else if depth > 1 {
            files.extend(files_below(&path, depth - 1)?);
        }
    }
    Ok(files)
}
