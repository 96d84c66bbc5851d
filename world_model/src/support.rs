//! Where play shows the hand and where it never does: what keeps dreams from going through solid things.
//!
//! A world model that is a few millimetres off lets a hand pass through a handle 20 mm thick. Its heads agree on it, since all have seen
//! the same play; and discriminators that learn from dreams along recorded actions hardly ever see it. But play has data close by, on all
//! sides of the handle, and none inside: a network that tells recorded states from the same ones with the TCP elsewhere finds
//! the hole (noise-contrastive estimation: Gutmann and Hyvarinen, AISTATS 2010). Where the hand moves freely, both are alike and it can't tell.
//! A dream of a hand that is less as in play than recorded ones are is not believed any farther.
//!
//! ```text
//! recorded:  s + e                    e: what a model may be off, so that it isn't told by its tremor
//! displaced: s + e + r u  (TCP)       r: log-uniform in [10, 100] mm, u: uniform on the sphere
//! ```
//!
//! Holes are found where play is within 100 mm on some side, at the ends of a world model's steps: a hand in a hurry is over a thin bar in one.
//!
//! States are what the robot's hand does at the mechanisms: the TCP's pose, the fingers' width, door, drawer, button and switch. Joints would give
//! a displaced TCP away, and blocks that move freely are not judged.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use reverie_policy::train::{AdamW, FlatParameters};
use reverie_policy::{ParameterList, ParameterSpec, RawTensor, STATE_FEATURES, TensorTable, initial_values};
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::WorldModelError;
use crate::data::PlayData;
use crate::error::Result;
use crate::layers::{Mlp, MlpShape};
use crate::morec::{discrimination_loss, random_windows};
use crate::noise::Noise;
use crate::quantiles::Quantiles;
use crate::rssm::{WAVES, waves};
use crate::train::ADAMW;

/// State features that are looked at: the TCP's pose and the fingers' width, door, drawer, button and switch.
const JUDGED: [Range<i64>; 2] = [0..10, 18..22];
/// Standard deviation of what a model may be off: of the TCP's position, metres.
const TCP_TOLERANCE_M: f64 = 0.003;
/// The same of the other features, half-ranges.
const TOLERANCE: f64 = 0.05;
/// How far a displaced TCP is away, metres.
const REACH_M: [f64; 2] = [0.01, 0.1];
/// Hidden layers.
const LAYERS: usize = 3;
const PREFIX: &str = "support";

/// The network that tells supported states, and its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupportConfig {
    /// Width of hidden layers.
    pub hidden: usize,
    /// Updates.
    pub updates: u64,
    /// Recorded states in an update, and as many displaced ones.
    pub batch: usize,
    /// Learning rate of AdamW; it goes down to 0 in the second half.
    pub learning_rate: f64,
}

impl Default for SupportConfig {
    fn default() -> Self {
        Self { hidden: 128, updates: 4000, batch: 512, learning_rate: 2e-3 }
    }
}

impl SupportConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [("hidden", self.hidden as u64), ("updates", self.updates), ("batch", self.batch as u64)] {
            if value == 0 {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(WorldModelError::config("learning_rate", self.learning_rate, "must be positive"));
        }
        Ok(())
    }

    fn learning_rate_at(&self, update: u64) -> f64 {
        let left = 2.0 * (self.updates - update) as f64 / self.updates as f64;
        self.learning_rate * left.min(1.0)
    }
}

/// Columns of [`waves`] that are looked at: those of [`JUDGED`], and every wave, since all that have waves are judged.
fn columns() -> Vec<i64> {
    JUDGED.into_iter().flatten().chain(STATE_FEATURES as i64..WAVES as i64).collect()
}

fn shape(config: &SupportConfig) -> MlpShape {
    MlpShape { n_in: columns().len(), hidden: config.hidden, layers: LAYERS, n_out: 1 }
}

/// Tells states that play supports.
#[derive(Debug)]
pub struct Support {
    net: Mlp,
    columns: Tensor,
}

impl Support {
    /// Its parameters.
    pub fn parameters(config: &SupportConfig) -> Vec<ParameterSpec> {
        let mut list = ParameterList::default();
        Mlp::list(&mut list, PREFIX, shape(config));
        list.0
    }

