//! What CALVIN's automatic annotation says about stretches of the play data.

use std::ops::Range;
use std::path::Path;

use crate::error::Error;
use crate::object::{pair, text, with_dict};
use crate::pickle::{Id, Pickle};
use crate::recording::Recording;

/// A stretch in which one task was done, and an English phrase for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The frames, the end not included: CALVIN writes `(start, start + window)`.
    pub frames: Range<u32>,
    /// The task, for example `open_drawer`.
    pub task: String,
    /// The phrase, for example `pull the handle to open the drawer`.
    pub text: String,
}

/// `lang_annotations/auto_lang_ann.npy`, or where CALVIN's loader looks next; no file, no annotations.
pub(crate) fn read(folder: &Path, recordings: &[Recording]) -> Result<Vec<Annotation>, Error> {
    let candidates = ["lang_annotations/auto_lang_ann.npy", "auto_lang_ann.npy"].map(|name| folder.join(name));
    let Some(path) = candidates.iter().find(|path| path.exists()) else { return Ok(Vec::new()) };
    with_dict(path, |pickle, dict| {
        let columns = Columns::find(path, pickle, dict)?;
        (0..columns.frames.len()).map(|row| columns.read(path, pickle, recordings, row)).collect()
    })
}

struct Columns<'p> {
    frames: &'p [Id],
    tasks: &'p [Id],
    texts: &'p [Id],
}

impl<'p> Columns<'p> {
    /// `{"language": {"ann": [..], "task": [..], ..}, "info": {"indx": [(start, end), ..], ..}}`.
    fn find(path: &Path, pickle: &'p Pickle<'_>, dict: Id) -> Result<Self, Error> {
        let failed = |reason| Error::Pickle { path: path.to_owned(), reason };
        let list = |outer, inner| {
            let list = pickle.get(dict, outer).and_then(|group| pickle.get(group, inner)).and_then(|list| pickle.elements(list));
            list.ok_or_else(|| failed(format!("its dict has no list [\"{outer}\"][\"{inner}\"]")))
        };
        let columns = Self { frames: list("info", "indx")?, tasks: list("language", "task")?, texts: list("language", "ann")? };
        let (frames, tasks, texts) = (columns.frames.len(), columns.tasks.len(), columns.texts.len());
        if frames != tasks || frames != texts {
            return Err(failed(format!("{frames} frame ranges, {tasks} tasks and {texts} phrases do not belong together")));
        }
        Ok(columns)
    }

    fn read(&self, path: &Path, pickle: &Pickle<'_>, recordings: &[Recording], row: usize) -> Result<Annotation, Error> {
        let failed = |reason: String| Error::Annotation { path: path.to_owned(), row, reason };
        let (start, end) =
            pair(pickle, self.frames[row]).ok_or_else(|| failed("its frames are no pair of numbers".to_owned()))?;
        let task = text(pickle, self.tasks[row]).ok_or_else(|| failed("its task is no text".to_owned()))?;
        let phrase = text(pickle, self.texts[row]).ok_or_else(|| failed("its phrase is no text".to_owned()))?;
        let outside = || failed(format!("frames {start} to {end} (not included) lie in no recording"));
        let (Ok(from), Ok(to)) = (u32::try_from(start), u32::try_from(end)) else { return Err(outside()) };
        if from >= to
            || !recordings.iter().any(|recording| recording.frames.contains(&from) && recording.frames.contains(&(to - 1)))
        {
            return Err(outside());
        }
        Ok(Annotation { frames: from..to, task: task.to_owned(), text: phrase.to_owned() })
    }
}
