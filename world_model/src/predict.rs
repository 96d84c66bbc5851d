//! How well the future is foretold: open-loop errors beside two baselines.

use std::ops::Range;

use reverie_policy::train::{AdamW, FlatParameters};
use reverie_policy::{ParameterList, STATE_FEATURES, initial_values};
use reverie_schema::{N_ACT, derive_seed};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::config::WorldModelConfig;
use crate::data::PlayData;
use crate::error::Result;
use crate::layers::{Mlp, MlpShape};
use crate::lead::{LEAD, Leads};
use crate::morec::random_windows;
use crate::noise::Noise;
use crate::rssm::WorldModel;
use crate::train::ADAMW;

/// Steps that are seen before prediction begins.
const CONTEXT: usize = 4;

/// Root mean squared errors at each step of the future, over windows; the features' normalised units (half-ranges), and the TCP's
/// position and the mechanisms in metres.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLoop {
    /// Over all features.
    pub all: Vec<f64>,
    /// Distance of the TCP, metres.
    pub tcp_m: Vec<f64>,
    /// Sliding door and drawer, metres.
    pub mechanisms_m: Vec<f64>,
    /// Whether it is foretold what a mechanism or lamp does in the end.
    pub moves: Moves,
}

/// Changes of sliding door, drawer, light bulb and LED from the beginning of windows to their end, by more than a quarter of the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    /// That were seen.
    pub seen: u64,
    /// That were foretold.
    pub foretold: u64,
    /// Both, in the same direction.
    pub both: u64,
}

impl Moves {
    /// Share of the foretold ones that were seen.
    pub fn precision(&self) -> f64 {
        self.both as f64 / self.foretold.max(1) as f64
    }

    /// Share of the seen ones that were foretold.
    pub fn recall(&self) -> f64 {
        self.both as f64 / self.seen.max(1) as f64
    }

    fn count(before: &Tensor, predicted: &Tensor, seen: &Tensor) -> Self {
        let moved = |after: &Tensor| {
            let parts = [(18, 2), (22, 2)].map(|(first, count)| (after - before).narrow(-1, first, count));
            let change = Tensor::cat(&parts, -1);
            change.gt(0.5).to_kind(Kind::Int64) - change.lt(-0.5).to_kind(Kind::Int64)
        };
        let (foretold, seen) = (moved(predicted), moved(seen));
        let sum = |t: &Tensor| t.abs().sum(Kind::Int64).int64_value(&[]) as u64;
        let both = foretold.eq_tensor(&seen).to_kind(Kind::Int64) * &seen;
        Self { seen: sum(&seen), foretold: sum(&foretold), both: sum(&both) }
    }
}

impl OpenLoop {
    /// Mean over the steps of the error over all features.
    pub fn mean(&self) -> f64 {
        self.all.iter().sum::<f64>() / self.all.len().max(1) as f64
    }

    fn push(&mut self, predicted: &Tensor, seen: &Tensor, scale: &Tensor) {
        let error = predicted - seen;
        let rms = |t: Tensor| t.square().mean(Kind::Double).double_value(&[]).sqrt();
        let metres = &error * scale;
        self.all.push(rms(error.shallow_clone()));
        self.tcp_m.push(rms(metres.narrow(-1, 0, 3)) * 3.0_f64.sqrt());
        self.mechanisms_m.push(rms(metres.narrow(-1, 18, 2)));
    }
}

/// A plain network as a world model: `s' = s + mlp([s; l; a])`, `l` the command's lead, trained by the squared error of one step.
#[derive(Debug)]
pub struct MlpDynamics {
    network: Mlp,
    leads: Leads,
    /// Keeps the weights' storage.
    _parameters: FlatParameters,
}

impl MlpDynamics {
    /// Trains one with three hidden layers as wide as the model's.
    ///
    /// # Errors
    /// Too short episodes.
    pub fn train(data: &PlayData, episodes: &Range<usize>, config: &WorldModelConfig, updates: u64) -> Result<Self> {
        let mut list = ParameterList::default();
        let n_in = STATE_FEATURES + LEAD + config.actions_per_step * N_ACT;
        let shape = MlpShape { n_in, hidden: config.hidden, layers: 3, n_out: STATE_FEATURES };
        Mlp::list(&mut list, "mlp", shape);
        let values = initial_values(&list.0, derive_seed(config.seed, "mlp dynamics"));
        let mut parameters = FlatParameters::new(list.0, &values, data.device());
        let network = Mlp::new(&parameters.table(), "mlp", 3);
        let mut optimiser = AdamW::new(&parameters.copy(), ADAMW);
        let stride = config.actions_per_step;
        for update in 0..updates {
            let mut noise = Noise::new(config.seed, "mlp dynamics", data.device()).part(update);
            let firsts = random_windows(data, episodes, stride + 1, config.streams * config.sequence, &mut noise)?;
            let now = Tensor::from_slice(&firsts);
            let next = &now + stride as i64;
            let (now, after) = (data.seen(&now, false), data.seen(&next, false).state);
            let change = network.forward(&Tensor::cat(&[&now.state, &now.lead, &data.actions_before(&next, stride)], -1));
            let loss = (change + &now.state).mse_loss(&after, tch::Reduction::Mean);
            let gradient = parameters.gradient(&loss);
            let _guard = tch::no_grad_guard();
            let rate = 1e-3 * 0.5 * (1.0 + (std::f64::consts::PI * update as f64 / updates as f64).cos());
            optimiser.step(parameters.flat(), &gradient, update, rate);
        }
        Ok(Self { network, leads: Leads::new(data.normaliser(), data.device()), _parameters: parameters })
    }

