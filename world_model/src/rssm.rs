//! The world model: a recurrent state-space model with categorical latents (Hafner et al., DreamerV2 2021, DreamerV3 2023).
//!
//! A latent is `[h; z; l; x]`: `h` (deterministic) remembers, `z` (categoricals, one-hot) says what can't be foretold, `x` is the state as
//! far as it is known, in features, and `l` how far the commanded TCP is ahead of that (see `lead`).
//!
//! ```text
//! recurrent   h_t = gru(silu(norm(W [z_{t-1}; w_t])), h_{t-1})     w_t = [waves(x_{t-1}); l_{t-1}; a_{t-1}]
//! prior       z_t ~ p_m(z | h_t, w_t)                         for each head m
//! posterior   z_t ~ q(z | h_t, e_t)       e_t = encoder(what is seen)
//! decoder     x'_t = x_{t-1} + mlp_m([h_t; z_t; w_t]);  pictures from [h_t; z_t; x_t]
//! state       x_t = what is seen of it, told from pictures as mlp([h_t; e_t]) where it is not measured, and x'_t where nothing is seen
//!             two-valued features that are told or foretold are made so; in training half of the streams are given what must be told
//! lead        l_t = l_{t-1} + what a_{t-1} commands - what x_t moved, within the leash
//! loss        -ln p(seen) + kl_scale (balance KL(sg q || p) + (1 - balance) max(free_nats, KL(q || sg p)))
//! ```
//!
//! A step covers `actions_per_step` control steps, whose actions are `a`. In training, streams are *blind* for the last part of a
//! sequence: `z` comes from the prior and `x_t = x'_t`, as in a dream, and the loss goes on, without the divergence.
//!
//! Deviations from DreamerV3 and LUMOS. The state is foretold as a change of the state before, as models of states do (PETS, MOPO): what
//! nobody touches stays where it is, whereas categoricals that are drawn anew at every step let a drawer wander. Whether a finger meets a
//! lever or passes beside it is a matter of millimetres in half a metre, which does not survive a normalised memory: prior and decoder are
//! given state and actions themselves, and positions also as waves (Fourier features; Tancik et al. 2020). Most features have a Laplace
//! distribution, whose best guess is the median: a drawer that may be held or not stays where it is or moves along, while under a Gaussian,
//! whose best guess is the mean, it creeps open beside a hand that misses it, and policies learn to wait for that. What happens in few of
//! the cases is never the median: fingers, which close on something in most, would stay open on nothing, the button would never go down and
//! no lamp be switched. These are Gaussian; features of two values, the gripper's command and both lamps, are made one of both for the
//! next step. The scale, one per feature, is the mean error of late (the optimal one; Rybkin et al. 2021, who take the batch's
//! own), of what is seen and of what is not apart, so that none has to be chosen between millimetres and nats. It must be of many batches:
//! in most no lamp is switched, and a model for which a batch's own error is the measure learns to foretell that none ever is. Free nats
//! spare the posterior alone: a prior that stops learning a nat short of it draws what never happens, at every step of a dream. There are
//! several heads, each with a prior and a decoder of its own, and each leaves out a share of the episodes: where the data end they foretell
//! different things. The command's lead over the measured TCP is a part of the latent that is reckoned, not learned. The GRU normalises as DreamerV2's does; cameras' convolutions are padded, which makes sizes powers of two.

use reverie_policy::{Linear, MinMax, ParameterList, ParameterSpec, STATE_FEATURES, TensorTable};
use reverie_schema::N_ACT;
use tch::Tensor;

use crate::cameras::{CameraDecoder, CameraEncoder};
use crate::config::{Inputs, WorldModelConfig};
use crate::layers::{Dense, Gru, Heads, Mlp, MlpShape, symlog};
use crate::lead::{LEAD, Leads};
use crate::likelihood::{self, Spread, TOLD, balanced_kl, nll};
use crate::noise::{Noise, sample_one_hot};
use crate::sequence::{Seen, Sequence};

/// Features that the robot measures of itself: the first of the state features.
pub const PROPRIO: usize = 18;
/// Cameras of a model that looks: the static one and the gripper's.
pub const CAMERAS: [&str; 2] = ["static", "gripper"];
/// Features that are given as waves too: the TCP's position, and door, drawer, button and switch.
const WAVED: [(i64, i64); 2] = [(0, 3), (18, 4)];
/// Waves of each, with half-periods of 1, 1/2, 1/4, .. of a half-range.
const OCTAVES: i32 = 6;
/// Entries of `waves(x)`.
pub(crate) const WAVES: usize = STATE_FEATURES + 2 * 7 * OCTAVES as usize;
/// Hidden layers of a head's decoder. With one less no drawer ever moved in a dream.
const DECODER_LAYERS: usize = 3;
/// Features of two values, -1 and 1 when normalised: the gripper's command and both lamps.
const TWO_VALUED: [usize; 3] = [17, 22, 23];
/// Features whose best guess is the mean beside those of two values: the width between the fingers, and the button.
const GAUSSIAN: [usize; 2] = [9, 20];
/// Hidden layers of what tells the state from pictures.
const TELLER_LAYERS: usize = 2;
/// Of so many streams one has its pictures decoded in an update: they cost more than all the rest.
const DECODED: i64 = 4;
/// No feature is farther out than this, half-ranges.
const STATE_BOUND: f64 = 2.0;

