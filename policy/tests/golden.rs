//! Equality with independent implementations: the schedulers of `diffusers`, and the networks in PyTorch's own modules. The
//! scripts in `golden/` wrote the expected values.

#![allow(clippy::unwrap_used)]

use reverie_policy::{NoiseSchedule, ReverseStep};
use serde::Deserialize;

#[derive(Deserialize)]
struct ScheduleFile {
    x: Vec<f32>,
    eps: Vec<f32>,
    schedules: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    n_steps: usize,
    alphas_cumprod: Vec<f64>,
    ddpm: Vec<ExpectedStep>,
    ddim: Vec<ExpectedStep>,
}

#[derive(Deserialize)]
struct ExpectedStep {
    label: usize,
    #[serde(default)]
    next: Option<usize>,
    mean: Vec<f32>,
    #[serde(default)]
    std: f32,
}

#[test]
fn schedule_and_steps_equal_those_of_diffusers() {
    let file: ScheduleFile = serde_json::from_str(include_str!("golden/schedule.json")).unwrap();
    for expected in &file.schedules {
        let schedule = NoiseSchedule::squared_cosine(expected.n_steps);
        for (label, want) in expected.alphas_cumprod.iter().enumerate() {
            assert!((schedule.alpha_bar(label) - want).abs() < 1e-6, "alpha_bar {label} of {}", expected.n_steps);
        }
        let compare = |kind: &str, step: ReverseStep, want: &ExpectedStep| {
            assert!((step.sigma - want.std).abs() < 1e-6, "{kind} {}: {} {}", want.label, step.sigma, want.std);
            for ((&x, &eps), &mean) in file.x.iter().zip(&file.eps).zip(&want.mean) {
                let got = step.mean(x, eps);
                assert!((got - mean).abs() < 2e-6, "{kind} {} of {}: {got} {mean}", want.label, expected.n_steps);
            }
        };
        for want in &expected.ddpm {
            compare("ddpm", schedule.ancestral(want.label), want);
        }
        for want in &expected.ddim {
            compare("ddim", schedule.ddim(want.label, want.next), want);
        }
    }
}

#[cfg(feature = "tch")]
mod networks {
    use reverie_policy::{Network, NetworkConfig, PolicyShape, RawTensor, TensorTable};
    use safetensors::SafeTensors;
    use serde::Deserialize;
    use tch::{Device, Kind, Tensor};

    #[derive(Deserialize)]
    struct Case {
        network: NetworkConfig,
        horizon: usize,
        n_act: usize,
        n_cond: usize,
        batch: usize,
        x: Vec<f32>,
        cond: Vec<f32>,
        labels: Vec<i64>,
        eps: Vec<Vec<f32>>,
    }

    impl Case {
        fn shape(&self) -> PolicyShape {
            PolicyShape { horizon: self.horizon, n_act: self.n_act, n_cond: self.n_cond }
        }

        fn inputs(&self, kind: Kind) -> [Tensor; 2] {
            let size = [self.batch, self.horizon, self.n_act].map(|n| n as i64);
            let cond = Tensor::from_slice(&self.cond).view([self.batch as i64, self.n_cond as i64]);
            [Tensor::from_slice(&self.x).view(size).to_kind(kind), cond.to_kind(kind)]
        }
    }

    fn cases() -> Vec<(Case, &'static [u8])> {
        let cases: Vec<Case> = serde_json::from_str(include_str!("golden/networks.json")).unwrap();
        let weights: [&[u8]; 2] =
            [include_bytes!("golden/unet1d.safetensors"), include_bytes!("golden/residual_mlp.safetensors")];
        assert_eq!(cases.len(), 2);
        cases.into_iter().zip(weights).collect()
    }

