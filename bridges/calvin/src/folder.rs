//! A split of the data set: which recordings and which frame files it has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::annotation::{self, Annotation};
use crate::error::Error;
use crate::frame::{self, CalvinFrame, ImageArray};
use crate::npz::Npz;
use crate::recording::{self, IDS_FILE, Recording};

/// A split's folder, `training` or `validation`, whose every listed frame has a file.
///
/// Reading takes `&self`: several threads may share it.
#[derive(Clone, Debug)]
pub struct CalvinFolder {
    path: PathBuf,
    digits: usize,
    recordings: Vec<Recording>,
}

impl CalvinFolder {
    /// Reads the lists of recordings and scenes, and the folder's file names; no frame is opened.
    ///
    /// # Errors
    /// A folder that is no split (for one that holds splits, the error names them), recordings that overlap, and frames of a
    /// recording without a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if !path.join(IDS_FILE).is_file() {
            return Err(Error::Folder { path: path.to_owned(), reason: what_is_it(path)? });
        }
        let recordings = recording::read(path)?;
        let files = FrameFiles::list(path)?;
        if files.ids.is_empty() {
            return Err(Error::Folder { path: path.to_owned(), reason: "it holds no episode_*.npz".to_owned() });
        }
        let folder = Self { path: path.to_owned(), digits: files.digits, recordings };
        folder.check_files(&files.ids)?;
        Ok(folder)
    }

    /// The recordings, sorted by their frames, which never overlap.
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// Frames of all recordings.
    pub fn frame_count(&self) -> usize {
        self.recordings.iter().map(Recording::frame_count).sum()
    }

    /// The image arrays of the first frame, sorted by name, with their sizes.
    ///
    /// # Errors
    /// An unreadable first frame.
    pub fn cameras(&self) -> Result<Vec<ImageArray>, Error> {
        let first = self.recordings.first().map_or(0, |recording| *recording.frames.start());
        frame::cameras(&mut Npz::open(self.frame_path(first))?)
    }

    /// Reads frame `id`: the state vectors, and of the images only these; others are not unpacked.
    ///
    /// # Errors
    /// A file that is missing or damaged, an array that is missing or of another size than asked for, a number that can't be.
    pub fn read_frame(&self, id: u32, images: &[ImageArray]) -> Result<CalvinFrame, Error> {
        frame::read(&mut Npz::open(self.frame_path(id))?, images)
    }

    /// The language annotations, in the file's order; empty if the folder has none.
    ///
    /// The file is a pickled Python object. It is read as data, nothing in it is executed.
    ///
    /// # Errors
    /// A file that is no such pickle, and an annotation outside of all recordings.
    pub fn annotations(&self) -> Result<Vec<Annotation>, Error> {
        annotation::read(&self.path, &self.recordings)
    }

    /// The file of frame `id`.
    pub fn frame_path(&self, id: u32) -> PathBuf {
        self.path.join(self.frame_name(id))
    }

    fn frame_name(&self, id: u32) -> String {
        format!("episode_{id:0digits$}.npz", digits = self.digits)
    }

    fn check_files(&self, ids: &[u32]) -> Result<(), Error> {
        for recording in &self.recordings {
            let (first, last) = (*recording.frames.start(), *recording.frames.end());
            let from = ids.partition_point(|&id| id < first);
            let present = &ids[from..ids.partition_point(|&id| id <= last)];
            if present.len() < recording.frame_count() {
                let gap = (first..).zip(present).find(|(expected, id)| expected != *id).map(|(expected, _)| expected);
                let missing = gap.unwrap_or_else(|| present.last().map_or(first, |last| last + 1));
                return Err(Error::Hole {
                    folder: self.path.clone(),
                    file: self.frame_name(missing),
                    missing: recording.frame_count() - present.len(),
                    frames: recording.frame_count(),
                    first,
                    last,
                });
            }
        }
        Ok(())
    }
}

/// Why a folder without a list of recordings is no split.
fn what_is_it(path: &Path) -> Result<String, Error> {
    let splits: Vec<_> = ["training", "validation"].iter().map(|split| path.join(split)).filter(|split| split.is_dir()).collect();
    let names: Vec<_> = splits.iter().map(|split| split.display().to_string()).collect();
    Ok(if !names.is_empty() {
        format!("it holds whole splits: give one of them, {}", names.join(" or "))
    } else if !path.exists() {
        "there is no such folder".to_owned()
    } else if !path.is_dir() {
        "it is no folder: give CALVIN's `training` or `validation` folder".to_owned()
    } else if FrameFiles::list(path)?.ids.is_empty() {
        format!("it is no split of CALVIN: neither {IDS_FILE} nor any episode_*.npz is in it")
    } else {
        format!("{IDS_FILE}, which lists the recordings, is missing: copy it from the download")
    })
}

/// The numbers in the folder's frame names, sorted, and how many digits they are written with.
struct FrameFiles {
    ids: Vec<u32>,
    digits: usize,
}

impl FrameFiles {
    fn list(path: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
        let mut files = Self { ids: Vec::new(), digits: 7 };
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("episode_")?.strip_suffix(".npz"));
            let Some((number, Ok(id))) = number.map(|number| (number, number.parse())) else { continue };
            if files.ids.is_empty() {
                files.digits = number.len();
            }
            if number.len() == files.digits {
                files.ids.push(id);
            }
        }
        files.ids.sort_unstable();
        Ok(files)
    }
}
