//! Decoders turn a condition into a chunk by running a [`Denoiser`] down a list of reverse steps.
//!
//! One decoder serves one robot. All of them are a place to begin (noise, the last chunk, a draft), a list of
//! [`ReverseStep`](crate::ReverseStep)s, and options that they share:
//!
//! | module | |
//! |---|---|
//! | `config` | which decoder, by name, and RTI-DP with its deviations |
//! | `diffusion` | the decoder |
//! | [`chain`] | a list of steps as data, run on the host or by a backend |
//! | `inpaint` | holding the rows that are executed while decoding runs |
//! | `exit` | stopping when the rows to be executed have settled |
//! | `select` | best of several candidates |
//! | `memory` | what is carried from tick to tick; stalls |
//! | [`calibrate`] | RTI's labels from held-out plans |

pub mod calibrate;
pub mod chain;
mod config;
mod diffusion;
mod exit;
mod inpaint;
mod memory;
mod noise;
mod options;
#[cfg(test)]
pub(crate) mod oracle;
mod plan;
mod select;

pub use calibrate::RtiCalibration;
pub use chain::{Chain, ChainEnd, ChainScratch, Exit, Hold};
pub(crate) use config::check_labels;
pub use config::{ColdStart, DdimSpacing, DecoderConfig, DiscreteTreatment, Labels};
pub use exit::ExitConfig;
pub use inpaint::{Guide, GuideWhen, InpaintConfig};
pub use memory::StallConfig;
pub use noise::NoiseSource;
pub use options::DecodeOptions;
pub use reverie_schema::{DecodeStart, StopReason};
pub use select::{BestOfConfig, Choose, ChunkScorer};

use serde::{Deserialize, Serialize};

use crate::{Denoiser, PolicyError};

/// What to decode. A new chunk begins with the observation behind `cond`; rows are counted from there.
#[derive(Clone, Copy, Debug)]
pub struct DecodeRequest<'a> {
    /// The condition, `[n_cond]`.
    pub cond: &'a [f32],
    /// Rows of the previous chunk that were executed since it was decoded: the distance of the two chunks' first rows. The
    /// previous chunk is shifted by it.
    pub rows_executed: usize,
    /// First rows of the new chunk that will be executed from the previous plan, because they are over before this one is in
    /// force. In-painting holds them, early exit leaves them out. 0 without delay.
    pub rows_committed: usize,
    /// Rows after the committed ones that will be executed before the next plan: what early exit watches. 0 counts as 1.
    pub rows_needed: usize,
}

/// How a chunk came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeStats {
    /// Network evaluations, counted once for all candidates; a draft is one.
    pub nfe: usize,
    /// What the chain began from.
    pub start: DecodeStart,
    /// Why it stopped.
    pub stop: StopReason,
    /// Whether a usable previous chunk was left, after a stall or a jump.
    pub reinitialised: bool,
    /// Index of the candidate that was taken.
    pub chosen: usize,
}

/// What a decoder carries from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecoderSnapshot {
    /// The last clean normalised chunk, `[horizon, n_act]`; none before the first tick.
    pub previous: Option<Vec<f32>>,
    /// Plans in a row of which only rests were executed.
    pub stalled_plans: usize,
    /// Whether the last chunk jumped so far that the next tick starts anew.
    pub start_anew: bool,
}

/// Produces normalised chunks for one robot.
pub trait Decoder: Send {
    /// Decodes a chunk into `chunk`, `[horizon, n_act]`, entries in `[-1, 1]`. `noise` has [`candidates`](Self::candidates)
    /// streams. The noise drawn does not depend on where a chain stops.
    ///
    /// # Errors
    /// Slices of wrong length, a network that fails or returns NaN or infinity, a draft asked of a policy without drafter, a
    /// scorer that is missing or fails. After an error the decoder is as after [`reset`](Self::reset).
    fn decode(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError>;

    /// Chunks in a batch: the streams that the noise source needs.
    fn candidates(&self) -> usize;

    /// Plugs in who judges candidates, for [`Choose::Scorer`].
    fn set_scorer(&mut self, scorer: Box<dyn ChunkScorer>);

    /// Forgets the previous chunk. Call at the beginning of every episode.
    fn reset(&mut self);

    /// The state that survives a tick.
    fn snapshot(&self) -> DecoderSnapshot;

    /// Puts a state back.
    ///
    /// # Errors
    /// [`PolicyError::Length`] or [`PolicyError::NotFinite`] if it belongs to another network or is damaged.
    fn restore(&mut self, snapshot: &DecoderSnapshot) -> Result<(), PolicyError>;
}
