//! MOREC's dynamics reward (Luo et al., ICLR 2024): discriminators that tell transitions of the data from those of the model,
//! kept from many moments of their training; their mean verdict says how real a step of a dream is.
//!
//! ```text
//! p_m = sigmoid(2 (clamp(logit, l_m, e_m) - l_m) / (e_m - l_m) - 1)     l_m, e_m: mean logit of m on the model's and on real steps
//! D   = -ln(1 - mean_m p_m + 1e-9)                                        in [0.313, 1.313]
//! ```
//!
//! Among the candidates for the next latent one is drawn by `softmax(D / 0.1)`, and, if so configured, a dream ends where the chosen one looks
//! less real than nearly all recorded steps do.
//!
//! Deviations: the end is told by the standing, `sum_m (logit - l_m) / sum_m (e_m - l_m)`, and not by a `D` of 0.6 as published: `D` is
//! the same for all that looks as the model's steps do or worse, and so do some recorded ones; a transition is
//! `[h, z, x], a -> [z', x']`, with `z', x'` as they were seen on the one side, and as they are dreamt on the other, from recorded moments and up to `depth` steps into a dream; the generator is the trained world model itself and is not trained
//! against the discriminators (the original's generator is, by a part of the code that was never released).

use std::ops::{ControlFlow, Range};

use rand::Rng;
use reverie_policy::train::{AdamW, FlatParameters};
use reverie_policy::{Init, Linear, ParameterList, ParameterSpec, RawTensor, STATE_FEATURES, TensorTable, initial_values};
use reverie_schema::{N_ACT, derive_seed};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::WorldModelError;
use crate::config::WorldModelConfig;
use crate::data::PlayData;
use crate::error::Result;
use crate::layers::{Dense, LayerNorm};
use crate::lead::LEAD;
use crate::noise::Noise;
use crate::quantiles::Quantiles;
use crate::rssm::{WAVES, WorldModel, waves};
use crate::train::ADAMW;

/// Against the logarithm of zero, as published.
const EPS: f64 = 1e-9;
/// Steps that the model sees before a dream begins.
const CONTEXT: usize = 4;

/// Discriminators and their training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicsRewardConfig {
    /// Discriminators that are kept (10 to 40 published).
    pub snapshots: usize,
    /// Updates between two of them.
    pub updates_each: u64,
    /// Width of hidden layers.
    pub hidden: usize,
    /// Windows in an update.
    pub batch: usize,
    /// Steps of a dream that is told from the data.
    pub depth: usize,
    /// Learning rate of AdamW.
    pub learning_rate: f64,
}

impl Default for DynamicsRewardConfig {
    fn default() -> Self {
        Self { snapshots: 8, updates_each: 50, hidden: 64, batch: 64, depth: 12, learning_rate: 1e-3 }
    }
}

impl DynamicsRewardConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("snapshots", self.snapshots as u64), ("updates_each", self.updates_each), ("hidden", self.hidden as u64)];
        for (key, value) in sizes.into_iter().chain([("batch", self.batch as u64), ("depth", self.depth as u64)]) {
            if value == 0 {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(WorldModelError::config("learning_rate", self.learning_rate, "must be positive"));
        }
        Ok(())
    }
}

/// What a discriminator says on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Mean logit of transitions of the data.
    pub real: f64,
    /// Mean logit of transitions of the model.
    pub dreamt: f64,
}

impl Snapshot {
    /// Between the two means.
    fn gap(self) -> f64 {
        (self.real - self.dreamt).max(1e-6)
    }
}

/// The parameters of the discriminator number `snapshot`.
pub fn discriminator_parameters(config: &WorldModelConfig, reward: &DynamicsRewardConfig, snapshot: usize) -> Vec<ParameterSpec> {
    let mut list = ParameterList::default();
    let prefix = format!("dynamics_reward.{snapshot}");
    let n_context = config.deter + config.stoch() + LEAD + WAVES + config.actions_per_step * N_ACT;
    list.linear(&format!("{prefix}.context"), n_context, reward.hidden);
    let bound = 1.0 / (config.groups as f32).sqrt();
    list.add(&format!("{prefix}.next.weight"), &[reward.hidden, config.stoch() + STATE_FEATURES], Init::Uniform { bound });
    LayerNorm::list(&mut list, &format!("{prefix}.norm"), reward.hidden);
    Dense::list(&mut list, &format!("{prefix}.1"), reward.hidden, reward.hidden);
    list.linear(&format!("{prefix}.output"), reward.hidden, 1);
    list.0
}

