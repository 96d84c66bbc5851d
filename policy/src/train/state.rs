//! A training run on disk: one safetensors file with the weights, their average and the optimiser's moments, and the step and
//! settings as metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::TrainConfig;
use crate::tensor_file::{parse_tensors, serialise_tensors, write_atomically};
use crate::{PolicyError, RawTensor};
use safetensors::SafeTensors;

/// What a run needs to go on, as flat arrays of equal length.
pub(super) struct TrainState {
    pub(super) step: u64,
    pub(super) loss: f64,
    pub(super) arrays: BTreeMap<String, RawTensor>,
}

impl TrainState {
    pub(super) fn save(&self, path: &Path, config: &TrainConfig) -> Result<(), PolicyError> {
        let text = config_text(path, config)?;
        let metadata = HashMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("loss_bits".to_owned(), self.loss.to_bits().to_string()),
            ("config".to_owned(), text),
        ]);
        write_atomically(path, &serialise_tensors(&self.arrays, path, Some(metadata))?)
    }

    /// Reads a state of `n` parameters that was saved with the same settings; only how often something is reported or saved
    /// may differ.
    pub(super) fn load(path: &Path, config: &TrainConfig, n: usize) -> Result<Self, PolicyError> {
        let bytes = std::fs::read(path).map_err(|e| PolicyError::io(path, e))?;
        let damaged = |reason: String| PolicyError::Tensors { path: path.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let entry = |key: &str| {
            let all = header.metadata().as_ref();
            all.and_then(|m| m.get(key)).cloned().ok_or_else(|| damaged(format!("no `{key}`: not a training state")))
        };
        let number = |key: &str| entry(key)?.parse::<u64>().map_err(|e| damaged(format!("{key}: {e}")));
        let json = |source| PolicyError::Json { path: path.to_owned(), source };
        let saved: TrainConfig = serde_json::from_str(&entry("config")?).map_err(json)?;
        if (TrainConfig { report_every: config.report_every, save_every: config.save_every, ..saved }) != *config {
            let reason = format!("{} was trained with other settings: {}", path.display(), entry("config")?);
            return Err(PolicyError::config("resume", config_text(path, config)?, reason));
        }
        let arrays = parse_tensors(path, &bytes)?;
        for name in ["parameters", "average", "first_moment", "second_moment"] {
            let (path, name) = (path.to_owned(), name.to_owned());
            let Some(array) = arrays.get(&name) else { return Err(PolicyError::MissingTensor { path, name }) };
            if array.shape != [n] {
                return Err(PolicyError::TensorShape { path, name, expected: vec![n], got: array.shape.clone() });
            }
            if let Some(index) = array.data.iter().position(|v| !v.is_finite()) {
                return Err(PolicyError::TensorNotFinite { path, name, index, value: array.data[index] });
            }
        }
        Ok(Self { step: number("step")?, loss: f64::from_bits(number("loss_bits")?), arrays })
    }
}

fn config_text(path: &Path, config: &TrainConfig) -> Result<String, PolicyError> {
    serde_json::to_string(config).map_err(|source| PolicyError::Json { path: path.to_owned(), source })
}