/// What the model made of a [`Sequence`].
#[derive(Debug)]
pub struct Observed {
    /// `[time, streams, latent]`.
    pub latents: Tensor,
    /// Probabilities, `[time, streams, groups, classes]`.
    pub posterior: Tensor,
    /// What the prior knows, `[time, streams, known]`.
    pub known: Tensor,
    /// The states that each head foretold with `z` known, `[time, streams, heads, 51]`.
    pub foretold: Tensor,
    /// What was told from pictures of the features that are not measured, `[time, streams, 33]`.
    pub told: Option<Tensor>,
}

/// The terms of the loss, means over time and streams (of pictures, over those that are decoded).
#[derive(Debug)]
pub struct Loss {
    /// What is minimised.
    pub total: Tensor,
    /// Negative log-likelihood of the state, foretold and told, nats up to a constant.
    pub state: Tensor,
    /// Squared error of the pictures, summed over pixels; 0 without cameras.
    pub pictures: Tensor,
    /// Divergence of the prior from the posterior before free nats and balance, nats.
    pub kl: Tensor,
}

/// See the module's text.
#[derive(Debug)]
pub struct WorldModel {
    config: WorldModelConfig,
    state_encoder: Mlp,
    camera_encoders: Vec<CameraEncoder>,
    input: Dense,
    gru: Gru,
    prior_trunk: Dense,
    prior: Heads,
    posterior_h: Linear,
    posterior_e: Linear,
    posterior_norm: Dense,
    posterior: Linear,
    teller: Option<Mlp>,
    state_decoder: Heads,
    camera_decoders: Vec<CameraDecoder>,
    /// 1 for features of two values, `[51]`.
    two_valued: Tensor,
    /// 1 for features whose distribution is Gaussian, `[51]`.
    gaussian: Tensor,
    leads: Leads,
}

/// The next latents, as one model or several heads of it foretell them.
#[derive(Debug)]
pub struct Foretold {
    /// `[n, candidates, latent]`.
    pub latents: Tensor,
    /// Variance of the state among the heads, each feature's in squared half-ranges, `[n, 51]`; 0 with a single head.
    pub variance: Tensor,
}

impl WorldModel {
    /// Every parameter, in a fixed order.
    pub fn parameters(config: &WorldModelConfig) -> Vec<ParameterSpec> {
        let WorldModelConfig { deter, hidden, embed, camera_depth, heads, .. } = *config;
        let stoch = config.stoch();
        let mut list = ParameterList::default();
        let list = &mut list;
        Mlp::list(list, "encoder.state", MlpShape { n_in: seen_features(config.inputs), hidden: embed, layers: 1, n_out: embed });
        let mut embedding = embed;
        if config.inputs.has_cameras() {
            for camera in CAMERAS {
                CameraEncoder::list(list, &format!("encoder.{camera}"), camera_depth, embed);
                embedding += embed;
            }
        }
        let direct = WAVES + LEAD + config.actions_per_step * N_ACT;
        Dense::list(list, "recurrent.input", stoch + direct, hidden);
        Gru::list(list, "recurrent.gru", hidden, deter);
        let narrow = hidden.div_ceil(2);
        Dense::list(list, "prior.trunk", deter + direct, hidden);
        Heads::list(list, "prior.heads", heads, MlpShape { n_in: hidden, hidden: narrow, layers: 1, n_out: stoch });
        list.linear("posterior.h", deter, hidden);
        list.linear("posterior.e", embedding, hidden);
        Dense::list(list, "posterior.0", hidden, hidden);
        list.linear("posterior.1", hidden, stoch);
        if config.inputs == Inputs::Vision {
            let shape =
                MlpShape { n_in: deter + embedding, hidden: narrow, layers: TELLER_LAYERS, n_out: STATE_FEATURES - PROPRIO };
            Mlp::list(list, "teller", shape);
        }
        let shape = MlpShape { n_in: deter + direct + stoch, hidden, layers: DECODER_LAYERS, n_out: STATE_FEATURES };
        Heads::list(list, "decoder.state", heads, shape);
        if config.inputs.has_cameras() {
            for camera in CAMERAS {
                CameraDecoder::list(list, &format!("decoder.{camera}"), camera_depth, deter + stoch + STATE_FEATURES);
            }
        }
        std::mem::take(&mut list.0)
    }

