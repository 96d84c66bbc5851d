//! Decoders turn a condition into a chunk by running a [`Denoiser`] down a list of [`ReverseStep`]s.
//!
//! Many independent episodes ("lanes") can be decoded together; on a robot there is one. A lane's noise comes from its own
//! stream, so a lane's result does not depend on the others beyond the rounding of a batched network.

mod cold;
mod config;
mod noise;
#[cfg(test)]
pub(crate) mod oracle;
mod rti;

pub use cold::Cold;
pub use config::{DdimSpacing, DecoderConfig, DiscreteTreatment};
pub use noise::NoiseSource;
pub use rti::{Rti, RtiConfig};

use serde::{Deserialize, Serialize};

use crate::error::{check_finite, check_length};
use crate::{Denoiser, PolicyError, ReverseStep};

/// What to decode.
#[derive(Clone, Copy, Debug)]
pub struct DecodeRequest<'a> {
    /// The conditions, `[lanes, n_cond]`.
    pub cond: &'a [f32],
    /// Number of lanes.
    pub lanes: usize,
    /// Rows of the previous chunk that were executed since it was decoded. A warm start shifts by it.
    pub rows_executed: usize,
}

/// How a chunk came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeStats {
    /// Network evaluations, counted once for all lanes.
    pub nfe: usize,
    /// Whether the previous chunk was the start.
    pub warm: bool,
}

/// What a decoder carries from tick to tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecoderSnapshot {
    /// The last clean normalised chunk of each lane, `[lanes, horizon, n_act]`; none before the first tick.
    pub guess: Option<Vec<f32>>,
}

/// Produces normalised chunks.
pub trait Decoder: Send {
    /// Decodes one chunk per lane into `chunk`, `[lanes, horizon, n_act]`, entries in `[-1, 1]`.
    ///
    /// # Errors
    /// Slices of wrong length, a network that fails, or one that returns NaN or infinity. After an error the decoder is
    /// as after [`reset`](Self::reset).
    fn decode(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError>;

    /// Forgets the previous chunk. Call at the beginning of every episode.
    fn reset(&mut self);

    /// Drops the lanes whose `keep` is false; the others move up in order. Shape: `[lanes]`.
    fn retain_lanes(&mut self, keep: &[bool]);

    /// The state that survives a tick.
    fn snapshot(&self) -> DecoderSnapshot;

    /// Puts a state back.
    fn restore(&mut self, snapshot: &DecoderSnapshot);
}

/// Working memory of a reverse chain; grows once.
#[derive(Debug, Default)]
struct Scratch {
    eps: Vec<f32>,
    z: Vec<f32>,
}

/// Checks every length that a decode depends on.
fn check_request(
    denoiser: &dyn Denoiser,
    request: &DecodeRequest<'_>,
    noise: &NoiseSource,
    chunk: &[f32],
) -> Result<(), PolicyError> {
    let shape = denoiser.shape();
    check_length("condition", request.lanes * shape.n_cond, request.cond.len())?;
    check_finite("condition", request.cond)?;
    check_length("noise source (lanes)", request.lanes, noise.lanes())?;
    check_length("chunk", request.lanes * shape.chunk_len(), chunk.len())
}

/// Runs `x` through `steps`, in place. The condition must be set.
fn run_chain(
    denoiser: &mut dyn Denoiser,
    steps: &[ReverseStep],
    noise: &mut NoiseSource,
    scratch: &mut Scratch,
    x: &mut [f32],
) -> Result<(), PolicyError> {
    scratch.eps.resize(x.len(), 0.0);
    scratch.z.resize(x.len(), 0.0);
    for step in steps {
        denoiser.predict_noise(x, step.label, &mut scratch.eps)?;
        for (x, &eps) in x.iter_mut().zip(&scratch.eps) {
            *x = step.mean(*x, eps);
        }
        if step.sigma > 0.0 {
            noise.fill(&mut scratch.z);
            for (x, &z) in x.iter_mut().zip(&scratch.z) {
                *x += step.sigma * z;
            }
        }
    }
    check_finite("decoded chunk", x)
}