    /// On the parameters of `table`; it shares their storage.
    pub fn new(table: &TensorTable, device: Device) -> Self {
        Self { net: Mlp::new(table, PREFIX, LAYERS), columns: Tensor::from_slice(&columns()).to_device(device) }
    }

    /// Logit of normalised states, `[.., 51] -> [..]`: above 0 where the hand is rather as recorded than displaced.
    pub fn logit(&self, state: &Tensor) -> Tensor {
        self.net.forward(&waves(state).index_select(-1, &self.columns)).squeeze_dim(-1)
    }
}

/// States of random frames of `episodes` as a model that is a little off would tell them, `[count, 51]`.
fn recorded(data: &PlayData, episodes: &Range<usize>, count: usize, noise: &mut Noise) -> Result<Tensor> {
    let firsts = random_windows(data, episodes, 1, count, noise)?;
    let state = data.seen(&Tensor::from_slice(&firsts), false).state;
    let mut tolerance = vec![TOLERANCE as f32; STATE_FEATURES];
    for (tolerance, scale) in tolerance.iter_mut().zip(&data.normaliser().scale).take(3) {
        *tolerance = TCP_TOLERANCE_M as f32 / scale;
    }
    Ok(state + noise.normal(&[count as i64, STATE_FEATURES as i64]) * Tensor::from_slice(&tolerance).to_device(data.device()))
}

/// The same with the TCP elsewhere.
fn displaced(data: &PlayData, state: &Tensor, noise: &mut Noise) -> Tensor {
    let count = state.size()[0];
    let direction = noise.normal(&[count, 3]);
    let length = direction.square().sum_dim_intlist([-1_i64].as_slice(), true, Kind::Float).sqrt().clamp_min(1e-6);
    let [near, far] = REACH_M.map(f64::ln);
    let reach = (noise.uniform(&[count, 1]) * (far - near) + near).exp();
    let scale = Tensor::from_slice(&data.normaliser().scale[..3]).to_device(data.device());
    let by = direction / length * reach / scale;
    Tensor::cat(&[state.narrow(-1, 0, 3) + by, state.narrow(-1, 3, STATE_FEATURES as i64 - 3)], -1)
}

/// A trained network's weights by name, what held-out recorded states score, and the share of displaced ones that scores below all but
/// 2 of 1000 of them.
pub type TrainedSupport = (BTreeMap<String, RawTensor>, Quantiles, f64);

