//! An `.rrd` file that is whole or not there.
//!
//! Rerun's own file sink logs a full disk and goes on; this one keeps the first error for whoever asked for the file, and
//! writes under another name until the file is whole.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rerun::{
    external::{
        re_build_info::CrateVersion,
        re_log_encoding::{EncodeError, Encoder, EncodingOptions},
    },
    log::LogMsg,
    sink::{LogSink, SinkFlushError},
};

use crate::Error;

/// The file being written. Dropped before [`DiskFile::finish`], it leaves nothing.
pub(crate) struct DiskFile {
    path: PathBuf,
    partial: PathBuf,
    state: Mutex<State>,
}

enum State {
    Writing(Encoder<Box<dyn Write + Send>>),
    Failed(String),
    Finished,
}

/// Hands rerun's messages to the file.
pub(crate) struct DiskSink(pub(crate) Arc<DiskFile>);

impl DiskFile {
    pub(crate) fn create(path: &Path) -> Result<Arc<Self>, Error> {
        let refused = |reason: String| Error::File { path: path.to_owned(), reason };
        let Some(name) = path.file_name() else { return Err(refused("the path names no file".to_owned())) };
        if path.is_dir() {
            return Err(refused("it is a folder".to_owned()));
        }
        let partial = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        let file = File::create(&partial).map_err(|error| refused(error.to_string()))?;
        Self::write_to(path, partial, Box::new(file))
    }

    fn write_to(path: &Path, partial: PathBuf, write: Box<dyn Write + Send>) -> Result<Arc<Self>, Error> {
        let buffered: Box<dyn Write + Send> = Box::new(BufWriter::with_capacity(1 << 20, write));
        let state = match Encoder::new_eager(CrateVersion::LOCAL, EncodingOptions::PROTOBUF_COMPRESSED, buffered) {
            Ok(encoder) => State::Writing(encoder),
            Err(error) => State::Failed(error.to_string()),
        };
        let file = Self { path: path.to_owned(), partial, state: Mutex::new(state) };
        file.check()?;
        Ok(Arc::new(file))
    }

    /// The name that it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The first error so far, if there was one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &*self.lock() {
            State::Failed(reason) => Err(self.error(reason.clone())),
            State::Writing(_) | State::Finished => Ok(()),
        }
    }

    /// Writes the end, waits for the disk, and gives the file its name. Returns its size in bytes.
    pub(crate) fn finish(&self) -> Result<u64, Error> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Finished) {
            State::Writing(encoder) => close(encoder).map_err(|error| self.error(error.to_string()))?,
            State::Failed(reason) => return Err(self.error(reason)),
            State::Finished => return Err(self.error("it is finished already".to_owned())),
        }
        let publish = || {
            let file = File::open(&self.partial)?;
            file.sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            Ok(file.metadata()?.len())
        };
        publish().map_err(|error: std::io::Error| self.error(error.to_string()))
    }

    fn append(&self, message: &LogMsg) {
        let mut state = self.lock();
        if let State::Writing(encoder) = &mut *state
            && let Err(error) = encoder.append(message)
        {
            let failed = State::Failed(error.to_string());
            abandon(std::mem::replace(&mut *state, failed));
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::File { path: self.path.clone(), reason }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(mut encoder: Encoder<Box<dyn Write + Send>>) -> Result<(), EncodeError> {
    let written = encoder.finish().and_then(|()| encoder.flush_blocking());
    // Taking the writer out keeps the encoder's `Drop` from finishing a second time.
    drop(encoder.into_inner()?);
    written
}

fn abandon(state: State) {
    if let State::Writing(encoder) = state {
        drop(encoder.into_inner());
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        abandon(std::mem::replace(&mut *self.lock(), State::Finished));
        // After `finish` there is no such file any more.
        let _ = fs::remove_file(&self.partial);
    }
}

impl LogSink for DiskSink {
    fn send(&self, message: LogMsg) {
        self.0.append(&message);
    }

    fn flush_blocking(&self, _timeout: Duration) -> Result<(), SinkFlushError> {
        self.0.check().map_err(|error| SinkFlushError::failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rerun::{RecordingStreamBuilder, TextLog};

    use super::*;

    /// A disk with room for so many bytes.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let n = bytes.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record_on(room: usize, messages: usize) -> (Result<u64, Error>, PathBuf) {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("reverie-small-disk-{}-{room}.rrd", std::process::id()));
        let partial = path.with_extension("partial");
        File::create(&partial).unwrap();
        let file = DiskFile::write_to(&path, partial, Box::new(SmallDisk(room))).unwrap();
        let stream = RecordingStreamBuilder::new("test").buffered().unwrap();
        stream.set_sink(Box::new(DiskSink(Arc::clone(&file))));
        for i in 0..messages {
            stream.log("log", &TextLog::new(format!("message {i}"))).unwrap();
        }
        let _ = stream.flush_blocking();
        drop(stream);
        (file.finish(), path)
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing() {
        // The first is full at once, the others while the buffer is emptied at the end.
        for room in [0, 100, 2000] {
            let (result, path) = record_on(room, 500);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert!(!path.exists() && !path.with_extension("partial").exists(), "something is left with room {room}");
        }
    }

    #[test]
    fn with_room_enough_the_same_recording_is_written() {
        let (result, path) = record_on(usize::MAX, 500);
        result.unwrap();
        fs::remove_file(path).unwrap();
    }
}
