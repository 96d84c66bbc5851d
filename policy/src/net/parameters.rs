//! The parameters of a network as a list: names, shapes and first values. One list serves initialisation, checkpoints, shape
//! checks and every backend. U-Net names are those of Diffusion Policy's PyTorch module.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;

use super::{DraftConfig, NetworkConfig};
use crate::PolicyShape;

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in `[-bound, bound]`, `bound = 1 / sqrt(fan_in)`: PyTorch's default for linear and convolution layers.
    Uniform {
        /// Largest absolute value.
        bound: f32,
    },
    /// All ones.
    Ones,
    /// All zeros.
    Zeros,
}

/// One parameter of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// Dotted name, unique.
    pub name: String,
    /// PyTorch's shape: linear `[out, in]`, convolution `[out, in, kernel]`, transposed convolution `[in, out, kernel]`.
    pub shape: Vec<usize>,
    /// First values.
    pub init: Init,
}

impl ParameterSpec {
    /// Number of entries.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A tensor without a tensor library: row-major values and a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// The shape.
    pub shape: Vec<usize>,
    /// The values, last index fastest.
    pub data: Vec<f32>,
}

/// First values of `specs`. A parameter's values depend on `seed` and its name only.
pub fn initial_values(specs: &[ParameterSpec], seed: u64) -> Vec<RawTensor> {
    let values = |spec: &ParameterSpec| match spec.init {
        Init::Ones => vec![1.0; spec.numel()],
        Init::Zeros => vec![0.0; spec.numel()],
        Init::Uniform { bound } => {
            let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, &spec.name));
            (0..spec.numel()).map(|_| rng.random_range(-bound..=bound)).collect()
        }
    };
    specs.iter().map(|spec| RawTensor { shape: spec.shape.clone(), data: values(spec) }).collect()
}

impl NetworkConfig {
    /// Every parameter of the network for chunks of `shape`, in a fixed order.
    pub fn parameters(&self, shape: PolicyShape) -> Vec<ParameterSpec> {
        let mut list = ParameterList::default();
        match self {
            Self::ResidualMlp { hidden, blocks, step_embed } => {
                list.linear("time.0", *step_embed, 2 * step_embed);
                list.linear("time.1", 2 * step_embed, *step_embed);
                list.linear("input", shape.chunk_len() + step_embed + shape.n_cond, *hidden);
                list.residual_blocks("", *blocks, *hidden);
                list.linear("output", *hidden, shape.chunk_len());
            }
            Self::Unet1d { widths, kernel, step_embed, .. } => {
                list.unet(&Unet { widths, kernel: *kernel, step_embed: *step_embed, n_cond: step_embed + shape.n_cond }, shape);
            }
        }
        list.0
    }
}

impl DraftConfig {
    /// Every parameter of the drafter for chunks of `shape`, under `draft.`, in a fixed order.
    pub fn parameters(&self, shape: PolicyShape) -> Vec<ParameterSpec> {
        let mut list = ParameterList::default();
        list.linear("draft.input", shape.n_cond, self.hidden);
        list.residual_blocks("draft.", self.blocks, self.hidden);
        list.linear("draft.output", self.hidden, shape.chunk_len());
        list.0
    }
}

struct Unet<'a> {
    widths: &'a [usize],
    kernel: usize,
    step_embed: usize,
    /// Noise-level embedding and condition together.
    n_cond: usize,
}

/// A list of parameters in the making.
#[derive(Clone, Debug, Default)]
pub struct ParameterList(pub Vec<ParameterSpec>);

impl ParameterList {
    /// Adds one parameter.
    pub fn add(&mut self, name: &str, shape: &[usize], init: Init) {
        self.0.push(ParameterSpec { name: name.into(), shape: shape.into(), init });
    }

    /// Adds `name.weight` and `name.bias` with PyTorch's first values of linear and convolution layers.
    pub fn layer(&mut self, name: &str, weight: &[usize], bias: usize, fan_in: usize) {
        let init = Init::Uniform { bound: 1.0 / (fan_in as f32).sqrt() };
        self.add(&format!("{name}.weight"), weight, init);
        self.add(&format!("{name}.bias"), &[bias], init);
    }

    /// Adds a linear layer.
    pub fn linear(&mut self, name: &str, n_in: usize, n_out: usize) {
        self.layer(name, &[n_out, n_in], n_out, n_in);
    }

