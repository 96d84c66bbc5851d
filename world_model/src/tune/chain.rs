//! The chain of denoising steps as a policy of its own (DPPO's inner layer): each step is a Gaussian, so that likelihoods are exact.
//!
//! ```text
//! x_{k-1} ~ N(mu(x_k, k, c), max(sigma_k, floor)^2)     mu of DDPM's posterior, x_0 clamped to [-1, 1]
//! ln p    = mean over the played entries of the Gaussian log-densities, each clamped to [-5, 2]
//! ```
//!
//! The last `tuned` steps are tuned; those above are taken by the same network, as they will be on the robot, and held by cloning alone.
//! Deviation: DPPO and DiWA take them with a frozen copy, and deploy two networks.

use reverie_policy::train::FlatParameters;
use reverie_policy::{Checkpoint, Device, Network, NoiseSchedule, PolicyShape, TensorTable};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::WorldModelError;
use crate::error::Result;
use crate::noise::Noise;

/// Range of a single entry's log-density (DPPO).
const LOG_DENSITY: [f64; 2] = [-5.0, 2.0];

/// How chains are sampled and scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// Last denoising steps that are tuned (10 of 20).
    pub tuned: usize,
    /// Least standard deviation of a step while exploring (0.1).
    pub sampling_floor: f64,
    /// Least standard deviation in likelihoods (0.1).
    pub likelihood_floor: f64,
    /// Most that noise deviates, in standard deviations (3).
    pub noise_clip: f64,
    /// Rows of a chunk that are played before the next (4).
    pub rows: usize,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self { tuned: 10, sampling_floor: 0.1, likelihood_floor: 0.1, noise_clip: 3.0, rows: 4 }
    }
}

/// Chains of `n` decisions.
#[derive(Debug)]
pub struct Chains {
    /// Samples that enter and leave the tuned steps, `[n, tuned + 1, horizon, n_act]`, normalised.
    pub x: Tensor,
    /// Log-likelihood of each tuned step, `[n, tuned]`.
    pub log_likelihood: Tensor,
}

/// A diffusion policy whose last denoising steps are being tuned.
#[derive(Debug)]
pub struct DiffusionPolicy {
    checkpoint: Checkpoint,
    network: Network,
    parameters: FlatParameters,
    base: Network,
    config: ChainConfig,
    shape: PolicyShape,
    /// Coefficients of the steps, from pure noise to clean, `[steps]` each.
    label: Tensor,
    signal: Tensor,
    noise: Tensor,
    x0_weight: Tensor,
    x_weight: Tensor,
    sigma: Tensor,
    offset: Tensor,
    scale: Tensor,
    discrete: Vec<i64>,
    device: Device,
}

