use serde::{Deserialize, Serialize};

use super::chain::ChainConfig;
use crate::WorldModelError;
use crate::dream::DreamConfig;
use crate::error::Result;

/// How a policy is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// PPO on denoising steps (DPPO).
    #[default]
    Ppo,
    /// B2-DiffuRL.
    B2,
    /// D3PO.
    D3po,
}

/// Settings of fine-tuning. Defaults follow DiWA unless a field says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneConfig {
    /// Which algorithm.
    pub method: Method,
    /// How chains are sampled and scored.
    pub chain: ChainConfig,
    /// Dreams and their guards.
    pub dream: DreamConfig,
    /// PPO.
    pub ppo: PpoConfig,
    /// B2-DiffuRL.
    pub b2: B2Config,
    /// D3PO.
    pub d3po: D3poConfig,
    /// Iterations (800; a run on two cores takes fewer).
    pub iterations: u64,
    /// Learning rate of the policy (1e-5 in DiWA, 1e-4 in DPPO since its version 0.7).
    pub learning_rate: f64,
    /// Largest norm of the policy's gradient; 0: no limit (as in DPPO).
    pub grad_clip: f64,
    /// Weight of holding on to the frozen policy (0.05; DiWA's 0.025 to 0.1).
    pub cloning: f64,
    /// Share of the mean of the weights that stays at each update. That mean is what is deployed, since the weights themselves swing about
    /// it (0, the last weights). Of few updates less stays.
    pub average: f64,
    /// Iterations between two saved states.
    pub save_every: u64,
    /// Of dreams, chains and batches.
    pub seed: u64,
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self {
            method: Method::Ppo,
            chain: ChainConfig::default(),
            dream: DreamConfig::default(),
            ppo: PpoConfig::default(),
            b2: B2Config::default(),
            d3po: D3poConfig::default(),
            iterations: 160,
            learning_rate: 1e-4,
            grad_clip: 1.0,
            cloning: 0.05,
            average: 0.998,
            save_every: 10,
            seed: 0,
        }
    }
}

/// PPO's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Decisions of each dream in an iteration (36).
    pub decisions: usize,
    /// Passes over them (10).
    pub epochs: usize,
    /// Share of the tuned steps of all decisions that a pass sees, drawn anew each time (1). Neighbouring steps of one chunk teach much
    /// the same.
    pub share: f64,
    /// Steps in a batch (one batch for all, in DiWA).
    pub batch: usize,
    /// Discount of a chunk (0.999). Below that a sooner success pays more, as the time limit of an evaluation does: an episode that is
    /// cut off is bootstrapped from, so that it costs nothing by itself.
    pub gamma: f64,
    /// Of the advantage's sum (0.95).
    pub lambda: f64,
    /// Discount of a denoising step (0.99).
    pub denoising_gamma: f64,
    /// Clip range of the noisiest tuned step and of the last (0.001, 0.01; wider here, since a run on two cores takes fewer iterations).
    pub clip: [f64; 2],
    /// Rate at which it grows between them (3).
    pub clip_rate: f64,
    /// Estimated divergence that ends the passes of an iteration (1).
    pub target_divergence: f64,
    /// Learning rate of the critic (1e-3).
    pub critic_learning_rate: f64,
    /// Width of the critic's two hidden layers (256).
    pub critic_hidden: usize,
    /// First iterations in which the critic alone learns (2).
    pub critic_warmup: u64,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            decisions: 24,
            epochs: 5,
            share: 0.25,
            batch: 256,
            gamma: 0.97,
            lambda: 0.95,
            denoising_gamma: 0.99,
            clip: [0.003, 0.03],
            clip_rate: 3.0,
            target_divergence: 1.0,
            critic_learning_rate: 1e-3,
            critic_hidden: 256,
            critic_warmup: 2,
        }
    }
}

/// Which branches are learned from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// All.
    All {},
    /// The best if its score is at least `above`, the worst if its score is below `below` (B2-DiffuRL: 0.5 and -0.5).
    BestWorst {
        /// Standard deviations.
        above: f64,
        /// Standard deviations.
        below: f64,
    },
}

/// B2-DiffuRL's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct B2Config {
    /// Moments that are branched from in an iteration.
    pub groups: usize,
    /// Continuations of each (5).
    pub branches: usize,
    /// Denoising steps that are tuned at first.
    pub first_window: usize,
    /// Iterations without a better success after which one more step is tuned. (The original counts iterations.)
    pub patience: u64,
    /// Which branches are learned from.
    pub select: Select,
    /// Largest absolute score (5).
    pub score_clip: f64,
    /// Clip range of the likelihood ratio (0.1).
    pub clip: f64,
    /// Passes over the branches (2).
    pub epochs: usize,
    /// Decisions in a batch.
    pub batch: usize,
    /// Discount of a chunk.
    pub gamma: f64,
}

impl Default for B2Config {
    fn default() -> Self {
        Self {
            groups: 128,
            branches: 5,
            first_window: 3,
            patience: 4,
            select: Select::BestWorst { above: 0.5, below: -0.5 },
            score_clip: 5.0,
            clip: 0.1,
            epochs: 2,
            batch: 256,
            gamma: 0.99,
        }
    }
}

