//! A trained world model as a world to dream in, with its guards.

use tch::{Kind, Tensor};

use crate::WorldModelError;
use crate::checkpoint::TrainedWorldModel;
use crate::dream::{DreamConfig, Dynamics, Imagined, SharedNoise};
use crate::error::Result;
use crate::lead::LEAD;
use crate::morec::Verdict;
use crate::noise::Noise;
use crate::rssm::Foretold;
use crate::success::SuccessClassifier;

/// A trained world model with a classifier and guards.
#[derive(Debug)]
pub struct GuardedWorld<'a> {
    world: &'a TrainedWorldModel,
    success: &'a SuccessClassifier,
    config: DreamConfig,
    least_standing: f64,
}

impl<'a> GuardedWorld<'a> {
    /// Puts them together.
    ///
    /// # Errors
    /// [`WorldModelError::Mismatch`] for a classifier of another world model; a setting that can't be used.
    pub fn new(world: &'a TrainedWorldModel, success: &'a SuccessClassifier, config: &DreamConfig) -> Result<Self> {
        config.validate()?;
        if success.info.world_model != world.identity {
            return Err(WorldModelError::mismatch(
                "world model that the success classifier was trained on (train it again with `reverie train reward`)",
                &world.identity[..12],
                success.info.world_model.get(..12).unwrap_or(&success.info.world_model),
            ));
        }
        if config.candidates > 0 && world.info.snapshots.is_empty() {
            return Err(WorldModelError::config("dream.candidates", config.candidates, "the world model has no discriminators"));
        }
        let least_standing = world.info.plausibility.at(config.implausible_share);
        Ok(Self { world, success, config: config.clone(), least_standing })
    }

    /// `[n, candidates, latent]`.
    fn jittered(&self, latents: &Tensor, noise: &mut SharedNoise<'_>) -> Tensor {
        if self.config.jitter == 0.0 {
            return latents.shallow_clone();
        }
        self.world.jitter(latents, self.config.jitter, &noise.normal(&[latents.size()[1], LEAD as i64]))
    }
}

impl Dynamics for GuardedWorld<'_> {
    fn actions_per_step(&self) -> usize {
        self.world.info.config.actions_per_step
    }

    fn step(&self, latent: &Tensor, actions: &Tensor, branches: i64, noise: &mut Noise) -> Imagined {
        let n = latent.size()[0];
        let candidates = self.config.candidates.max(1) as i64;
        let model = &self.world.model;
        let mut shared = SharedNoise { noise, n, branches };
        let uniform = shared.uniform(&[candidates, self.world.info.config.groups as i64]);
        // Without a choice, a dream stays with one head: what only some of them take for possible then happens in some dreams only,
        // whereas a dream that changes heads would find the most favourable one.
        let own = model.turns(n, branches);
        let turns = Tensor::arange(candidates, (Kind::Int64, own.device()));
        let heads = (own + turns).remainder(self.world.info.config.heads as i64);
        let Foretold { latents: next, variance } = model.imagine_with(latent, actions, &heads, &uniform);
        let uncertainty = self.world.uncertainty(&variance);
        // The discriminators would tell the noise from data at once.
        let jittered = self.jittered(&next, &mut shared);
        if self.config.candidates == 0 {
            let implausible = uncertainty.zeros_like();
            return Imagined { latent: jittered.squeeze_dim(1), uncertainty, implausible };
        }
        let Verdict { reward, standing } = self.world.dynamics_reward.judge(latent, actions, &model.outcome(&next));
        let chosen = if self.config.temperature > 0.0 {
            let p = (reward / self.config.temperature).softmax(-1, Kind::Float);
            crate::noise::sample_one_hot(&p, &shared.uniform(&[]).view([n]))
        } else {
            reward.zeros_like().scatter_value(-1, &reward.argmax(-1, true), 1.0)
        };
        let latent = (jittered * chosen.unsqueeze(-1)).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
        let believed = (standing * chosen).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
        Imagined { latent, uncertainty, implausible: believed.lt(self.least_standing).to_kind(Kind::Float) }
    }

    fn features(&self, latent: &Tensor) -> Tensor {
        self.world.features(latent)
    }

    fn done(&self, latent: &Tensor) -> Tensor {
        self.success.fires(latent)
    }
}

#[cfg(test)]
mod tests {
    use reverie_policy::{MinMax, STATE_FEATURES};
    use tch::Device;

    use super::*;