    fn weights(case: &Case, bytes: &[u8]) -> Vec<Tensor> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let specs = case.network.parameters(case.shape());
        assert_eq!(specs.len(), file.len(), "no parameter more or less than PyTorch's module");
        let tensors = specs.iter().map(|spec| {
            let view = file.tensor(&spec.name).unwrap();
            assert_eq!(view.shape(), spec.shape, "{}", spec.name);
            let data: Vec<f32> = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let shape: Vec<i64> = spec.shape.iter().map(|&n| n as i64).collect();
            Tensor::from_slice(&data).view(shape.as_slice())
        });
        tensors.collect()
    }

    #[test]
    fn networks_equal_their_pytorch_references() {
        for (case, bytes) in cases() {
            let specs = case.network.parameters(case.shape());
            let network = Network::new(&case.network, &TensorTable::new(specs, weights(&case, bytes)));
            let [x, cond] = case.inputs(Kind::Float);
            for (label, want) in case.labels.iter().zip(&case.eps) {
                let want = Tensor::from_slice(want).view_as(&x);
                for batch in [1, case.batch as i64] {
                    let labels = Tensor::full([batch], *label, (Kind::Int64, Device::Cpu));
                    let got = network.forward(&x, &labels, &cond);
                    let error = ((got - &want).abs().max() / want.abs().max()).double_value(&[]);
                    assert!(error < 1e-5, "{:?} at {label}: {error}", case.network);
                }
            }
        }
    }

    /// The derivative of the loss along a random direction of all parameters, by automatic differentiation and by central
    /// differences, in f64.
    #[test]
    fn gradients_equal_finite_differences() {
        for (case, bytes) in cases() {
            let specs = case.network.parameters(case.shape());
            let start: Vec<Tensor> = weights(&case, bytes).iter().map(|w| w.to_kind(Kind::Double)).collect();
            let direction: Vec<Tensor> = start.iter().enumerate().map(|(i, w)| pseudo_random(w, i)).collect();
            let [x, cond] = case.inputs(Kind::Double);
            let labels = Tensor::from_slice(&case.labels);
            let loss = |weights: Vec<Tensor>| {
                let network = Network::new(&case.network, &TensorTable::new(specs.clone(), weights));
                network.forward(&x, &labels, &cond).square().mean(Kind::Double)
            };
            let at = |h: f64| {
                let moved = start.iter().zip(&direction).map(|(w, d)| w + d * h).collect();
                loss(moved).double_value(&[])
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;

            let leaves: Vec<Tensor> = start.iter().map(|w| w.copy().set_requires_grad(true)).collect();
            let value = loss(leaves.iter().map(Tensor::shallow_clone).collect());
            let gradients = Tensor::run_backward(&[value], &leaves, false, false);
            let exact: f64 = gradients.iter().zip(&direction).map(|(g, d)| (g * d).sum(Kind::Double).double_value(&[])).sum();
            assert!(exact.abs() > 1e-3, "{exact}");
            assert!((exact - numeric).abs() < 1e-6 * exact.abs().max(1.0), "{exact} {numeric}");
        }
    }

    fn pseudo_random(like: &Tensor, salt: usize) -> Tensor {
        let n = like.numel();
        let values: Vec<f64> = (0..n).map(|i| ((i * 7919 + salt * 104_729) as f64 * 0.618).sin()).collect();
        Tensor::from_slice(&values).view_as(like)
    }

    #[test]
    fn raw_tensors_reach_the_network_unchanged() {
        let config = NetworkConfig::ResidualMlp { hidden: 8, blocks: 1, step_embed: 4 };
        let shape = PolicyShape { horizon: 2, n_act: 7, n_cond: 3 };
        let specs = config.parameters(shape);
        let values: Vec<RawTensor> = reverie_policy::initial_values(&specs, 1)
            .into_iter()
            .map(|v| RawTensor { data: vec![0.0; v.data.len()], ..v })
            .zip(&specs)
            .map(|(v, s)| if s.name == "output.bias" { RawTensor { data: (0..14).map(|i| i as f32).collect(), ..v } } else { v })
            .collect();
        let network = Network::new(&config, &TensorTable::from_raw(specs, values.iter(), Device::Cpu));
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let out = network.forward(&zeros(&[1, 2, 7]), &Tensor::from_slice(&[0_i64]), &zeros(&[1, 3]));
        assert_eq!(out.double_value(&[0, 1, 3]), 10.0, "row 1, entry 3");
    }
}
