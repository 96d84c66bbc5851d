//! Decoders by name: DDPM, DDIM and RTI-DP.
//!
//! RTI-DP (Duan, Yin and Kragic 2025, arXiv 2508.05396) warm-starts: the previous clean normalised chunk, shifted by the rows that
//! were executed and padded by its last row, goes as it is, without noising, through the ancestral steps of a short label list.
//! The steps use the `t -> t-1` coefficients even where the list skips labels, as published.
//!
//! Deviations from the released code, which are defects there: the schedule is the one the network was trained on (the
//! released evaluation decodes by a linear one); the state is reset at every episode; the shift is the number of rows really
//! executed, not always one. Additions: labels chosen from held-out episodes ([`calibrate`](super::calibrate)), other cold
//! starts than all DDPM steps, a new start after a stall or a jump.

use serde::{Deserialize, Serialize};

use super::diffusion::{DiffusionDecoder, Parts, Warm};
use super::exit::ExitRule;
use super::memory::StallConfig;
use super::options::refuse;
use super::plan::{Entry, Plan};
use super::{DecodeOptions, Decoder, RtiCalibration};
use crate::{ActionNormaliser, DiscreteEntries, NoiseSchedule, PolicyError, PolicyShape};

/// Which decoder, as it stands in a configuration file: `{ name = "rti", labels = [3, 1, 0], discrete = { kind = "scale" } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum DecoderConfig {
    /// All ancestral steps from noise.
    Ddpm {
        /// Early exit, in-painting, best of N.
        #[serde(default, skip_serializing_if = "DecodeOptions::is_plain")]
        options: DecodeOptions,
    },
    /// Fewer, deterministic steps from noise.
    Ddim {
        /// Network evaluations.
        steps: usize,
        /// Where the labels lie.
        #[serde(default)]
        spacing: DdimSpacing,
        /// Early exit, in-painting, best of N.
        #[serde(default, skip_serializing_if = "DecodeOptions::is_plain")]
        options: DecodeOptions,
    },
    /// Warm start from the previous chunk.
    Rti {
        /// Noise levels of the warm steps.
        labels: Labels,
        /// What is done where there is no chunk to start from, or it is left.
        #[serde(default)]
        cold: ColdStart,
        /// What is done with entries that have two values.
        #[serde(default)]
        discrete: DiscreteTreatment,
        /// Start anew when the robot has come to rest. Unset: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stall: Option<StallConfig>,
        /// Start anew after a tick whose result is farther than this from its guess: root mean square over the continuous entries of
        /// the rows they share, normalised units. Unset: never. What moved so far in a few small steps has probably not
        /// arrived.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jump: Option<f32>,
        /// Early exit, in-painting, best of N.
        #[serde(default, skip_serializing_if = "DecodeOptions::is_plain")]
        options: DecodeOptions,
    },
}

/// RTI's noise levels: `"auto"` or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Those that `reverie tune` has found for the checkpoint.
    Auto,
    /// These, falling strictly to 0.
    #[serde(untagged)]
    List(Vec<usize>),
}

/// How RTI starts without a previous chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ColdStart {
    /// All DDPM steps, as published.
    Ddpm {},
    /// A few DDIM steps: an episode of seconds has no time for a hundred evaluations.
    Ddim {
        /// Network evaluations.
        steps: usize,
        /// Where the labels lie.
        #[serde(default)]
        spacing: DdimSpacing,
    },
    /// A one-pass draft `g` takes the place of the previous chunk (Trajectory Diffuser: Huang et al. 2024, arXiv 2406.04806).
    Draft {
        /// Whether the draft is noised to the first label `k`, `sqrt(alpha_bar_k) g + sqrt(1 - alpha_bar_k) z`, as SDEdit (Meng et
        /// al. 2022) does. Default true: it keeps several modes possible. False: fed as it is, Trajectory Diffuser's way.
        #[serde(default = "yes")]
        renoise: bool,
        /// Noise levels after a draft, falling strictly to 0. Unset: those of the warm steps. A draft that is farther off than
        /// the previous chunk wants a higher first level.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<usize>>,
    },
}

fn yes() -> bool {
    true
}

