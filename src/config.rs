//! One configuration for all verbs: defaults, then overlay files, then `--set a.b=3`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use reverie_control::ServoConfig;
use reverie_policy::{
    ColdStart, DdimSpacing, DecodeOptions, DecoderConfig, DiscreteTreatment, ExitConfig, Guide, GuideWhen, InpaintConfig, Labels,
    engine::EngineConfig,
};
use reverie_sim::WorldConfig;
use serde::{Deserialize, Serialize};

use crate::{eyes::CameraSection, randomise::RandomiseSection};

/// Everything that can be configured. `configs/default.toml` spells all of it out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Physics.
    pub sim: WorldConfig,
    /// Servo.
    pub servo: ServoConfig,
    /// Decoders, re-planning and episode length.
    pub decode: DecodeSection,
    /// The decode engine, which runs networks on the CPU.
    pub engine: EngineConfig,
    /// Demonstrations.
    pub collect: CollectSection,
    /// Cameras.
    pub cameras: CameraSection,
    /// Delays of the simulated robot.
    pub delay: DelaySection,
    /// Randomisation for training.
    pub randomise: RandomiseSection,
    /// Training of policies.
    #[cfg(feature = "learn")]
    pub train: reverie_policy::TrainConfig,
    /// World models.
    #[cfg(feature = "learn")]
    pub world_model: reverie_world_model::WorldModelConfig,
    /// MOREC's discriminators of dreams.
    #[cfg(feature = "learn")]
    pub dynamics_reward: reverie_world_model::DynamicsRewardConfig,
    /// Success classifiers.
    #[cfg(feature = "learn")]
    pub success: reverie_world_model::SuccessConfig,
    /// Fine-tuning.
    #[cfg(feature = "learn")]
    pub finetune: reverie_world_model::TuneConfig,
    /// Messages between processes.
    #[cfg(feature = "robot")]
    pub link: reverie_zenoh::LinkConfig,
}

/// How demonstrations are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectSection {
    /// Share of demonstrations that begin near the work, where a failed try would have ended, instead of at a random start. 0:
    /// with some, DDPM recovers more often, but RTI swings between recovering and going on at the drawer's bar, since what the
    /// demonstrator does there depends on what it did before.
    pub stray_share: f64,
    /// Standard deviation of wandering noise on the first six entries of each action, as it is played and recorded. Makes demonstrations, and
    /// policies cloned from them, as clumsy as wanted.
    pub action_noise: f64,
    /// The same for play, of which each skill draws its share of this: a world model must have seen what a clumsy policy does.
    pub play_noise: f64,
    /// Share of play's skills that go for a place beside the right one at first. A world model that has seen few misses takes near ones
    /// for hits.
    pub play_errs: f64,
}

impl Default for CollectSection {
    fn default() -> Self {
        Self { stray_share: 0.0, action_noise: 0.0, play_noise: 0.0, play_errs: 0.15 }
    }
}

/// The longest delay, control steps.
pub const MOST_DELAY_STEPS: u32 = 8;

/// How late things come, in lockstep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DelaySection {
    /// Control steps between an action or a plan and its arrival at the servo.
    pub action_steps: u32,
    /// Control steps between an observation and its arrival at whoever acts.
    pub observation_steps: u32,
}

/// How a policy is decoded and its chunks are played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeSection {
    /// Full decoding from noise, the reference.
    pub ddpm: DecoderConfig,
    /// Warm start from the previous chunk.
    pub rti: DecoderConfig,
    /// Cold start with as many evaluations as the warm start: what is left of its advantage is the warm start's own.
    pub cold_ddim: DecoderConfig,
    /// Early exit, where a decoder is run with it.
    pub exit: ExitConfig,
    /// In-painting, where a decoder is run with it under delay.
    pub inpaint: InpaintConfig,
    /// Rows of a chunk that DDPM plays before it plans again. 2: Diffusion Policy's 8 miss the drawer's bar more often.
    pub ddpm_rows: usize,
    /// Rows that the few-step decoders play before they plan again. 1 as in RTI-DP.
    pub few_step_rows: usize,
    /// Control steps after which an episode counts as failed.
    pub max_steps: u32,
}

/// Early exit of warm starts: a fifth of an action's full scale, 4 mm or 0.01 rad a row.
const EXIT: ExitConfig = ExitConfig { tolerance: 0.2, floor: 1, cap: None, max_noise: 0.3 };

impl Default for DecodeSection {
    fn default() -> Self {
        Self {
            ddpm: DecoderConfig::ddpm(),
            rti: DecoderConfig::Rti {
                labels: Labels::List(vec![13, 6, 0]),
                cold: ColdStart::Ddim { steps: 10, spacing: DdimSpacing::default() },
                discrete: DiscreteTreatment::Scale {},
                stall: None,
                jump: None,
                options: DecodeOptions { exit: Some(EXIT), ..DecodeOptions::default() },
            },
            cold_ddim: DecoderConfig::ddim(3),
            exit: EXIT,
            inpaint: InpaintConfig { guide: Guide::Hard, rows: None, when: GuideWhen::Delayed },
            ddpm_rows: 2,
            few_step_rows: 1,
            max_steps: 150,
        }
    }
}

