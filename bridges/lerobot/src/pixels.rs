//! Statistics of images, from exact counts of the 256 values of each channel.

use crate::numpy_order::{Edges, QUANTILES, Summary};

/// Counts of the values of the three channels.
pub(crate) struct PixelCounts {
    counts: Box<[[u64; 256]; 3]>,
}

impl PixelCounts {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([[0; 256]; 3]) }
    }

    /// Adds an image of `height` x `width` pixels, thinned as lerobot's `auto_downsample_height_width` thins it.
    pub(crate) fn add(&mut self, pixels: &[u8], height: usize, width: usize) {
        let step = downsampling(height, width);
        for row in pixels.chunks_exact(3 * width).step_by(step) {
            for pixel in row.chunks_exact(3).step_by(step) {
                for (counts, &value) in self.counts.iter_mut().zip(pixel) {
                    counts[usize::from(value)] += 1;
                }
            }
        }
    }

    /// Statistics of values in [0, 1].
    ///
    /// The standard deviation is the true one. lerobot 0.4.4 squares the pixels in 8 bits, where they overflow, and gets 0 from
    /// nearly every image; its later versions widen them first.
    pub(crate) fn summarise(&self) -> Summary {
        let mut summary =
            Summary { min: vec![], max: vec![], mean: vec![], std: vec![], quantiles: std::array::from_fn(|_| Vec::new()) };
        for counts in self.counts.iter() {
            let total: u64 = counts.iter().sum();
            let sum: u64 = (0..).zip(counts).map(|(v, n)| v * n).sum();
            let squares: u64 = (0..).zip(counts).map(|(v, n)| v * v * n).sum();
            let min = counts.iter().position(|n| *n > 0).unwrap_or(0) as f64;
            let max = counts.iter().rposition(|n| *n > 0).unwrap_or(0) as f64;
            let mean = sum as f64 / total as f64;
            let variance = squares as f64 / total as f64 - mean * mean;
            summary.min.push(min / 255.0);
            summary.max.push(max / 255.0);
            summary.mean.push(mean / 255.0);
            summary.std.push(variance.max(0.0).sqrt() / 255.0);
            let below =
                |edge: f64| (0..256).zip(counts).filter(|(v, _)| f64::from(*v) < edge).map(|(_, n)| *n).sum::<u64>() as usize;
            let kth = |k: usize| {
                let mut seen = 0;
                let position = counts.iter().position(|n| {
                    seen += n;
                    seen >= k as u64
                });
                position.unwrap_or(255) as f64
            };
            let edges = Edges::new(min, max);
            for (values, q) in summary.quantiles.iter_mut().zip(QUANTILES) {
                let value = if total < 2 { mean } else { edges.quantile(q, total as usize, below, kth) };
                values.push(value / 255.0);
            }
        }
        summary
    }
}

/// Every how many pixels one is looked at.
fn downsampling(height: usize, width: usize) -> usize {
    if height.max(width) < 300 { 1 } else { height.max(width) / 150 }
}

/// The frames of an episode of `frames` that lerobot's `sample_indices` looks at: `frames^0.75` of them, evenly spaced.
pub(crate) fn sampled_frames(frames: usize) -> Vec<usize> {
    let least = frames.min(100);
    let samples = ((frames as f64).powf(0.75) as usize).min(10_000).max(least);
    if samples < 2 {
        return vec![0];
    }
    let (last, intervals) = ((frames - 1) as f64, (samples - 1) as f64);
    let step = last / intervals;
    // numpy rounds halves to even, as its linspace and round do here.
    (0..samples).map(|i| if i + 1 == samples { last } else { i as f64 * step }.round_ties_even() as usize).collect()
}
