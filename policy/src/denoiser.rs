use crate::PolicyError;
use crate::decode::chain::{Chain, ChainEnd, ChainScratch, run_on_host};

/// Sizes that a network and its decoder share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyShape {
    /// Rows of a chunk.
    pub horizon: usize,
    /// Entries of a row.
    pub n_act: usize,
    /// Entries of the condition.
    pub n_cond: usize,
}

impl PolicyShape {
    /// Entries of a chunk, `horizon * n_act`.
    pub const fn chunk_len(&self) -> usize {
        self.horizon * self.n_act
    }
}

/// A network that predicts the noise in a normalised chunk. Every backend (libtorch, CPU engine) is one.
pub trait Denoiser: Send {
    /// Its sizes.
    fn shape(&self) -> PolicyShape;

    /// Sets the condition of the evaluations that follow. `cond`: `[batch, n_cond]`.
    ///
    /// # Errors
    /// [`PolicyError::Length`] if `cond` doesn't hold `batch` rows.
    fn condition(&mut self, cond: &[f32], batch: usize) -> Result<(), PolicyError>;

    /// Writes the noise predicted in `x` at noise level `label`. `x`, `eps`: `[batch, horizon, n_act]` with the batch of the
    /// last [`condition`](Self::condition).
    ///
    /// # Errors
    /// [`PolicyError::Length`] if a slice doesn't fit the batch.
    fn predict_noise(&mut self, x: &[f32], label: usize, eps: &mut [f32]) -> Result<(), PolicyError>;

    /// A tick's evaluations are over: threads that spin between evaluations may sleep. Decoders call it after every decode.
    fn rest(&mut self) {}

    /// Whether the policy has a drafter.
    fn has_draft(&self) -> bool {
        false
    }

    /// Writes normalised chunks made in one pass for the condition that is set into `chunk`, `[batch, horizon, n_act]`.
    ///
    /// # Errors
    /// [`PolicyError::NoDrafter`] unless [`has_draft`](Self::has_draft).
    fn draft(&mut self, _chunk: &mut [f32]) -> Result<(), PolicyError> {
        Err(PolicyError::NoDrafter)
    }

    /// Runs `x`, `[batch, horizon, n_act]`, through a whole chain. A backend that keeps `x` on its device overrides it; the
    /// result must be that of [`run_on_host`] up to rounding, with wholly held entries bit for bit.
    ///
    /// # Errors
    /// Those of [`run_on_host`].
    fn run_chain(&mut self, chain: &Chain<'_>, x: &mut [f32], scratch: &mut ChainScratch) -> Result<ChainEnd, PolicyError> {
        run_on_host(self, chain, x, scratch)
    }
}