    /// Builds the model on parameters of [`parameters`](Self::parameters); it shares their storage. `normaliser`: of the states.
    pub fn new(config: &WorldModelConfig, normaliser: &MinMax, table: &TensorTable) -> Self {
        let cameras: &[&str] = if config.inputs.has_cameras() { &CAMERAS } else { &[] };
        let posterior_norm = Dense::new(table, "posterior.0");
        let mask = |holds: &dyn Fn(usize) -> bool| {
            let entries: Vec<f32> = (0..STATE_FEATURES).map(|feature| f32::from(holds(feature))).collect();
            Tensor::from_slice(&entries).to_device(posterior_norm.device())
        };
        Self {
            two_valued: mask(&|feature| TWO_VALUED.contains(&feature)),
            gaussian: mask(&|feature| GAUSSIAN.contains(&feature) || TWO_VALUED.contains(&feature)),
            leads: Leads::new(normaliser, posterior_norm.device()),
            config: config.clone(),
            state_encoder: Mlp::new(table, "encoder.state", 1),
            camera_encoders: cameras.iter().map(|c| CameraEncoder::new(table, &format!("encoder.{c}"))).collect(),
            input: Dense::new(table, "recurrent.input"),
            gru: Gru::new(table, "recurrent.gru"),
            prior_trunk: Dense::new(table, "prior.trunk"),
            prior: Heads::new(table, "prior.heads", 1),
            posterior_h: table.linear("posterior.h"),
            posterior_e: table.linear("posterior.e"),
            posterior_norm,
            posterior: table.linear("posterior.1"),
            teller: (config.inputs == Inputs::Vision).then(|| Mlp::new(table, "teller", TELLER_LAYERS)),
            state_decoder: Heads::new(table, "decoder.state", DECODER_LAYERS),
            camera_decoders: cameras.iter().map(|c| CameraDecoder::new(table, &format!("decoder.{c}"))).collect(),
        }
    }

    /// The sizes.
    pub fn config(&self) -> &WorldModelConfig {
        &self.config
    }

    /// What is seen as an embedding, `[n, ..] -> [n, embedding]`.
    pub fn encode(&self, seen: &Seen) -> Tensor {
        let own = seen.state.narrow(-1, 0, seen_features(self.config.inputs) as i64);
        let mut parts = vec![self.state_encoder.forward(&symlog(&own))];
        for (encoder, pictures) in self.camera_encoders.iter().zip(&seen.pictures) {
            parts.push(encoder.forward(pictures));
        }
        Tensor::cat(&parts, -1)
    }

    /// What is known after `actions`, `[n, actions_per_step * n_act]`, before anything is seen: `[h; w]`, the next deterministic part,
    /// then state and actions as they are, `[n, known]`.
    fn recur(&self, latent: &Tensor, actions: &Tensor) -> Tensor {
        let (deter, stoch) = (self.config.deter as i64, self.config.stoch() as i64);
        // Waves are a hundred times as steep as what they are of: gradients of a blind stretch would explode along them.
        let direct = Tensor::cat(&[&waves(&self.state(latent).detach()), &self.lead(latent), actions], -1);
        let input = Tensor::cat(&[&latent.narrow(-1, deter, stoch), &direct], -1);
        let h = self.gru.forward(&self.input.forward(&input), &latent.narrow(-1, 0, deter));
        Tensor::cat(&[h, direct], -1)
    }

    /// The deterministic part of what is known.
    fn memory(&self, known: &Tensor) -> Tensor {
        known.narrow(-1, 0, self.config.deter as i64)
    }

    /// Prior probabilities of all heads, `[n, known] -> [n, heads, groups, classes]`.
    fn prior(&self, known: &Tensor) -> Tensor {
        let logits = self.prior.forward(&self.prior_trunk.forward(known));
        self.probabilities(&logits.view([known.size()[0], self.config.heads as i64, -1]))
    }