impl DiffusionPolicy {
    /// Takes the policy of `checkpoint`.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] for settings that don't fit it.
    pub fn new(checkpoint: &Checkpoint, config: &ChainConfig, device: Device) -> Result<Self> {
        let shape = checkpoint.shape();
        let schedule = checkpoint.schedule()?;
        let steps = schedule.n_steps();
        if !(1..=steps).contains(&config.tuned) {
            return Err(WorldModelError::config("chain.tuned", config.tuned, format!("the policy has {steps} denoising steps")));
        }
        if !(1..=shape.horizon).contains(&config.rows) {
            return Err(WorldModelError::config("chain.rows", config.rows, format!("a chunk has {} rows", shape.horizon)));
        }
        for (key, value) in [("chain.sampling_floor", config.sampling_floor), ("chain.likelihood_floor", config.likelihood_floor)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        let specs = checkpoint.info.network.parameters(shape);
        let values = specs.iter().map(|spec| checkpoint.tensor(&spec.name)).collect::<std::result::Result<Vec<_>, _>>()?;
        let parameters = FlatParameters::new(specs.clone(), values.iter().copied(), device);
        let frozen = TensorTable::from_raw(specs, values.into_iter(), device);
        let coefficients = |f: &dyn Fn(&NoiseSchedule, usize) -> f32| {
            let all: Vec<f32> = (0..steps).rev().map(|label| f(&schedule, label)).collect();
            Tensor::from_slice(&all).to_device(device)
        };
        let normaliser = &checkpoint.info.action_normaliser;
        Ok(Self {
            network: Network::new(&checkpoint.info.network, &parameters.table()),
            base: Network::new(&checkpoint.info.network, &frozen),
            parameters,
            label: coefficients(&|_, label| label as f32).to_kind(Kind::Int64),
            signal: coefficients(&|s, label| s.ancestral(label).signal),
            noise: coefficients(&|s, label| s.ancestral(label).noise),
            x0_weight: coefficients(&|s, label| s.ancestral(label).x0_weight),
            x_weight: coefficients(&|s, label| s.ancestral(label).x_weight),
            sigma: coefficients(&|s, label| s.ancestral(label).sigma),
            offset: Tensor::from_slice(&normaliser.range.offset).to_device(device),
            scale: Tensor::from_slice(&normaliser.range.scale).to_device(device),
            discrete: normaliser.discrete.indices.iter().map(|&i| i as i64).collect(),
            checkpoint: checkpoint.clone(),
            config: config.clone(),
            shape,
            device,
        })
    }

    /// Sizes of chunks and conditions.
    pub fn shape(&self) -> PolicyShape {
        self.shape
    }

    /// How chains are sampled and scored.
    pub fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// What tuning began with.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What is tuned.
    pub fn parameters(&self) -> &FlatParameters {
        &self.parameters
    }

    /// What is tuned, to be changed.
    pub fn parameters_mut(&mut self) -> &mut FlatParameters {
        &mut self.parameters
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Number of denoising steps.
    pub(crate) fn steps(&self) -> i64 {
        self.label.size()[0]
    }

    /// The mean after step `index` (0: from pure noise) of `network`; `index`: one for all rows, or `[n]`.
    fn mean(&self, network: &Network, x: &Tensor, index: &Tensor, cond: &Tensor) -> Tensor {
        let of = |table: &Tensor| table.index_select(0, index).view([-1, 1, 1]);
        let eps = network.forward(x, &self.label.index_select(0, index), cond);
        let x0 = ((x - eps * of(&self.noise)) / of(&self.signal)).clamp(-1.0, 1.0);
        x0 * of(&self.x0_weight) + x * of(&self.x_weight)
    }

    fn step_index(&self, index: i64) -> Tensor {
        Tensor::from_slice(&[index]).to_device(self.device)
    }

    /// Fresh noise for a chunk of each of `n` rows, `[n, horizon, n_act]`.
    fn draw(&self, n: i64, noise: &mut Noise) -> Tensor {
        noise.normal(&[n, self.shape.horizon as i64, self.shape.n_act as i64])
    }

    /// Takes the steps `steps` from `x` with `network`; `keep` is shown each one's number, its mean and the sample.
    fn run(
        &self,
        network: &Network,
        mut x: Tensor,
        steps: std::ops::Range<i64>,
        cond: &Tensor,
        noise: &mut ChunkNoise<'_>,
        mut keep: impl FnMut(i64, &Tensor, &Tensor),
    ) -> Tensor {
        for index in steps {
            let mean = self.mean(network, &x, &self.step_index(index), cond);
            let sigma = self.sigma.double_value(&[index]).max(self.config.sampling_floor);
            let fresh = noise.next(self).clamp(-self.config.noise_clip, self.config.noise_clip);
            x = &mean + fresh * sigma;
            keep(index, &mean, &x);
        }
        x
    }

    /// Samples a chain for each condition, exploring. No gradients.
    pub fn sample(&self, cond: &Tensor, noise: &mut ChunkNoise<'_>) -> Chains {
        let _guard = tch::no_grad_guard();
        let first = noise.next(self);
        let entering = self.to_window(first, self.config.tuned, cond, noise);
        self.sample_from(&entering, self.config.tuned, cond, noise)
    }

    /// From a sample that enters the last `window` steps through the whole rest. The chains have `window` steps. No gradients.
    pub fn sample_from(&self, entering: &Tensor, window: usize, cond: &Tensor, noise: &mut ChunkNoise<'_>) -> Chains {
        let _guard = tch::no_grad_guard();
        let (mut samples, mut log_likelihood) = (vec![entering.shallow_clone()], Vec::with_capacity(window));
        let last = self.steps() - window as i64..self.steps();
        let _clean = self.run(&self.network, entering.shallow_clone(), last, cond, noise, |index, mean, x| {
            samples.push(x.shallow_clone());
            log_likelihood.push(self.played_log_density(x, mean, &self.likelihood_sigma(&self.step_index(index))));
        });
        Chains { x: Tensor::stack(&samples, 1), log_likelihood: Tensor::stack(&log_likelihood, 1) }
    }

    /// Pure noise down to where the last `window` steps begin. No gradients.
    pub fn to_window(&self, x: Tensor, window: usize, cond: &Tensor, noise: &mut ChunkNoise<'_>) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.run(&self.network, x, 0..self.steps() - window as i64, cond, noise, |_, _, _| ())
    }

    /// Chains of the frozen policy through all its steps, `[n, steps + 1, horizon, n_act]`: what behaviour cloning holds on to. No
    /// gradients.
    pub fn teach(&self, cond: &Tensor, noise: &mut ChunkNoise<'_>) -> Tensor {
        let _guard = tch::no_grad_guard();
        let first = noise.next(self);
        let mut samples = vec![first.shallow_clone()];
        let _clean = self.run(&self.base, first, 0..self.steps(), cond, noise, |_, _, x| samples.push(x.shallow_clone()));
        Tensor::stack(&samples, 1)
    }

    /// Log-likelihood of the last steps of chains `[n, window + 1, horizon, n_act]` under the tuned network, `[n, window]`, with
    /// gradients.
    pub fn log_likelihood(&self, x: &Tensor, cond: &Tensor) -> Tensor {
        let (n, window) = (x.size()[0], x.size()[1] - 1);
        let (mean, sigma) = self.gaussians(&self.network, x, cond);
        self.played_log_density(&x.narrow(1, 1, window), &mean, &sigma).view([n, window])
    }

    /// Mean log-density of the played entries, `[.., horizon, n_act] -> [..]`.
    fn played_log_density(&self, x: &Tensor, mean: &Tensor, sigma: &Tensor) -> Tensor {
        let played = |t: &Tensor| t.narrow(-2, 0, self.config.rows as i64);
        log_density(&played(x), &played(mean), sigma).mean_dim([-1_i64, -2].as_slice(), false, Kind::Float)
    }

    /// Standard deviations in likelihoods of the steps `index`, `[n, 1, 1]`.
    fn likelihood_sigma(&self, index: &Tensor) -> Tensor {
        self.sigma.index_select(0, index).clamp_min(self.config.likelihood_floor).view([-1, 1, 1])
    }

    /// Log-likelihood of single steps, one a row: those with the numbers `pairs` (`decision * window + step`) of chains
    /// `[n, window + 1, horizon, n_act]`. With gradients.
    pub fn pair_log_likelihood(&self, x: &Tensor, cond: &Tensor, pairs: &Tensor) -> Tensor {
        let window = x.size()[1] - 1;
        let decision = pairs.floor_divide_scalar(window);
        let step = pairs - &decision * window;
        let sample = &decision * (window + 1) + &step;
        let samples = x.flatten(0, 1);
        let index = step + (self.steps() - window);
        let mean = self.mean(&self.network, &samples.index_select(0, &sample), &index, &cond.index_select(0, &decision));
        self.played_log_density(&samples.index_select(0, &(sample + 1)), &mean, &self.likelihood_sigma(&index))
    }

    /// Means of the last steps, `[n, window, horizon, n_act]`, and their deviations in likelihoods, `[window, 1, 1]`.
    fn gaussians(&self, network: &Network, x: &Tensor, cond: &Tensor) -> (Tensor, Tensor) {
        let (n, window) = (x.size()[0], x.size()[1] - 1);
        let index = Tensor::arange_start(self.steps() - window, self.steps(), (Kind::Int64, self.device));
        let before = x.narrow(1, 0, window).flatten(0, 1);
        let rows = cond.unsqueeze(1).expand([n, window, -1], false).flatten(0, 1);
        let mean = self.mean(network, &before, &index.repeat([n]), &rows);
        (mean.view_as(&x.narrow(1, 1, window)), self.likelihood_sigma(&index))
    }

    /// Divergence of the tuned steps from the frozen policy's along given chains: `sum_k |mu - mu_base|^2 / (2 sigma_k^2)` over
    /// the played entries, nats a decision, `[n]`. No gradients.
    pub fn divergence(&self, x: &Tensor, cond: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let (tuned, sigma) = self.gaussians(&self.network, x, cond);
        let (base, _) = self.gaussians(&self.base, x, cond);
        let scaled = ((tuned - base) / sigma).narrow(-2, 0, self.config.rows as i64).square() * 0.5;
        scaled.sum_dim_intlist([1_i64, 2, 3].as_slice(), false, Kind::Float)
    }

    /// The played rows of clean samples, `[n, horizon, n_act]`, as actions, `[n, rows, n_act]`.
    pub fn actions(&self, clean: &Tensor) -> Tensor {
        let rows = (clean.narrow(1, 0, self.config.rows as i64) * &self.scale + &self.offset).clamp(-1.0, 1.0);
        for &entry in &self.discrete {
            let mut column = rows.select(-1, entry);
            let signs = column.gt(0.0).to_kind(Kind::Float) * 2.0 - 1.0;
            column.copy_(&signs);
        }
        rows
    }
}

/// Where the noise of chains comes from: `branches` consecutive rows share it, or none do.
#[derive(Debug)]
pub struct ChunkNoise<'a> {
    noise: &'a mut Noise,
    n: i64,
    branches: i64,
}

impl<'a> ChunkNoise<'a> {
    /// Its own for each of `n` rows.
    pub fn own(noise: &'a mut Noise, n: i64) -> Self {
        Self { noise, n, branches: 1 }
    }

