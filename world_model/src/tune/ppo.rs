//! PPO on the chain of denoising steps (Ren et al. 2024, DPPO; DiWA uses it in dreams).
//!
//! The environment pays at the end of a chunk, the critic sees the environment's state, and the advantage of a chunk counts for all
//! of its tuned steps, the noisier the less. Deviations: where an episode is cut off, the value of the state that was reached is
//! taken, and sums don't run on into the next episode; batches are drawn anew in each pass; the critic's layers are normalised; the
//! frozen policy's chains are drawn once an iteration, as many as are learned from.

use std::path::Path;

use rand::seq::SliceRandom;
use reverie_policy::train::{AdamW, FlatParameters};
use reverie_policy::{Checkpoint, Device, ParameterList, initial_values};
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::chain::ChunkNoise;
use super::config::TuneConfig;
use super::learner::{ADAM, Learner};
use super::objective::{clip_ranges, denoising_discounts, policy_loss};
use super::{Beside, Iteration, Tuner};
use crate::WorldModelError;
use crate::environment::{Forkable, Returns, RewardScale, advantages};
use crate::error::Result;
use crate::layers::{Mlp, MlpShape};
use crate::noise::Noise;

/// Discount of the return that rewards are scaled by (DPPO).
const SCALE_GAMMA: f64 = 0.99;
/// Hidden layers of the critic.
const CRITIC_LAYERS: usize = 2;

/// Of so many decisions the divergence from the frozen policy is measured at one.
const MEASURED: i64 = 8;

/// See the module's text.
#[derive(Debug)]
pub struct Ppo {
    learner: Learner,
    critic: Critic,
    scale: RewardScale,
}

#[derive(Debug)]
struct Critic {
    network: Mlp,
    parameters: FlatParameters,
    optimiser: AdamW,
    updates: u64,
}

impl Critic {
    fn value(&self, state: &Tensor) -> Tensor {
        self.network.forward(state).squeeze_dim(-1)
    }
}

/// What an iteration has collected; `[time, n, ..]`.
#[derive(Default)]
struct Rollout {
    cond: Vec<Tensor>,
    state: Vec<Tensor>,
    x: Vec<Tensor>,
    log_likelihood: Vec<Tensor>,
    reward: Vec<Tensor>,
    terminated: Vec<Tensor>,
    truncated: Vec<Tensor>,
    reached: Vec<Tensor>,
}

#[derive(Serialize, Deserialize)]
struct Own {
    critic_updates: u64,
    /// Bits of f64, which JSON's decimals would round.
    scale: [u64; 3],
}

impl Ppo {
    /// A run that begins with `checkpoint`; the critic sees `n_value` numbers of each of `n` episodes.
    ///
    /// # Errors
    /// Settings that can't be used, or don't fit the policy.
    pub fn new(checkpoint: &Checkpoint, config: &TuneConfig, n: i64, n_value: usize, device: Device) -> Result<Self> {
        let mut list = ParameterList::default();
        let shape = MlpShape { n_in: n_value, hidden: config.ppo.critic_hidden, layers: CRITIC_LAYERS, n_out: 1 };
        Mlp::list(&mut list, "critic", shape);
        let values = initial_values(&list.0, derive_seed(config.seed, "critic"));
        let parameters = FlatParameters::new(list.0, &values, device);
        let optimiser = AdamW::new(&parameters.copy(), ADAM);
        let network = Mlp::new(&parameters.table(), "critic", CRITIC_LAYERS);
        Ok(Self {
            learner: Learner::new(checkpoint, config, device)?,
            critic: Critic { network, parameters, optimiser, updates: 0 },
            scale: RewardScale::new(n, SCALE_GAMMA),
        })
    }

    fn collect(&mut self, environment: &mut dyn Forkable, noise: &mut Noise, stats: &mut Iteration) -> Result<Rollout> {
        let n = environment.n();
        let mut rollout = Rollout::default();
        let (mut successes, mut reward, decisions) = (0.0, 0.0, self.learner.config().ppo.decisions);
        for _ in 0..decisions {
            let now = environment.observe()?;
            let chains = self.learner.policy.sample(&now.cond, &mut ChunkNoise::own(noise, n));
            let clean = chains.x.select(1, -1);
            let step = environment.step(&self.learner.policy.actions(&clean))?;
            let sum = |t: &Tensor| t.sum(Kind::Double).double_value(&[]);
            successes += sum(&step.success);
            let ended = (&step.terminated + &step.truncated).clamp_max(1.0);
            stats.episodes += sum(&ended) as u64;
            reward += sum(&step.reward);
            rollout.cond.push(now.cond);
            rollout.state.push(now.value);
            rollout.x.push(chains.x);
            rollout.log_likelihood.push(chains.log_likelihood);
            rollout.reward.push(self.scale.scale(&step.reward, &ended));
            rollout.terminated.push(step.terminated);
            rollout.truncated.push(step.truncated);
            rollout.reached.push(step.reached);
        }
        stats.success = if stats.episodes == 0 { 0.0 } else { successes / stats.episodes as f64 };
        stats.reward = reward / (n as f64 * decisions as f64);
        Ok(rollout)
    }
}