    /// State and lead after `actions`.
    fn step(&self, [state, lead]: &[Tensor; 2], actions: &Tensor) -> [Tensor; 2] {
        let after = (state + self.network.forward(&Tensor::cat(&[state, lead, actions], -1))).clamp(-2.0, 2.0);
        let lead = self.leads.after(lead, actions, state, &after);
        [after, lead]
    }
}

/// Foretells `steps` steps of the model along the actions of `count` random windows of `episodes`: by the model, by holding what was
/// last seen, and by `mlp`.
///
/// # Errors
/// Too short episodes.
pub fn open_loop(
    model: &WorldModel,
    mlp: &MlpDynamics,
    data: &PlayData,
    episodes: &Range<usize>,
    steps: usize,
    count: usize,
) -> Result<[OpenLoop; 3]> {
    let _guard = tch::no_grad_guard();
    let config = model.config();
    let mut noise = Noise::new(config.seed, "open loop", data.device());
    let length = CONTEXT + steps;
    let firsts = random_windows(data, episodes, length * config.actions_per_step, count, &mut noise)?;
    let sequence = data.windows(&firsts, length, config);
    let context = data.windows(&firsts, CONTEXT, config);
    let mut latent = model.observe(&context, &model.blank(count as i64, &sequence.actions), &mut noise).latents.get(-1);
    let scale = Tensor::from_slice(&data.normaliser().scale).to_device(data.device());
    let last = sequence.seen.state.get(CONTEXT as i64 - 1);
    let mut by_mlp = [last.shallow_clone(), sequence.seen.lead.get(CONTEXT as i64 - 1)];
    let mut errors = std::array::from_fn::<_, 3, _>(|_| OpenLoop::default());
    for step in CONTEXT as i64..length as i64 {
        let (actions, seen) = (sequence.actions.get(step), sequence.seen.state.get(step));
        latent = model.imagine(&latent, &actions, &mut noise);
        by_mlp = mlp.step(&by_mlp, &actions);
        errors[0].push(&model.state(&latent), &seen, &scale);
        errors[1].push(&last, &seen, &scale);
        errors[2].push(&by_mlp[0], &seen, &scale);
    }
    let end = sequence.seen.state.get(length as i64 - 1);
    for (error, predicted) in errors.iter_mut().zip([&model.state(&latent), &last, &by_mlp[0]]) {
        error.moves = Moves::count(&last, predicted, &end);
    }
    Ok(errors)
}

/// What is usual of the heads' variance, so that their disagreement can be told as a share of it, and of the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usual {
    /// Mean variance of each feature along play, squared half-ranges.
    pub variance: Vec<f32>,
    /// Error of each feature one step ahead, half-ranges: the standard deviation of a Gaussian with the same median of the error's size,
    /// which single large errors don't sway.
    pub error: Vec<f32>,
    /// What 99 of 100 imagined steps along play stay below, as a multiple of the root mean square.
    pub q99: f64,
}

/// How far the heads are apart: `sqrt(mean_f(v_f / u_f))`, `v` their variance and `u` the usual one, `[n, 51] -> [n]`.
pub fn disagreement(variance: &Tensor, usual: &Tensor) -> Tensor {
    (variance / usual).mean_dim([-1_i64].as_slice(), false, variance.kind()).sqrt()
}

/// What is usual along `episodes`.
///
/// # Errors
/// Too short episodes.
pub fn usual_disagreement(model: &WorldModel, data: &PlayData, episodes: &Range<usize>) -> Result<Usual> {
    const WINDOWS: usize = 256;
    const STEPS: usize = 8;
    /// Below a ten-thousandth of the range nobody's variance matters.
    const LEAST: f64 = 1e-8;
    /// Standard deviation of a Gaussian over the median of its sizes.
    const PER_MEDIAN: f64 = 1.4826;
    let _guard = tch::no_grad_guard();
    let config = model.config();
    let mut noise = Noise::new(config.seed, "disagreement", data.device());
    let firsts = random_windows(data, episodes, (CONTEXT + STEPS) * config.actions_per_step, WINDOWS, &mut noise)?;
    let sequence = data.windows(&firsts, CONTEXT + STEPS, config).with_given_state();
    let seen = model.observe(&sequence, &model.blank(WINDOWS as i64, &sequence.actions), &mut noise).latents;
    let mut latent = seen.get(CONTEXT as i64 - 1);
    let (mut all, mut states) = (Vec::new(), Vec::new());
    let heads = model.turns(WINDOWS as i64, 1);
    for step in CONTEXT as i64..(CONTEXT + STEPS) as i64 {
        let uniform = noise.uniform(&[WINDOWS as i64, 1, config.groups as i64]);
        let next = model.imagine_with(&latent, &sequence.actions.get(step), &heads, &uniform);
        latent = next.latents.squeeze_dim(1);
        states.push(model.state(&latent));
        all.push(next.variance);
    }
    let all = Tensor::cat(&all, 0);
    let mean = all.mean_dim([0_i64].as_slice(), false, Kind::Float).clamp_min(LEAST);
    let shares = disagreement(&all, &mean).to_device(tch::Device::Cpu);
    let mut shares = Vec::<f32>::try_from(shares).expect("a vector");
    shares.sort_by(f32::total_cmp);
    let error = (&states[0] - sequence.seen.state.get(CONTEXT as i64)).abs().median_dim(0, false).0 * PER_MEDIAN;
    let values = |t: &Tensor| Vec::<f32>::try_from(t.to_device(tch::Device::Cpu)).expect("a vector");
    let (variance, error) = (values(&mean), values(&error));
    // Heads that agree everywhere would make every step count as infinitely uncertain.
    Ok(Usual { variance, error, q99: f64::from(shares[(shares.len() * 99) / 100]).max(1e-6) })
}
