//! What depends on the noise level alone is tabulated when a network is loaded; what depends on the condition alone is computed
//! once a tick. The rest of an evaluation adds the two.

use super::program::Parameters;
use crate::PolicyError;

/// Entries that are linear in an embedding of the noise level and in the condition: `W_t e(label) + b + W_c cond`.
pub(super) struct Modulation {
    /// Entries.
    pub n: usize,
    pub n_cond: usize,
    /// `W_c`, `[n, n_cond]`.
    pub cond: Vec<f32>,
    /// `W_t e(label) + b`, `[labels, n]`.
    pub table: Vec<f32>,
    labels: usize,
    filled: usize,
}

impl Modulation {
    pub fn new(n: usize, n_cond: usize, labels: usize) -> Self {
        Self { n, n_cond, cond: Vec::with_capacity(n * n_cond), table: vec![0.0; labels * n], labels, filled: 0 }
    }

    /// Appends the rows of a layer `[rows, n_embed + n_cond]` with its bias, given `e`, `[labels, n_embed]`.
    pub fn add_rows(&mut self, weight: &[f32], bias: &[f32], n_embed: usize, e: &[f32]) {
        // Levels innermost, so that the sums of all levels are vectors; each sum keeps its order.
        let by_entry: Vec<f32> = (0..n_embed).flat_map(|k| (0..self.labels).map(move |label| e[label * n_embed + k])).collect();
        let mut sums = vec![0.0_f32; self.labels];
        for (row, &bias) in weight.chunks_exact(n_embed + self.n_cond).zip(bias) {
            sums.fill(bias);
            for (w, entries) in row.iter().zip(by_entry.chunks_exact(self.labels)) {
                for (sum, entry) in sums.iter_mut().zip(entries) {
                    *sum += w * entry;
                }
            }
            for (label, &sum) in sums.iter().enumerate() {
                self.table[label * self.n + self.filled] = sum;
            }
            self.cond.extend_from_slice(&row[n_embed..]);
            self.filled += 1;
        }
    }
}

/// The embedding of every noise level, `[labels, width]`: sines and cosines of `label * 10000^(-i / (width / 2 - 1))` through
/// two linear layers with Mish between them.
pub(super) fn step_table(
    parameters: &Parameters<'_>,
    layers: [&str; 2],
    width: usize,
    labels: usize,
) -> Result<Vec<f32>, PolicyError> {
    let half = width / 2;
    let rate = 10_000_f64.ln() / (half - 1) as f64;
    let frequencies: Vec<f32> = (0..half).map(|i| (-rate * i as f64).exp() as f32).collect();
    let ([w1, b1], [w2, b2]) = (parameters.pair(layers[0])?, parameters.pair(layers[1])?);
    let mut table = Vec::with_capacity(labels * width);
    for label in 0..labels {
        let angles = frequencies.iter().map(|f| label as f32 * f);
        let sinusoid: Vec<f32> = angles.clone().map(f32::sin).chain(angles.map(f32::cos)).collect();
        let hidden: Vec<f32> = linear(w1, b1, &sinusoid).into_iter().map(mish_scalar).collect();
        table.extend(linear(w2, b2, &hidden));
    }
    Ok(table)
}

fn linear(weight: &[f32], bias: &[f32], x: &[f32]) -> Vec<f32> {
    let row = |(row, bias): (&[f32], &f32)| {
        let sum: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        (sum + f64::from(*bias)) as f32
    };
    weight.chunks_exact(x.len()).zip(bias).map(row).collect()
}

/// `x tanh(ln(1 + e^x))`.
pub(super) fn mish_scalar(x: f32) -> f32 {
    let x = f64::from(x);
    (x * x.exp().ln_1p().tanh()) as f32
}