/// Trains it on the states of `learned`, and measures it on those of `held_out`.
///
/// `report` is told the updates taken and the loss, and may stop it.
///
/// # Errors
/// Too few frames, [`WorldModelError::Diverged`], or that it was stopped.
pub fn train(
    data: &PlayData,
    [learned, held_out]: [&Range<usize>; 2],
    config: &SupportConfig,
    seed: u64,
    mut report: impl FnMut(u64, f64) -> ControlFlow<()>,
) -> Result<TrainedSupport> {
    /// Held-out states that are measured on.
    const MEASURED: usize = 20_000;
    let specs = Support::parameters(config);
    let values = initial_values(&specs, derive_seed(seed, "support"));
    let mut parameters = FlatParameters::new(specs, &values, data.device());
    let support = Support::new(&parameters.table(), data.device());
    let mut optimiser = AdamW::new(&parameters.copy(), ADAMW);
    for update in 0..config.updates {
        let mut noise = Noise::new(seed, "support", data.device()).part(update);
        let real = recorded(data, learned, config.batch, &mut noise)?;
        let other = displaced(data, &recorded(data, learned, config.batch, &mut noise)?, &mut noise);
        let objective = discrimination_loss(&support.logit(&real), &support.logit(&other));
        let gradient = parameters.gradient(&objective);
        let _guard = tch::no_grad_guard();
        let loss = objective.double_value(&[]);
        if !loss.is_finite() {
            return Err(WorldModelError::Diverged { what: "the loss of what play supports", update, loss });
        }
        optimiser.step(parameters.flat(), &gradient, update, config.learning_rate_at(update));
        if report(update + 1, loss).is_break() {
            return Err(WorldModelError::Data("interrupted while it was learned what play supports".into()));
        }
    }
    let _guard = tch::no_grad_guard();
    let mut noise = Noise::new(seed, "support measured", data.device());
    let state = recorded(data, held_out, MEASURED, &mut noise)?;
    let quantiles = Quantiles::of(Vec::try_from(support.logit(&state).to_device(Device::Cpu)).expect("a vector"));
    let told = support.logit(&displaced(data, &state, &mut noise)).lt(quantiles.at(0.002));
    let told = told.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
    Ok((parameters.named(&parameters.copy()), quantiles, told))
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;
    use reverie_policy::MinMax;
    use reverie_schema::N_ACT;

    use super::*;
    use crate::data::RawPlay;

    /// A hand that has been everywhere but in a wall of 24 mm: where it is open, recorded states pass, and so do those between them; in the wall
    /// they don't.
    #[test]
    fn a_wall_in_which_nobody_was_seen_is_found() {
        const FRAMES: usize = 20_000;
        let inside = |tcp: [f32; 3]| tcp[1].abs() < 0.012 && tcp[2] < 0.45;
        let mut noise = Noise::new(1, "hands", Device::Cpu);
        let rng = noise.rng();
        let mut hand = || [rng.random_range(-0.1..0.1), rng.random_range(-0.1..0.1), rng.random_range(0.3..0.5_f32)];
        let mut raw = RawPlay {
            actions: vec![0.0; FRAMES * N_ACT],
            episodes: vec![0..FRAMES / 2, FRAMES / 2..FRAMES],
            ..RawPlay::default()
        };
        while raw.state.len() < FRAMES * STATE_FEATURES {
            let tcp = hand();
            if !inside(tcp) {
                raw.state.extend(tcp.into_iter().chain(std::iter::repeat_n(0.0, STATE_FEATURES - 3)));
            }
        }
        let (mut offset, mut scale) = (vec![0.0; STATE_FEATURES], vec![1.0; STATE_FEATURES]);
        offset[2] = 0.4;
        scale[..3].fill(0.1);
        let normaliser = MinMax { offset, scale };
        let data = PlayData::new(raw, Some(normaliser.clone()), Device::Cpu).unwrap();
        let config = SupportConfig { hidden: 64, updates: 600, batch: 512, ..SupportConfig::default() };
        let (tensors, supported, _) = train(&data, [&(0..1), &(1..2)], &config, 0, |_, _| ControlFlow::Continue(())).unwrap();
        let specs = Support::parameters(&config);
        let values: Vec<&RawTensor> = specs.iter().map(|spec| &tensors[&spec.name]).collect();
        let support = Support::new(&TensorTable::from_raw(specs, values.into_iter(), Device::Cpu), Device::Cpu);
        let refused = |tcps: Vec<[f32; 3]>| {
            let mut state: Vec<f32> =
                tcps.iter().flat_map(|tcp| tcp.iter().copied().chain(std::iter::repeat_n(0.0, STATE_FEATURES - 3))).collect();
            normaliser.normalise(&mut state);
            let logit = support.logit(&Tensor::from_slice(&state).view([-1, STATE_FEATURES as i64]));
            logit.lt(supported.at(0.01)).to_kind(Kind::Float).mean(Kind::Float).double_value(&[])
        };
        let free = (0..500).map(|_| hand()).filter(|tcp| tcp[1].abs() > 0.02 || tcp[2] > 0.46).collect();
        let walled = (0..500).map(|_| hand()).map(|[x, y, z]| [x, 0.04 * y, 0.3 + 0.6 * (z - 0.3)]).collect();
        let shares = [refused(free), refused(walled)];
        assert!(shares[0] < 0.05 && shares[1] > 0.8, "{shares:?}");
    }

    #[test]
    fn bad_settings_are_named() {
        let error = SupportConfig { batch: 0, ..SupportConfig::default() }.validate().unwrap_err().to_string();
        assert!(error.contains("batch"), "{error}");
        let error = SupportConfig { learning_rate: f64::NAN, ..SupportConfig::default() }.validate().unwrap_err().to_string();
        assert!(error.contains("learning_rate"), "{error}");
    }
}
