use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::column::{Column, FrameValue};
use crate::episodes::{self, EpisodeRow};
use crate::error::{Error, Result};
use crate::extras::ExtraLine;
use crate::info::{self, Info};
use crate::layout::{self, FileIndex, Layout};
use crate::open_episode::{OpenEpisode, Place};
use crate::spec::DatasetSpec;
use crate::stats::{self, FeatureStats};
use crate::{durable, tasks};

/// Records episodes into a data set.
///
/// An episode is kept when [`Writer::finish_episode`] returns: a process that ends at any moment leaves a data set that opens and
/// holds every finished episode ([`Writer::sync`] extends this to a power cut). For this each episode has files of its own,
/// complete before they get their names, and `meta/info.json`, which says how many episodes there are, is replaced last. What an
/// unfinished episode left is passed over by [`crate::Reader`] and removed by [`Writer::append`].
///
/// The same frames give the same bytes. Memory holds the numbers of the open episode and a few megabytes of its compressed
/// images.
pub struct Writer {
    layout: Layout,
    spec: DatasetSpec,
    info: Info,
    tasks: Vec<String>,
    stats: Vec<FeatureStats>,
    next_data: FileIndex,
    next_episodes: FileIndex,
    state: State,
    /// The folder, locked for as long as this is open.
    handle: File,
}

enum State {
    Idle,
    /// The task strings include those that the episode brought and that count only when it's finished.
    Recording {
        episode: Box<OpenEpisode>,
        tasks: Vec<String>,
    },
    Lost,
}

impl Writer {
    /// Starts a data set in a folder that is new or empty.
    ///
    /// # Errors
    /// [`Error::Occupied`] where something is in the folder, [`Error::Feature`] for a spec that LeRobot couldn't load.
    pub fn create(folder: impl Into<PathBuf>, spec: DatasetSpec) -> Result<Self> {
        spec.check_writable()?;
        let layout = Layout { folder: folder.into() };
        fs::create_dir_all(&layout.folder).map_err(Error::io("create", &layout.folder))?;
        let lock = lock(&layout.folder)?;
        // A `create` that was cut short leaves no more than an incomplete file.
        if layout::files_below(&layout.folder, 2)?.iter().any(|path| !durable::is_partial(path)) {
            return Err(Error::Occupied { folder: layout.folder });
        }
        let info = Info::new(&spec);
        info.write(&layout)?;
        Ok(Self {
            layout,
            spec,
            info,
            tasks: Vec::new(),
            stats: Vec::new(),
            next_data: FileIndex::FIRST,
            next_episodes: FileIndex::FIRST,
            state: State::Idle,
            handle: lock,
        })
    }

    /// Goes on with a data set, ours or one of lerobot 0.4, after removing what an unfinished episode left in it.
    ///
    /// # Errors
    /// [`Error::NotADataset`], or what [`crate::Reader::open`] would say of the data set's files.
    pub fn append(folder: impl Into<PathBuf>) -> Result<Self> {
        let layout = Layout { folder: folder.into() };
        if !layout.info().exists() {
            return Err(Error::NotADataset { folder: layout.folder });
        }
        let lock = lock(&layout.folder)?;
        let (info, spec) = Info::read(&layout)?;
        spec.check_writable()?;
        let rows = episodes::read(&layout, info.total_episodes)?;
        let tasks = tasks::read(&layout.tasks(), info.total_tasks)?;
        let after = |index: Option<FileIndex>| index.map_or(FileIndex::FIRST, |index| index.next(info.chunks_size));
        let next_data = after(rows.iter().map(|row| row.data).max());
        let next_episodes = after(rows.last().map(|row| row.file));
        let mut totals = Vec::new();
        episodes::read_stats(&layout, &spec, info.total_episodes, |episode| stats::merge_all(&mut totals, &episode))?;
        let writer =
            Self { layout, spec, info, tasks, stats: totals, next_data, next_episodes, state: State::Idle, handle: lock };
        writer.clean()?;
        Ok(writer)
    }

    /// Removes the traces of an unfinished episode, and brings the tables that were ahead of `info.json` back to it.
    fn clean(&self) -> Result<()> {
        let layout = &self.layout;
        for path in layout::files_below(&layout.folder, 4)?.iter().filter(|path| durable::is_partial(path)) {
            durable::remove(path)?;
        }
        for index in layout::numbered(&layout.data_folder())?.into_iter().filter(|i| *i >= self.next_data) {
            durable::remove(&layout.data(index))?;
        }
        for index in layout::numbered(&layout.episodes_folder())?.into_iter().filter(|i| *i >= self.next_episodes) {
            durable::remove(&layout.episodes(index))?;
        }
        if self.tasks.is_empty() {
            durable::remove(&layout.tasks())?;
        } else {
            tasks::write(&layout.tasks(), &self.tasks)?;
        }
        if self.stats.is_empty() {
            durable::remove(&layout.stats())?;
        } else {
            self.write_stats(&self.stats)?;
        }
        self.clean_extras()
    }