impl Default for ColdStart {
    fn default() -> Self {
        Self::Ddpm {}
    }
}

/// Labels of `n` DDIM steps out of `K`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DdimSpacing {
    /// Multiples of `K / n`, ending in 0 (Diffusion Policy, and the default of diffusers). The first label keeps some
    /// signal, which suits a network that predicts noise: at the very last level its clean estimate is all rounding.
    #[default]
    Leading,
    /// From `K - 1` down in steps of `K / n` (Lin et al. 2024).
    Trailing,
}

/// How RTI lets a two-valued entry (the gripper) change within few steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DiscreteTreatment {
    /// The guess is fed as it is.
    #[default]
    None,
    /// For networks trained on -1/+1: the guess becomes its sign divided by `factor`, over the whole horizon.
    Clip {
        /// 10 in the paper.
        #[serde(default = "ten")]
        factor: f32,
    },
    /// For networks trained on -1/+1 divided by a factor (10 in the paper): the guess is fed as it is.
    Scale {},
}

fn ten() -> f32 {
    10.0
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self::ddpm()
    }
}

impl DecoderConfig {
    /// Plain DDPM.
    pub fn ddpm() -> Self {
        Self::Ddpm { options: DecodeOptions::default() }
    }

    /// Plain DDIM.
    pub fn ddim(steps: usize) -> Self {
        Self::Ddim { steps, spacing: DdimSpacing::default(), options: DecodeOptions::default() }
    }

    /// RTI as published, with these labels.
    pub fn rti(labels: &[usize]) -> Self {
        Self::Rti {
            labels: Labels::List(labels.to_vec()),
            cold: ColdStart::default(),
            discrete: DiscreteTreatment::default(),
            stall: None,
            jump: None,
            options: DecodeOptions::default(),
        }
    }

    /// What it does besides.
    pub fn options(&self) -> &DecodeOptions {
        match self {
            Self::Ddpm { options } | Self::Ddim { options, .. } | Self::Rti { options, .. } => options,
        }
    }

    /// As [`options`](Self::options), to be changed.
    pub fn options_mut(&mut self) -> &mut DecodeOptions {
        match self {
            Self::Ddpm { options } | Self::Ddim { options, .. } | Self::Rti { options, .. } => options,
        }
    }

    /// Chunks that are decoded in one batch.
    pub fn candidates(&self) -> usize {
        self.options().best_of.as_ref().map_or(1, |best| best.candidates)
    }

    /// The name in tables and files: `ddpm`, `ddim10`, `rti3`, `rti-auto+draft+exit`.
    pub fn label(&self) -> String {
        let name = match self {
            Self::Ddpm { .. } => "ddpm".into(),
            Self::Ddim { steps, .. } => format!("ddim{steps}"),
            Self::Rti { labels, cold, .. } => {
                let count = match labels {
                    Labels::Auto => "-auto".into(),
                    Labels::List(labels) => labels.len().to_string(),
                };
                format!("rti{count}{}", if matches!(cold, ColdStart::Draft { .. }) { "+draft" } else { "" })
            }
        };
        name + &self.options().suffix()
    }

    /// Whether it can be built only for a checkpoint that `reverie tune` has calibrated.
    pub fn needs_calibration(&self) -> bool {
        matches!(self, Self::Rti { labels: Labels::Auto, .. })
    }

