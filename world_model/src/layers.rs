//! Layers of the world model: what DreamerV2 and V3 are built of.

use reverie_policy::{Init, Linear, ParameterList, TensorTable};
use tch::Tensor;

/// DreamerV3's and LUMOS's term against division by zero.
const NORM_EPS: f64 = 1e-3;

/// Layer normalisation over the last dimension.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(crate) fn list(list: &mut ParameterList, name: &str, width: usize) {
        list.add(&format!("{name}.weight"), &[width], Init::Ones);
        list.add(&format!("{name}.bias"), &[width], Init::Zeros);
    }

    pub(crate) fn new(table: &TensorTable, name: &str) -> Self {
        Self { weight: parameter(table, &format!("{name}.weight")), bias: parameter(table, &format!("{name}.bias")) }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size().as_slice(), Some(&self.weight), Some(&self.bias), NORM_EPS, false)
    }
}

/// `silu(norm(W x + b))`.
#[derive(Debug)]
pub(crate) struct Dense {
    linear: Linear,
    norm: LayerNorm,
}

impl Dense {
    pub(crate) fn list(list: &mut ParameterList, name: &str, n_in: usize, n_out: usize) {
        list.linear(name, n_in, n_out);
        LayerNorm::list(list, &format!("{name}.norm"), n_out);
    }

    pub(crate) fn new(table: &TensorTable, name: &str) -> Self {
        Self { linear: table.linear(name), norm: LayerNorm::new(table, &format!("{name}.norm")) }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.activate(&self.linear.forward(x))
    }

    pub(crate) fn device(&self) -> tch::Device {
        self.norm.weight.device()
    }

    /// What follows the linear map.
    pub(crate) fn activate(&self, x: &Tensor) -> Tensor {
        self.norm.forward(x).silu()
    }
}

/// [`Dense`] layers and a linear one.
#[derive(Debug)]
pub(crate) struct Mlp {
    hidden: Vec<Dense>,
    output: Linear,
}

/// Sizes of an [`Mlp`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlpShape {
    pub(crate) n_in: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) n_out: usize,
}

impl Mlp {
    pub(crate) fn list(list: &mut ParameterList, name: &str, shape: MlpShape) {
        let mut width = shape.n_in;
        for layer in 0..shape.layers {
            Dense::list(list, &format!("{name}.{layer}"), width, shape.hidden);
            width = shape.hidden;
        }
        list.linear(&format!("{name}.output"), width, shape.n_out);
    }

    pub(crate) fn new(table: &TensorTable, name: &str, layers: usize) -> Self {
        Self {
            hidden: (0..layers).map(|layer| Dense::new(table, &format!("{name}.{layer}"))).collect(),
            output: table.linear(&format!("{name}.output")),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        for layer in &self.hidden {
            x = layer.forward(&x);
        }
        self.output.forward(&x)
    }
}

/// The recurrent cell of Dreamer: one linear map of input and state, normalised, cut into reset, candidate and update;
/// `h' = u tanh(r c) + (1 - u) h` with `u = sigmoid(. - 1)`, so that it begins by remembering.
#[derive(Debug)]
pub(crate) struct Gru {
    linear: Linear,
    norm: LayerNorm,
}

impl Gru {
    pub(crate) fn list(list: &mut ParameterList, name: &str, n_in: usize, deter: usize) {
        list.linear(name, n_in + deter, 3 * deter);
        LayerNorm::list(list, &format!("{name}.norm"), 3 * deter);
    }

    pub(crate) fn new(table: &TensorTable, name: &str) -> Self {
        Self { linear: table.linear(name), norm: LayerNorm::new(table, &format!("{name}.norm")) }
    }

    pub(crate) fn forward(&self, x: &Tensor, h: &Tensor) -> Tensor {
        let parts = self.norm.forward(&self.linear.forward(&Tensor::cat(&[x, h], -1))).chunk(3, -1);
        let candidate = (parts[0].sigmoid() * &parts[1]).tanh();
        let update = (&parts[2] - 1.0).sigmoid();
        h + update * (candidate - h)
    }
}

/// Several [`Mlp`]s of equal shape side by side, evaluated as one: `[n, n_in] -> [n, heads, n_out]`.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Of all heads at once, since they have the same input: `[heads * hidden, n_in]` and `[heads * hidden]`.
    first: [Tensor; 2],
    /// Of each head, `[heads, hidden, n_out]` and `[heads, 1, n_out]`; the output is the last.
    deeper: Vec<[Tensor; 2]>,
    /// After each layer but the output, `[heads, 1, hidden]` both.
    norms: Vec<[Tensor; 2]>,
}

impl Heads {
    pub(crate) fn list(list: &mut ParameterList, name: &str, heads: usize, shape: MlpShape) {
        let MlpShape { n_in, hidden, layers, n_out } = shape;
        list.linear(&format!("{name}.0"), n_in, heads * hidden);
        let bound = 1.0 / (hidden as f32).sqrt();
        for layer in 0..layers {
            list.add(&format!("{name}.{layer}.norm.weight"), &[heads, 1, hidden], Init::Ones);
            list.add(&format!("{name}.{layer}.norm.bias"), &[heads, 1, hidden], Init::Zeros);
            let width = if layer + 1 == layers { n_out } else { hidden };
            list.add(&format!("{name}.{}.weight", layer + 1), &[heads, hidden, width], Init::Uniform { bound });
            list.add(&format!("{name}.{}.bias", layer + 1), &[heads, 1, width], Init::Uniform { bound });
        }
    }

