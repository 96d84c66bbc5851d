//! Encoders and decoders of 64 x 64 camera pictures, one pair a camera.

use reverie_policy::{ParameterList, TensorTable};
use tch::Tensor;

use crate::layers::{Dense, parameter};

/// Rows and columns of a picture.
pub const PICTURE_PX: usize = 64;
/// Rows and columns after four strides of 2.
const INNER_PX: usize = PICTURE_PX / 16;
/// Kernel of all convolutions; with stride 2 and padding 1 each halves or doubles the picture.
const KERNEL: usize = 4;

/// Channels between the four layers, from the picture inwards.
fn channels(depth: usize) -> [usize; 5] {
    [3, depth, 2 * depth, 4 * depth, 8 * depth]
}

/// Entries of the innermost layer.
fn inner(depth: usize) -> usize {
    8 * depth * INNER_PX * INNER_PX
}

/// Four convolutions of stride 2, SiLU after each, and a dense layer.
#[derive(Debug)]
pub(crate) struct CameraEncoder {
    convs: Vec<[Tensor; 2]>,
    output: Dense,
}

impl CameraEncoder {
    pub(crate) fn list(list: &mut ParameterList, name: &str, depth: usize, n_out: usize) {
        for (layer, pair) in channels(depth).windows(2).enumerate() {
            list.layer(&format!("{name}.{layer}"), &[pair[1], pair[0], KERNEL, KERNEL], pair[1], pair[0] * KERNEL * KERNEL);
        }
        Dense::list(list, &format!("{name}.output"), inner(depth), n_out);
    }

    pub(crate) fn new(table: &TensorTable, name: &str) -> Self {
        let conv = |layer: usize| ["weight", "bias"].map(|part| parameter(table, &format!("{name}.{layer}.{part}")));
        Self { convs: (0..4).map(conv).collect(), output: Dense::new(table, &format!("{name}.output")) }
    }

    /// `[n, 3, 64, 64]` in [-1, 1] to `[n, n_out]`.
    pub(crate) fn forward(&self, pictures: &Tensor) -> Tensor {
        let mut x = pictures.shallow_clone();
        for [weight, bias] in &self.convs {
            x = x.conv2d(weight, Some(bias), [2, 2], [1, 1], [1, 1], 1).silu();
        }
        self.output.forward(&x.flatten(1, -1))
    }
}

/// The reverse: a linear map and four transposed convolutions, SiLU between.
#[derive(Debug)]
pub(crate) struct CameraDecoder {
    input: reverie_policy::Linear,
    convs: Vec<[Tensor; 2]>,
}

impl CameraDecoder {
    pub(crate) fn list(list: &mut ParameterList, name: &str, depth: usize, n_in: usize) {
        list.linear(&format!("{name}.input"), n_in, inner(depth));
        let mut outwards = channels(depth);
        outwards.reverse();
        for (layer, pair) in outwards.windows(2).enumerate() {
            // PyTorch's transposed layout is [in, out, ...], and it takes the fan-in from the second dimension.
            list.layer(&format!("{name}.{layer}"), &[pair[0], pair[1], KERNEL, KERNEL], pair[1], pair[1] * KERNEL * KERNEL);
        }
    }

    pub(crate) fn new(table: &TensorTable, name: &str) -> Self {
        let conv = |layer: usize| ["weight", "bias"].map(|part| parameter(table, &format!("{name}.{layer}.{part}")));
        Self { input: table.linear(&format!("{name}.input")), convs: (0..4).map(conv).collect() }
    }

    /// `[n, n_in]` to `[n, 3, 64, 64]`, in [-1, 1] once trained.
    pub(crate) fn forward(&self, latents: &Tensor) -> Tensor {
        let mut x = self.input.forward(latents).view([latents.size()[0], -1, INNER_PX as i64, INNER_PX as i64]);
        for (layer, [weight, bias]) in self.convs.iter().enumerate() {
            if layer > 0 {
                x = x.silu();
            }
            x = x.conv_transpose2d(weight, Some(bias), [2, 2], [1, 1], [0, 0], 1, [1, 1]);
        }
        x
    }
}

/// Reduces a picture, `[height, width, 3]`, to 64 x 64 by averaging areas (what OpenCV's `INTER_AREA` does).
///
/// # Panics
/// If `pixels` is not `height * width * 3` long.
pub fn reduce(pixels: &[u8], height: usize, width: usize) -> Vec<u8> {
    assert_eq!(pixels.len(), height * width * 3, "a picture of {height} x {width}");
    if (height, width) == (PICTURE_PX, PICTURE_PX) {
        return pixels.to_vec();
    }
    // Shares of the source rows (columns) in each target row (column).
    let shares = |size: usize| -> Vec<Vec<(usize, f32)>> {
        let scale = size as f32 / PICTURE_PX as f32;
        let target = |i: usize| {
            let (from, to) = (i as f32 * scale, (i + 1) as f32 * scale);
            let overlap = |j: usize| (to.min((j + 1) as f32) - from.max(j as f32)) / scale;
            (from as usize..(to.ceil() as usize).min(size)).map(|j| (j, overlap(j))).collect()
        };
        (0..PICTURE_PX).map(target).collect()
    };
    let (rows, columns) = (shares(height), shares(width));
    let mut out = Vec::with_capacity(PICTURE_PX * PICTURE_PX * 3);
    for row in &rows {
        for column in &columns {
            for channel in 0..3 {
                let sum: f32 = row
                    .iter()
                    .flat_map(|(i, a)| column.iter().map(move |(j, b)| f32::from(pixels[(i * width + j) * 3 + channel]) * a * b))
                    .sum();
                out.push(sum.round() as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reducing_keeps_means_and_even_areas() {
        // Columns of 0 and 200 in turn: every target pixel covers as much of both, or nearly.
        let size = 128;
        let pixels: Vec<u8> = (0..size * size).flat_map(|i| [if i % 2 == 0 { 0 } else { 200 }, 7, 255]).collect();
        let reduced = reduce(&pixels, size, size);
        assert_eq!(reduced.len(), 64 * 64 * 3);
        assert!(reduced.chunks_exact(3).all(|p| p == [100, 7, 255]));
        let odd: Vec<u8> = (0..200 * 84).flat_map(|i| [(i % 84) as u8, 0, 0]).collect();
        let mean = |p: &[u8]| p.iter().step_by(3).map(|v| f64::from(*v)).sum::<f64>() / (p.len() / 3) as f64;
        assert!((mean(&reduce(&odd, 200, 84)) - mean(&odd)).abs() < 0.3);
    }
}
