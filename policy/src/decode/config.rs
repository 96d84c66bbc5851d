use serde::{Deserialize, Serialize};

use super::{Cold, Decoder, Rti, RtiConfig};
use crate::{DiscreteEntries, NoiseSchedule, PolicyError, PolicyShape};

/// Which decoder, as it stands in a configuration file: `{ name = "rti", labels = [3, 1, 0], discrete = { kind = "scale" } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum DecoderConfig {
    /// All ancestral steps from noise.
    Ddpm {},
    /// Fewer, deterministic steps from noise.
    Ddim {
        /// Network evaluations.
        steps: usize,
        /// Where the labels lie.
        #[serde(default)]
        spacing: DdimSpacing,
    },
    /// Warm start from the previous chunk.
    Rti {
        /// Noise levels of the steps after the first tick, falling strictly to 0.
        labels: Vec<usize>,
        /// DDIM steps of the first tick instead of all DDPM steps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cold_steps: Option<usize>,
        /// What is done with entries that have two values.
        #[serde(default)]
        discrete: DiscreteTreatment,
    },
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
        Self::Ddpm {}
    }
}

impl DecoderConfig {
    /// The name in tables and files: `ddpm`, `ddim10`, `rti3`.
    pub fn label(&self) -> String {
        match self {
            Self::Ddpm {} => "ddpm".into(),
            Self::Ddim { steps, .. } => format!("ddim{steps}"),
            Self::Rti { labels, .. } => format!("rti{}", labels.len()),
        }
    }

    /// Builds the decoder for a network that was trained on `schedule`, with the discrete entries of its action normaliser.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the key and the value that can't be used.
    pub fn build(
        &self,
        schedule: &NoiseSchedule,
        shape: PolicyShape,
        entries: &DiscreteEntries,
    ) -> Result<Box<dyn Decoder>, PolicyError> {
        match self {
            Self::Ddpm {} => Ok(Box::new(Cold::ddpm(schedule))),
            Self::Ddim { steps, spacing } => Ok(Box::new(Cold::ddim(schedule, &ddim_labels(schedule, *steps, *spacing)?))),
            Self::Rti { labels, cold_steps, discrete } => {
                check_labels(labels, schedule.n_steps())?;
                check_treatment(*discrete, entries)?;
                let cold_labels = cold_steps.map(|steps| ddim_labels(schedule, steps, DdimSpacing::default())).transpose()?;
                let (discrete_dims, factor) = match *discrete {
                    DiscreteTreatment::Clip { factor } => (entries.indices.clone(), factor),
                    DiscreteTreatment::None | DiscreteTreatment::Scale {} => (Vec::new(), 1.0),
                };
                Ok(Box::new(Rti::new(
                    schedule,
                    shape,
                    RtiConfig { labels: labels.clone(), cold_labels, clip_dims: discrete_dims, clip_factor: factor },
                )))
            }
        }
    }
}

fn ddim_labels(schedule: &NoiseSchedule, steps: usize, spacing: DdimSpacing) -> Result<Vec<usize>, PolicyError> {
    let n = schedule.n_steps();
    if !(1..=n).contains(&steps) {
        return Err(PolicyError::config("decoder.steps", steps, format!("must be in 1..={n}")));
    }
    Ok(match spacing {
        DdimSpacing::Leading => (0..steps).rev().map(|i| i * (n / steps)).collect(),
        DdimSpacing::Trailing => (0..steps).map(|i| n - i * n / steps - 1).collect(),
    })
}

fn check_labels(labels: &[usize], n_steps: usize) -> Result<(), PolicyError> {
    let refuse = |reason: String| Err(PolicyError::config("decoder.labels", labels, reason));
    if labels.last() != Some(&0) {
        return refuse("must end in 0, or noise is left in the chunk".into());
    }
    if labels.windows(2).any(|pair| pair[0] <= pair[1]) {
        return refuse("must fall strictly".into());
    }
    if labels[0] >= n_steps {
        return refuse(format!("the network has noise levels 0 to {}", n_steps - 1));
    }
    Ok(())
}

fn check_treatment(discrete: DiscreteTreatment, entries: &DiscreteEntries) -> Result<(), PolicyError> {
    let refuse = |reason: &str| Err(PolicyError::config("decoder.discrete", discrete, reason));
    match discrete {
        DiscreteTreatment::Clip { factor } if !(factor.is_finite() && factor >= 1.0) => refuse("the factor must be at least 1"),
        DiscreteTreatment::Clip { .. } if entries.factor != 1.0 => {
            refuse("`clip` is for networks trained on -1/+1; this one was trained on scaled entries: use `scale`")
        }
        DiscreteTreatment::Scale {} if entries.factor == 1.0 => {
            refuse("`scale` needs a network trained on scaled entries; this one was trained on -1/+1: use `clip`")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PolicyShape = PolicyShape { horizon: 16, n_act: 7, n_cond: 1 };

    fn refusal(config: &DecoderConfig, factor: f32) -> String {
        let schedule = NoiseSchedule::squared_cosine(100);
        let entries = DiscreteEntries { indices: vec![6], factor };
        config.build(&schedule, SHAPE, &entries).err().map(|e| e.to_string()).unwrap_or_default()
    }

    fn rti(labels: &[usize], discrete: DiscreteTreatment) -> DecoderConfig {
        DecoderConfig::Rti { labels: labels.to_vec(), cold_steps: None, discrete }
    }

    #[test]
    fn bad_values_are_named_with_their_key() {
        for (labels, reason) in [
            (&[3, 1][..], "decoder.labels = [3, 1]: must end in 0"),
            (&[3, 3, 0], "must fall strictly"),
            (&[100, 0], "noise levels 0 to 99"),
            (&[], "must end in 0"),
        ] {
            let error = refusal(&rti(labels, DiscreteTreatment::None), 1.0);
            assert!(error.contains(reason), "{error}");
        }
        assert!(refusal(&rti(&[0], DiscreteTreatment::Scale {}), 1.0).contains("use `clip`"));
        assert!(refusal(&rti(&[0], DiscreteTreatment::Clip { factor: 10.0 }), 10.0).contains("use `scale`"));
        assert!(refusal(&rti(&[0], DiscreteTreatment::Clip { factor: f32::NAN }), 1.0).contains("factor"));
        assert!(refusal(&DecoderConfig::Ddim { steps: 0, spacing: DdimSpacing::Leading }, 1.0).contains("decoder.steps = 0"));
        assert_eq!(refusal(&rti(&[3, 1, 0], DiscreteTreatment::Clip { factor: 10.0 }), 1.0), "");
    }

    #[test]
    fn json_names_the_decoder_and_refuses_unknown_keys() {
        let config: DecoderConfig =
            serde_json::from_str(r#"{"name":"rti","labels":[3,1,0],"discrete":{"kind":"clip"}}"#).unwrap();
        assert_eq!(config, rti(&[3, 1, 0], DiscreteTreatment::Clip { factor: 10.0 }));
        for wrong in [r#"{"name":"ddpm","steps":3}"#, r#"{"name":"ddim","steps":3,"eta":0}"#, r#"{"name":"magic"}"#] {
            assert!(serde_json::from_str::<DecoderConfig>(wrong).is_err(), "{wrong}");
        }
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