    fn residual_blocks(&mut self, prefix: &str, blocks: usize, hidden: usize) {
        for block in 0..blocks {
            self.linear(&format!("{prefix}blocks.{block}.0"), hidden, hidden);
            self.linear(&format!("{prefix}blocks.{block}.1"), hidden, hidden);
        }
    }

    fn conv(&mut self, name: &str, n_in: usize, n_out: usize, kernel: usize) {
        self.layer(name, &[n_out, n_in, kernel], n_out, n_in * kernel);
    }

    fn conv_block(&mut self, name: &str, n_in: usize, n_out: usize, kernel: usize) {
        self.conv(&format!("{name}.block.0"), n_in, n_out, kernel);
        self.add(&format!("{name}.block.1.weight"), &[n_out], Init::Ones);
        self.add(&format!("{name}.block.1.bias"), &[n_out], Init::Zeros);
    }

    fn residual(&mut self, name: &str, n_in: usize, n_out: usize, net: &Unet<'_>) {
        self.conv_block(&format!("{name}.blocks.0"), n_in, n_out, net.kernel);
        self.conv_block(&format!("{name}.blocks.1"), n_out, n_out, net.kernel);
        self.linear(&format!("{name}.cond_encoder.1"), net.n_cond, 2 * n_out);
        if n_in != n_out {
            self.conv(&format!("{name}.residual_conv"), n_in, n_out, 1);
        }
    }

    fn unet(&mut self, net: &Unet<'_>, shape: PolicyShape) {
        self.linear("diffusion_step_encoder.1", net.step_embed, 4 * net.step_embed);
        self.linear("diffusion_step_encoder.3", 4 * net.step_embed, net.step_embed);
        let levels = net.widths.len();
        let mut n_in = shape.n_act;
        for (level, &width) in net.widths.iter().enumerate() {
            self.residual(&format!("down_modules.{level}.0"), n_in, width, net);
            self.residual(&format!("down_modules.{level}.1"), width, width, net);
            if level + 1 < levels {
                self.conv(&format!("down_modules.{level}.2.conv"), width, width, 3);
            }
            n_in = width;
        }
        for block in 0..2 {
            self.residual(&format!("mid_modules.{block}"), n_in, n_in, net);
        }
        for (level, pair) in net.widths.windows(2).rev().enumerate() {
            let (narrow, wide) = (pair[0], pair[1]);
            self.residual(&format!("up_modules.{level}.0"), 2 * wide, narrow, net);
            self.residual(&format!("up_modules.{level}.1"), narrow, narrow, net);
            // PyTorch takes the fan-in of a transposed convolution from its second dimension.
            self.layer(&format!("up_modules.{level}.2.conv"), &[narrow, narrow, 4], narrow, narrow * 4);
        }
        self.conv_block("final_conv.0", net.widths[0], net.widths[0], net.kernel);
        self.conv("final_conv.1", net.widths[0], shape.n_act, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DiWA's network: chunks of 4 x 7, a latent of 2048, hidden 512, one block: 1.61 million parameters.
    #[test]
    fn published_size_of_the_residual_mlp() {
        let shape = PolicyShape { horizon: 4, n_act: 7, n_cond: 2048 };
        let specs = NetworkConfig::ResidualMlp { hidden: 512, blocks: 1, step_embed: 16 }.parameters(shape);
        let total: usize = specs.iter().map(ParameterSpec::numel).sum();
        assert_eq!((total as f64 / 1e4).round() / 100.0, 1.61);
    }

    #[test]
    fn first_values_depend_on_seed_and_name_only() {
        let shape = PolicyShape { horizon: 4, n_act: 2, n_cond: 3 };
        let small = NetworkConfig::ResidualMlp { hidden: 8, blocks: 1, step_embed: 4 }.parameters(shape);
        let deep = NetworkConfig::ResidualMlp { hidden: 8, blocks: 2, step_embed: 4 }.parameters(shape);
        let value = |specs: &[ParameterSpec], seed| {
            let i = specs.iter().position(|s| s.name == "output.weight").unwrap();
            initial_values(specs, seed)[i].clone()
        };
        assert_eq!(value(&small, 1), value(&deep, 1));
        assert_ne!(value(&small, 1), value(&small, 2));
        assert!(value(&small, 1).data.iter().all(|v| v.abs() <= 1.0 / 8.0_f32.sqrt()));
    }
}