    /// The same for each `branches` consecutive ones of `n` rows.
    pub fn shared(noise: &'a mut Noise, n: i64, branches: i64) -> Self {
        Self { noise, n, branches }
    }

    /// Fresh noise for a chunk of each row.
    pub(crate) fn next(&mut self, policy: &DiffusionPolicy) -> Tensor {
        let fresh = policy.draw(self.n / self.branches, self.noise);
        if self.branches == 1 { fresh } else { fresh.repeat_interleave_self_int(self.branches, 0, self.n) }
    }
}

/// Gaussian log-density of each entry, clamped.
pub fn log_density(x: &Tensor, mean: &Tensor, sigma: &Tensor) -> Tensor {
    let half_ln_two_pi = 0.5 * (2.0 * std::f64::consts::PI).ln();
    let z = (x - mean) / sigma;
    (z.square() * -0.5 - sigma.log() - half_ln_two_pi).clamp(LOG_DENSITY[0], LOG_DENSITY[1])
}

#[cfg(test)]
pub(crate) mod tests {
    use reverie_policy::NetworkConfig;

    use super::*;
    use crate::gradient_check::gradient_error;

    /// An untrained policy of 5 denoising steps and chunks of 2 rows.
    pub(crate) fn small_checkpoint() -> Checkpoint {
        let network = NetworkConfig::ResidualMlp { hidden: 16, blocks: 1, step_embed: 4 };
        let mut checkpoint = Checkpoint::untrained(network, None, &["open_drawer"], 3).unwrap();
        checkpoint.info.horizon = 2;
        checkpoint.info.schedule.n_steps = 5;
        checkpoint.info.decoder = reverie_policy::DecoderConfig::ddpm();
        let specs = checkpoint.info.parameters();
        let values = reverie_policy::initial_values(&specs, 3);
        Checkpoint::new(checkpoint.info, specs.into_iter().map(|s| s.name).zip(values).collect()).unwrap()
    }

