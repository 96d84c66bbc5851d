//! A problem with a known optimum, for tests: two states, one of which asks for a positive first action, the other for a negative
//! one. A decision is an episode.

use reverie_policy::{Checkpoint, Device};
use tch::{Kind, Tensor};

use super::chain::{ChainConfig, ChunkNoise, DiffusionPolicy};
use super::config::{PpoConfig, TuneConfig};
use super::{Beside, Tuner};
use crate::environment::{Environment, Forkable, Situation, Transition};
use crate::error::Result;
use crate::noise::Noise;

pub(crate) struct TwoStates {
    /// -1 or 1, `[n]`.
    state: Tensor,
    noise: Noise,
    n_cond: i64,
    fork: bool,
}

/// 1 at the action that the state asks for, falling to 0 at the opposite end.
fn reward(state: &Tensor, chunks: &Tensor) -> Tensor {
    let first = chunks.select(1, 0).select(1, 0);
    ((state * first) * 0.5 + 0.5).clamp(0.0, 1.0).square()
}

impl TwoStates {
    pub(crate) fn checkpoint() -> Checkpoint {
        super::chain::tests::small_checkpoint()
    }

    pub(crate) fn new(n: i64, seed: u64) -> Self {
        let n_cond = Self::checkpoint().shape().n_cond as i64;
        let mut environment = Self {
            state: Tensor::zeros([n], (Kind::Float, Device::Cpu)),
            noise: Noise::new(seed, "toy", Device::Cpu),
            n_cond,
            fork: false,
        };
        environment.draw();
        environment
    }

    pub(crate) fn restart(&mut self, index: u64) {
        self.noise = Noise::new(1, "toy", Device::Cpu).part(index);
        self.draw();
    }

    fn draw(&mut self) {
        let n = self.state.size()[0];
        self.state = self.noise.below(2, &[n]).to_kind(Kind::Float) * 2.0 - 1.0;
    }

    fn cond(state: &Tensor, n_cond: i64) -> Tensor {
        state.unsqueeze(-1).expand([-1, n_cond], false).copy()
    }
}

impl Environment for TwoStates {
    fn n(&self) -> i64 {
        self.state.size()[0]
    }

    fn observe(&mut self) -> Result<Situation> {
        Ok(Situation { cond: Self::cond(&self.state, self.n_cond), value: Self::cond(&self.state, 2) })
    }

    fn step(&mut self, chunks: &Tensor) -> Result<Transition> {
        let reward = reward(&self.state, chunks);
        let reached = Self::cond(&self.state, 2);
        if !self.fork {
            self.draw();
        }
        let one = reward.ones_like();
        Ok(Transition {
            success: reward.gt(0.5).to_kind(Kind::Float),
            truncated: one.zeros_like(),
            terminated: one,
            reward,
            reached,
        })
    }
}

impl Forkable for TwoStates {
    fn fork(&self, rows: &Tensor, _: i64, seed: u64) -> Result<Box<dyn Environment + '_>> {
        let noise = Noise::new(seed, "toy", Device::Cpu);
        Ok(Box::new(Self { state: self.state.index_select(0, rows), noise, n_cond: self.n_cond, fork: true }))
    }
}

/// Mean reward of the policy over both states.
fn reward_of(policy: &DiffusionPolicy) -> f64 {
    let state = Tensor::from_slice(&[-1.0_f32, 1.0]).repeat([200]);
    let mut noise = Noise::new(99, "judge", Device::Cpu);
    let chains = policy.sample(&TwoStates::cond(&state, policy.shape().n_cond as i64), &mut ChunkNoise::own(&mut noise, 400));
    reward(&state, &policy.actions(&chains.x.select(1, -1))).mean(Kind::Double).double_value(&[])
}

/// Lets a tuner learn the problem; it must come near to the optimum, from far enough.
pub(crate) fn assert_learns(tuner: &mut dyn Tuner, n: i64, iterations: u64) {
    let mut environment = TwoStates::new(n, 1);
    let first = reward_of(&tuner.learner().policy);
    for iteration in 0..iterations {
        tuner.iterate(&mut environment, iteration).expect("a toy does not fail");
    }
    let learner = tuner.learner();
    let deployed = Checkpoint::new(learner.policy.checkpoint().info.clone(), learner.weights()).expect("the same tensors");
    let deployed = DiffusionPolicy::new(&deployed, learner.policy.config(), Device::Cpu).expect("the same settings");
    let last = reward_of(&deployed);
    assert!(last > 0.9 && first < 0.7, "{first} -> {last}");
}

/// A run that was saved half-way and goes on in a fresh tuner ends with the weights of one that was not interrupted.
pub(crate) fn assert_resumes<T: Tuner>(fresh: impl Fn() -> T) -> T {
    let run = |iterations: std::ops::Range<u64>, mut tuner: T| {
        let mut environment = TwoStates::new(16, 1);
        for iteration in iterations {
            environment.restart(iteration);
            tuner.iterate(&mut environment, iteration).expect("a toy does not fail");
        }
        tuner
    };
    let whole = run(0..6, fresh());
    let half = run(0..3, fresh());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let environment = Tensor::from_slice(&[1.0_f32]);
    let beside = Beside { iteration: 3, environment, steps: 9, notes: serde_json::json!(["x"]) };
    half.save_state(&path, &beside).expect("room on disk");
    let mut resumed = fresh();
    let beside = resumed.resume(&path).expect("what was just saved");
    assert_eq!((beside.iteration, beside.steps, beside.notes), (3, 9, serde_json::json!(["x"])));
    assert_eq!(whole.learner().weights(), run(3..6, resumed).learner().weights());
    assert_ne!(whole.learner().weights(), half.learner().weights());
    whole
}

pub(crate) fn small_config() -> TuneConfig {
    TuneConfig {
        chain: ChainConfig { tuned: 3, rows: 1, ..ChainConfig::default() },
        ppo: PpoConfig { decisions: 4, batch: 64, share: 1.0, critic_hidden: 16, critic_warmup: 1, ..PpoConfig::default() },
        b2: super::config::B2Config { groups: 32, batch: 64, first_window: 1, ..super::config::B2Config::default() },
        d3po: super::config::D3poConfig { pairs: 64, batch: 64, ..super::config::D3poConfig::default() },
        ..TuneConfig::default()
    }
}