    /// Follows streams with what is seen of them.
    ///
    /// # Shapes
    /// `start`: the latents before the first step, `[streams, latent]`.
    pub fn observe(&self, sequence: &Sequence, start: &Tensor, noise: &mut Noise) -> Observed {
        let (time, streams) = (sequence.actions.size()[0], sequence.actions.size()[1]);
        let flat = Seen {
            state: sequence.seen.state.flatten(0, 1),
            lead: sequence.seen.lead.flatten(0, 1),
            pictures: sequence.seen.pictures.iter().map(|p| p.flatten(0, 1)).collect(),
        };
        // What does not depend on the state is done for all times at once.
        let embedded = self.encode(&flat);
        let from_seen = self.posterior_e.forward(&embedded).view([time, streams, -1]);
        let embedded = embedded.view([time, streams, -1]);
        let is_blind = sequence.blind.max().double_value(&[]) > 0.5;
        let mut latent = start.shallow_clone();
        let (mut latents, mut posteriors, mut all_known) = (Vec::new(), Vec::new(), Vec::new());
        let (mut foretold, mut all_told) = (Vec::new(), Vec::new());
        for t in 0..time {
            let keep = (sequence.begins.get(t) * -1.0 + 1.0).unsqueeze(-1);
            let actions = sequence.actions.get(t) * &keep;
            let before = latent * &keep;
            let known = self.recur(&before, &actions);
            let h = self.memory(&known);
            let posterior = self.posterior(&h, &from_seen.get(t));
            let blind = sequence.blind.get(t).unsqueeze(-1);
            let head = t % self.config.heads as i64;
            let mut believed = posterior.shallow_clone();
            if is_blind {
                // A prior that learned from blind errors would choose what errs least on average: that nothing ever moves.
                let prior = {
                    let _guard = tch::no_grad_guard();
                    self.probabilities(&self.prior.one(&self.prior_trunk.forward(&known), head))
                };
                let blind = blind.unsqueeze(-1);
                believed = prior * &blind + believed * (blind * -1.0 + 1.0);
            }
            let z = self.draw(&believed, &noise.uniform(&[streams, self.config.groups as i64]));
            let by_head = self.foretell(&before, &known, &z);
            let x = self.settle(&by_head.select(1, head));
            let mut seen = sequence.seen.state.get(t);
            if let Some(teller) = &self.teller {
                let told = teller.forward(&Tensor::cat(&[&h, &embedded.get(t)], -1));
                let believed = told.detach().clamp(-STATE_BOUND, STATE_BOUND);
                let believed = self.settle(&Tensor::cat(&[&seen.narrow(-1, 0, PROPRIO as i64), &believed], -1));
                seen = seen.where_self(&sequence.given.gt(0.5).unsqueeze(-1), &believed);
                all_told.push(told);
            }
            let state = &x * &blind + seen * (&blind * -1.0 + 1.0);
            let mut lead = sequence.seen.lead.get(t);
            if is_blind {
                lead = self.lead_after(&before, &actions, &state).where_self(&blind.gt(0.5), &lead);
            }
            latent = Tensor::cat(&[&h, &z, &lead, &state], -1);
            latents.push(latent.shallow_clone());
            posteriors.push(posterior);
            all_known.push(known);
            foretold.push(by_head);
        }
        Observed {
            latents: Tensor::stack(&latents, 0),
            posterior: Tensor::stack(&posteriors, 0),
            known: Tensor::stack(&all_known, 0),
            foretold: Tensor::stack(&foretold, 0),
            told: self.teller.as_ref().map(|_| Tensor::stack(&all_told, 0)),
        }
    }

    /// The next latents by the heads in turn, without seeing anything: [`imagine_with`](Self::imagine_with) under noise of its own.
    /// Row `i` follows head `i`.
    pub fn imagine(&self, latent: &Tensor, actions: &Tensor, noise: &mut Noise) -> Tensor {
        let uniform = noise.uniform(&[latent.size()[0], 1, self.config.groups as i64]);
        self.imagine_with(latent, actions, &self.turns(latent.size()[0], 1), &uniform).latents.squeeze_dim(1)
    }

    /// Heads in turn for each of `n` rows, `repeat` rows each, `[n, 1]`.
    pub fn turns(&self, n: i64, repeat: i64) -> Tensor {
        let turns: Vec<i64> = (0..n).map(|row| (row / repeat) % self.config.heads as i64).collect();
        Tensor::from_slice(&turns).unsqueeze(-1).to_device(self.device())
    }

    fn device(&self) -> tch::Device {
        self.posterior_norm.device()
    }

    /// The next latents, as the given heads foretell them.
    ///
    /// # Shapes
    /// `latent`: `[n, latent]`; `actions`: `[n, actions_per_step * n_act]`; `heads`: indices, `[n, candidates]`; `uniform`:
    /// `[n, candidates, groups]`.
    pub fn imagine_with(&self, latent: &Tensor, actions: &Tensor, heads: &Tensor, uniform: &Tensor) -> Foretold {
        let (n, candidates) = (latent.size()[0], uniform.size()[1]);
        let known = self.recur(latent, actions);
        // Of each row, the entries of its heads.
        let pick = |values: &Tensor| {
            let mut shape = values.size();
            shape[1] = candidates;
            let mut index = heads.shallow_clone();
            for _ in 2..values.dim() {
                index = index.unsqueeze(-1);
            }
            values.gather(1, &index.expand(shape.as_slice(), false), false)
        };
        let z = self.draw(&pick(&self.prior(&known)), uniform);
        let each_known = known.unsqueeze(1).expand([n, candidates, -1], false);
        // Of the first candidate's z all heads are asked, which tells how far apart they are; of the others' z only their own.
        let by_head = self.changes(&known, &z.select(1, 0));
        let variance = by_head.var_dim([1_i64].as_slice(), false, false);
        let index = heads.narrow(1, 0, 1).unsqueeze(-1).expand([n, 1, STATE_FEATURES as i64], false);
        let mut change = by_head.gather(1, &index, false);
        if candidates > 1 {
            let given = Tensor::cat(&[&each_known, &z], -1).narrow(1, 1, candidates - 1).flatten(0, 1);
            let others = self.changes_by(&given, &heads.narrow(1, 1, candidates - 1).flatten(0, 1));
            change = Tensor::cat(&[change, others.view([n, candidates - 1, -1])], 1);
        }
        let x = self.settle(&(self.state(latent).unsqueeze(1) + change).clamp(-STATE_BOUND, STATE_BOUND));
        let lead = self.lead_after(&latent.unsqueeze(1), &actions.unsqueeze(1), &x);
        Foretold { latents: Tensor::cat(&[&self.memory(&each_known), &z, &lead, &x], -1), variance }
    }

