use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::ServoSample;

/// Longest time that is told apart, nanoseconds.
const HIGHEST_NS: u64 = 10_000_000_000;

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantilesUs {
    /// Median.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// How regularly the servo ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CadenceReport {
    /// Ticks run.
    pub ticks: u64,
    /// Ticks left out because the one before took too long or woke too late.
    pub skipped: u64,
    /// From the deadline to the moment the tick ran.
    pub lateness_us: QuantilesUs,
    /// From waking to having published.
    pub tick_us: QuantilesUs,
    /// Samples that the logger did not fetch in time.
    pub samples_dropped: u64,
}

/// Aggregates samples into a [`CadenceReport`]: the servo thread keeps one over its whole run, a reader of samples keeps its own
/// over any window (an episode, a row of a table).
///
/// All memory is taken by [`Cadence::new`]; recording allocates nothing. Values are kept to three digits.
#[derive(Clone, Debug)]
pub struct Cadence {
    lateness_ns: Histogram<u64>,
    tick_ns: Histogram<u64>,
    skipped: u64,
    dropped: u64,
    /// `tick` and `ticks_skipped` of the sample before.
    last: Option<(u64, u64)>,
}

impl Default for Cadence {
    fn default() -> Self {
        Self::new()
    }
}

impl Cadence {
    /// An empty window.
    pub fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("the bounds are constants in range");
        Self { lateness_ns: histogram(), tick_ns: histogram(), skipped: 0, dropped: 0, last: None }
    }

    /// Takes in a sample. Gaps in the tick numbers count as dropped samples, ticks skipped since the sample before as skipped.
    pub fn record(&mut self, sample: &ServoSample) {
        let first = if sample.tick == 1 { (0, 0) } else { (sample.tick.saturating_sub(1), sample.ticks_skipped) };
        let (tick, skipped) = self.last.filter(|last| last.0 < sample.tick).unwrap_or(first);
        self.dropped += sample.tick - tick - 1;
        self.skipped += sample.ticks_skipped.saturating_sub(skipped);
        self.last = Some((sample.tick, sample.ticks_skipped));
        self.lateness_ns.saturating_record(sample.lateness_ns.max(0) as u64);
        self.tick_ns.saturating_record(sample.tick_ns.max(0) as u64);
    }

    /// Begins a new window. The next sample is still compared with the last one for gaps.
    pub fn reset(&mut self) {
        self.lateness_ns.reset();
        self.tick_ns.reset();
        self.skipped = 0;
        self.dropped = 0;
    }

    /// Adds another window to this one.
    pub fn merge(&mut self, other: &Self) {
        self.lateness_ns.add(&other.lateness_ns).expect("both have the same bounds");
        self.tick_ns.add(&other.tick_ns).expect("both have the same bounds");
        self.skipped += other.skipped;
        self.dropped += other.dropped;
    }

    pub(crate) const fn note_dropped(&mut self) {
        self.dropped += 1;
    }

    /// The report of the window.
    pub fn report(&self) -> CadenceReport {
        CadenceReport {
            ticks: self.lateness_ns.len(),
            skipped: self.skipped,
            lateness_us: quantiles_us(&self.lateness_ns),
            tick_us: quantiles_us(&self.tick_ns),
            samples_dropped: self.dropped,
        }
    }
}

fn quantiles_us(ns: &Histogram<u64>) -> QuantilesUs {
    let us = |ns: u64| ns as f64 * 1e-3;
    QuantilesUs { p50: us(ns.value_at_quantile(0.5)), p99: us(ns.value_at_quantile(0.99)), max: us(ns.max()) }
}
