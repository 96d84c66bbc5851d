use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Standard normal noise with an independent stream (ChaCha8) for each candidate of a decode.
///
/// A clone continues identically, which is also how it is saved and restored.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSource {
    streams: Vec<ChaCha8Rng>,
}

impl NoiseSource {
    /// `candidates` streams (at least one) of one seed. A candidate's stream is the same whatever their number.
    pub fn new(seed: u64, candidates: usize) -> Self {
        let stream = |candidate| {
            let mut stream = ChaCha8Rng::seed_from_u64(seed);
            stream.set_stream(candidate);
            stream
        };
        Self { streams: (0..candidates.max(1) as u64).map(stream).collect() }
    }

    /// Number of streams.
    pub fn candidates(&self) -> usize {
        self.streams.len()
    }

    /// Fills `out`, `[candidates, n]`, each candidate from its own stream.
    pub fn fill(&mut self, out: &mut [f32]) {
        let n = out.len() / self.streams.len();
        for (stream, part) in self.streams.iter_mut().zip(out.chunks_exact_mut(n.max(1))) {
            part.fill_with(|| stream.sample(StandardNormal));
        }
    }
}