    fn policy() -> DiffusionPolicy {
        let config = ChainConfig { tuned: 3, rows: 1, ..ChainConfig::default() };
        DiffusionPolicy::new(&small_checkpoint(), &config, Device::Cpu).unwrap()
    }

    /// One step of one chain, from the network's prediction on, entry by entry in f64.
    #[test]
    fn likelihoods_equal_a_direct_gaussian_computation() {
        let policy = policy();
        let mut noise = Noise::new(1, "chain", Device::Cpu);
        let cond = noise.normal(&[4, policy.shape().n_cond as i64]);
        let chains = policy.sample(&cond, &mut ChunkNoise::own(&mut noise, 4));
        assert_eq!(chains.x.size(), [4, 4, 2, 7]);
        let schedule = small_checkpoint().schedule().unwrap();
        let at = |step: i64, row: i64, entry: i64| chains.x.double_value(&[1, step, row, entry]);
        for step in 0..3_i64 {
            let label = 2 - step;
            let before = chains.x.get(1).get(step).unsqueeze(0);
            let eps = policy.network.forward(&before, &Tensor::from_slice(&[label]), &cond.narrow(0, 1, 1));
            let reverse = schedule.ancestral(label as usize);
            let sigma = f64::from(reverse.sigma).max(0.1);
            let sum: f64 = (0..7)
                .map(|entry| {
                    let mean = reverse.mean(at(step, 0, entry) as f32, eps.double_value(&[0, 0, entry]) as f32);
                    let z = (at(step + 1, 0, entry) - f64::from(mean)) / sigma;
                    (-0.5 * z * z - sigma.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()).clamp(-5.0, 2.0)
                })
                .sum();
            let got = chains.log_likelihood.double_value(&[1, step]);
            assert!((got - sum / 7.0).abs() < 1e-4, "step {step}: {got} {}", sum / 7.0);
        }
    }

