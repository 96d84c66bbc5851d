//! The conditional 1-D U-Net of Diffusion Policy (Chi et al. 2023, `ConditionalUnet1D` with a global condition).
//!
//! Every residual block is conditioned on `c = [noise-level embedding, condition]` by a scale and a bias per channel (FiLM
//! with `scale * h + bias`, not `(1 + scale) * h + bias`). The skip connection of the first level is not used, as published.

use tch::Tensor;

use super::layers::{Conv, ConvTransposed, GroupNorm, Linear, StepEmbedding, TensorTable};

/// See the module's text.
#[derive(Debug)]
pub struct UNet1d {
    embedding: StepEmbedding,
    time: [Linear; 2],
    down: Vec<Down>,
    mid: [Residual; 2],
    up: Vec<Up>,
    last_block: ConvBlock,
    last_conv: Conv,
}

#[derive(Debug)]
struct Down {
    blocks: [Residual; 2],
    halve: Option<Conv>,
}

#[derive(Debug)]
struct Up {
    blocks: [Residual; 2],
    double: ConvTransposed,
}

/// Convolution, group normalisation, Mish.
#[derive(Debug)]
struct ConvBlock {
    conv: Conv,
    norm: GroupNorm,
}

impl ConvBlock {
    fn new(table: &TensorTable, name: &str, padding: i64, groups: i64) -> Self {
        Self {
            conv: table.conv(&format!("{name}.block.0"), 1, padding),
            norm: table.group_norm(&format!("{name}.block.1"), groups),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward(&self.conv.forward(x)).mish()
    }
}

#[derive(Debug)]
struct Residual {
    first: ConvBlock,
    second: ConvBlock,
    film: Linear,
    skip: Option<Conv>,
}

impl Residual {
    fn new(table: &TensorTable, name: &str, padding: i64, groups: i64) -> Self {
        let skip = format!("{name}.residual_conv");
        Self {
            first: ConvBlock::new(table, &format!("{name}.blocks.0"), padding, groups),
            second: ConvBlock::new(table, &format!("{name}.blocks.1"), padding, groups),
            film: table.linear(&format!("{name}.cond_encoder.1")),
            skip: table.get(&format!("{skip}.weight")).map(|_| table.conv(&skip, 1, 0)),
        }
    }

    /// `x`: `[batch, channels, length]`; `mish_c`: Mish of the conditioning, `[batch, n]`.
    fn forward(&self, x: &Tensor, mish_c: &Tensor) -> Tensor {
        let film = self.film.forward(mish_c).unsqueeze(-1).chunk(2, 1);
        let h = self.first.forward(x) * &film[0] + &film[1];
        let h = self.second.forward(&h);
        match &self.skip {
            Some(skip) => h + skip.forward(x),
            None => h + x,
        }
    }
}

impl UNet1d {
    pub(super) fn new(table: &TensorTable, levels: usize, padding: i64, groups: i64, step_embed: usize) -> Self {
        let like = table.get("final_conv.1.bias").expect("the parameter list has every layer");
        let residual = |name: String| Residual::new(table, &name, padding, groups);
        Self {
            embedding: StepEmbedding::new(step_embed, &like),
            time: [1, 3].map(|i| table.linear(&format!("diffusion_step_encoder.{i}"))),
            down: (0..levels)
                .map(|level| Down {
                    blocks: [0, 1].map(|i| residual(format!("down_modules.{level}.{i}"))),
                    halve: (level + 1 < levels).then(|| table.conv(&format!("down_modules.{level}.2.conv"), 2, 1)),
                })
                .collect(),
            mid: [0, 1].map(|i| residual(format!("mid_modules.{i}"))),
            up: (0..levels - 1)
                .map(|level| Up {
                    blocks: [0, 1].map(|i| residual(format!("up_modules.{level}.{i}"))),
                    double: table.conv_transposed(&format!("up_modules.{level}.2.conv"), 2, 1),
                })
                .collect(),
            last_block: ConvBlock::new(table, "final_conv.0", padding, groups),
            last_conv: table.conv("final_conv.1", 1, 0),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, labels: &Tensor, cond: &Tensor) -> Tensor {
        let batch = x.size()[0];
        let time = self.time[1].forward(&self.time[0].forward(&self.embedding.forward(labels)).mish());
        let mish_c = Tensor::cat(&[time.expand([batch, -1], false), cond.shallow_clone()], 1).mish();

        let mut h = x.transpose(1, 2);
        let mut skips = Vec::with_capacity(self.down.len());
        for Down { blocks: [first, second], halve } in &self.down {
            h = second.forward(&first.forward(&h, &mish_c), &mish_c);
            skips.push(h.shallow_clone());
            if let Some(halve) = halve {
                h = halve.forward(&h);
            }
        }
        for block in &self.mid {
            h = block.forward(&h, &mish_c);
        }
        for (Up { blocks: [first, second], double }, skip) in self.up.iter().zip(skips.iter().rev()) {
            h = second.forward(&first.forward(&Tensor::cat(&[&h, skip], 1), &mish_c), &mish_c);
            h = double.forward(&h);
        }
        self.last_conv.forward(&self.last_block.forward(&h)).transpose(1, 2)
    }
}
