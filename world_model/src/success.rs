//! Whether a task is done, told from latents (DiWA's reward classifier): an embedding trained by supervised contrast (Khosla et al.
//! 2020) and cross-entropy, on latents of recorded frames and of dreams along the same actions.
//!
//! A dreamt moment counts as done if the task is in the state that it stands for, whatever became of the recording (DiWA labels dreams by
//! the recording): where dreams miss what happened, a classifier would learn to tell it from where the hand is, and a policy to be there.
//!
//! Several members see other batches; the least convinced counts. The threshold is the smallest at which dreams held out from
//! training are told with the precision asked for: a false success ends a dream with reward, and the policy learns to make more.

use std::ops::ControlFlow;

use rand::Rng;
use reverie_policy::train::{AdamW, FlatParameters};
use reverie_policy::{Device, Linear, MinMax, ParameterList, ParameterSpec, STATE_FEATURES, TensorTable, initial_values};
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::WorldModelError;
use crate::config::WorldModelConfig;
use crate::data::PlayData;
use crate::error::Result;
use crate::layers::Dense;
use crate::noise::Noise;
use crate::rssm::WorldModel;
use crate::store::{Info, Provenance, Stored};
use crate::train::ADAMW;

/// A trained classifier on disk.
pub type SuccessCheckpoint = Stored<SuccessInfo>;

/// The classifier and its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessConfig {
    /// Members; the least convinced counts.
    pub members: usize,
    /// Width of the hidden layer (1024 in DiWA).
    pub hidden: usize,
    /// Entries of the embedding (256).
    pub embed: usize,
    /// Temperature of the contrast (0.5).
    pub temperature: f64,
    /// Weight of the cross-entropy beside the contrast (0.5).
    pub cross_entropy: f64,
    /// Latents in a batch, half of them successes.
    pub batch: usize,
    /// Updates of each member.
    pub updates: u64,
    /// Learning rate of AdamW (1e-6 in DiWA, over 100 passes).
    pub learning_rate: f64,
    /// Share of the windows that are held out.
    pub held_out: f64,
    /// Precision asked for on held-out dreams.
    pub precision: f64,
    /// Of weights and batches.
    pub seed: u64,
}

impl Default for SuccessConfig {
    fn default() -> Self {
        Self {
            members: 3,
            hidden: 256,
            embed: 64,
            temperature: 0.5,
            cross_entropy: 0.5,
            batch: 256,
            updates: 600,
            learning_rate: 3e-4,
            held_out: 0.2,
            precision: 0.98,
            seed: 0,
        }
    }
}

impl SuccessConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        let sizes = [("members", self.members), ("hidden", self.hidden), ("embed", self.embed), ("batch", self.batch)];
        for (key, value) in sizes {
            if value == 0 {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        for (key, value) in [("temperature", self.temperature), ("learning_rate", self.learning_rate)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        if !(self.cross_entropy >= 0.0 && self.cross_entropy.is_finite()) {
            return Err(WorldModelError::config("cross_entropy", self.cross_entropy, "must not be negative"));
        }
        for (key, value) in [("held_out", self.held_out), ("precision", self.precision)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(WorldModelError::config(key, value, "must be between 0 and 1"));
            }
        }
        Ok(())
    }
}

/// How often it is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share of the successes told that are some.
    pub precision: f64,
    /// Share of the successes that are told.
    pub recall: f64,
    /// Successes among the latents.
    pub successes: u64,
    /// Latents.
    pub latents: u64,
}

/// What is known of a trained classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessInfo {
    /// The task.
    pub task: String,
    /// Settings.
    pub config: SuccessConfig,
    /// Entries of the latents that it reads.
    pub latent: usize,
    /// Which world model's latents these are.
    pub world_model: String,
    /// Probability above which the task counts as done.
    pub threshold: f64,
    /// On held-out recorded frames.
    pub recorded: Quality,
    /// On held-out dreams, the ones that the threshold is chosen on.
    pub dreamt: Quality,
    /// Success told of these dreams, of what was recorded under the same actions: how well both, world model and classifier, foretell it. Held
    /// out from the classifier; the world model has learned from most of these recordings. The moments that dreams begin at count too.
    pub foretold: Quality,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl Info for SuccessInfo {
    const NAME: &'static str = "success";

    fn parameters(&self) -> Vec<ParameterSpec> {
        (0..self.config.members).flat_map(|member| member_parameters(&self.config, self.latent, member)).collect()
    }

    fn validate(&self) -> Result<()> {
        self.config.validate()?;
        if !(0.0..1.0).contains(&self.threshold) {
            return Err(WorldModelError::config("threshold", self.threshold, "must be in [0, 1)"));
        }
        Ok(())
    }
}