    /// Makes features of two values one of both; gradients pass straight through.
    fn settle(&self, x: &Tensor) -> Tensor {
        x + ((x.sign() - x) * &self.two_valued).detach()
    }

    /// State features that a latent stands for, normalised, `[.., latent] -> [.., 51]`.
    pub fn state(&self, latents: &Tensor) -> Tensor {
        latents.narrow(-1, (self.config.deter + self.config.stoch() + LEAD) as i64, STATE_FEATURES as i64)
    }

    /// The lead of a latent, `[.., latent] -> [.., 3]`.
    fn lead(&self, latents: &Tensor) -> Tensor {
        latents.narrow(-1, (self.config.deter + self.config.stoch()) as i64, LEAD as i64)
    }

    /// The lead after `actions`, `[.., actions_per_step * n_act]`, have led from the latents `before` to `state`, `[.., 51]`.
    pub(crate) fn lead_after(&self, before: &Tensor, actions: &Tensor, state: &Tensor) -> Tensor {
        self.leads.after(&self.lead(before), actions, &self.state(before), state)
    }

    /// The states after that of the latents `before` by each head: `x' = x + mlp_m([h; z; w])`, `[n, heads, 51]`.
    fn foretell(&self, before: &Tensor, known: &Tensor, z: &Tensor) -> Tensor {
        (self.state(before).unsqueeze(1) + self.changes(known, z)).clamp(-STATE_BOUND, STATE_BOUND)
    }

    /// `[n, heads, 51]`.
    fn changes(&self, known: &Tensor, z: &Tensor) -> Tensor {
        self.state_decoder.forward(&Tensor::cat(&[known, z], -1))
    }

    /// Of each row the change by its own head, `[n, known + z]` and `[n]` to `[n, 51]`; without gradient.
    fn changes_by(&self, given: &Tensor, heads: &Tensor) -> Tensor {
        let mut changes = Tensor::zeros([given.size()[0], STATE_FEATURES as i64], (given.kind(), given.device()));
        for head in 0..self.config.heads as i64 {
            let rows = heads.eq(head).nonzero().squeeze_dim(-1);
            let _ = changes.index_copy_(0, &rows, &self.state_decoder.one(&given.index_select(0, &rows), head));
        }
        changes
    }

    /// Pictures that a latent stands for, `[n, latent] -> [n, 3, 64, 64]` for each camera.
    pub fn decode_pictures(&self, latents: &Tensor) -> Vec<Tensor> {
        let known = latents.narrow(-1, 0, (self.config.deter + self.config.stoch()) as i64);
        // Pixels teach how a state looks, not what it is.
        let known = Tensor::cat(&[known, self.state(latents).detach()], -1);
        self.camera_decoders.iter().map(|decoder| decoder.forward(&known)).collect()
    }