#[derive(Debug)]
struct Discriminator {
    context: Linear,
    next: Tensor,
    norm: LayerNorm,
    hidden: Dense,
    output: Linear,
}

impl Discriminator {
    fn new(table: &TensorTable, snapshot: usize) -> Self {
        let prefix = format!("dynamics_reward.{snapshot}");
        Self {
            context: table.linear(&format!("{prefix}.context")),
            next: crate::layers::parameter(table, &format!("{prefix}.next.weight")),
            norm: LayerNorm::new(table, &format!("{prefix}.norm")),
            hidden: Dense::new(table, &format!("{prefix}.1")),
            output: table.linear(&format!("{prefix}.output")),
        }
    }

    /// `context`: `[n, ..]` of [`context`]; `next`: `[n, candidates, stoch + 51]`; returns `[n, candidates]`.
    fn logits(&self, context: &Tensor, next: &Tensor) -> Tensor {
        let sum = self.context.forward(context).unsqueeze(1) + next.linear(&self.next, None::<Tensor>);
        self.output.forward(&self.hidden.forward(&self.norm.forward(&sum).silu())).squeeze_dim(-1)
    }
}

/// What all discriminators say of steps together, `[n, candidates]` each.
#[derive(Debug)]
pub struct Verdict {
    /// `D`.
    pub reward: Tensor,
    /// Where the sum of all logits stands between its two means: 0 as dreamt steps do, 1 as recorded ones; not clamped.
    pub standing: Tensor,
}

/// The mean verdict of all discriminators.
#[derive(Debug)]
pub struct DynamicsReward {
    members: Vec<(Discriminator, Snapshot)>,
}

impl DynamicsReward {
    /// On the discriminators' parameters, one table for all; it shares their storage.
    pub fn new(table: &TensorTable, snapshots: &[Snapshot]) -> Self {
        let member = |(index, snapshot): (usize, &Snapshot)| (Discriminator::new(table, index), *snapshot);
        Self { members: snapshots.iter().enumerate().map(member).collect() }
    }

    /// On what [`train`] has made.
    ///
    /// # Panics
    /// If `tensors` are of other discriminators.
    pub fn from_trained(
        (tensors, snapshots): &Discriminators,
        world: &WorldModelConfig,
        config: &DynamicsRewardConfig,
        device: tch::Device,
    ) -> Self {
        let specs: Vec<ParameterSpec> =
            (0..snapshots.len()).flat_map(|snapshot| discriminator_parameters(world, config, snapshot)).collect();
        let find = |spec: &ParameterSpec| &tensors.iter().find(|(name, _)| *name == spec.name).expect("every layer").1;
        let values: Vec<&RawTensor> = specs.iter().map(find).collect();
        Self::new(&TensorTable::from_raw(specs, values.into_iter(), device), snapshots)
    }

    /// What is said of each candidate.
    ///
    /// # Shapes
    /// `latent`: `[n, latent]`; `actions`: `[n, actions_per_step * n_act]`; `next`: `[n, candidates, stoch + 51]`.
    pub fn judge(&self, latent: &Tensor, actions: &Tensor, next: &Tensor) -> Verdict {
        self.judge_context(&context(latent, actions), next)
    }

    fn judge_context(&self, context: &Tensor, next: &Tensor) -> Verdict {
        let said = self.members.iter().map(|(member, snapshot)| (member.logits(context, next), *snapshot));
        verdict(&said.collect::<Vec<_>>())
    }
}

/// From each discriminator's logits.
fn verdict(said: &[(Tensor, Snapshot)]) -> Verdict {
    let sum =
        |of: &dyn Fn(&Tensor, Snapshot) -> Tensor| said.iter().map(|(logits, snapshot)| of(logits, *snapshot)).sum::<Tensor>();
    let p = sum(&probability) / said.len() as f64;
    let gaps: f64 = said.iter().map(|(_, snapshot)| snapshot.gap()).sum();
    let standing = sum(&|logits, snapshot| logits - snapshot.dreamt) / gaps;
    Verdict { reward: ((p * -1.0 + 1.0) + EPS).log() * -1.0, standing }
}