    #[test]
    fn the_tuned_policy_begins_as_the_frozen_one_and_shared_noise_is_shared() {
        let policy = policy();
        let mut noise = Noise::new(2, "chain", Device::Cpu);
        let cond = noise.normal(&[2, policy.shape().n_cond as i64]).repeat_interleave_self_int(3, 0, 6);
        let chains = policy.sample(&cond, &mut ChunkNoise::shared(&mut noise, 6, 3));
        assert_eq!(policy.divergence(&chains.x, &cond).abs().max().double_value(&[]), 0.0);
        let again = policy.log_likelihood(&chains.x, &cond);
        assert!((again - &chains.log_likelihood).abs().max().double_value(&[]) < 1e-5);
        let pairs = Tensor::from_slice(&[0_i64, 5, 13]);
        let single = policy.pair_log_likelihood(&chains.x, &cond, &pairs);
        let of_all = chains.log_likelihood.view([-1]).index_select(0, &pairs);
        assert!((single - of_all).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(chains.x.get(0), chains.x.get(2));
        assert_ne!(chains.x.get(2), chains.x.get(3));
        let actions = policy.actions(&chains.x.select(1, 3));
        assert_eq!(actions.size(), [6, 1, 7]);
        assert!(actions.select(-1, 6).abs().eq(1.0).all().int64_value(&[]) != 0);
    }

    #[test]
    fn gradient_of_the_density() {
        let mut noise = Noise::new(4, "density", Device::Cpu);
        let [x, mean] = [(); 2].map(|()| noise.normal(&[3, 2]).to_kind(Kind::Double));
        let sigma = Tensor::from_slice(&[0.7_f64]);
        let f = |mean: &Tensor| log_density(&x, mean, &sigma).mean(Kind::Double);
        assert!(gradient_error(&mean, f, f) < 1e-8);
    }
}