    /// The loss of what was observed, whose errors `spread` takes in.
    pub fn loss(&self, sequence: &Sequence, observed: &Observed, spread: &mut Spread) -> Loss {
        let heads = self.config.heads as i64;
        let rows = |t: &Tensor| t.unsqueeze(2).expand([-1, -1, heads, -1], false).reshape([-1, STATE_FEATURES as i64]);
        let target = symlog(&rows(&sequence.seen.state));
        let foretold = symlog(&observed.foretold.view([-1, STATE_FEATURES as i64]));
        // Dynamics are learned from what is the case, not from what was told.
        let learns = &sequence.learns * sequence.given.unsqueeze(-1);
        let counts = (&sequence.begins * -1.0 + 1.0).unsqueeze(-1) * learns.unsqueeze(0);
        let blind = sequence.blind.unsqueeze(-1);
        let total = counts.sum(counts.kind()).clamp_min(1.0);
        let errors = likelihood::errors(&foretold, &target, &self.gaussian, self.config.least_deviation);
        let mut state = total.zeros_like();
        for (kind, rows) in [&blind * -1.0 + 1.0, blind].iter().enumerate() {
            let weights = (&counts * rows).flatten(0, 2);
            let count = weights.sum(weights.kind());
            if count.double_value(&[]) > 0.0 {
                let share = (weights / &count).unsqueeze(-1);
                let error = (&errors * &share).sum_dim_intlist([0_i64].as_slice(), false, share.kind());
                state += nll(&error, &spread.take(kind, &error), &self.gaussian) * (count / &total);
            }
        }
        if let Some(told) = &observed.told {
            let (first, count) = (PROPRIO as i64, (STATE_FEATURES - PROPRIO) as i64);
            let gaussian = self.gaussian.narrow(0, first, count);
            let want = symlog(&sequence.seen.state.narrow(-1, first, count));
            let sighted = (&sequence.blind * -1.0 + 1.0).unsqueeze(-1);
            let share = &sighted / sighted.sum(sighted.kind()).clamp_min(1.0);
            let errors = likelihood::errors(&symlog(told), &want, &gaussian, self.config.least_deviation) * share;
            let error = errors.sum_dim_intlist([0_i64, 1].as_slice(), false, errors.kind());
            state += nll(&error, &spread.take(TOLD, &error), &gaussian);
        }
        let mut pictures = state.zeros_like();
        let some = |t: &Tensor| t.slice(1, 0, i64::MAX, DECODED).flatten(0, 1);
        for (decoded, want) in self.decode_pictures(&some(&observed.latents)).iter().zip(&sequence.seen.pictures) {
            let error = decoded - some(want);
            pictures += error.square().sum_dim_intlist([1_i64, 2, 3].as_slice(), false, error.kind()).mean(error.kind());
        }
        let posterior = observed.posterior.flatten(0, 1).unsqueeze(1);
        let sighted = (&sequence.blind * -1.0 + 1.0).unsqueeze(-1);
        let learns = (sequence.learns.unsqueeze(0) * sighted).flatten(0, 1);
        let (kl, balanced) = balanced_kl(&posterior, &self.prior(&observed.known.flatten(0, 1)), &learns, &self.config);
        let total = &state + &pictures * self.config.picture_scale + &balanced * self.config.kl_scale;
        Loss { total, state, pictures, kl }
    }

    /// The latent of streams that have not begun, `[streams, latent]`.
    pub fn blank(&self, streams: i64, like: &Tensor) -> Tensor {
        Tensor::zeros([streams, self.config.latent() as i64], (like.kind(), like.device()))
    }

    /// Latents of which the state is `by` from where it was, `[.., 51]`; the command stays.
    pub(crate) fn displace(&self, latents: &Tensor, by: &Tensor) -> Tensor {
        let state = (self.state(latents) + by).clamp(-STATE_BOUND, STATE_BOUND);
        let nothing = Tensor::zeros([1, N_ACT as i64], (latents.kind(), latents.device()));
        let lead = self.lead_after(latents, &nothing, &state);
        let kept = (self.config.deter + self.config.stoch()) as i64;
        Tensor::cat(&[&latents.narrow(-1, 0, kept), &lead, &state], -1)
    }

    /// What a step brings that does not follow from what is known before it: `[z; x]`.
    pub fn outcome(&self, latent: &Tensor) -> Tensor {
        let z = latent.narrow(-1, self.config.deter as i64, self.config.stoch() as i64);
        Tensor::cat(&[z, self.state(latent)], -1)
    }

    fn posterior(&self, h: &Tensor, from_seen: &Tensor) -> Tensor {
        let x = self.posterior_norm.forward(&(self.posterior_h.forward(h) + from_seen).silu());
        self.probabilities(&self.posterior.forward(&x))
    }

    /// `[.., groups * classes]` logits to `[.., groups, classes]` with the uniform share mixed in.
    fn probabilities(&self, logits: &Tensor) -> Tensor {
        let mut shape = logits.size();
        shape.pop();
        shape.extend([self.config.groups as i64, self.config.classes as i64]);
        let softmax = logits.view(shape.as_slice()).softmax(-1, logits.kind());
        softmax * (1.0 - self.config.unimix) + self.config.unimix / self.config.classes as f64
    }

    /// A sample of every categorical, `[.., groups, classes] -> [.., groups * classes]`; gradients pass straight through to the
    /// probabilities.
    fn draw(&self, probabilities: &Tensor, uniform: &Tensor) -> Tensor {
        let sample = sample_one_hot(&probabilities.detach(), uniform);
        (sample + probabilities - probabilities.detach()).flatten(-2, -1)
    }
}

/// States, and some of their features as sines and cosines, `[.., 51] -> [.., waves]`.
pub(crate) fn waves(state: &Tensor) -> Tensor {
    let positions: Vec<Tensor> = WAVED.iter().map(|&(first, count)| state.narrow(-1, first, count)).collect();
    let positions = Tensor::cat(&positions, -1);
    let mut parts = vec![state.shallow_clone()];
    for octave in 0..OCTAVES {
        let angle = &positions * (std::f64::consts::PI * 2.0_f64.powi(octave));
        parts.extend([angle.sin(), angle.cos()]);
    }
    Tensor::cat(&parts, -1)
}

