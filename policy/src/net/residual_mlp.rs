//! The residual MLP of DPPO (Ren et al. 2024, `ResidualMLP` and `DiffusionMLP`): the noisy chunk, the embedded noise level and
//! the condition, side by side, through `Linear`, residual blocks `x + L2(mish(L1(mish(x))))`, and `Linear`. And the drafter:
//! the same from the condition alone to a chunk.

use tch::Tensor;

use super::DraftConfig;
use super::layers::{Linear, StepEmbedding, TensorTable};
use crate::PolicyShape;

/// See the module's text.
#[derive(Debug)]
pub struct ResidualMlp {
    embedding: StepEmbedding,
    time: [Linear; 2],
    trunk: Trunk,
}

/// `Linear`, residual blocks, `Linear`.
#[derive(Debug)]
struct Trunk {
    input: Linear,
    blocks: Vec<[Linear; 2]>,
    output: Linear,
}

impl Trunk {
    fn new(table: &TensorTable, prefix: &str, blocks: usize) -> Self {
        let block = |b: usize| [0, 1].map(|i| table.linear(&format!("{prefix}blocks.{b}.{i}")));
        Self {
            input: table.linear(&format!("{prefix}input")),
            blocks: (0..blocks).map(block).collect(),
            output: table.linear(&format!("{prefix}output")),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let mut h = self.input.forward(x);
        for [first, second] in &self.blocks {
            h = &h + second.forward(&first.forward(&h.mish()).mish());
        }
        self.output.forward(&h)
    }
}

impl ResidualMlp {
    pub(super) fn new(table: &TensorTable, blocks: usize, step_embed: usize) -> Self {
        let like = table.get("output.bias").expect("the parameter list has every layer");
        Self {
            embedding: StepEmbedding::new(step_embed, &like),
            time: [table.linear("time.0"), table.linear("time.1")],
            trunk: Trunk::new(table, "", blocks),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, labels: &Tensor, cond: &Tensor) -> Tensor {
        let batch = x.size()[0];
        let time = self.time[1].forward(&self.time[0].forward(&self.embedding.forward(labels)).mish());
        let time = time.expand([batch, -1], false);
        self.trunk.forward(&Tensor::cat(&[x.flatten(1, 2), time, cond.shallow_clone()], 1)).view_as(x)
    }
}

/// A one-pass drafter. See [`DraftConfig`].
#[derive(Debug)]
pub struct Drafter {
    trunk: Trunk,
    shape: PolicyShape,
}

impl Drafter {
    /// Builds the drafter on parameters of [`DraftConfig::parameters`]; it shares their storage.
    pub fn new(config: &DraftConfig, table: &TensorTable, shape: PolicyShape) -> Self {
        Self { trunk: Trunk::new(table, "draft.", config.blocks), shape }
    }

    /// Normalised chunks, `[batch, horizon, n_act]`, for conditions `[batch, n_cond]`.
    pub fn forward(&self, cond: &Tensor) -> Tensor {
        self.trunk.forward(cond).view([-1, self.shape.horizon as i64, self.shape.n_act as i64])
    }
}
