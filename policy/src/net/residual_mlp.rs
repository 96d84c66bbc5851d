//! The residual MLP of DPPO (Ren et al. 2024, `ResidualMLP` and `DiffusionMLP`): the noisy chunk, the embedded noise level and
//! the condition, side by side, through `Linear`, residual blocks `x + L2(mish(L1(mish(x))))`, and `Linear`.

use tch::Tensor;

use super::layers::{Linear, StepEmbedding, TensorTable};

/// See the module's text.
#[derive(Debug)]
pub struct ResidualMlp {
    embedding: StepEmbedding,
    time: [Linear; 2],
    input: Linear,
    blocks: Vec<[Linear; 2]>,
    output: Linear,
}

impl ResidualMlp {
    pub(super) fn new(table: &TensorTable, blocks: usize, step_embed: usize) -> Self {
        let like = table.get("output.bias").expect("the parameter list has every layer");
        Self {
            embedding: StepEmbedding::new(step_embed, &like),
            time: [table.linear("time.0"), table.linear("time.1")],
            input: table.linear("input"),
            blocks: (0..blocks).map(|b| [0, 1].map(|i| table.linear(&format!("blocks.{b}.{i}")))).collect(),
            output: table.linear("output"),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, labels: &Tensor, cond: &Tensor) -> Tensor {
        let batch = x.size()[0];
        let time = self.time[1].forward(&self.time[0].forward(&self.embedding.forward(labels)).mish());
        let time = time.expand([batch, -1], false);
        let mut h = self.input.forward(&Tensor::cat(&[x.flatten(1, 2), time, cond.shallow_clone()], 1));
        for [first, second] in &self.blocks {
            h = &h + second.forward(&first.forward(&h.mish()).mish());
        }
        self.output.forward(&h).view_as(x)
    }
}
