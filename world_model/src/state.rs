//! An interrupted run on disk: one safetensors file with arrays, and everything else as JSON in its metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use reverie_policy::RawTensor;
use reverie_policy::tensor_file::{parse_tensors, serialise_tensors, write_atomically};
use reverie_policy::train::to_raw;
use safetensors::SafeTensors;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use crate::WorldModelError;
use crate::error::Result;

const KEY: &str = "run";

/// What a run needs to go on.
#[derive(Debug)]
pub(crate) struct RunState {
    path: std::path::PathBuf,
    arrays: BTreeMap<String, RawTensor>,
}

impl RunState {
    /// Writes `arrays` and `rest`, whole or not at all.
    pub(crate) fn save(path: &Path, arrays: &[(&str, &Tensor)], rest: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(rest).map_err(|e| WorldModelError::file(path, e))?;
        let arrays = arrays.iter().map(|(name, tensor)| ((*name).to_owned(), to_raw(tensor))).collect();
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        Ok(write_atomically(path, &serialise_tensors(&arrays, path, Some(metadata))?)?)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<(Self, T)> {
        let bytes = std::fs::read(path).map_err(|e| WorldModelError::file(path, e))?;
        let arrays = parse_tensors(path, &bytes)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| WorldModelError::file(path, e))?;
        let text = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or_else(|| WorldModelError::file(path, "not the state of a run of this kind"))?;
        let rest = serde_json::from_str(text)
            .map_err(|e| WorldModelError::file(path, format!("not the state of a run of this kind: {e}")))?;
        Ok((Self { path: path.to_owned(), arrays }, rest))
    }

    /// An array as a tensor of `shape` on `device`.
    pub(crate) fn tensor(&self, name: &str, shape: &[i64], device: Device) -> Result<Tensor> {
        let tensor = self.any(name, device)?;
        let got = tensor.size();
        if got != shape {
            return Err(WorldModelError::file(&self.path, format!("array `{name}` has shape {got:?}, expected {shape:?}")));
        }
        Ok(tensor)
    }

    /// An array as a tensor of its own shape.
    pub(crate) fn any(&self, name: &str, device: Device) -> Result<Tensor> {
        let Some(raw) = self.arrays.get(name) else {
            return Err(WorldModelError::file(&self.path, format!("array `{name}` is missing")));
        };
        if let Some(at) = raw.data.iter().position(|v| !v.is_finite()) {
            return Err(WorldModelError::file(&self.path, format!("array `{name}`: entry {at} is {}", raw.data[at])));
        }
        let shape: Vec<i64> = raw.shape.iter().map(|&n| n as i64).collect();
        Ok(Tensor::from_slice(&raw.data).view(shape.as_slice()).to_device(device))
    }
}
