use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Standard normal noise with an independent stream (ChaCha8) for each lane.
///
/// A clone continues identically, which is also how it is saved and restored.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSource {
    streams: Vec<ChaCha8Rng>,
}

impl NoiseSource {
    /// One stream for each seed.
    pub fn new(seeds: &[u64]) -> Self {
        Self { streams: seeds.iter().map(|&seed| ChaCha8Rng::seed_from_u64(seed)).collect() }
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.streams.len()
    }

    /// Fills `out`, `[lanes, n]`, each lane from its own stream.
    pub fn fill(&mut self, out: &mut [f32]) {
        if self.streams.is_empty() || out.is_empty() {
            return;
        }
        let n = out.len() / self.streams.len();
        for (stream, lane) in self.streams.iter_mut().zip(out.chunks_exact_mut(n)) {
            lane.fill_with(|| stream.sample(StandardNormal));
        }
    }

    /// Drops the lanes whose `keep` is false.
    pub fn retain_lanes(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.streams.retain(|_| keep.next().copied().unwrap_or(false));
    }
}