    pub(crate) fn new(table: &TensorTable, name: &str, layers: usize) -> Self {
        let pair = |layer: String| ["weight", "bias"].map(|part| parameter(table, &format!("{name}.{layer}.{part}")));
        Self {
            first: pair("0".into()),
            deeper: (1..=layers).map(|layer| pair(layer.to_string())).collect(),
            norms: (0..layers).map(|layer| pair(format!("{layer}.norm"))).collect(),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let [heads, _, hidden] = self.shape();
        let h = x.linear(&self.first[0], Some(&self.first[1])).view([-1, heads, hidden]).transpose(0, 1);
        self.rest(h, 0, heads).transpose(0, 1)
    }

    /// One head alone, `[n, n_in] -> [n, n_out]`.
    pub(crate) fn one(&self, x: &Tensor, head: i64) -> Tensor {
        let hidden = self.shape()[2];
        let of = |t: &Tensor| t.narrow(0, head * hidden, hidden);
        let h = x.linear(&of(&self.first[0]), Some(&of(&self.first[1]))).unsqueeze(0);
        self.rest(h, head, 1).squeeze_dim(0)
    }

    /// What follows the first layer, of `count` heads from `head` on: `[count, n, hidden] -> [count, n, n_out]`.
    fn rest(&self, mut h: Tensor, head: i64, count: i64) -> Tensor {
        let of = |t: &Tensor| t.narrow(0, head, count);
        let hidden = self.shape()[2];
        for ([weight, bias], [scale, shift]) in self.deeper.iter().zip(&self.norms) {
            let normal = h.layer_norm([hidden].as_slice(), None::<&Tensor>, None::<&Tensor>, NORM_EPS, false);
            let active = (normal * of(scale) + of(shift)).silu();
            h = Tensor::baddbmm(&of(bias), &active, &of(weight), 1.0, 1.0);
        }
        h
    }

    /// `[heads, 1, hidden]`.
    fn shape(&self) -> [i64; 3] {
        self.norms[0][0].size().try_into().expect("three dimensions")
    }
}

pub(crate) fn parameter(table: &TensorTable, name: &str) -> Tensor {
    table.get(name).expect("the parameter list has every layer")
}

/// `sign(x) ln(1 + |x|)` (DreamerV3).
pub fn symlog(x: &Tensor) -> Tensor {
    x.sign() * x.abs().log1p()
}

#[cfg(test)]
mod tests {
    use reverie_policy::{initial_values, train::FlatParameters};
    use tch::{Device, Kind};

    use super::*;

    fn table(list: ParameterList) -> TensorTable {
        let values = initial_values(&list.0, 5);
        FlatParameters::new(list.0, &values, Device::Cpu).table()
    }

    #[test]
    fn symlog_is_undone_by_its_inverse_and_is_odd() {
        let symexp = |x: &Tensor| x.sign() * x.abs().expm1();
        let x = Tensor::from_slice(&[-50.0_f64, -0.3, 0.0, 1e-4, 7.0]);
        assert!((symexp(&symlog(&x)) - &x).abs().max().double_value(&[]) < 1e-12);
        assert!((symlog(&Tensor::from(std::f64::consts::E - 1.0)).double_value(&[]) - 1.0).abs() < 1e-12);
    }

    /// Each head is the network that its slices of the parameters describe.
    #[test]
    fn heads_side_by_side_equal_heads_one_by_one() {
        let mut list = ParameterList::default();
        let shape = MlpShape { n_in: 3, hidden: 4, layers: 2, n_out: 2 };
        Heads::list(&mut list, "h", 3, shape);
        let table = table(list);
        let x = Tensor::from_slice(&[0.3_f32, -1.0, 2.0, 0.1, 0.2, 0.3]).view([2, 3]);
        let heads = Heads::new(&table, "h", 2);
        let all = heads.forward(&x);
        assert_eq!(all.size(), [2, 3, 2]);
        let get = |name: &str| parameter(&table, name);
        let active = |h: Tensor| {
            let (mean, var) = (h.mean_dim([1_i64].as_slice(), true, Kind::Float), h.var_dim([1_i64].as_slice(), false, true));
            ((h - mean) / (var + NORM_EPS).sqrt()).silu()
        };
        for head in 0..3 {
            let rows = |name: &str| get(name).narrow(0, head * 4, 4);
            let h = active(x.linear(&rows("h.0.weight"), Some(&rows("h.0.bias"))));
            let h = active(h.matmul(&get("h.1.weight").get(head)) + get("h.1.bias").get(head));
            let want = h.matmul(&get("h.2.weight").get(head)) + get("h.2.bias").get(head);
            assert!((all.select(1, head) - &want).abs().max().double_value(&[]) < 1e-5);
            assert!((heads.one(&x, head) - &want).abs().max().double_value(&[]) < 1e-5);
        }
    }

    /// With all parameters zero the candidate is 0 and the update sigmoid(-1): the state decays by that share.
    #[test]
    fn a_cell_without_weights_forgets_slowly() {
        let mut list = ParameterList::default();
        Gru::list(&mut list, "g", 2, 3);
        for spec in &mut list.0 {
            spec.init = Init::Zeros;
        }
        let gru = Gru::new(&table(list), "g");
        let h = gru
            .forward(&Tensor::ones([1, 2], (Kind::Float, Device::Cpu)), &Tensor::from_slice(&[1.0_f32, -2.0, 0.5]).view([1, 3]));
        let keep = 1.0 - 1.0 / (1.0 + std::f64::consts::E);
        for (i, start) in [1.0, -2.0, 0.5].into_iter().enumerate() {
            assert!((h.double_value(&[0, i as i64]) - keep * start).abs() < 1e-6);
        }
    }
}
