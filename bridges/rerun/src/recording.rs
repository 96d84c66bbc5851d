use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rerun::{
    AsComponents, EntityPath, RecordingStream, RecordingStreamBuilder, SerializationResult, SerializedComponentColumn, TimeCell,
    TimeColumn, log::ChunkBatcherConfig, sink::SinkFlushError,
};

use crate::{
    Error,
    blueprint::Layout,
    disk::{DiskFile, DiskSink},
    layout::{STEP, TIME},
};

/// How long a viewer has to answer.
const VIEWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A file needs no freshness, and every chunk costs some 2 kB; so rows are gathered for this long.
const FILE_FLUSH_TICK: Duration = Duration::from_secs(10);

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// A stream of our own and where it goes.
pub(crate) struct Recording {
    stream: RecordingStream,
    target: Target,
}

enum Target {
    File(Arc<DiskFile>),
    Viewer(String),
}

impl Recording {
    pub(crate) fn to_file(path: &Path, name: &str, layout: &Layout) -> Result<Self, Error> {
        let file = DiskFile::create(path)?;
        let batches = ChunkBatcherConfig { flush_tick: FILE_FLUSH_TICK, ..ChunkBatcherConfig::DEFAULT };
        let stream = builder(name)
            .batcher_config(batches)
            .buffered()
            .map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })?;
        stream.set_sink(Box::new(DiskSink(Arc::clone(&file))));
        Self { stream, target: Target::File(file) }.begin(layout)
    }

    pub(crate) fn connect(url: &str, name: &str, layout: &Layout) -> Result<Self, Error> {
        let refused = |reason: String| Error::Viewer { url: url.to_owned(), reason };
        let stream = builder(name).connect_grpc_opts(url).map_err(|error| refused(error.to_string()))?;
        let recording = Self { stream, target: Target::Viewer(url.to_owned()) }.begin(layout)?;
        recording.flush_to_viewer(url)?;
        Ok(recording)
    }

    fn begin(self, layout: &Layout) -> Result<Self, Error> {
        // The wall clock would be one more time axis, and no two recordings would be alike.
        self.stream.set_log_time_enabled(false);
        layout.send(&self.stream)?;
        self.check()?;
        Ok(self)
    }

    /// Whether somebody watches while it happens.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.target, Target::Viewer(_))
    }

    pub(crate) fn log_static(&self, entity: impl Into<EntityPath>, what: &dyn AsComponents) -> Result<(), Error> {
        let entity = entity.into();
        self.stream.log_static(entity.clone(), what).map_err(|error| refused(&entity, &error))?;
        self.check()
    }

    /// Logs at a moment.
    pub(crate) fn log(&self, entity: impl Into<EntityPath>, at: At, what: &dyn AsComponents) -> Result<(), Error> {
        let entity = entity.into();
        match at {
            At::Time { nanos } => self.stream.set_time(TIME, TimeCell::from_duration_nanos(nanos)),
            At::Step(step) => self.stream.set_time_sequence(STEP, step),
        }
        self.stream.log(entity.clone(), what).map_err(|error| refused(&entity, &error))?;
        self.check()
    }

    pub(crate) fn columns(
        &self,
        entity: &str,
        times: TimeColumn,
        columns: SerializationResult<impl Iterator<Item = SerializedComponentColumn>>,
    ) -> Result<(), Error> {
        let entity = EntityPath::from(entity);
        let columns = columns.map_err(|error| refused(&entity, &error))?;
        self.stream.send_columns(entity.clone(), [times], columns).map_err(|error| refused(&entity, &error))?;
        self.check()
    }

    /// Sends what is left; a file is given its name.
    pub(crate) fn finish(self) -> Result<Option<Written>, Error> {
        match self.target {
            Target::File(ref file) => {
                // A failure to flush is the file's failure, which the file tells better.
                let _ = self.stream.flush_blocking();
                let bytes = file.finish()?;
                Ok(Some(Written { path: file.path().to_owned(), bytes }))
            }
            Target::Viewer(ref url) => self.flush_to_viewer(url).map(|()| None),
        }
    }

    fn flush_to_viewer(&self, url: &str) -> Result<(), Error> {
        self.stream.flush_with_timeout(VIEWER_TIMEOUT).map_err(|error| {
            let reason = match error {
                SinkFlushError::Timeout => format!("no answer within {} s", VIEWER_TIMEOUT.as_secs()),
                SinkFlushError::Failed { message } => message,
            };
            Error::Viewer { url: url.to_owned(), reason }
        })
    }

    fn check(&self) -> Result<(), Error> {
        match &self.target {
            Target::File(file) => file.check(),
            Target::Viewer(_) => Ok(()),
        }
    }
}

/// A moment on one of the timelines.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// On [`TIME`].
    Time { nanos: i64 },
    /// On [`STEP`].
    Step(i64),
}

fn builder(name: &str) -> RecordingStreamBuilder {
    // `RERUN=off` in the environment is for programs that log always; here somebody asked for it.
    RecordingStreamBuilder::new(crate::blueprint::APPLICATION_ID).recording_name(name).enabled(true)
}

fn refused(entity: &EntityPath, reason: &dyn std::fmt::Display) -> Error {
    Error::Log { entity: entity.to_string(), reason: reason.to_string() }
}