fn member_parameters(config: &SuccessConfig, latent: usize, member: usize) -> Vec<ParameterSpec> {
    let mut list = ParameterList::default();
    Dense::list(&mut list, &format!("{member}.embedding.0"), latent, config.hidden);
    list.linear(&format!("{member}.embedding.1"), config.hidden, config.embed);
    list.linear(&format!("{member}.head"), config.embed, 2);
    list.0
}

#[derive(Debug)]
struct Member {
    hidden: Dense,
    embedding: Linear,
    head: Linear,
}

impl Member {
    fn new(table: &TensorTable, member: usize) -> Self {
        Self {
            hidden: Dense::new(table, &format!("{member}.embedding.0")),
            embedding: table.linear(&format!("{member}.embedding.1")),
            head: table.linear(&format!("{member}.head")),
        }
    }

    fn embed(&self, latents: &Tensor) -> Tensor {
        self.embedding.forward(&self.hidden.forward(latents))
    }

    /// Logits of the embeddings' classes, `[n, 2]`.
    fn classify(&self, embeddings: &Tensor) -> Tensor {
        self.head.forward(&embeddings.relu())
    }
}

/// A trained classifier on a device.
#[derive(Debug)]
pub struct SuccessClassifier {
    /// What is known of it.
    pub info: SuccessInfo,
    members: Vec<Member>,
}

impl SuccessClassifier {
    /// Copies the weights to `device`.
    ///
    /// # Errors
    /// None of a checkpoint that was loaded or made.
    pub fn new(checkpoint: &SuccessCheckpoint, device: Device) -> Result<Self> {
        let table = checkpoint.table(device)?;
        let members = (0..checkpoint.info.config.members).map(|member| Member::new(&table, member)).collect();
        Ok(Self { info: checkpoint.info.clone(), members })
    }

    /// The least convinced member's probability of success, `[n, latent] -> [n]`.
    pub fn probability(&self, latents: &Tensor) -> Tensor {
        least_probability(&self.members, latents)
    }

    /// 1 where the task counts as done, `[n]`.
    pub fn fires(&self, latents: &Tensor) -> Tensor {
        self.probability(latents).gt(self.info.threshold).to_kind(Kind::Float)
    }
}

fn least_probability(members: &[Member], latents: &Tensor) -> Tensor {
    let probability = |member: &Member| member.classify(&member.embed(latents)).softmax(-1, Kind::Float).select(-1, 1);
    members.iter().map(probability).reduce(|a, b| a.minimum(&b)).expect("at least one member")
}

/// Consecutive frames, a model's step apart, with what is known of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The frame of the first step.
    pub first: usize,
    /// Steps that are seen before the task begins.
    pub context: usize,
    /// From where the task begins: whether it is done, step by step.
    pub done: Vec<bool>,
}

/// Latents with their labels.
#[derive(Debug)]
pub struct Labelled {
    /// `[n, latent]`.
    latents: Tensor,
    done: Vec<bool>,
    /// Whether it was done in the recording.
    recorded: Vec<bool>,
    dreamt: Vec<bool>,
    held_out: Vec<bool>,
}

