use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::{ParameterSpec, RawTensor, TensorTable};

/// The parameters of a network in one flat tensor, so that an optimiser or an average is a few operations whatever the number of
/// layers. The tensors that the network works with are views of it.
#[derive(Debug)]
pub struct FlatParameters {
    specs: Vec<ParameterSpec>,
    flat: Tensor,
    leaves: Vec<Tensor>,
}

impl FlatParameters {
    /// Copies `values`, in the order and the shapes of `specs`, to `device`; gradients are tracked.
    pub fn new<'a>(specs: Vec<ParameterSpec>, values: impl IntoIterator<Item = &'a RawTensor>, device: Device) -> Self {
        let values: Vec<f32> = values.into_iter().flat_map(|v| v.data.iter().copied()).collect();
        let flat = Tensor::from_slice(&values).to_device(device);
        let leaves = views(&flat, &specs);
        for leaf in &leaves {
            let _ = leaf.set_requires_grad(true);
        }
        Self { specs, flat, leaves }
    }

    /// The list that they follow.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// All values, `[n]`. Change them in place, without gradient tracking.
    pub fn flat(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// A copy of all values, `[n]`.
    pub fn copy(&self) -> Tensor {
        self.flat.detach().copy()
    }

    /// Number of values.
    pub fn numel(&self) -> usize {
        self.flat.numel()
    }

    /// The tensors by name, for building a network that is trained with them.
    pub fn table(&self) -> TensorTable {
        TensorTable::new(self.specs.clone(), self.leaves.iter().map(Tensor::shallow_clone).collect())
    }

    /// The gradient of a scalar, `[n]`; zero for parameters that it does not depend on.
    pub fn gradient(&self, objective: &Tensor) -> Tensor {
        let gradients = Tensor::run_backward(&[objective], &self.leaves, false, false);
        let _guard = tch::no_grad_guard();
        let parts: Vec<Tensor> = gradients
            .iter()
            .zip(&self.leaves)
            .map(|(gradient, leaf)| if gradient.defined() { gradient.reshape(-1) } else { leaf.zeros_like().reshape(-1) })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// Takes over `values`, `[n]`.
    pub fn assign(&mut self, values: &Tensor) {
        let _guard = tch::no_grad_guard();
        self.flat.copy_(values);
    }

    /// `values`, `[n]`, as tensors by name.
    pub fn named(&self, values: &Tensor) -> BTreeMap<String, RawTensor> {
        let values = views(values, &self.specs);
        self.specs.iter().zip(&values).map(|(spec, tensor)| (spec.name.clone(), to_raw(tensor))).collect()
    }
}

/// Detached views of `flat` in the shapes of `specs`; they share its storage.
fn views(flat: &Tensor, specs: &[ParameterSpec]) -> Vec<Tensor> {
    let mut at = 0;
    let view = |spec: &ParameterSpec| {
        let n = spec.numel() as i64;
        let shape: Vec<i64> = spec.shape.iter().map(|&n| n as i64).collect();
        let view = flat.narrow(0, at, n).view(shape.as_slice()).detach();
        at += n;
        view
    };
    specs.iter().map(view).collect()
}

/// The values of a tensor, copied from its device.
pub fn to_raw(tensor: &Tensor) -> RawTensor {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut data = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut data, tensor.numel());
    RawTensor { shape: tensor.size().iter().map(|&n| n as usize).collect(), data }
}
