use reverie_policy::STATE_FEATURES;
use serde::{Deserialize, Serialize};

use crate::WorldModelError;
use crate::error::Result;
use crate::lead::LEAD;

/// What a world model sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// State features.
    #[default]
    State,
    /// Both cameras and what the robot measures of itself.
    Vision,
    /// Both cameras and state features.
    Hybrid,
}

impl Inputs {
    /// Whether it looks at pictures.
    pub const fn has_cameras(self) -> bool {
        !matches!(self, Self::State)
    }
}

/// Steps at the beginning of a sequence that no stream is blind in.
pub const SIGHTED: usize = 3;

/// Sizes and training of a world model. The defaults are the preset for two CPU cores; overlays in `configs/world_model/`
/// change them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldModelConfig {
    /// What it sees.
    pub inputs: Inputs,
    /// Control steps that one step of the model covers, with all their actions as its input. 1 in DiWA; 4, a played chunk,
    /// makes dreams four times shorter in steps.
    pub actions_per_step: usize,
    /// Entries of the deterministic part of the latent (1024 in DiWA).
    pub deter: usize,
    /// Categoricals of the stochastic part (32).
    pub groups: usize,
    /// Classes of each (32).
    pub classes: usize,
    /// Width of hidden layers (1000).
    pub hidden: usize,
    /// Width of the embedding of what is seen.
    pub embed: usize,
    /// Channels of the cameras' first convolution (48).
    pub camera_depth: usize,
    /// Heads, each with a prior and a decoder of the state. Several give real candidates to choose among, and their disagreement
    /// tells where the data end.
    pub heads: usize,
    /// Share of a uniform distribution in every categorical (0.01, DreamerV3).
    pub unimix: f64,
    /// Nats of divergence that cost the posterior nothing (1 in DreamerV3, where they cost the prior nothing either).
    pub free_nats: f64,
    /// Weight of the divergence (1).
    pub kl_scale: f64,
    /// Share of it that trains the prior (0.8); the rest holds the posterior back.
    pub kl_balance: f64,
    /// Error of a foretold feature below which errors are rounded off, half-ranges: what is finer is nobody's concern.
    pub least_deviation: f64,
    /// Weight of the squared error of pictures in [-1, 1], summed over pixels (0.5 in DiWA, with a divergence that weighs 0.3).
    pub picture_scale: f64,
    /// Probability, at each step, that a stream begins anew (0.01, LUMOS): dreams begin after few seen steps, and a model that always remembers
    /// how things came to stand learns from that instead of from where they are.
    pub reset_probability: f64,
    /// Probability that a stream is blind for the last part of a sequence, at most all but the first three steps of it.
    pub blind: f64,
    /// Parallel streams through the play data (50 in LUMOS).
    pub streams: usize,
    /// Steps of a stream in one update; the state is carried on to the next.
    pub sequence: usize,
    /// Updates.
    pub updates: u64,
    /// Largest learning rate (3e-4 in LUMOS; small models and short runs take ten times that). It falls to a tenth along half a cosine.
    pub learning_rate: f64,
    /// Updates over which it rises from 0.
    pub warmup_updates: u64,
    /// AdamW's decoupled weight decay (0.05 in LUMOS).
    pub weight_decay: f64,
    /// Largest norm of the gradient (100).
    pub grad_clip: f64,
    /// Share of the episodes that are held out, the last ones.
    pub held_out: f64,
    /// Updates between two reports.
    pub report_every: u64,
    /// Updates between two saved states.
    pub save_every: u64,
    /// Of the first weights, the streams and all noise.
    pub seed: u64,
}

impl Default for WorldModelConfig {
    fn default() -> Self {
        Self {
            inputs: Inputs::State,
            actions_per_step: 4,
            deter: 128,
            groups: 8,
            classes: 8,
            hidden: 256,
            embed: 256,
            camera_depth: 12,
            heads: 5,
            unimix: 0.01,
            free_nats: 0.1,
            kl_scale: 1.0,
            kl_balance: 0.8,
            least_deviation: 0.005,
            picture_scale: 0.5,
            reset_probability: 0.1,
            blind: 0.5,
            streams: 32,
            sequence: 8,
            updates: 22_000,
            learning_rate: 3e-3,
            warmup_updates: 500,
            weight_decay: 0.01,
            grad_clip: 100.0,
            held_out: 0.05,
            report_every: 50,
            save_every: 1000,
            seed: 0,
        }
    }
}

impl WorldModelConfig {
    /// Entries of the stochastic part.
    pub const fn stoch(&self) -> usize {
        self.groups * self.classes
    }

    /// Entries of a latent: deterministic part, stochastic part, lead, state features.
    pub const fn latent(&self) -> usize {
        self.deter + self.stoch() + LEAD + STATE_FEATURES
    }

    /// Learning rate of the update with index `update`.
    pub fn learning_rate_at(&self, update: u64) -> f64 {
        if update < self.warmup_updates {
            return self.learning_rate * (update + 1) as f64 / self.warmup_updates as f64;
        }
        let progress = (update - self.warmup_updates) as f64 / self.updates.saturating_sub(self.warmup_updates).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
        self.learning_rate * (0.1 + 0.9 * cosine)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        const WIDEST: usize = 16_384;
        for (key, value) in [
            ("actions_per_step", self.actions_per_step),
            ("deter", self.deter),
            ("groups", self.groups),
            ("classes", self.classes),
            ("hidden", self.hidden),
            ("embed", self.embed),
            ("camera_depth", self.camera_depth),
            ("heads", self.heads),
            ("streams", self.streams),
            ("sequence", self.sequence),
        ] {
            if !(1..=WIDEST).contains(&value) {
                return Err(WorldModelError::config(key, value, format!("must be in 1..={WIDEST}")));
            }
        }
        let finite = |key, value: f64, ok: bool, reason: &str| {
            if ok && value.is_finite() { Ok(()) } else { Err(WorldModelError::config(key, value, reason)) }
        };
        let share = |v: f64| (0.0..1.0).contains(&v);
        finite("unimix", self.unimix, share(self.unimix), "must be in [0, 1)")?;
        finite("free_nats", self.free_nats, self.free_nats >= 0.0, "must not be negative")?;
        finite("kl_scale", self.kl_scale, self.kl_scale >= 0.0, "must not be negative")?;
        finite("kl_balance", self.kl_balance, (0.0..=1.0).contains(&self.kl_balance), "must be in [0, 1]")?;
        finite("least_deviation", self.least_deviation, self.least_deviation > 0.0, "must be positive")?;
        finite("picture_scale", self.picture_scale, self.picture_scale > 0.0, "must be positive")?;
        finite("reset_probability", self.reset_probability, share(self.reset_probability), "must be in [0, 1)")?;
        finite("blind", self.blind, (0.0..=1.0).contains(&self.blind), "must be in [0, 1]")?;
        finite("learning_rate", self.learning_rate, self.learning_rate > 0.0, "must be positive")?;
        finite("weight_decay", self.weight_decay, (0.0..=1.0).contains(&self.weight_decay), "must be in [0, 1]")?;
        finite("grad_clip", self.grad_clip, self.grad_clip >= 0.0, "must not be negative")?;
        finite("held_out", self.held_out, self.held_out > 0.0 && self.held_out < 1.0, "must be between 0 and 1")?;
        for (key, value) in [("updates", self.updates), ("report_every", self.report_every), ("save_every", self.save_every)] {
            if value == 0 {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        Ok(())
    }
}