fn seen_features(inputs: Inputs) -> usize {
    match inputs {
        Inputs::Vision => PROPRIO,
        Inputs::State | Inputs::Hybrid => STATE_FEATURES,
    }
}

#[cfg(test)]
mod tests {
    use reverie_policy::{initial_values, train::FlatParameters};
    use tch::{Device, Kind};

    use super::*;

    fn tiny(inputs: Inputs) -> WorldModelConfig {
        WorldModelConfig {
            inputs,
            actions_per_step: 2,
            deter: 6,
            groups: 2,
            classes: 3,
            hidden: 5,
            embed: 4,
            camera_depth: 1,
            heads: 2,
            ..WorldModelConfig::default()
        }
    }

    fn model(config: &WorldModelConfig) -> (WorldModel, FlatParameters) {
        let specs = WorldModel::parameters(config);
        let values = initial_values(&specs, 1);
        let parameters = FlatParameters::new(specs, &values, Device::Cpu);
        let normaliser = MinMax { offset: vec![0.0; STATE_FEATURES], scale: vec![0.4; STATE_FEATURES] };
        (WorldModel::new(config, &normaliser, &parameters.table()), parameters)
    }

    fn sequence(config: &WorldModelConfig, time: i64, streams: i64, seed: u64) -> Sequence {
        let mut noise = Noise::new(seed, "sequence", Device::Cpu);
        let cameras = if config.inputs.has_cameras() { 2 } else { 0 };
        Sequence {
            seen: Seen {
                state: noise.normal(&[time, streams, STATE_FEATURES as i64]) * 0.5,
                lead: noise.normal(&[time, streams, LEAD as i64]) * 0.2,
                pictures: (0..cameras).map(|_| noise.uniform(&[time, streams, 3, 64, 64])).collect(),
            },
            actions: noise.normal(&[time, streams, (config.actions_per_step * N_ACT) as i64]),
            begins: Tensor::zeros([time, streams], (Kind::Float, Device::Cpu)),
            learns: Tensor::ones([streams, config.heads as i64], (Kind::Float, Device::Cpu)),
            blind: Tensor::zeros([time, streams], (Kind::Float, Device::Cpu)),
            given: Tensor::ones([streams], (Kind::Float, Device::Cpu)),
        }
    }

    /// What is measured is known as it is; the rest is what was told, unless it is given.
    #[test]
    fn the_state_is_told_from_pictures_or_given() {
        let config = tiny(Inputs::Vision);
        let (model, _parameters) = model(&config);
        let _guard = tch::no_grad_guard();
        let sequence = sequence(&config, 3, 2, 7);
        let _ = sequence.given.get(0).fill_(0.0);
        let observed = model.observe(&sequence, &model.blank(2, &sequence.actions), &mut Noise::new(3, "z", Device::Cpu));
        let (state, told) = (model.state(&observed.latents), observed.told.unwrap());
        assert_eq!(told.size(), [3, 2, 33]);
        assert_eq!(state.select(1, 1), sequence.seen.state.select(1, 1));
        let (first, count) = (PROPRIO as i64, (STATE_FEATURES - PROPRIO) as i64);
        // The command, the last that is measured, is made one of two values.
        assert_eq!(state.select(1, 0).narrow(-1, 0, first - 1), sequence.seen.state.select(1, 0).narrow(-1, 0, first - 1));
        let rest = state.select(1, 0).narrow(-1, first, count);
        let lamps = rest.narrow(-1, 4, 2);
        assert_eq!(lamps, told.select(1, 0).narrow(-1, 4, 2).sign());
        assert_eq!(rest.narrow(-1, 0, 4), told.select(1, 0).narrow(-1, 0, 4));
    }

    #[test]
    fn every_input_kind_is_observed_imagined_and_has_gradients_everywhere() {
        for inputs in [Inputs::State, Inputs::Vision, Inputs::Hybrid] {
            let config = WorldModelConfig { free_nats: 0.0, ..tiny(inputs) };
            let (model, parameters) = model(&config);
            let sequence = sequence(&config, 3, 2, 7);
            let mut noise = Noise::new(3, "z", Device::Cpu);
            let observed = model.observe(&sequence, &model.blank(2, &sequence.actions), &mut noise);
            assert_eq!(observed.latents.size(), [3, 2, 66]);
            let loss = model.loss(&sequence, &observed, &mut Spread::new(Device::Cpu));
            let gradient = parameters.gradient(&loss.total);
            let mut at = 0;
            for spec in parameters.specs() {
                let part = gradient.narrow(0, at, spec.numel() as i64).abs().max().double_value(&[]);
                assert!(part > 0.0 && part.is_finite(), "{inputs:?}: {} has gradient {part}", spec.name);
                at += spec.numel() as i64;
            }
            let _guard = tch::no_grad_guard();
            let heads = Tensor::from_slice(&[0_i64, 1, 0, 1, 1, 1, 0, 0]).view([2, 4]);
            let uniform = noise.uniform(&[2, 4, 2]);
            let (before, actions) = (observed.latents.get(2), sequence.actions.get(0));
            let next = model.imagine_with(&before, &actions, &heads, &uniform);
            for candidate in 0..4 {
                let one = |t: &Tensor| t.narrow(1, candidate, 1);
                let alone = model.imagine_with(&before, &actions, &one(&heads), &one(&uniform)).latents;
                assert!((alone - one(&next.latents)).abs().max().double_value(&[]) < 1e-5, "candidates don't mix");
            }
            assert_eq!((next.latents.size(), next.variance.size()), (vec![2, 4, 66], vec![2, 51]));
            assert!(next.variance.min().double_value(&[]) >= 0.0 && next.variance.max().double_value(&[]) > 0.0);
            let z = model.outcome(&next.latents).narrow(-1, 0, 6);
            assert_eq!(z.sum(Kind::Float).double_value(&[]), 2.0 * 4.0 * 2.0, "one class of each group");
        }
    }