impl Tuner for Ppo {
    fn iterate(&mut self, environment: &mut dyn Forkable, iteration: u64) -> Result<Iteration> {
        let config = self.learner.config().clone();
        let (ppo, window) = (&config.ppo, config.chain.tuned);
        let device = self.learner.policy.device();
        let mut noise = Noise::new(config.seed, "chains", device).part(iteration);
        let mut stats = Iteration { iteration, window, ..Iteration::default() };
        let rollout = self.collect(environment, &mut noise, &mut stats)?;

        let flat = |parts: &[Tensor]| Tensor::stack(parts, 0).flatten(0, 1);
        let (cond, state, x) = (flat(&rollout.cond), flat(&rollout.state), flat(&rollout.x));
        let before = flat(&rollout.log_likelihood);
        let (advantage, returns) = {
            let _guard = tch::no_grad_guard();
            let by_time = |parts: &[Tensor]| Tensor::stack(parts, 0).to_device(device);
            let reward = by_time(&rollout.reward);
            let value = self.critic.value(&state).view_as(&reward);
            let after = self.critic.value(&flat(&rollout.reached)).view_as(&reward);
            let table = Returns {
                reward: &reward,
                value: &value,
                after: &after,
                terminated: &by_time(&rollout.terminated),
                truncated: &by_time(&rollout.truncated),
            };
            let [advantage, returns] = advantages(&table, ppo.gamma, ppo.lambda).map(|t| t.view([-1]));
            let deviation = advantage.std(true) + 1e-8;
            ((&advantage - advantage.mean(Kind::Float)) / deviation, returns)
        };
        let on = |values: Vec<f64>| Tensor::from_slice(&values).to_kind(Kind::Float).to_device(device);
        let clip = on(clip_ranges(ppo, window));
        let advantage = advantage.unsqueeze(-1) * on(denoising_discounts(ppo, window));
        let warm = iteration >= ppo.critic_warmup;
        let decisions = cond.size()[0];
        let seen = ((decisions * window as i64) as f64 * ppo.share).ceil().max(1.0) as usize;
        let lesson = if warm { self.learner.lesson(&cond, seen * ppo.epochs, &mut noise) } else { None };

        let (before, advantage) = (before.view([-1]), advantage.view([-1]));
        let clip = clip.repeat([decisions]);
        let (mut values, mut pairs): (Vec<i64>, Vec<i64>) = ((0..decisions).collect(), (0..decisions * window as i64).collect());
        let (mut value_batches, mut policy_batches) = (0.0, 0.0);
        let mut goes_on = warm;
        for _ in 0..ppo.epochs {
            values.shuffle(noise.rng());
            for rows in values.chunks(ppo.batch) {
                let rows = Tensor::from_slice(rows).to_device(device);
                let take = |t: &Tensor| t.index_select(0, &rows);
                let value_loss = self.critic.value(&take(&state)).mse_loss(&take(&returns), tch::Reduction::Mean) * 0.5;
                stats.value_loss += self.learn_values(&value_loss)?;
                value_batches += 1.0;
            }
            if !goes_on {
                continue;
            }
            let (drawn, _) = pairs.partial_shuffle(noise.rng(), seen);
            let mut divergence_of_pass = Vec::new();
            for rows in drawn.chunks(ppo.batch) {
                let rows = Tensor::from_slice(rows).to_device(device);
                let take = |t: &Tensor| t.index_select(0, &rows);
                let now = self.learner.policy.pair_log_likelihood(&x, &cond, &rows);
                let [loss, clipped, divergence] = policy_loss(&now, &take(&before), &take(&advantage), &take(&clip));
                let cloning = self.learner.cloning_loss(lesson.as_ref(), rows.size()[0], &mut noise);
                stats.cloning_loss += self.learner.step(&loss, cloning.as_ref())?;
                stats.policy_loss += loss.double_value(&[]);
                stats.clipped += clipped.double_value(&[]);
                divergence_of_pass.push(divergence.double_value(&[]));
                policy_batches += 1.0;
            }
            stats.divergence = divergence_of_pass.iter().sum::<f64>() / divergence_of_pass.len() as f64;
            goes_on &= stats.divergence <= ppo.target_divergence;
        }
        stats.value_loss /= value_batches;
        for sum in [&mut stats.cloning_loss, &mut stats.policy_loss, &mut stats.clipped] {
            *sum /= f64::max(policy_batches, 1.0);
        }
        let measured = noise.below(decisions, &[(decisions / MEASURED).max(1)]);
        let some = |t: &Tensor| t.index_select(0, &measured);
        stats.divergence_from_base = self.learner.policy.divergence(&some(&x), &some(&cond)).mean(Kind::Float).double_value(&[]);
        Ok(stats)
    }