/// Follows windows of `data`, and dreams along their actions from where the task begins. Of every `1 / held_out` episodes the windows
/// are held out: windows of one episode overlap. `is_done` tells whether the task of a window is done where the state features, `[51]`,
/// are these.
pub fn label(
    model: &WorldModel,
    data: &PlayData,
    windows: &[Window],
    is_done: &dyn Fn(&Window, &[f32; STATE_FEATURES]) -> bool,
    config: &SuccessConfig,
    noise: &mut Noise,
) -> Vec<Labelled> {
    /// Windows that are followed together.
    const TOGETHER: usize = 256;
    let _guard = tch::no_grad_guard();
    let settings: &WorldModelConfig = model.config();
    let mut by_length: std::collections::BTreeMap<(usize, usize), Vec<&Window>> = std::collections::BTreeMap::new();
    for window in windows {
        by_length.entry((window.context, window.done.len())).or_default().push(window);
    }
    let every = (1.0 / config.held_out).round().max(2.0) as usize;
    let episode_of = |window: &Window| data.episodes().partition_point(|episode| episode.end <= window.first);
    let mut all = Vec::new();
    for ((context, length), windows) in by_length {
        for windows in windows.chunks(TOGETHER) {
            let firsts: Vec<i64> = windows.iter().map(|window| window.first as i64).collect();
            let sequence = data.windows(&firsts, context + length, settings);
            let blank = model.blank(firsts.len() as i64, &sequence.actions);
            let seen = model.observe(&sequence, &blank, noise).latents.narrow(0, context as i64, length as i64);
            let mut latent = seen.get(0);
            let mut dreamt = vec![latent.shallow_clone()];
            for step in 1..length as i64 {
                let actions = sequence.actions.get(context as i64 + step);
                latent = model.imagine(&latent, &actions, noise);
                dreamt.push(latent.shallow_clone());
            }
            let labels = |dreamt: bool, latents: Tensor| {
                let of = |f: &dyn Fn(&Window, usize) -> bool| {
                    (0..length)
                        .flat_map(|step| windows.iter().map(move |window| (step, window)))
                        .map(|(step, w)| f(w, step))
                        .collect()
                };
                let latents = latents.flatten(0, 1);
                let recorded: Vec<bool> = of(&|window, step| window.done[step]);
                let done = if dreamt {
                    let states = features_of(&model.state(&latents), data.normaliser());
                    let windows = windows.iter().cycle();
                    windows.zip(&states).map(|(window, state)| is_done(window, state)).collect()
                } else {
                    recorded.clone()
                };
                Labelled {
                    latents,
                    done,
                    recorded,
                    held_out: of(&|window, _| episode_of(window).is_multiple_of(every)),
                    dreamt: vec![dreamt; length * windows.len()],
                }
            };
            all.push(labels(false, seen));
            all.push(labels(true, Tensor::stack(&dreamt, 0)));
        }
    }
    all
}

/// State features in their units, of normalised ones.
fn features_of(state: &Tensor, normaliser: &MinMax) -> Vec<[f32; STATE_FEATURES]> {
    let mut flat = Vec::<f32>::try_from(state.to_device(Device::Cpu).contiguous().view([-1])).expect("a vector");
    normaliser.unnormalise(&mut flat);
    flat.chunks_exact(STATE_FEATURES).map(|row| std::array::from_fn(|i| row[i])).collect()
}

/// Supervised contrast: for each row, the mean log-probability of the rows of its class among all others, by cosine similarity.
///
/// # Shapes
/// `embeddings`: `[n, embed]`; `classes`: `[n]`, i64; rows without a partner count for nothing.
pub fn contrast(embeddings: &Tensor, classes: &Tensor, temperature: f64) -> Tensor {
    let kind = embeddings.kind();
    let norm = embeddings.square().sum_dim_intlist([-1_i64].as_slice(), true, kind).sqrt().clamp_min(1e-8);
    let unit = embeddings / norm;
    let n = embeddings.size()[0];
    let own = Tensor::eye(n, (Kind::Bool, embeddings.device()));
    let similarity = (unit.matmul(&unit.transpose(0, 1)) / temperature).masked_fill(&own, f64::NEG_INFINITY);
    let log_p = similarity.log_softmax(-1, kind).masked_fill(&own, 0.0);
    let partners = classes.unsqueeze(0).eq_tensor(&classes.unsqueeze(1)).logical_and(&own.logical_not()).to_kind(kind);
    let count = partners.sum_dim_intlist([-1_i64].as_slice(), false, kind);
    let mean = (log_p * &partners).sum_dim_intlist([-1_i64].as_slice(), false, kind) / count.clamp_min(1.0);
    let counts = count.gt(0.0).to_kind(kind);
    (mean * &counts).sum(kind) * -1.0 / counts.sum(kind).clamp_min(1.0)
}

/// What a classifier is trained for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The task.
    pub task: String,
    /// Identity of the world model.
    pub world_model: String,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Trains a classifier. `report` is told member and updates taken, and may stop it.