/// What a step begins with: `[h; z; l; waves(x); a]`, from `[.., latent]` and `[.., actions_per_step * n_act]`.
fn context(latent: &Tensor, actions: &Tensor) -> Tensor {
    let width = latent.size()[latent.dim() - 1] - STATE_FEATURES as i64;
    let state = latent.narrow(-1, width, STATE_FEATURES as i64);
    Tensor::cat(&[&latent.narrow(-1, 0, width), &waves(&state), actions], -1)
}

/// How plausible steps of `episodes` look, by their standing, and, to be shown, the median of dreams along the same actions.
///
/// # Errors
/// Too short episodes.
pub fn plausibility(
    model: &WorldModel,
    rewards: &DynamicsReward,
    data: &PlayData,
    episodes: &Range<usize>,
    config: &DynamicsRewardConfig,
) -> Result<(Quantiles, f64)> {
    const BATCHES: u64 = 16;
    let _guard = tch::no_grad_guard();
    let mut scores = [Vec::<f32>::new(), Vec::new()];
    for batch in 0..BATCHES {
        let mut noise = Noise::new(model.config().seed, "plausibility", data.device()).part(batch);
        let drawn = draw(model, data, episodes, config, &mut noise)?;
        for (side, scores) in scores.iter_mut().enumerate() {
            let standing = rewards.judge_context(&drawn.context[side], &drawn.next[side]).standing.view([-1]);
            scores.extend(Vec::<f32>::try_from(standing.to_device(tch::Device::Cpu)).expect("a vector"));
        }
    }
    let [recorded, dreamt] = scores.map(Quantiles::of);
    Ok((recorded, dreamt.at(0.5)))
}

/// A logit as a probability, by where it stands between a discriminator's two means.
fn probability(logits: &Tensor, snapshot: Snapshot) -> Tensor {
    (((logits - snapshot.dreamt) / snapshot.gap()).clamp(0.0, 1.0) * 2.0 - 1.0).sigmoid()
}

/// Transitions of the data, and of dreams from the same moments and deeper, under the same actions.
struct Transitions {
    context: [Tensor; 2],
    next: [Tensor; 2],
}

fn draw(
    model: &WorldModel,
    data: &PlayData,
    episodes: &Range<usize>,
    config: &DynamicsRewardConfig,
    noise: &mut Noise,
) -> Result<Transitions> {
    let settings = model.config();
    let steps = CONTEXT + config.depth + 1;
    let firsts = random_windows(data, episodes, steps * settings.actions_per_step, config.batch, noise)?;
    // Recordings are not to be told by the tremor of what is told from pictures.
    let sequence = data.windows(&firsts, steps, settings).with_given_state();
    let observed = model.observe(&sequence, &model.blank(firsts.len() as i64, &sequence.actions), noise).latents;
    let mut latent = observed.get(CONTEXT as i64);
    let depth = config.depth as i64;
    let mut dreamt = vec![latent.shallow_clone()];
    for step in 0..depth {
        latent = model.imagine(&latent, &sequence.actions.get(CONTEXT as i64 + 1 + step), noise);
        dreamt.push(latent.shallow_clone());
    }
    let actions = sequence.actions.narrow(0, CONTEXT as i64 + 1, depth);
    let pair = |latents: &Tensor| {
        let context = context(&latents.narrow(0, 0, depth), &actions).flatten(0, 1);
        let next = model.outcome(&latents.narrow(0, 1, depth)).flatten(0, 1).unsqueeze(1);
        (context, next)
    };
    let (real, deep) = (pair(&observed.narrow(0, CONTEXT as i64, depth + 1)), pair(&Tensor::stack(&dreamt, 0)));
    // One step of a dream from each recorded moment: the same contexts on both sides, so that a discriminator has to look at the step
    // and can't go by how dreamt the moment before it is.
    let moments = observed.narrow(0, CONTEXT as i64, depth).flatten(0, 1);
    let shallow = model.outcome(&model.imagine(&moments, &actions.flatten(0, 1), noise)).unsqueeze(1);
    let context = Tensor::cat(&[&real.0, &deep.0], 0);
    Ok(Transitions { context: [real.0, context], next: [real.1, Tensor::cat(&[&shallow, &deep.1], 0)] })
}

