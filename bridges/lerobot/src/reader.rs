use std::path::PathBuf;

use serde_json::Value;

use crate::column::Column;
use crate::episodes::{self, EpisodeRow};
use crate::error::{Error, Result};
use crate::frames::Frames;
use crate::info::Info;
use crate::layout::Layout;
use crate::spec::DatasetSpec;
use crate::stats::{self, FeatureStats};
use crate::{extras, tasks};

/// A data set on disk, ours or one that lerobot 0.4 wrote with images.
///
/// Only finished episodes are seen, those that `meta/info.json` counts.
pub struct Reader {
    layout: Layout,
    spec: DatasetSpec,
    rows: Vec<EpisodeRow>,
    /// Row of each episode's first frame in its data file.
    first_rows: Vec<usize>,
    episodes: Vec<EpisodeInfo>,
    tasks: Vec<String>,
    frames: usize,
}

/// What is known of an episode before its frames are read.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeInfo {
    /// Number of frames.
    pub length: usize,
    /// The tasks of its frames.
    pub tasks: Vec<String>,
    /// What the recorder kept beside it; nothing in the data sets of other programs.
    pub extra: Option<Value>,
}

/// The frames of an episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The task of each frame, an index into [`Reader::tasks`].
    pub tasks: Vec<usize>,
    /// One column for each feature, in the order of the spec.
    pub columns: Vec<Column>,
}

impl Reader {
    /// Opens a data set and checks its tables against one another; the frames are read later.
    ///
    /// # Errors
    /// [`Error::NotADataset`], [`Error::Version`], [`Error::Feature`] for a video, or what is wrong with which file and row.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let layout = Layout { folder: folder.into() };
        let (info, spec) = Info::read(&layout)?;
        let rows = episodes::read(&layout, info.total_episodes)?;
        let frames = rows.last().map_or(0, |row| row.from + row.length);
        if frames != info.total_frames {
            let reason = format!("total_frames is {}, the episodes have {frames}", info.total_frames);
            return Err(Error::mismatch(&layout.info(), reason));
        }
        let tasks = tasks::read(&layout.tasks(), info.total_tasks)?;
        let mut extras = extras::read(&layout.extras(), rows.len())?;
        let episodes = rows.iter().map(|row| EpisodeInfo {
            length: row.length,
            tasks: row.tasks.clone(),
            extra: extras.remove(&row.episode),
        });
        let mut first_rows = Vec::with_capacity(rows.len());
        let mut file_starts = (None, 0);
        for row in &rows {
            if file_starts.0 != Some(row.data) {
                file_starts = (Some(row.data), row.from);
            }
            first_rows.push(row.from - file_starts.1);
        }
        Ok(Self { episodes: episodes.collect(), layout, spec, rows, first_rows, tasks, frames })
    }

    /// What a frame holds.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// All episodes.
    pub fn episodes(&self) -> &[EpisodeInfo] {
        &self.episodes
    }

    /// Frames of all episodes.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// All task strings, by their index.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// Refuses a data set of another rate than `fps`, Hz.
    ///
    /// # Errors
    /// [`Error::Fps`].
    pub fn expect_fps(&self, fps: u32) -> Result<()> {
        if self.spec.fps == fps {
            Ok(())
        } else {
            Err(Error::Fps { path: self.layout.info(), expected: fps, got: self.spec.fps })
        }
    }

    /// `meta/reverie.json`, what the recorder said about the whole data set; nothing where the file is missing.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Io`].
    pub fn about(&self) -> Result<Option<Value>> {
        let path = self.layout.about();
        match std::fs::read(&path) {
            Ok(text) => {
                let value = serde_json::from_slice(&text).map_err(|e| Error::Json { path, reason: e.to_string() })?;
                Ok(Some(value))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    /// Statistics of all features and of LeRobot's index columns over the data set, from those of its episodes.
    ///
    /// # Errors
    /// What is wrong with which file of `meta/episodes`.
    pub fn stats(&self) -> Result<Vec<(String, FeatureStats)>> {
        let mut totals = Vec::new();
        episodes::read_stats(&self.layout, &self.spec, self.rows.len(), |episode| stats::merge_all(&mut totals, &episode))?;
        let names = episodes::features_with_stats(&self.spec).into_iter().map(|(name, _)| name.to_owned());
        Ok(names.zip(totals).collect())
    }

    /// The frames of an episode in blocks; `features` are positions in the spec, and only these are read.
    ///
    /// # Errors
    /// [`Error::NoEpisode`], or what is wrong with the file; what is wrong with a frame comes from the iterator, with its row.
    pub fn blocks(&self, episode: usize, features: &[usize]) -> Result<Frames> {
        let Some(row) = self.rows.get(episode) else {
            return Err(Error::NoEpisode { folder: self.layout.folder.clone(), episode, episodes: self.rows.len() });
        };
        if let Some(beyond) = features.iter().find(|i| **i >= self.spec.features.len()) {
            return Err(Error::feature(&beyond.to_string(), format!("the data set has {} features", self.spec.features.len())));
        }
        Frames::open(&self.layout, &self.spec, features, self.tasks.len(), row, self.first_rows[episode])
    }

    /// A whole episode with all its features, images decoded: memory for all its pixels.
    ///
    /// # Errors
    /// Those of [`Reader::blocks`] and of its frames.
    pub fn read_episode(&self, episode: usize) -> Result<Episode> {
        let all: Vec<usize> = (0..self.spec.features.len()).collect();
        let mut whole = Episode { tasks: Vec::new(), columns: self.spec.columns() };
        for block in self.blocks(episode, &all)? {
            let block = block?;
            whole.tasks.extend(block.tasks);
            for (column, part) in whole.columns.iter_mut().zip(&block.columns) {
                column.extend(part);
            }
        }
        Ok(whole)
    }
}
