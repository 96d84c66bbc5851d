use std::path::Path;

use rerun::{Scalars, SeriesLines, TextLog, TimeColumn};

use crate::{
    Error, Level, Written, layout,
    layout::{LOG, STEP},
    recording::{At, Recording},
    servo::opaque,
};

const LOSS: &str = "train/loss";
const LEARNING_RATE: &str = "train/lr";
/// Points that are sent together.
const BATCH: usize = 100;

/// One step of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainPoint {
    /// Number of the step.
    pub step: u64,
    /// Loss of its batch.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

/// Training curves, over optimiser steps.
pub struct Curves {
    recording: Option<Recording>,
    pending: Vec<TrainPoint>,
}

impl Curves {
    /// Curves in the file `path`, under the recording name `name`.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be written.
    pub fn to_file(path: impl AsRef<Path>, name: &str) -> Result<Self, Error> {
        Self::begin(Recording::to_file(path.as_ref(), name, &layout::curves())?)
    }

    /// Curves in the viewer at `url` (`rerun+http://ADDRESS:PORT/proxy`).
    ///
    /// # Errors
    /// [`Error::Viewer`] if none answers within 5 s.
    pub fn connect(url: &str, name: &str) -> Result<Self, Error> {
        Self::begin(Recording::connect(url, name, &layout::curves())?)
    }

    /// Curves that nobody sees.
    pub fn disabled() -> Self {
        Self { recording: None, pending: Vec::new() }
    }

    fn begin(recording: Recording) -> Result<Self, Error> {
        for (entity, name, rgb) in [(LOSS, "loss", 0x66CCEE), (LEARNING_RATE, "learning rate", 0xCCBB44)] {
            let line = SeriesLines::new().with_names([name]).with_colors([opaque(rgb)]).with_widths([1.5]);
            recording.log_static(entity, &line)?;
        }
        Ok(Self { recording: Some(recording), pending: Vec::with_capacity(BATCH) })
    }

    /// Adds a point.
    ///
    /// # Errors
    /// [`Error::File`] once the file can't be written any more.
    pub fn point(&mut self, point: TrainPoint) -> Result<(), Error> {
        if self.recording.is_some() {
            self.pending.push(point);
            if self.pending.len() >= BATCH {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Adds a line to the text log.
    ///
    /// # Errors
    /// As [`Curves::point`].
    pub fn event(&mut self, step: u64, level: Level, text: &str) -> Result<(), Error> {
        let Some(recording) = &self.recording else { return Ok(()) };
        recording.log(LOG, At::Step(signed(step)), &TextLog::new(text).with_level(level.name()))
    }

    /// Writes what is left, and gives the file its name; nothing written where there is no file.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Viewer`] if something could not be written.
    pub fn finish(mut self) -> Result<Option<Written>, Error> {
        self.send()?;
        self.recording.take().map_or(Ok(None), Recording::finish)
    }

    fn send(&mut self) -> Result<(), Error> {
        let Some(recording) = &self.recording else { return Ok(()) };
        let points = std::mem::take(&mut self.pending);
        if points.is_empty() {
            return Ok(());
        }
        for (entity, value) in
            [(LOSS, (|point| point.loss) as fn(&TrainPoint) -> f64), (LEARNING_RATE, |point| point.learning_rate)]
        {
            let times = TimeColumn::new_sequence(STEP, points.iter().map(|point| signed(point.step)));
            recording.columns(entity, times, Scalars::new(points.iter().map(value)).columns_of_unit_batches())?;
        }
        Ok(())
    }
}

/// Steps fit: at a microsecond each, 2^63 of them take 290,000 years.
fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}