    /// What happened before a stream begins anew leaves no trace: neither state nor action nor sight.
    #[test]
    fn beginnings_forget_everything() {
        let config = tiny(Inputs::State);
        let (model, _parameters) = model(&config);
        let _guard = tch::no_grad_guard();
        let (mut one, mut two) = (sequence(&config, 4, 2, 1), sequence(&config, 4, 2, 2));
        for sequence in [&mut one, &mut two] {
            let _ = sequence.begins.get(2).fill_(1.0);
        }
        two.seen.state.narrow(0, 2, 2).copy_(&one.seen.state.narrow(0, 2, 2));
        two.seen.lead.narrow(0, 2, 2).copy_(&one.seen.lead.narrow(0, 2, 2));
        two.actions.narrow(0, 3, 1).copy_(&one.actions.narrow(0, 3, 1));
        let run = |sequence: &Sequence, start: f64| {
            let start = model.blank(2, &sequence.actions) + start;
            model.observe(sequence, &start, &mut Noise::new(5, "z", Device::Cpu)).latents.narrow(0, 2, 2)
        };
        assert_eq!(run(&one, 0.0), run(&two, 0.7));
    }

    /// A blind stretch is a dream: the same noise leads to the same latents as imagining does, by the first head.
    #[test]
    fn a_blind_stream_dreams() {
        let config = WorldModelConfig { heads: 1, ..tiny(Inputs::State) };
        let (model, _parameters) = model(&config);
        let _guard = tch::no_grad_guard();
        let sequence = sequence(&config, 3, 2, 1);
        let _ = sequence.blind.narrow(0, 1, 2).fill_(1.0);
        let blank = model.blank(2, &sequence.actions);
        let observed = model.observe(&sequence, &blank, &mut Noise::new(5, "z", Device::Cpu));
        let mut noise = Noise::new(5, "z", Device::Cpu);
        let _first = noise.uniform(&[2, 2]);
        let mut latent = observed.latents.get(0);
        for t in 1..3 {
            latent = model.imagine(&latent, &sequence.actions.get(t), &mut noise);
            assert!((&latent - observed.latents.get(t)).abs().max().double_value(&[]) < 1e-5, "step {t}");
        }
        assert_eq!(model.state(&observed.latents.get(0)), sequence.seen.state.get(0), "what is seen is known");
    }

    #[test]
    fn a_hand_that_is_displaced_has_the_same_command() {
        let config = tiny(Inputs::State);
        let (model, _parameters) = model(&config);
        let latents = model.blank(1, &Tensor::zeros([1], (Kind::Float, Device::Cpu)));
        let by = Tensor::zeros([1, STATE_FEATURES as i64], (Kind::Float, Device::Cpu));
        let _ = by.narrow(-1, 0, 1).fill_(0.05);
        let after = model.displace(&latents, &by);
        assert_eq!(model.state(&after), by);
        // 0.05 half-ranges of 0.4 m are half of the leash of 0.04 m.
        let want = Tensor::from_slice(&[-0.5_f32, 0.0, 0.0]);
        assert!((model.lead(&after).get(0) - want).abs().max().double_value(&[]) < 1e-6);
    }

    /// DiWA's world model has 39.9 million parameters. (Padded convolutions end in larger pictures: half the channels; deeper decoders: a smaller
    /// embedding.)
    #[test]
    fn the_large_preset_has_the_published_size() {
        let config = WorldModelConfig {
            inputs: Inputs::Vision,
            deter: 1024,
            groups: 32,
            classes: 32,
            hidden: 1000,
            embed: 704,
            camera_depth: 24,
            heads: 1,
            actions_per_step: 1,
            ..WorldModelConfig::default()
        };
        let total: usize = WorldModel::parameters(&config).iter().map(ParameterSpec::numel).sum();
        assert!((total as f64 / 39.9e6 - 1.0).abs() < 0.03, "{total}");
    }
}