/// Where values other than the defaults come from.
#[derive(clap::Args)]
pub struct Overlays {
    /// TOML file over the defaults; may be given more than once, later ones win
    #[arg(long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// One value over everything else, for example decode.max_steps=200
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
}

impl Overlays {
    /// The configuration that results.
    pub fn resolve(&self) -> Result<Config> {
        let mut config = toml::Table::try_from(Config::default()).context("defaults")?;
        for path in &self.files {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read the config {}", path.display()))?;
            let overlay: toml::Table = toml::from_str(&text).with_context(|| format!("{} is not TOML", path.display()))?;
            merge(&mut config, overlay);
            check(&config).with_context(|| format!("config {}", path.display()))?;
        }
        for set in &self.sets {
            let Some((key, value)) = set.split_once('=') else { bail!("--set {set}: expected KEY=VALUE") };
            let (key, value) = (key.trim(), value.trim());
            let overlay: toml::Table = toml::from_str(&format!("{key} = {value}"))
                .or_else(|_| toml::from_str(&format!("{key} = {value:?}")))
                .with_context(|| format!("--set {set}"))?;
            merge(&mut config, overlay);
            check(&config).with_context(|| format!("--set {set}"))?;
        }
        let config: Config = config.try_into().context("config")?;
        config.randomise.validate()?;
        ensure!(
            (0.0..=1.0).contains(&config.collect.play_errs),
            "collect.play_errs = {}: must be in [0, 1]",
            config.collect.play_errs
        );
        for (key, noise) in [("action_noise", config.collect.action_noise), ("play_noise", config.collect.play_noise)] {
            ensure!(noise >= 0.0 && noise.is_finite(), "collect.{key} = {noise}: must not be negative");
        }
        ensure!(
            config.delay.action_steps.max(config.delay.observation_steps) <= MOST_DELAY_STEPS,
            "config section delay: a delay is at most {MOST_DELAY_STEPS} control steps, beyond it the servo refuses plans as stale"
        );
        Ok(config)
    }
}

/// After each overlay, so that a bad key or value is reported with where it came from.
fn check(config: &toml::Table) -> Result<()> {
    config.clone().try_into::<Config>()?;
    Ok(())
}

/// Tables are merged key by key, except those that pick a kind by `name` or `kind`: they are replaced whole.
fn merge(base: &mut toml::Table, overlay: toml::Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new))
                if !new.contains_key("name") && !new.contains_key("kind") =>
            {
                merge(old, new);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_toml_spells_out_the_defaults() {
        let text = include_str!("../configs/default.toml");
        let spelled: Config = toml::from_str(text).unwrap();
        assert_eq!(spelled, Config::default());
        // And leaves no key to chance.
        let complete = toml::Table::try_from(Config::default()).unwrap();
        assert_eq!(keys("", &text.parse().unwrap()), keys("", &complete));
    }

    #[test]
    #[cfg(feature = "learn")]
    fn every_overlay_can_be_used() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut count = 0;
        for folder in [folder.clone(), folder.join("world_model")] {
            for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "toml") {
                    let overlays = Overlays { files: vec![file.clone()], sets: vec![] };
                    let config = overlays.resolve().unwrap();
                    let checks = [config.world_model.validate(), config.success.validate(), config.finetune.validate()];
                    assert!(checks.iter().all(Result::is_ok), "{}: {checks:?}", file.display());
                    count += 1;
                }
            }
        }
        assert!(count >= 5, "{count} overlays");
    }

    fn keys(prefix: &str, table: &toml::Table) -> std::collections::BTreeSet<String> {
        let nested = table.iter().flat_map(|(key, value)| match value {
            toml::Value::Table(inner) => keys(&format!("{prefix}{key}."), inner),
            _ => [format!("{prefix}{key}")].into(),
        });
        nested.collect()
    }

    #[test]
    fn a_bad_key_or_value_is_named() {
        for (set, word) in [("decode.max_stepz=3", "max_stepz"), ("sim.arm_damping=high", "arm_damping"), ("decode", "KEY=VALUE")]
        {
            let overlays = Overlays { files: vec![], sets: vec![set.into()] };
            let error = format!("{:#}", overlays.resolve().unwrap_err());
            assert!(error.contains(word), "{set}: {error}");
        }
        let overlays = Overlays { files: vec![], sets: vec!["decode.max_steps=200".into()] };
        assert_eq!(overlays.resolve().unwrap().decode.max_steps, 200);
        let overlays = Overlays { files: vec![], sets: vec!["decode.rti.labels=[3, 1, 0]".into()] };
        let rti = overlays.resolve().unwrap().decode.rti;
        assert!(matches!(rti, DecoderConfig::Rti { labels: Labels::List(labels), .. } if labels == [3, 1, 0]));
    }
}
