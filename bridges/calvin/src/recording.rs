//! The continuous recordings of a folder, and the scene of each.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::error::Error;
use crate::npy::Array;
use crate::npz::read_file;
use crate::object::{pair, text, with_dict};

pub(crate) const IDS_FILE: &str = "ep_start_end_ids.npy";
const LENS_FILE: &str = "ep_lens.npy";
const SCENES_FILE: &str = "scene_info.npy";
/// Ids and lengths of every recording of CALVIN are a few kilobytes.
const MAX_BYTES: u64 = 64 << 20;

/// A stretch of frames without a break, 30 a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Numbers of the first and the last frame.
    pub frames: RangeInclusive<u32>,
    /// The scene's letter, `'A'` to `'D'`, where `scene_info.npy` tells.
    pub scene: Option<char>,
}

impl Recording {
    /// Number of frames.
    pub fn frame_count(&self) -> usize {
        (self.frames.end() - self.frames.start()) as usize + 1
    }
}

/// Reads and checks the recordings, sorted by their frames: the splits that CALVIN's own script draws are in random order.
pub(crate) fn read(folder: &Path) -> Result<Vec<Recording>, Error> {
    let path = folder.join(IDS_FILE);
    let ids = whole_numbers(&path, |shape| matches!(shape, [_, 2]), "(recordings, 2)")?;
    let (pairs, _) = ids.as_chunks::<2>();
    let failed = |row, reason| Error::Recording { path: path.clone(), row, reason };
    let mut rows = Vec::with_capacity(pairs.len());
    for (row, &[first, last]) in pairs.iter().enumerate() {
        let (Ok(start), Ok(end)) = (u32::try_from(first), u32::try_from(last)) else {
            return Err(failed(row, format!("{first}-{last} are no frame numbers")));
        };
        if start > end {
            return Err(failed(row, format!("the recording ends at frame {end}, before it begins at {start}")));
        }
        rows.push((row, start..=end));
    }
    if rows.is_empty() {
        return Err(Error::Folder { path, reason: "it lists no recording".to_owned() });
    }
    check_lengths(folder, &rows)?;
    rows.sort_by_key(|(_, frames)| *frames.start());
    for pair in rows.windows(2) {
        let [(earlier, before), (row, frames)] = pair else { continue };
        if frames.start() <= before.end() {
            let (first, last) = (frames.start(), frames.end());
            let reason = format!("frames {first}-{last} overlap {}-{} of row {earlier}", before.start(), before.end());
            return Err(failed(*row, reason));
        }
    }
    let mut recordings: Vec<_> = rows.into_iter().map(|(_, frames)| Recording { frames, scene: None }).collect();
    set_scenes(&folder.join(SCENES_FILE), &mut recordings)?;
    Ok(recordings)
}

/// `ep_lens.npy` says the same again; CALVIN's loaders never read it, so that it may be absent.
fn check_lengths(folder: &Path, rows: &[(usize, RangeInclusive<u32>)]) -> Result<(), Error> {
    let path = folder.join(LENS_FILE);
    if !path.exists() {
        return Ok(());
    }
    let lengths = whole_numbers(&path, |shape| matches!(shape, [_]), "(recordings,)")?;
    let advice = format!("only {IDS_FILE} is needed: remove {LENS_FILE} if that one is right");
    if lengths.len() != rows.len() {
        let reason = format!("{} rows here, {} in {IDS_FILE}; {advice}", lengths.len(), rows.len());
        return Err(Error::Recording { path, row: lengths.len().min(rows.len()), reason });
    }
    for ((row, frames), &length) in rows.iter().zip(&lengths) {
        let expected = i64::from(*frames.end()) - i64::from(*frames.start()) + 1;
        if length != expected {
            let reason = format!("{length} frames here, {expected} by {IDS_FILE}; {advice}");
            return Err(Error::Recording { path, row: *row, reason });
        }
    }
    Ok(())
}

fn whole_numbers(path: &Path, is_right: impl Fn(&[usize]) -> bool, expected: &str) -> Result<Vec<i64>, Error> {
    let bytes = read_file(path, MAX_BYTES)?;
    let array = Array::parse(&bytes).map_err(|reason| Error::Damaged { path: path.to_owned(), reason })?;
    let key = || path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !is_right(&array.shape.0) {
        return Err(Error::Shape { path: path.to_owned(), key: key(), expected: expected.to_owned(), got: array.shape });
    }
    array.i64s().ok_or_else(|| Error::Dtype {
        path: path.to_owned(),
        key: key(),
        expected: "int64",
        got: array.dtype.name().to_owned(),
    })
}

/// `{"calvin_scene_D": [first, last], ...}`.
fn set_scenes(path: &Path, recordings: &mut [Recording]) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    for (name, first, last) in scene_ranges(path)? {
        let failed = |reason| Error::Scene { path: path.to_owned(), scene: name.clone(), reason };
        let letter = name.strip_prefix("calvin_scene_").and_then(|letter| match letter.as_bytes() {
            &[letter @ b'A'..=b'D'] => Some(char::from(letter)),
            _ => None,
        });
        let letter = letter.ok_or_else(|| failed("it is none of calvin_scene_A to calvin_scene_D".to_owned()))?;
        for recording in &mut *recordings {
            let (start, end) = (i64::from(*recording.frames.start()), i64::from(*recording.frames.end()));
            if end < first || last < start {
                continue;
            }
            if start < first || last < end {
                return Err(failed(format!("frames {first}-{last} hold a part of recording {start}-{end}")));
            }
            if let Some(other) = recording.scene.replace(letter) {
                return Err(failed(format!("recording {start}-{end} is in scene {other}, too")));
            }
        }
    }
    Ok(())
}

fn scene_ranges(path: &Path) -> Result<Vec<(String, i64, i64)>, Error> {
    use crate::pickle::Node;
    with_dict(path, |pickle, dict| {
        let Node::Dict(entries) = pickle.node(dict) else { return Ok(Vec::new()) };
        let read = |&(key, value)| {
            let (first, last) = pair(pickle, value)?;
            Some((text(pickle, key)?.to_owned(), first, last))
        };
        let ranges: Option<Vec<_>> = entries.iter().map(read).collect();
        ranges.ok_or_else(|| Error::Pickle {
            path: path.to_owned(),
            reason: "it is no dict of scene names and pairs of frame numbers".to_owned(),
        })
    })
}