    /// Builds the decoder for a network that was trained on `schedule`, for actions normalised by `actions`, with the labels of
    /// `calibration` if they are `"auto"`.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the key and the value that can't be used.
    pub fn build(
        &self,
        schedule: &NoiseSchedule,
        shape: PolicyShape,
        actions: &ActionNormaliser,
        calibration: Option<&RtiCalibration>,
    ) -> Result<Box<dyn Decoder>, PolicyError> {
        actions.validate(shape.n_act)?;
        let options = self.options();
        let exit = options.exit_rule(actions)?;
        let (cold, warm) = match self {
            Self::Ddpm { .. } => (Plan::ddpm(schedule).with_exit(exit.as_ref(), true)?, None),
            Self::Ddim { steps, spacing, .. } => {
                let labels = ddim_labels(schedule, *steps, *spacing)?;
                (Plan::ddim(schedule, &labels).with_exit(exit.as_ref(), true)?, None)
            }
            Self::Rti { labels, cold, discrete, stall, jump, .. } => {
                let labels = resolve(labels, calibration)?;
                check_labels("decoder.labels", labels, schedule.n_steps())?;
                discrete.check(&actions.discrete)?;
                check_restarts(stall.as_ref(), *jump)?;
                let clip_factor = match *discrete {
                    DiscreteTreatment::Clip { factor } => Some(factor),
                    DiscreteTreatment::None | DiscreteTreatment::Scale {} => None,
                };
                let plan = Plan::ancestral(schedule, labels, Entry::Previous).with_exit(exit.as_ref(), true)?;
                let cold = cold.plan(schedule, labels, exit.as_ref())?;
                (cold, Some(Warm { plan, clip_factor, stall: *stall, jump: *jump }))
            }
        };
        let (inpaint, best_of) = (options.inpaint, options.best_of);
        let parts = Parts { shape, actions: actions.clone(), cold, warm, exit, inpaint, best_of };
        Ok(Box::new(DiffusionDecoder::new(parts)))
    }
}

impl ColdStart {
    fn plan(&self, schedule: &NoiseSchedule, warm: &[usize], exit: Option<&ExitRule>) -> Result<Plan, PolicyError> {
        let plan = match self {
            Self::Ddpm {} => Plan::ddpm(schedule),
            Self::Ddim { steps, spacing } => Plan::ddim(schedule, &ddim_labels(schedule, *steps, *spacing)?),
            Self::Draft { renoise, labels } => {
                let labels = labels.as_deref().unwrap_or(warm);
                check_labels("decoder.cold.labels", labels, schedule.n_steps())?;
                Plan::ancestral(schedule, labels, Entry::Draft { renoise: *renoise })
            }
        };
        plan.with_exit(exit, false)
    }
}

impl DiscreteTreatment {
    /// Whether it suits a network that was trained on such entries.
    pub(super) fn check(self, entries: &DiscreteEntries) -> Result<(), PolicyError> {
        let key = "decoder.discrete";
        match self {
            Self::Clip { factor } if !(factor.is_finite() && factor >= 1.0) => refuse(key, self, "the factor must be at least 1"),
            Self::Clip { .. } if entries.factor != 1.0 => {
                refuse(key, self, "`clip` is for networks trained on -1/+1; this one was trained on scaled entries: use `scale`")
            }
            Self::Scale {} if entries.factor == 1.0 => {
                refuse(key, self, "`scale` needs a network trained on scaled entries; this one was trained on -1/+1: use `clip`")
            }
            _ => Ok(()),
        }
    }
}

fn resolve<'a>(labels: &'a Labels, calibration: Option<&'a RtiCalibration>) -> Result<&'a [usize], PolicyError> {
    match (labels, calibration) {
        (Labels::List(labels), _) => Ok(labels),
        (Labels::Auto, Some(calibration)) => Ok(&calibration.labels),
        (Labels::Auto, None) => {
            refuse("decoder.labels", "auto", "this policy has no labels of its own yet; find them with `reverie tune`")
        }
    }
}

fn ddim_labels(schedule: &NoiseSchedule, steps: usize, spacing: DdimSpacing) -> Result<Vec<usize>, PolicyError> {
    let n = schedule.n_steps();
    if !(1..=n).contains(&steps) {
        return refuse("decoder.steps", steps, &format!("must be in 1..={n}"));
    }
    Ok(match spacing {
        DdimSpacing::Leading => (0..steps).rev().map(|i| i * (n / steps)).collect(),
        DdimSpacing::Trailing => (0..steps).map(|i| n - i * n / steps - 1).collect(),
    })
}

pub(crate) fn check_labels(key: &'static str, labels: &[usize], n_steps: usize) -> Result<(), PolicyError> {
    if labels.last() != Some(&0) {
        return refuse(key, labels, "must end in 0, or noise is left in the chunk");
    }
    if labels.windows(2).any(|pair| pair[0] <= pair[1]) {
        return refuse(key, labels, "must fall strictly");
    }
    if labels[0] >= n_steps {
        return refuse(key, labels, &format!("the network has noise levels 0 to {}", n_steps - 1));
    }
    Ok(())
}