    /// A small untrained world, with what its discriminators and its classifier say.
    fn untrained() -> (TrainedWorldModel, SuccessClassifier) {
        use crate::config::WorldModelConfig;
        use crate::morec::{DynamicsRewardConfig, Snapshot};
        use crate::store::{Provenance, Stored};
        use crate::success::{SuccessConfig, SuccessInfo};
        use reverie_policy::initial_values;
        let config =
            WorldModelConfig { deter: 8, groups: 3, classes: 3, hidden: 8, embed: 8, heads: 2, ..WorldModelConfig::default() };
        let info = crate::checkpoint::WorldModelInfo {
            observation_normaliser: MinMax { offset: vec![0.0; STATE_FEATURES], scale: vec![1.0; STATE_FEATURES] },
            updates: 1,
            minutes: 0.0,
            usual: crate::predict::Usual { variance: vec![1.0; STATE_FEATURES], error: vec![0.01; STATE_FEATURES], q99: 1.0 },
            dynamics_reward: DynamicsRewardConfig { hidden: 8, ..DynamicsRewardConfig::default() },
            snapshots: vec![Snapshot { real: 1.0, dreamt: -1.0 }; 2],
            plausibility: serde_json::from_str("[-100.0, 100.0]").unwrap(),
            open_loop: Default::default(),
            provenance: Provenance::default(),
            config,
        };
        fn stored<I: crate::store::Info + Clone>(info: I) -> Stored<I> {
            let specs = info.parameters();
            let values = initial_values(&specs, 3);
            let named = specs.iter().zip(values).map(|(spec, values)| (spec.name.clone(), values));
            let tensors = named.collect();
            Stored::new(info, tensors).unwrap()
        }
        let world = TrainedWorldModel::new(&stored(info), Device::Cpu).unwrap();
        let success = SuccessInfo {
            task: "open_drawer".into(),
            config: SuccessConfig { hidden: 8, embed: 4, ..SuccessConfig::default() },
            latent: world.info.config.latent(),
            world_model: world.identity.clone(),
            threshold: 0.5,
            recorded: Default::default(),
            dreamt: Default::default(),
            foretold: Default::default(),
            provenance: Provenance::default(),
        };
        let success = SuccessClassifier::new(&stored(success), Device::Cpu).unwrap();
        (world, success)
    }

    /// At temperature 0 the most plausible candidate is taken; what none of them reaches ends the dream; other worlds' classifiers are
    /// refused.
    #[test]
    fn the_filter_takes_the_most_plausible_candidate_and_ends_what_is_not() {
        let (mut world, mut success) = untrained();
        let config =
            DreamConfig { candidates: 6, temperature: 0.0, implausible_share: 0.0, jitter: 0.0, ..DreamConfig::default() };
        let mut noise = Noise::new(2, "latents", Device::Cpu);
        let latent = world.model.blank(4, &noise.normal(&[1]));
        let actions = noise.normal(&[4, 28]);
        let step = |config: &DreamConfig| {
            let guarded = GuardedWorld::new(&world, &success, config).unwrap();
            guarded.step(&latent, &actions, 1, &mut Noise::new(8, "step", Device::Cpu))
        };
        let taken = step(&config);
        let uniform = Noise::new(8, "step", Device::Cpu).uniform(&[4, 6, 3]);
        let heads = Tensor::from_slice(&[0_i64, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0]).view([2, 6]).repeat([2, 1]);
        let candidates = world.model.imagine_with(&latent, &actions, &heads, &uniform).latents;
        let reward = world.dynamics_reward.judge(&latent, &actions, &world.model.outcome(&candidates)).reward;
        for row in 0..4 {
            let best = reward.get(row).argmax(None, false).int64_value(&[]);
            let apart = (taken.latent.get(row) - candidates.get(row).get(best)).abs().max().double_value(&[]);
            assert!(apart < 1e-6, "row {row}");
        }
        assert_eq!(taken.implausible.sum(Kind::Float).double_value(&[]), 0.0);
        let none = step(&DreamConfig { implausible_share: 0.6, ..config.clone() });
        assert_eq!(none.implausible.sum(Kind::Float).double_value(&[]), 4.0, "nothing stands at 100");
        let jittered = step(&DreamConfig { jitter: 0.5, ..config.clone() });
        let moved = (world.model.state(&jittered.latent) - world.model.state(&taken.latent)).abs();
        assert_eq!(moved.narrow(-1, 3, 48).max().double_value(&[]), 0.0, "the TCP's position alone is jittered");
        let deviation = moved.narrow(-1, 0, 3).square().mean(Kind::Float).sqrt().double_value(&[]);
        assert!((0.002..0.009).contains(&deviation), "{deviation}: half of the usual error, 0.01");
        // A limit in the midst of what was chosen: those below it end. As rewards, about ln 2 each, all would stand above it.
        let standing = world.dynamics_reward.judge(&latent, &actions, &world.model.outcome(&taken.latent.unsqueeze(1))).standing;
        let limit = standing.mean(Kind::Double).double_value(&[]);
        world.info.plausibility = serde_json::from_str(&format!("[-100.0, {limit}]")).unwrap();
        let guarded = GuardedWorld::new(&world, &success, &DreamConfig { implausible_share: 0.6, ..config.clone() }).unwrap();
        let among = guarded.step(&latent, &actions, 1, &mut Noise::new(8, "step", Device::Cpu)).implausible;
        for row in 0..4 {
            assert_eq!(among.double_value(&[row]) > 0.0, standing.double_value(&[row, 0]) < limit, "row {row}");
        }
        assert!((1.0..4.0).contains(&among.sum(Kind::Float).double_value(&[])), "some, not all");
        success.info.world_model = "f".repeat(64);
        let error = GuardedWorld::new(&world, &success, &config).unwrap_err().to_string();
        assert!(error.contains("train it again"), "{error}");
    }
}