/// First frames of `count` windows of `length` frames, each within one of `episodes`.
///
/// # Errors
/// [`WorldModelError::Data`] if no episode is that long.
pub(crate) fn random_windows(
    data: &PlayData,
    episodes: &Range<usize>,
    length: usize,
    count: usize,
    noise: &mut Noise,
) -> Result<Vec<i64>> {
    let long: Vec<&Range<usize>> = data.episodes()[episodes.clone()].iter().filter(|e| e.len() > length).collect();
    if long.is_empty() {
        return Err(WorldModelError::Data(format!("no episode is longer than {length} frames; record longer ones")));
    }
    let rng = noise.rng();
    let window = |_| {
        let episode = long[rng.random_range(0..long.len())];
        rng.random_range(episode.start..episode.end - length) as i64
    };
    Ok((0..count).map(window).collect())
}

/// Weights of all discriminators by name, and what each says on average.
pub type Discriminators = (Vec<(String, RawTensor)>, Vec<Snapshot>);

/// Trains discriminators for a finished world model; the weights of all snapshots by name, and what each says on average.
///
/// `report` is told the updates taken and the loss, and may stop it.
///
/// # Errors
/// Too short episodes, [`WorldModelError::Diverged`], or that it was stopped.
pub fn train(
    model: &WorldModel,
    data: &PlayData,
    episodes: &Range<usize>,
    config: &DynamicsRewardConfig,
    mut report: impl FnMut(u64, f64) -> ControlFlow<()>,
) -> Result<Discriminators> {
    let settings = model.config();
    let specs = discriminator_parameters(settings, config, 0);
    let values = initial_values(&specs, derive_seed(settings.seed, "dynamics reward"));
    let mut parameters = FlatParameters::new(specs, &values, data.device());
    let discriminator = Discriminator::new(&parameters.table(), 0);
    let mut optimiser = AdamW::new(&parameters.copy(), ADAMW);
    let (mut tensors, mut snapshots) = (Vec::new(), Vec::new());
    for update in 0..config.snapshots as u64 * config.updates_each {
        let mut noise = Noise::new(settings.seed, "dynamics reward", data.device()).part(update);
        let batch = {
            let _guard = tch::no_grad_guard();
            draw(model, data, episodes, config, &mut noise)?
        };
        let [real, dreamt] = [0, 1].map(|i| discriminator.logits(&batch.context[i], &batch.next[i]));
        let objective = discrimination_loss(&real, &dreamt);
        let gradient = parameters.gradient(&objective);
        let _guard = tch::no_grad_guard();
        let loss = objective.double_value(&[]);
        if !loss.is_finite() {
            return Err(WorldModelError::Diverged { what: "the discriminators' loss", update, loss });
        }
        optimiser.step(parameters.flat(), &gradient, update, config.learning_rate);
        if report(update + 1, loss).is_break() {
            return Err(WorldModelError::Data("interrupted while the discriminators were trained".into()));
        }
        if (update + 1).is_multiple_of(config.updates_each) {
            // Of the weights that are kept, on other transitions.
            let mut noise = Noise::new(settings.seed, "dynamics reward means", data.device()).part(update);
            let others = draw(model, data, episodes, config, &mut noise)?;
            let mean = |i: usize| discriminator.logits(&others.context[i], &others.next[i]).mean(Kind::Float).double_value(&[]);
            let prefix = format!("dynamics_reward.{}", snapshots.len());
            let named = parameters.named(&parameters.copy()).into_iter();
            tensors.extend(named.map(|(name, value)| (name.replacen("dynamics_reward.0", &prefix, 1), value)));
            snapshots.push(Snapshot { real: mean(0), dreamt: mean(1) });
        }
    }
    Ok((tensors, snapshots))
}