    fn clean_extras(&self) -> Result<()> {
        let path = self.layout.extras();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let mut keep = 0;
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).map_err(Error::io("read", &path))?;
            let whole = line.last() == Some(&b'\n');
            match serde_json::from_slice::<ExtraLine>(&line) {
                Ok(extra) if whole && extra.episode_index < self.info.total_episodes => keep += length as u64,
                _ => break,
            }
        }
        if keep == 0 {
            return durable::remove(&path);
        }
        file.set_len(keep).map_err(Error::io("write", &path))
    }

    /// What a frame holds.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// Finished episodes.
    pub fn episodes(&self) -> usize {
        self.info.total_episodes
    }

    /// Frames of the finished episodes.
    pub fn frames(&self) -> usize {
        self.info.total_frames
    }

    /// Frames of the episode that is being recorded.
    pub fn open_frames(&self) -> usize {
        if let State::Recording { episode, .. } = &self.state { episode.frames() } else { 0 }
    }

    /// Statistics of a feature over the finished episodes; nothing before the first.
    pub fn stats(&self, feature: &str) -> Option<&FeatureStats> {
        let position = episodes::features_with_stats(&self.spec).iter().position(|(name, _)| *name == feature)?;
        self.stats.get(position)
    }

    /// Writes `meta/reverie.json`, a value about the whole data set: its command, its commit, its configuration.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn describe(&self, about: &Value) -> Result<()> {
        info::write_json(&self.layout.about(), about)
    }

    /// Waits until the finished episodes are on the disk itself, so that a power cut can't take them.
    ///
    /// It syncs the whole file system, some ten milliseconds on an idle disk: call it after an episode on a robot, and once at
    /// the end where thousands are simulated.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        let synced = rustix::fs::syncfs(&self.handle).map_err(std::io::Error::from);
        #[cfg(not(target_os = "linux"))]
        let synced = self.handle.sync_all();
        synced.map_err(Error::io("sync", &self.layout.folder))
    }

    /// Adds a frame to the open episode, or begins one; `values` are in the order of the spec's features.
    ///
    /// # Errors
    /// [`Error::Frame`] for a value that doesn't fit or isn't finite: the frame is not added, the episode goes on.
    /// Anything else loses the episode, which must then be discarded.
    pub fn push(&mut self, task: &str, values: &[FrameValue]) -> Result<()> {
        self.check(task, values)?;
        if let State::Lost = self.state {
            return Err(Error::EpisodeLost { episode: self.episodes() });
        }
        let result = self.push_checked(task, values);
        if result.is_err() {
            self.lose();
        }
        result
    }

    fn check(&self, task: &str, values: &[FrameValue]) -> Result<()> {
        let wrong =
            |feature: &str, reason: String| Err(Error::Frame { frame: self.open_frames(), feature: feature.to_owned(), reason });
        if task.is_empty() {
            return wrong("task", "is empty; say what the robot is to do".into());
        }
        if values.len() != self.spec.features.len() {
            let missing = self.spec.features.get(values.len()).map_or("", |f| f.name.as_str());
            return wrong(missing, format!("{} values were given for {} features", values.len(), self.spec.features.len()));
        }
        for (feature, value) in self.spec.features.iter().zip(values) {
            if let Some(reason) = feature.objection(value) {
                return wrong(&feature.name, reason);
            }
        }
        Ok(())
    }

    fn push_checked(&mut self, task: &str, values: &[FrameValue]) -> Result<()> {
        if let State::Idle = self.state {
            let place = Place { episode: self.info.total_episodes, from: self.info.total_frames };
            let episode = OpenEpisode::create(self.layout.data(self.next_data), &self.spec, place)?;
            self.state = State::Recording { episode: Box::new(episode), tasks: self.tasks.clone() };
        }
        let State::Recording { episode, tasks } = &mut self.state else {
            unreachable!("an episode was just opened, and a lost one was refused");
        };
        let same = episode.last_task().filter(|last| tasks[*last] == task);
        let task = same.or_else(|| tasks.iter().position(|known| known == task)).unwrap_or_else(|| {
            tasks.push(task.to_owned());
            tasks.len() - 1
        });
        episode.push(&self.spec, task, values)
    }

    /// Completes the open episode and returns its index; it is on the disk then. `extra` is kept beside it for [`crate::Reader`].
    ///
    /// # Errors
    /// [`Error::EmptyEpisode`] without a frame; [`Error::Io`] for a full disk, with all earlier episodes kept and this one lost.
    pub fn finish_episode(&mut self, extra: &Value) -> Result<usize> {
        let episode_index = self.episodes();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Err(Error::EmptyEpisode { episode: episode_index }),
            State::Lost => {
                self.state = State::Lost;
                Err(Error::EpisodeLost { episode: episode_index })
            }
            State::Recording { episode, tasks } => {
                let committed = self.commit(*episode, tasks, extra);
                if committed.is_err() {
                    self.remove_unfinished();
                    // Where this fails too, the next `append` cleans up.
                    let _ = self.clean_extras();
                }
                committed.map(|()| episode_index)
            }
        }
    }

    /// The steps by which an episode becomes part of the data set; the last one, `info.json`, makes it so.
    fn commit(&mut self, episode: OpenEpisode, tasks: Vec<String>, extra: &Value) -> Result<()> {
        let row = EpisodeRow {
            episode: self.info.total_episodes,
            tasks: episode.distinct_tasks().into_iter().map(|i| tasks[i].clone()).collect(),
            length: episode.frames(),
            data: self.next_data,
            from: self.info.total_frames,
            file: self.next_episodes,
        };
        let episode_stats = episode.finish(&self.spec)?;
        episodes::write(&self.layout.episodes(row.file), &row, &self.spec, &episode_stats)?;
        if tasks.len() > self.tasks.len() {
            tasks::write(&self.layout.tasks(), &tasks)?;
        }
        self.append_extra(row.episode, extra)?;
        let mut totals = self.stats.clone();
        stats::merge_all(&mut totals, &episode_stats);
        self.write_stats(&totals)?;
        let info = self.info.with_episode(row.length, tasks.len());
        info.write(&self.layout)?;

        self.next_data = row.data.next(info.chunks_size);
        self.next_episodes = row.file.next(info.chunks_size);
        self.info = info;
        self.tasks = tasks;
        self.stats = totals;
        Ok(())
    }

    fn append_extra(&self, episode_index: usize, extra: &Value) -> Result<()> {
        let path = self.layout.extras();
        let mut line = serde_json::to_vec(&ExtraLine { episode_index, extra: extra.clone() })
            .map_err(|e| Error::Json { path: path.clone(), reason: e.to_string() })?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
        let before = file.metadata().map_err(Error::io("write", &path))?.len();
        let written = file.write_all(&line);
        written.map_err(|e| {
            // The next episode must not follow half a line. Where this fails too, `append` cleans up.
            let _ = file.set_len(before);
            Error::io("write", &path)(e)
        })
    }

    fn write_stats(&self, totals: &[FeatureStats]) -> Result<()> {
        let features = episodes::features_with_stats(&self.spec);
        info::write_json(&self.layout.stats(), &stats::Named { features: &features, stats: totals })
    }

    /// Drops the open episode, or one that was lost; the finished episodes stay.
    pub fn discard_episode(&mut self) {
        if !matches!(std::mem::replace(&mut self.state, State::Idle), State::Idle) {
            self.remove_unfinished();
        }
    }

    fn lose(&mut self) {
        self.state = State::Lost;
        self.remove_unfinished();
    }

    /// Gives the disk space of an unfinished episode back. Failures don't matter: its files are not part of the data set.
    fn remove_unfinished(&self) {
        let data = self.layout.data(self.next_data);
        let episodes = self.layout.episodes(self.next_episodes);
        for path in [durable::partial(&data), data, durable::partial(&episodes), episodes] {
            let _ = durable::remove(&path);
        }
    }

    /// Adds a whole episode: `tasks` has one entry, or one for each frame; `columns` are in the order of the spec's features.
    ///
    /// # Errors
    /// Those of [`Writer::push`] and [`Writer::finish_episode`]; the episode is then not kept.
    pub fn add_episode(&mut self, tasks: &[&str], columns: &[Column], extra: &Value) -> Result<usize> {
        self.discard_episode();
        let size = self.spec.features.first().map_or(1, |f| f.size());
        let frames = columns.first().map_or(0, |column| column.len() / size);
        let pushed = (0..frames).try_for_each(|frame| {
            let values = self.spec.features.iter().zip(columns).map_while(|(f, column)| column.frame(frame, f.size()));
            let values: Vec<FrameValue> = values.collect();
            let task = if tasks.len() == 1 { tasks[0] } else { tasks.get(frame).copied().unwrap_or_default() };
            self.push(task, &values)
        });
        if let Err(e) = pushed {
            self.discard_episode();
            return Err(e);
        }
        self.finish_episode(extra)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.discard_episode();
        // Closing alone is not enough: a process that another thread has just forked holds the lock as well until it executes its
        // program.
        let _ = self.handle.unlock();
    }
}

/// Takes the data set for one writer; the lock goes with the process.
fn lock(folder: &Path) -> Result<File> {
    let handle = File::open(folder).map_err(Error::io("open", folder))?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { folder: folder.to_owned() }),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", folder)(e)),
    }
}
