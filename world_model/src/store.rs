//! Trained parts on disk: a folder with `<name>.safetensors` (F32 weights) and `<name>.json` (format version, SHA-256 of the weights,
//! and what is known of them).

use std::collections::BTreeMap;
use std::path::Path;

use reverie_policy::tensor_file::{parse_tensors, serialise_tensors, write_atomically};
use reverie_policy::{Device, ParameterSpec, RawTensor, TensorTable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::WorldModelError;
use crate::error::Result;

/// Version of the folders' format that is written and read.
pub const FORMAT_VERSION: u32 = 1;

/// How a trained part came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The command line.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The data: where from, how much.
    pub dataset: String,
}

/// What is stored beside weights.
pub trait Info: Clone + Serialize + DeserializeOwned {
    /// Name of both files.
    const NAME: &'static str;

    /// Every parameter that the weights must hold, in a fixed order.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// Checks the rest.
    ///
    /// # Errors
    /// What is wrong with it.
    fn validate(&self) -> Result<()>;
}

/// Weights with what is known of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    /// What is known.
    pub info: T,
    tensors: BTreeMap<String, RawTensor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    format_version: u32,
    tensors_sha256: String,
    info: T,
}

impl<T: Info> Stored<T> {
    /// Checks that `tensors` are those of [`Info::parameters`], and finite.
    ///
    /// # Errors
    /// What is missing, too much, of another shape or not finite.
    pub fn new(info: T, tensors: BTreeMap<String, RawTensor>) -> Result<Self> {
        let stored = Self { info, tensors };
        stored.validate(Path::new(T::NAME))?;
        Ok(stored)
    }

    /// Reads the folder `path`.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        let file = path.join(format!("{}.json", T::NAME));
        let fail = |e: &dyn std::fmt::Display| WorldModelError::file(&file, e);
        let text = std::fs::read(&file).map_err(|e| fail(&e))?;
        let version: serde_json::Value = serde_json::from_slice(&text).map_err(|e| fail(&e))?;
        if version["format_version"] != FORMAT_VERSION {
            return Err(fail(&format!("format version {}, this program reads {FORMAT_VERSION}", version["format_version"])));
        }
        let File { tensors_sha256, info, .. }: File<T> = serde_json::from_slice(&text).map_err(|e| fail(&e))?;
        info.validate()?;
        let file = path.join(format!("{}.safetensors", T::NAME));
        let bytes = std::fs::read(&file).map_err(|e| WorldModelError::file(&file, e))?;
        let tensors = parse_tensors(&file, &bytes)?;
        let got = hex(&Sha256::digest(&bytes));
        if got != tensors_sha256 {
            let reason = format!("SHA-256 is {got}, {}.json says {tensors_sha256}: it is damaged or of another run", T::NAME);
            return Err(WorldModelError::file(&file, reason));
        }
        let stored = Self { info, tensors };
        stored.validate(&file)?;
        Ok(stored)
    }

    /// Writes both files into the folder `path`, each beside its place and then renamed, the weights first.
    ///
    /// # Errors
    /// [`WorldModelError::File`].
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::create_dir_all(path).map_err(|e| WorldModelError::file(path, e))?;
        let (weights, file) = (path.join(format!("{}.safetensors", T::NAME)), path.join(format!("{}.json", T::NAME)));
        let bytes = serialise_tensors(&self.tensors, &weights, None)?;
        let info = File { format_version: FORMAT_VERSION, tensors_sha256: hex(&Sha256::digest(&bytes)), info: self.info.clone() };
        let mut text = serde_json::to_vec_pretty(&info).map_err(|e| WorldModelError::file(&file, e))?;
        text.push(b'\n');
        write_atomically(&weights, &bytes)?;
        Ok(write_atomically(&file, &text)?)
    }

    /// What tells these weights from others: the SHA-256 of their file.
    ///
    /// # Errors
    /// None of weights that were loaded or made.
    pub fn identity(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(serialise_tensors(&self.tensors, Path::new(T::NAME), None)?)))
    }

    /// The weights on a device, frozen.
    ///
    /// # Errors
    /// None of weights that were loaded or made.
    pub fn table(&self, device: Device) -> Result<TensorTable> {
        let specs = self.info.parameters();
        let values = specs.iter().map(|spec| self.tensor(Path::new(T::NAME), &spec.name)).collect::<Result<Vec<_>>>()?;
        Ok(TensorTable::from_raw(specs, values.into_iter(), device))
    }

    fn tensor(&self, file: &Path, name: &str) -> Result<&RawTensor> {
        self.tensors.get(name).ok_or_else(|| WorldModelError::file(file, format!("tensor `{name}` is missing")))
    }

    fn validate(&self, file: &Path) -> Result<()> {
        let specs = self.info.parameters();
        for spec in &specs {
            let tensor = self.tensor(file, &spec.name)?;
            if tensor.shape != spec.shape || tensor.data.len() != spec.numel() {
                let reason = format!("tensor `{}` has shape {:?}, expected {:?}", spec.name, tensor.shape, spec.shape);
                return Err(WorldModelError::file(file, reason));
            }
            if let Some(index) = tensor.data.iter().position(|v| !v.is_finite()) {
                let reason = format!("tensor `{}`: entry {index} is {}", spec.name, tensor.data[index]);
                return Err(WorldModelError::file(file, reason));
            }
        }
        match self.tensors.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
            Some(name) => Err(WorldModelError::file(file, format!("tensor `{name}` belongs to no layer"))),
            None => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