/// D3PO's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct D3poConfig {
    /// Pairs in an iteration.
    pub pairs: usize,
    /// Weight of the log-ratios (0.1).
    pub beta: f64,
    /// Furthest that a ratio counts from 1 (0.1).
    pub ratio_clip: f64,
    /// Iterations after which the present policy becomes the reference; 0: the reference stays what tuning began with.
    pub refresh_every: u64,
    /// Passes over the pairs.
    pub epochs: usize,
    /// Pairs in a batch.
    pub batch: usize,
    /// Discount of a chunk, so that of two successes the sooner is preferred.
    pub gamma: f64,
}

impl Default for D3poConfig {
    fn default() -> Self {
        Self { pairs: 256, beta: 0.1, ratio_clip: 0.1, refresh_every: 5, epochs: 2, batch: 128, gamma: 0.99 }
    }
}

impl TuneConfig {
    /// Checks every value that the policy is not needed for.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        self.dream.validate()?;
        let check = |key, value: f64, ok: bool, reason: &str| {
            if ok && value.is_finite() { Ok(()) } else { Err(WorldModelError::config(key, value, reason)) }
        };
        let positive = |key, value: f64| check(key, value, value > 0.0, "must be positive");
        let share = |key, value: f64| check(key, value, (0.0..=1.0).contains(&value), "must be in [0, 1]");
        positive("learning_rate", self.learning_rate)?;
        check("grad_clip", self.grad_clip, self.grad_clip >= 0.0, "must not be negative")?;
        check("average", self.average, (0.0..1.0).contains(&self.average), "must be in [0, 1)")?;
        check("cloning", self.cloning, self.cloning >= 0.0, "must not be negative")?;
        positive("iterations", self.iterations as f64)?;
        positive("save_every", self.save_every as f64)?;
        positive("chain.noise_clip", self.chain.noise_clip)?;
        let PpoConfig { decisions, epochs, batch, gamma, lambda, denoising_gamma, clip, critic_hidden, .. } = &self.ppo;
        for (key, value) in [
            ("ppo.decisions", decisions),
            ("ppo.epochs", epochs),
            ("ppo.batch", batch),
            ("ppo.critic_hidden", critic_hidden),
            ("b2.groups", &self.b2.groups),
            ("b2.batch", &self.b2.batch),
            ("b2.epochs", &self.b2.epochs),
            ("d3po.pairs", &self.d3po.pairs),
            ("d3po.batch", &self.d3po.batch),
            ("d3po.epochs", &self.d3po.epochs),
        ] {
            positive(key, *value as f64)?;
        }
        check("ppo.share", self.ppo.share, self.ppo.share > 0.0 && self.ppo.share <= 1.0, "must be in (0, 1]")?;
        share("ppo.gamma", *gamma)?;
        share("ppo.lambda", *lambda)?;
        share("ppo.denoising_gamma", *denoising_gamma)?;
        positive("ppo.clip", clip[0])?;
        positive("ppo.clip", clip[1])?;
        positive("ppo.clip_rate", self.ppo.clip_rate)?;
        positive("ppo.target_divergence", self.ppo.target_divergence)?;
        positive("ppo.critic_learning_rate", self.ppo.critic_learning_rate)?;
        let (window, tuned) = (self.b2.first_window, self.chain.tuned);
        check("b2.first_window", window as f64, (1..=tuned).contains(&window), "must be in 1..=chain.tuned")?;
        check("b2.branches", self.b2.branches as f64, self.b2.branches >= 2, "must be at least 2")?;
        positive("b2.clip", self.b2.clip)?;
        positive("b2.score_clip", self.b2.score_clip)?;
        positive("b2.patience", self.b2.patience as f64)?;
        share("b2.gamma", self.b2.gamma)?;
        positive("d3po.beta", self.d3po.beta)?;
        check(
            "d3po.ratio_clip",
            self.d3po.ratio_clip,
            self.d3po.ratio_clip > 0.0 && self.d3po.ratio_clip < 1.0,
            "must be in (0, 1)",
        )?;
        share("d3po.gamma", self.d3po.gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        type Spoil = fn(&mut TuneConfig);
        let spoilt: [(&str, Spoil); 9] = [
            ("iterations", |c| c.iterations = 0),
            ("learning_rate", |c| c.learning_rate = f64::NAN),
            ("average", |c| c.average = 1.0),
            ("ppo.share", |c| c.ppo.share = 0.0),
            ("chain.noise_clip", |c| c.chain.noise_clip = -1.0),
            ("b2.score_clip", |c| c.b2.score_clip = 0.0),
            ("b2.first_window", |c| c.b2.first_window = 11),
            ("d3po.ratio_clip", |c| c.d3po.ratio_clip = 0.0),
            ("dream.implausible_share", |c| (c.dream.implausible_share, c.dream.candidates) = (0.01, 0)),
        ];
        assert!(TuneConfig::default().validate().is_ok());
        for (key, spoil) in spoilt {
            let mut config = TuneConfig::default();
            spoil(&mut config);
            let said = config.validate().expect_err(key).to_string();
            assert!(said.contains(key), "{key}: {said}");
        }
    }
}