fn check_restarts(stall: Option<&StallConfig>, jump: Option<f32>) -> Result<(), PolicyError> {
    if let Some(stall) = stall {
        if stall.ticks == 0 {
            return refuse("decoder.stall.ticks", stall.ticks, "must be at least 1");
        }
        if !(stall.action.is_finite() && stall.action > 0.0) {
            return refuse("decoder.stall.action", stall.action, "must be positive");
        }
    }
    match jump {
        Some(jump) if !(jump.is_finite() && jump > 0.0) => refuse("decoder.jump", jump, "must be positive"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{SHAPE, actions, schedule};
    use super::super::{BestOfConfig, Choose, ExitConfig, InpaintConfig};
    use super::*;

    fn refusal(config: &DecoderConfig, factor: f32) -> String {
        config.build(&schedule(), SHAPE, &actions(factor), None).err().map(|e| e.to_string()).unwrap_or_default()
    }

    fn rti(labels: &[usize], treatment: DiscreteTreatment) -> DecoderConfig {
        let mut config = DecoderConfig::rti(labels);
        if let DecoderConfig::Rti { discrete, .. } = &mut config {
            *discrete = treatment;
        }
        config
    }

    #[test]
    fn bad_values_are_named_with_their_key() {
        for (labels, reason) in [
            (&[3, 1][..], "decoder.labels = [3, 1]: must end in 0"),
            (&[3, 3, 0], "must fall strictly"),
            (&[100, 0], "noise levels 0 to 99"),
            (&[], "must end in 0"),
        ] {
            let error = refusal(&DecoderConfig::rti(labels), 1.0);
            assert!(error.contains(reason), "{error}");
        }
        assert!(refusal(&rti(&[0], DiscreteTreatment::Scale {}), 1.0).contains("use `clip`"));
        assert!(refusal(&rti(&[0], DiscreteTreatment::Clip { factor: 10.0 }), 10.0).contains("use `scale`"));
        assert!(refusal(&rti(&[0], DiscreteTreatment::Clip { factor: f32::NAN }), 1.0).contains("factor"));
        assert!(refusal(&DecoderConfig::ddim(0), 1.0).contains("decoder.steps = 0"));
        assert_eq!(refusal(&rti(&[3, 1, 0], DiscreteTreatment::Clip { factor: 10.0 }), 1.0), "");
    }

    #[test]
    fn bad_options_are_named_with_their_key() {
        let exit = ExitConfig { tolerance: 0.02, floor: 1, cap: None, max_noise: 0.3 };
        let best_of = BestOfConfig { candidates: 4, choose: Choose::default() };
        let with_exit = |exit| DecodeOptions { exit: Some(exit), ..DecodeOptions::default() };
        let with_best_of = |best_of| DecodeOptions { best_of: Some(best_of), ..DecodeOptions::default() };
        for (options, key) in [
            (with_exit(ExitConfig { tolerance: f32::NAN, ..exit }), "exit.tolerance"),
            (with_exit(ExitConfig { floor: 0, ..exit }), "exit.floor"),
            (with_exit(ExitConfig { floor: 3, cap: Some(2), ..exit }), "exit.cap"),
            (with_exit(ExitConfig { max_noise: 0.0, ..exit }), "exit.max_noise"),
            (with_best_of(BestOfConfig { candidates: 0, ..best_of }), "best_of.candidates"),
            (with_best_of(BestOfConfig { candidates: 257, ..best_of }), "best_of.candidates"),
            (with_best_of(BestOfConfig { choose: Choose::Coherence { decay: 0.0 }, ..best_of }), "best_of.choose.decay"),
        ] {
            let error = refusal(&DecoderConfig::Ddpm { options }, 1.0);
            assert!(error.starts_with(&format!("decoder.options.{key} = ")), "{key}: {error}");
        }
        for (stall, jump, key) in [
            (Some(StallConfig { ticks: 0, action: 0.1 }), None, "decoder.stall.ticks"),
            (Some(StallConfig { ticks: 1, action: 0.0 }), None, "decoder.stall.action"),
            (None, Some(-1.0), "decoder.jump"),
        ] {
            let mut config = DecoderConfig::rti(&[0]);
            if let DecoderConfig::Rti { stall: s, jump: j, .. } = &mut config {
                (*s, *j) = (stall, jump);
            }
            assert!(refusal(&config, 1.0).starts_with(key), "{key}");
        }
    }

    #[test]
    fn json_names_the_decoder_and_refuses_unknown_keys() {
        let config: DecoderConfig =
            serde_json::from_str(r#"{"name":"rti","labels":[3,1,0],"discrete":{"kind":"clip"}}"#).unwrap();
        assert_eq!(config, rti(&[3, 1, 0], DiscreteTreatment::Clip { factor: 10.0 }));
        for wrong in [
            r#"{"name":"ddpm","steps":3}"#,
            r#"{"name":"ddim","steps":3,"eta":0}"#,
            r#"{"name":"magic"}"#,
            r#"{"name":"rti","labels":"magic"}"#,
            r#"{"name":"rti","labels":[0],"cold_steps":10}"#,
            r#"{"name":"rti","labels":[0],"cold":{"kind":"ddpm","steps":3}}"#,
            r#"{"name":"ddpm","options":{"exit":{"tolerance":0.1,"flor":1}}}"#,
            r#"{"name":"ddpm","options":{"best_of":{"candidates":3,"choose":{"kind":"scorer","decay":1}}}}"#,
        ] {
            assert!(serde_json::from_str::<DecoderConfig>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_setting_comes_back_from_json_and_shows_in_the_name() {
        let text = r#"{"name":"rti","labels":"auto","cold":{"kind":"draft"},"stall":{"ticks":5,"action":0.02},"jump":0.3,
            "options":{"exit":{"tolerance":0.02},"inpaint":{"guide":"linear"},"best_of":{"candidates":8}}}"#;
        let config: DecoderConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.label(), "rti-auto+draft+exit+inpaint+best8");
        assert_eq!(config.options().inpaint.unwrap(), InpaintConfig { guide: super::super::Guide::Linear, ..Default::default() });
        let there_and_back: DecoderConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(there_and_back, config);
        assert_eq!(
            [DecoderConfig::ddpm(), DecoderConfig::ddim(10), DecoderConfig::rti(&[3, 1, 0])].map(|c| c.label()),
            ["ddpm", "ddim10", "rti3"]
        );
    }

    #[test]
    fn automatic_labels_come_from_the_calibration() {
        let mut config = DecoderConfig::rti(&[]);
        if let DecoderConfig::Rti { labels, .. } = &mut config {
            *labels = Labels::Auto;
        }
        assert!(refusal(&config, 1.0).contains("reverie tune"));
        let calibration = RtiCalibration { labels: vec![7, 1, 0], ..Default::default() };
        let mut decoder = config.build(&schedule(), SHAPE, &actions(1.0), Some(&calibration)).unwrap();
        let previous = Some(vec![0.0; SHAPE.chunk_len()]);
        decoder.restore(&super::super::DecoderSnapshot { previous, ..Default::default() }).unwrap();
        let noise = &mut super::super::NoiseSource::new(1, 1);
        let mut oracle = super::super::oracle::gaussian(0.0, 0.1);
        assert_eq!(super::super::oracle::tick(decoder.as_mut(), &mut oracle, noise, 0.0, [1, 0, 1]).1.nfe, 3);
    }

    /// Values of diffusers' `set_timesteps` for 100 levels.
    #[test]
    fn ddim_labels_are_those_of_diffusers() {
        let schedule = NoiseSchedule::squared_cosine(100);
        assert_eq!(ddim_labels(&schedule, 10, DdimSpacing::Leading).unwrap(), [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]);
        assert_eq!(ddim_labels(&schedule, 3, DdimSpacing::Leading).unwrap(), [66, 33, 0]);
        assert_eq!(ddim_labels(&schedule, 10, DdimSpacing::Trailing).unwrap(), [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]);
    }
}
