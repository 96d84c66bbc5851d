use tch::{Device, Tensor};

use super::residual_mlp::ResidualMlp;
use super::unet1d::UNet1d;
use super::{NetworkConfig, ParameterSpec, RawTensor};

/// The parameters of a network on a device, in the order of [`NetworkConfig::parameters`].
#[derive(Debug)]
pub struct TensorTable {
    specs: Vec<ParameterSpec>,
    tensors: Vec<Tensor>,
}

impl TensorTable {
    /// Pairs `specs` with `tensors`. Panics unless there are as many of the same shapes.
    pub fn new(specs: Vec<ParameterSpec>, tensors: Vec<Tensor>) -> Self {
        assert_eq!(specs.len(), tensors.len(), "one tensor for each parameter");
        for (spec, tensor) in specs.iter().zip(&tensors) {
            assert!(tensor.size().iter().zip(&spec.shape).all(|(&a, &b)| a == b as i64), "shape of {}", spec.name);
        }
        Self { specs, tensors }
    }

    /// Copies values, already checked against `specs`, to `device`.
    pub fn from_raw<'a>(specs: Vec<ParameterSpec>, values: impl Iterator<Item = &'a RawTensor>, device: Device) -> Self {
        let tensor = |raw: &RawTensor| {
            let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
            Tensor::from_slice(&raw.data).view(shape.as_slice()).to_device(device)
        };
        Self::new(specs, values.map(tensor).collect())
    }

    /// The parameter `name`, sharing its storage.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.specs.iter().position(|spec| spec.name == name).map(|i| self.tensors[i].shallow_clone())
    }

    fn pair(&self, name: &str) -> [Tensor; 2] {
        ["weight", "bias"].map(|part| self.get(&format!("{name}.{part}")).expect("the parameter list has every layer"))
    }

    /// The linear layer `name`. Panics if it is not in the list.
    pub fn linear(&self, name: &str) -> Linear {
        let [weight, bias] = self.pair(name);
        Linear { weight, bias }
    }

    pub(super) fn conv(&self, name: &str, stride: i64, padding: i64) -> Conv {
        let [weight, bias] = self.pair(name);
        Conv { weight, bias, stride, padding }
    }

    pub(super) fn conv_transposed(&self, name: &str, stride: i64, padding: i64) -> ConvTransposed {
        let [weight, bias] = self.pair(name);
        ConvTransposed { weight, bias, stride, padding }
    }

    pub(super) fn group_norm(&self, name: &str, groups: i64) -> GroupNorm {
        let [weight, bias] = self.pair(name);
        GroupNorm { weight, bias, groups }
    }
}

/// `y = x W^T + b` over the last dimension.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// `[.., n_in] -> [.., n_out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// 1-D convolution, `[batch, channels, length]`.
#[derive(Debug)]
pub(super) struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv1d(&self.weight, Some(&self.bias), self.stride, self.padding, 1, 1)
    }
}

/// Transposed 1-D convolution, `[batch, channels, length]`.
#[derive(Debug)]
pub(super) struct ConvTransposed {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl ConvTransposed {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv_transpose1d(&self.weight, Some(&self.bias), self.stride, self.padding, 0, 1, 1)
    }
}

#[derive(Debug)]
pub(super) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
}

impl GroupNorm {
    /// PyTorch's default.
    const EPS: f64 = 1e-5;

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), Self::EPS, false)
    }
}

/// Sinusoidal embedding of noise levels, `[batch] -> [batch, width]`: `[sin(t f_i), cos(t f_i)]` with
/// `f_i = exp(-ln(10000) i / (width / 2 - 1))`.
#[derive(Debug)]
pub(super) struct StepEmbedding {
    frequencies: Tensor,
}

impl StepEmbedding {
    pub(super) fn new(width: usize, like: &Tensor) -> Self {
        let half = width / 2;
        let rate = 10_000_f64.ln() / (half - 1) as f64;
        let frequencies: Vec<f64> = (0..half).map(|i| (-rate * i as f64).exp()).collect();
        Self { frequencies: Tensor::from_slice(&frequencies).to_kind(like.kind()).to_device(like.device()) }
    }

    pub(super) fn forward(&self, labels: &Tensor) -> Tensor {
        let angles = labels.to_kind(self.frequencies.kind()).unsqueeze(-1) * &self.frequencies;
        Tensor::cat(&[angles.sin(), angles.cos()], -1)
    }
}

/// A noise-predicting network on libtorch.
#[derive(Debug)]
pub enum Network {
    /// See [`NetworkConfig::Unet1d`].
    Unet1d(Box<UNet1d>),
    /// See [`NetworkConfig::ResidualMlp`].
    ResidualMlp(ResidualMlp),
}

impl Network {
    /// Builds the network on parameters of [`NetworkConfig::parameters`]; it shares their storage.
    pub fn new(config: &NetworkConfig, table: &TensorTable) -> Self {
        match config {
            NetworkConfig::Unet1d { widths, kernel, groups, step_embed } => {
                Self::Unet1d(Box::new(UNet1d::new(table, widths.len(), (*kernel / 2) as i64, *groups as i64, *step_embed)))
            }
            NetworkConfig::ResidualMlp { blocks, step_embed, .. } => {
                Self::ResidualMlp(ResidualMlp::new(table, *blocks, *step_embed))
            }
        }
    }

    /// Predicted noise.
    ///
    /// # Shapes
    /// `x`: `[batch, horizon, n_act]`; `labels`: `[batch]` or `[1]`, i64; `cond`: `[batch, n_cond]`; returns the shape of `x`.
    pub fn forward(&self, x: &Tensor, labels: &Tensor, cond: &Tensor) -> Tensor {
        match self {
            Self::Unet1d(net) => net.forward(x, labels, cond),
            Self::ResidualMlp(net) => net.forward(x, labels, cond),
        }
    }
}
