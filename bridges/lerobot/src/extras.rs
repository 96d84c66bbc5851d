//! `meta/reverie.jsonl`: what the recorder wants to know of an episode beyond LeRobot's tables, one line for each episode.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// One line.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExtraLine {
    pub episode_index: usize,
    pub extra: Value,
}

/// The values of the first `episodes` episodes. A data set of another program has none; lines of an episode that was never
/// finished, whole or torn, are passed over.
pub(crate) fn read(path: &Path, episodes: usize) -> Result<HashMap<usize, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let mut extras = HashMap::new();
    for (row, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        match serde_json::from_slice::<ExtraLine>(line) {
            Ok(line) if line.episode_index < episodes => {
                extras.insert(line.episode_index, line.extra);
            }
            Ok(_) => {}
            Err(_) if !line.ends_with(b"\n") => {}
            Err(e) => return Err(Error::Json { path: path.to_owned(), reason: format!("line {}: {e}", row + 1) }),
        }
    }
    Ok(extras)
}