/// Binary cross-entropy of telling real transitions from dreamt ones.
fn discrimination_loss(real: &Tensor, dreamt: &Tensor) -> Tensor {
    (real * -1.0).softplus().mean(real.kind()) + dreamt.softplus().mean(dreamt.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::gradient_error;

    /// The published ends: a verdict at or below the mean of dreams gives 0.313, one at or above that of data 1.313, and 0.6 is
    /// crossed at a mean probability of 0.451.
    #[test]
    fn scores_lie_in_the_published_range() {
        let snapshot = Snapshot { real: 2.0, dreamt: -1.0 };
        let score = |logit: f64| verdict(&[(Tensor::from_slice(&[logit]), snapshot)]).reward.double_value(&[0]);
        assert!((score(-7.0) - 0.313).abs() < 1e-3 && (score(9.0) - 1.313).abs() < 1e-3);
        assert!((score(0.5) - 0.5_f64.ln().abs()).abs() < 1e-6, "half-way: p = 0.5");
        let (mut low, mut high) = (-1.0, 2.0);
        while high - low > 1e-6 {
            let middle = 0.5 * (low + high);
            if score(middle) < 0.6 { low = middle } else { high = middle }
        }
        let p = probability(&Tensor::from_slice(&[low]), snapshot).double_value(&[0]);
        assert!((p - 0.451).abs() < 1e-3, "{p}");
    }

    /// Half-way between means 3 apart, and at the upper of means 0.5 apart: `p` of 0.5 and sigmoid(1) = 0.7311, `D = -ln(1 - 0.6155)`;
    /// 1.5 and 0.5 above the lower means, of 3.5 together.
    #[test]
    fn discriminators_are_heard_together() {
        let said = |logit: f64, real, dreamt| (Tensor::from_slice(&[logit]), Snapshot { real, dreamt });
        let Verdict { reward, standing } = verdict(&[said(0.5, 2.0, -1.0), said(1.0, 1.0, 0.5)]);
        assert!((reward.double_value(&[0]) - 0.955_887_7).abs() < 1e-6);
        assert!((standing.double_value(&[0]) - 2.0 / 3.5).abs() < 1e-12);
        let far = verdict(&[said(-31.0, 2.0, -1.0), said(1.0, 1.0, 0.5)]);
        assert!((far.standing.double_value(&[0]) + 29.5 / 3.5).abs() < 1e-12, "not clamped");
        assert!(far.reward.double_value(&[0]) > 0.4, "clamped");
    }

    /// A world that counts, and a model that has learned nothing: its steps are told from recorded ones.
    #[test]
    fn steps_of_an_untrained_model_are_told_from_recorded_ones() {
        let config =
            WorldModelConfig { deter: 8, groups: 3, classes: 3, hidden: 8, embed: 8, heads: 2, ..WorldModelConfig::default() };
        let data = PlayData::new(crate::data::tests::numbered(&[400, 400]), None, tch::Device::Cpu).unwrap();
        let trainer = crate::WorldModelTrainer::new(config, data).unwrap();
        let reward = DynamicsRewardConfig {
            snapshots: 2,
            updates_each: 60,
            hidden: 16,
            batch: 16,
            depth: 3,
            ..DynamicsRewardConfig::default()
        };
        let made = train(trainer.model(), trainer.data(), &(0..2), &reward, |_, _| ControlFlow::Continue(())).unwrap();
        assert!(made.1[1].real > made.1[1].dreamt + 1.0, "{:?}", made.1);
        let judge = DynamicsReward::from_trained(&made, trainer.model().config(), &reward, tch::Device::Cpu);
        let (recorded, dreamt) = plausibility(trainer.model(), &judge, trainer.data(), &(0..2), &reward).unwrap();
        assert!(recorded.at(0.5) > dreamt + 0.5, "{} {dreamt}", recorded.at(0.5));
    }

    #[test]
    fn gradient_of_the_discrimination_loss() {
        let mut noise = Noise::new(1, "logits", tch::Device::Cpu);
        let (real, dreamt) = (noise.normal(&[6]), noise.normal(&[6]).to_kind(Kind::Double));
        let real = real.to_kind(Kind::Double);
        let at_real = |x: &Tensor| discrimination_loss(x, &dreamt);
        let at_dreamt = |x: &Tensor| discrimination_loss(&real, x);
        assert!(gradient_error(&real, at_real, at_real) < 1e-8);
        assert!(gradient_error(&dreamt, at_dreamt, at_dreamt) < 1e-8);
        let zero = Tensor::zeros([3], (Kind::Double, tch::Device::Cpu));
        assert!((discrimination_loss(&zero, &zero).double_value(&[]) - 2.0 * 2.0_f64.ln()).abs() < 1e-12);
    }
}