    fn learner(&self) -> &Learner {
        &self.learner
    }

    fn save_state(&self, path: &Path, beside: &Beside) -> Result<()> {
        let (running, scale) = self.scale.numbers();
        let own = serde_json::json!(Own { critic_updates: self.critic.updates, scale: scale.map(f64::to_bits) });
        let arrays = [
            ("critic", &self.critic.parameters.copy()),
            ("critic_first_moment", &self.critic.optimiser.first),
            ("critic_second_moment", &self.critic.optimiser.second),
            ("running_return", &running),
        ];
        super::save_learner(path, &self.learner, beside, &own, &arrays)
    }

    fn resume(&mut self, path: &Path) -> Result<Beside> {
        let (beside, own, state) = super::resume_learner(path, &mut self.learner)?;
        let Own { critic_updates, scale } = serde_json::from_value(own).map_err(|e| WorldModelError::file(path, e))?;
        let (n, device) = ([self.critic.parameters.numel() as i64], self.learner.policy.device());
        let array = |name| state.tensor(name, &n, device);
        self.critic.parameters.assign(&array("critic")?);
        self.critic.optimiser.first = array("critic_first_moment")?;
        self.critic.optimiser.second = array("critic_second_moment")?;
        self.critic.updates = critic_updates;
        self.scale
            .restore(state.tensor("running_return", &self.scale.numbers().0.size(), Device::Cpu)?, scale.map(f64::from_bits));
        Ok(beside)
    }
}

impl Ppo {
    fn learn_values(&mut self, loss: &Tensor) -> Result<f64> {
        let gradient = self.critic.parameters.gradient(loss);
        let _guard = tch::no_grad_guard();
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(WorldModelError::Diverged { what: "the critic's loss", update: self.critic.updates, loss: value });
        }
        let rate = self.learner.config().ppo.critic_learning_rate;
        self.critic.optimiser.step(self.critic.parameters.flat(), &gradient, self.critic.updates, rate);
        self.critic.updates += 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::config::PpoConfig;
    use crate::tune::toy::{TwoStates, assert_learns, assert_resumes, small_config};

    /// Two states that ask for opposite actions: the best policy is known, and its reward is 1 but for the noise that exploring keeps.
    #[test]
    fn the_known_optimum_of_a_two_state_problem_is_found() {
        let config = TuneConfig { cloning: 0.0, learning_rate: 1e-3, ..small_config() };
        let mut ppo = Ppo::new(&TwoStates::checkpoint(), &config, 64, 2, Device::Cpu).unwrap();
        assert_learns(&mut ppo, 64, 60);
    }

    #[test]
    fn the_critic_learns_alone_at_first() {
        let config = TuneConfig { ppo: PpoConfig { critic_warmup: 2, ..small_config().ppo }, ..small_config() };
        let mut ppo = Ppo::new(&TwoStates::checkpoint(), &config, 16, 2, Device::Cpu).unwrap();
        let mut environment = TwoStates::new(16, 1);
        let (policy, critic) = (ppo.learner.policy.parameters().copy(), ppo.critic.parameters.copy());
        for iteration in 0..2 {
            ppo.iterate(&mut environment, iteration).unwrap();
            assert_eq!(ppo.learner.policy.parameters().copy(), policy);
        }
        assert_ne!(ppo.critic.parameters.copy(), critic);
        ppo.iterate(&mut environment, 2).unwrap();
        assert_ne!(ppo.learner.policy.parameters().copy(), policy);
    }

    #[test]
    fn an_interrupted_run_goes_on_as_it_would_have_and_other_settings_are_refused() {
        let tuner = |config: &TuneConfig| Ppo::new(&TwoStates::checkpoint(), config, 16, 2, Device::Cpu).unwrap();
        assert_resumes(|| tuner(&small_config()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let beside = Beside { iteration: 2, environment: Tensor::from_slice(&[1.0_f32]), steps: 9, notes: serde_json::json!([]) };
        tuner(&small_config()).save_state(&path, &beside).unwrap();
        let error = tuner(&TuneConfig { seed: 3, ..small_config() }).resume(&path).unwrap_err().to_string();
        assert!(error.contains("other settings"), "{error}");
    }
}