///
/// # Errors
/// [`WorldModelError::Data`] without successes or without failures on either side, or if stopped;
/// [`WorldModelError::Diverged`].
pub fn train(
    labelled: &[Labelled],
    config: &SuccessConfig,
    subject: Subject,
    mut report: impl FnMut(usize, u64, f64) -> ControlFlow<()>,
) -> Result<SuccessCheckpoint> {
    let parts: Vec<&Tensor> = labelled.iter().map(|part| &part.latents).collect();
    if parts.is_empty() {
        return Err(WorldModelError::Data(format!("{}: there is no window to learn success from", subject.task)));
    }
    let latents = Tensor::cat(&parts, 0);
    let all = |f: fn(&Labelled) -> &[bool]| -> Vec<bool> { labelled.iter().flat_map(|part| f(part).iter().copied()).collect() };
    let (done, recorded) = (all(|p| &p.done), all(|p| &p.recorded));
    let (dreamt, held_out) = (all(|p| &p.dreamt), all(|p| &p.held_out));
    let pick = |want: &dyn Fn(usize) -> bool| -> Vec<i64> { (0..done.len()).filter(|&i| want(i)).map(|i| i as i64).collect() };
    let pools = [pick(&|i| !held_out[i] && !done[i]), pick(&|i| !held_out[i] && done[i])];
    let judged = [pick(&|i| held_out[i] && !dreamt[i]), pick(&|i| held_out[i] && dreamt[i])];
    let positives = |rows: &[i64]| rows.iter().filter(|&&i| done[i as usize]).count();
    if pools[1].is_empty() || positives(&judged[0]) == 0 {
        return Err(WorldModelError::Data(format!(
            "{}: {} successes to learn from and {} to check with among {} latents: record demonstrations of it, or more play",
            subject.task,
            pools[1].len(),
            positives(&judged[0]),
            done.len()
        )));
    }
    if pools[0].is_empty() {
        return Err(WorldModelError::Data(format!("{}: every frame is a success, there is nothing to tell apart", subject.task)));
    }
    let width = latents.size()[1] as usize;
    let device = latents.device();
    let mut tensors = std::collections::BTreeMap::new();
    for member in 0..config.members {
        let specs = member_parameters(config, width, member);
        let values = initial_values(&specs, derive_seed(config.seed, "success"));
        let mut parameters = FlatParameters::new(specs, &values, device);
        let network = Member::new(&parameters.table(), member);
        let mut optimiser = AdamW::new(&parameters.copy(), ADAMW);
        let mut noise = Noise::new(config.seed, &format!("success {member}"), device);
        for update in 0..config.updates {
            let rng = noise.rng();
            let rows: Vec<i64> = (0..config.batch).map(|i| pools[i % 2][rng.random_range(0..pools[i % 2].len())]).collect();
            let classes: Vec<i64> = (0..config.batch as i64).map(|i| i % 2).collect();
            let classes = Tensor::from_slice(&classes).to_device(device);
            let embeddings = network.embed(&latents.index_select(0, &Tensor::from_slice(&rows).to_device(device)));
            let objective = contrast(&embeddings, &classes, config.temperature)
                + network.classify(&embeddings).cross_entropy_for_logits(&classes) * config.cross_entropy;
            let gradient = parameters.gradient(&objective);
            let _guard = tch::no_grad_guard();
            let loss = objective.double_value(&[]);
            if !loss.is_finite() {
                return Err(WorldModelError::Diverged { what: "the classifier's loss", update, loss });
            }
            optimiser.step(parameters.flat(), &gradient, update, config.learning_rate);
            if report(member, update + 1, loss).is_break() {
                return Err(WorldModelError::Data(format!("interrupted: nothing was written for {}", subject.task)));
            }
        }
        tensors.extend(parameters.named(&parameters.copy()));
    }
    let info = SuccessInfo {
        task: subject.task,
        config: config.clone(),
        latent: width,
        world_model: subject.world_model,
        threshold: 0.5,
        recorded: Quality::default(),
        dreamt: Quality::default(),
        foretold: Quality::default(),
        provenance: subject.provenance,
    };
    let mut stored = Stored::new(info, tensors)?;
    let classifier = SuccessClassifier::new(&stored, device)?;
    let _guard = tch::no_grad_guard();
    let probabilities = judged.each_ref().map(|rows| {
        let at = Tensor::from_slice(rows).to_device(device);
        let p = classifier.probability(&latents.index_select(0, &at)).to_device(Device::Cpu);
        Vec::<f32>::try_from(p.contiguous()).expect("a vector of probabilities")
    });
    let scores = |side: usize, truth: &[bool]| -> Vec<(f64, bool)> {
        judged[side].iter().zip(&probabilities[side]).map(|(&i, &p)| (f64::from(p), truth[i as usize])).collect()
    };
    let (frames, dreams) = (scores(0, &recorded), scores(1, &done));
    // A world model that never dreams of success leaves nothing to judge dreams by.
    let judged_on = if positives(&judged[1]) > 0 { &dreams } else { &frames };
    stored.info.threshold = threshold(judged_on, config.precision);
    stored.info.recorded = quality(&frames, stored.info.threshold);
    stored.info.dreamt = quality(&dreams, stored.info.threshold);
    stored.info.foretold = quality(&scores(1, &recorded), stored.info.threshold);
    Ok(stored)
}

