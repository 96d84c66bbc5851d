use std::path::Path;

use rerun::{Scalars, SeriesLines, TextLog, TimeColumn};

use crate::{
    Error, Level, Written, layout,
    layout::{LOG, STEP},
    recording::{At, Recording},
    servo::opaque,
};

/// Points that are sent together.
const BATCH: usize = 100;

/// A plot with its lines: name and colour (0xRRGGBB) of each.
#[derive(Clone, Copy, Debug)]
pub struct CurvePlot {
    /// What stands above it.
    pub title: &'static str,
    /// Its lines.
    pub lines: &'static [(&'static str, u32)],
}

/// Training curves, over steps.
pub struct Curves {
    recording: Option<Recording>,
    plots: &'static [CurvePlot],
    pending: Vec<(u64, Vec<f64>)>,
    batch: usize,
}

impl Curves {
    /// Curves in the file `path`, under the recording name `name`; at most [`MOST_PLOTS`](crate::MOST_PLOTS) plots.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be written.
    pub fn to_file(path: impl AsRef<Path>, name: &str, plots: &'static [CurvePlot]) -> Result<Self, Error> {
        Self::begin(Recording::to_file(path.as_ref(), name, &layout::curves(plots))?, plots, BATCH)
    }

    /// Curves in the viewer at `url` (`rerun+http://ADDRESS:PORT/proxy`).
    ///
    /// # Errors
    /// [`Error::Viewer`] if none answers within 5 s.
    pub fn connect(url: &str, name: &str, plots: &'static [CurvePlot]) -> Result<Self, Error> {
        // Somebody is watching: nothing waits.
        Self::begin(Recording::connect(url, name, &layout::curves(plots))?, plots, 1)
    }

    /// Curves that nobody sees.
    pub fn disabled() -> Self {
        Self { recording: None, plots: &[], pending: Vec::new(), batch: BATCH }
    }

    fn begin(recording: Recording, plots: &'static [CurvePlot], batch: usize) -> Result<Self, Error> {
        for (entity, name, rgb) in lines(plots) {
            let line = SeriesLines::new().with_names([name]).with_colors([opaque(rgb)]).with_widths([1.5]);
            recording.log_static(entity.as_str(), &line)?;
        }
        Ok(Self { recording: Some(recording), plots, pending: Vec::with_capacity(batch), batch })
    }

    /// Adds the values of all lines, plot by plot, at `step`; NaN where there is none.
    ///
    /// # Errors
    /// [`Error::File`] once the file can't be written any more.
    pub fn point(&mut self, step: u64, values: &[f64]) -> Result<(), Error> {
        if self.recording.is_some() {
            self.pending.push((step, values.to_vec()));
            if self.pending.len() >= self.batch {
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
        for (index, (entity, ..)) in lines(self.plots).enumerate() {
            let known = points.iter().filter_map(|(step, values)| values.get(index).filter(|v| !v.is_nan()).map(|v| (*step, *v)));
            let (steps, values): (Vec<u64>, Vec<f64>) = known.unzip();
            if steps.is_empty() {
                continue;
            }
            let times = TimeColumn::new_sequence(STEP, steps.into_iter().map(signed));
            recording.columns(&entity, times, Scalars::new(values).columns_of_unit_batches())?;
        }
        Ok(())
    }
}

/// Entity, name and colour of every line.
fn lines(plots: &'static [CurvePlot]) -> impl Iterator<Item = (String, &'static str, u32)> {
    plots.iter().zip(layout::CURVE_ORIGINS).flat_map(|(plot, origin)| {
        plot.lines.iter().map(move |(name, rgb)| (format!("{origin}/{}", name.replace(' ', "_")), *name, *rgb))
    })
}

/// Steps fit: at a microsecond each, 2^63 of them take 290,000 years.
fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}