fn quality(scores: &[(f64, bool)], threshold: f64) -> Quality {
    let count = |want: &dyn Fn(&(f64, bool)) -> bool| scores.iter().filter(|s| want(s)).count() as f64;
    let (told, successes) = (count(&|s| s.0 > threshold), count(&|s| s.1));
    let right = count(&|s| s.1 && s.0 > threshold);
    Quality {
        precision: if told > 0.0 { right / told } else { 0.0 },
        recall: if successes > 0.0 { right / successes } else { 0.0 },
        successes: successes as u64,
        latents: scores.len() as u64,
    }
}

/// The smallest threshold, at least a half, with the precision asked for that still tells half of the successes; without one, that of
/// the best F-score, in which precision weighs twice as much as recall.
fn threshold(scores: &[(f64, bool)], precision: f64) -> f64 {
    const FINEST: usize = 200;
    const LEAST_RECALL: f64 = 0.5;
    let candidates = (0..FINEST).map(|i| 0.5 + 0.499 * i as f64 / (FINEST - 1) as f64);
    let judged: Vec<(f64, Quality)> = candidates.map(|t| (t, quality(scores, t))).collect();
    let good = judged.iter().find(|(_, q)| q.precision >= precision && q.recall >= LEAST_RECALL);
    let f_score = |q: &Quality| 1.25 * q.precision * q.recall / (0.25 * q.precision + q.recall).max(1e-9);
    let best = judged.iter().rev().max_by(|a, b| f_score(&a.1).total_cmp(&f_score(&b.1)));
    good.or(best).map_or(0.5, |(t, _)| *t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::gradient_error;

    /// Two unit vectors a class, at right angles between classes, temperature 1: each row has similarity 1 to its partner and 0 to
    /// two others.
    #[test]
    fn contrast_of_a_written_out_case_and_its_gradient() {
        let e = Tensor::from_slice(&[1.0_f64, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 3.0]).view([4, 2]);
        let classes = Tensor::from_slice(&[0_i64, 0, 1, 1]);
        let want = -(1.0_f64.exp() / (1.0_f64.exp() + 2.0)).ln();
        assert!((contrast(&e, &classes, 1.0).double_value(&[]) - want).abs() < 1e-12);
        let mut noise = Noise::new(1, "embeddings", Device::Cpu);
        let x = noise.normal(&[5, 3]).to_kind(Kind::Double);
        let classes = Tensor::from_slice(&[0_i64, 1, 0, 1, 1]);
        let f = |x: &Tensor| contrast(x, &classes, 0.5);
        assert!(gradient_error(&x, f, f) < 1e-7);
    }

    #[test]
    fn the_threshold_is_the_smallest_that_is_precise_enough() {
        let scores = [(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.2, false)];
        let t = threshold(&scores, 0.99);
        assert!((0.7..0.705).contains(&t), "{t}");
        assert_eq!(quality(&scores, t).recall, 2.0 / 3.0);
        assert_eq!(quality(&scores, 0.5).precision, 0.75);
        assert!(threshold(&[(0.9, false), (0.8, true)], 0.99) < 0.8, "the best that there is");
    }

    /// The first moment of a dream is the recorded one, of its own window; an untrained model dreams of something else from there.
    #[test]
    fn dreamt_moments_are_labelled_by_what_is_dreamt() {
        let config = WorldModelConfig {
            deter: 8,
            groups: 2,
            classes: 2,
            hidden: 8,
            embed: 8,
            heads: 2,
            streams: 2,
            sequence: 4,
            ..WorldModelConfig::default()
        };
        let data = PlayData::new(crate::data::tests::numbered(&[60, 80]), None, Device::Cpu).unwrap();
        let trainer = crate::train::WorldModelTrainer::new(config, data).unwrap();
        let (model, data) = (trainer.model(), trainer.data());
        let stride = model.config().actions_per_step;
        let windows = [0, 70].map(|first| Window { first, context: 1, done: vec![false, true, true] });
        let asked = std::cell::RefCell::new(Vec::new());
        let is_done = |window: &Window, features: &[f32; STATE_FEATURES]| {
            asked.borrow_mut().push((window.first, features[0]));
            (features[0] - (window.first + stride) as f32).abs() < 0.5
        };
        let mut noise = Noise::new(3, "label", Device::Cpu);
        let parts = label(model, data, &windows, &is_done, &SuccessConfig::default(), &mut noise);
        let [seen, dreamt] = parts.as_slice() else { panic!("{} parts", parts.len()) };
        assert_eq!([&seen.done, &dreamt.recorded], [&seen.recorded; 2]);
        assert_eq!(seen.recorded, [false, false, true, true, true, true]);
        assert_eq!(dreamt.done[..2], [true, true]);
        let asked = asked.into_inner();
        assert_eq!(asked.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [0, 70, 0, 70, 0, 70], "of dreams alone");
        let MinMax { offset, scale } = data.normaliser();
        for (row, (first, feature)) in asked.iter().enumerate() {
            let state = model.state(&dreamt.latents).double_value(&[row as i64, 0]) as f32 * scale[0] + offset[0];
            assert!((state - feature).abs() < 1e-3, "row {row}: {state}, {feature}");
            let recorded = (first + (1 + row / 2) * stride) as f32;
            assert_eq!((feature - recorded).abs() < 1e-2, row < 2, "row {row}: {feature}, {recorded}");
        }
    }

    fn labelled(n: usize, with_success: bool) -> Labelled {
        let mut noise = Noise::new(4, "latents", Device::Cpu);
        let done: Vec<bool> = (0..n).map(|i| with_success && i % 3 == 0).collect();
        let latents = noise.normal(&[n as i64, 6]);
        for (i, done) in done.iter().enumerate() {
            if *done {
                let _ = latents.get(i as i64).narrow(0, 0, 1).fill_(4.0);
            }
        }
        Labelled {
            latents,
            recorded: done.clone(),
            done,
            dreamt: (0..n).map(|i| i % 2 == 0).collect(),
            held_out: (0..n).map(|i| i % 5 < 2).collect(),
        }
    }

    fn subject() -> Subject {
        Subject { task: "open_drawer".into(), world_model: "w".into(), provenance: Provenance::default() }
    }

    #[test]
    fn what_can_be_told_apart_is_and_the_same_seed_gives_the_same_weights() {
        let config =
            SuccessConfig { hidden: 16, embed: 8, updates: 80, batch: 64, learning_rate: 3e-3, ..SuccessConfig::default() };
        let run = || train(&[labelled(300, true)], &config, subject(), |_, _, _| ControlFlow::Continue(())).unwrap();
        let stored = run();
        assert!(stored.info.dreamt.precision > 0.95 && stored.info.dreamt.recall > 0.9, "{:?}", stored.info.dreamt);
        assert_eq!(stored, run());
        let folder = tempfile::tempdir().unwrap();
        stored.save(folder.path()).unwrap();
        assert_eq!(SuccessCheckpoint::load(folder.path()).unwrap(), stored);
    }

    #[test]
    fn without_successes_there_is_nothing_to_learn() {
        let error = train(&[labelled(60, false)], &SuccessConfig::default(), subject(), |_, _, _| ControlFlow::Continue(()));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("open_drawer: 0 successes to learn from"), "{error}");
    }
}
