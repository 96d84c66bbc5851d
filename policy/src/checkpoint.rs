//! A trained policy on disk: a folder with `policy.safetensors` (the weights, F32) and `policy.json` (everything else, and
//! the SHA-256 of the weights).
//!
//! Reading checks the format version, the hash, that exactly the network's tensors are there in the right shapes, and that
//! every value is finite. No libtorch is needed.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::decode::check_labels;
use crate::features::STATE_FEATURES;
use crate::normaliser::{ActionNormaliser, DiscreteEntries, MinMax};
use crate::tensor_file::{parse_tensors, serialise_tensors, write_atomically};
use crate::train::TrainConfig;
use crate::{
    Decoder, DecoderConfig, DraftConfig, FeatureHistory, NetworkConfig, NoiseSchedule, ParameterSpec, PolicyError, PolicyShape,
    RawTensor, RtiCalibration, ScheduleConfig, initial_values,
};

/// Version of the folder's format that is written and read.
pub const FORMAT_VERSION: u32 = 1;
/// The weights' file in the folder.
pub const TENSORS_FILE: &str = "policy.safetensors";
/// The description's file in the folder.
pub const INFO_FILE: &str = "policy.json";

/// What the actions of a policy mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSpace {
    /// CALVIN's relative 7-D action, [`reverie_schema::Action`], at 30 Hz. Row 0 of a chunk begins when the observation is made.
    CalvinRelative,
}

/// What the condition of a policy is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// [`state_features`](crate::state_features) and the task one-hot.
    CalvinState,
}

/// How a checkpoint came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The command line.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The demonstrations: where from, how many, which seeds.
    pub dataset: String,
    /// Training steps taken.
    pub steps: u64,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// The settings, seed included.
    pub config: TrainConfig,
}

/// How a policy was improved by reinforcement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuningRecord {
    /// The command line.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The task that it was tuned for.
    pub task: String,
    /// SHA-256 of the weights that it began with.
    pub base: String,
    /// Iterations.
    pub iterations: u64,
    /// Control steps that were learned from, imagined or not.
    pub steps: u64,
    /// Those among them that were not imagined.
    pub environment_steps: u64,
}

/// Everything in a checkpoint but the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointInfo {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The network.
    pub network: NetworkConfig,
    /// A drafter that came with it, for warm starts without a previous chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftConfig>,
    /// How the drafter was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_training: Option<TrainingRecord>,
    /// The noise levels it was trained on. It predicts the noise.
    pub schedule: ScheduleConfig,
    /// Rows of a chunk.
    pub horizon: usize,
    /// Entries of a row.
    pub n_act: usize,
    /// What the rows mean.
    pub action_space: ActionSpace,
    /// What the condition is made of.
    pub features: FeatureKind,
    /// Observations in the condition.
    pub n_obs: usize,
    /// The tasks it knows, in the order of the one-hot.
    pub tasks: Vec<String>,
    /// Normalises state features.
    pub observation_normaliser: MinMax,
    /// Normalises actions.
    pub action_normaliser: ActionNormaliser,
    /// The decoder to use unless told otherwise.
    pub decoder: DecoderConfig,
    /// RTI's labels for this policy, for `labels = "auto"`. Set by `reverie tune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rti: Option<RtiCalibration>,
    /// How it was trained.
    pub training: TrainingRecord,
    /// How it was improved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningRecord>,
    /// SHA-256 of [`TENSORS_FILE`], lower-case hexadecimal. Set by [`Checkpoint::save`].
    pub tensors_sha256: String,
}

/// A policy in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Everything but the weights.
    pub info: CheckpointInfo,
    tensors: BTreeMap<String, RawTensor>,
    folder: std::path::PathBuf,
}

#[derive(Deserialize)]
struct VersionOnly {
    format_version: u64,
}

impl Checkpoint {
    /// A checkpoint of `tensors`, named as in [`NetworkConfig::parameters`].
    ///
    /// # Errors
    /// Those of [`load`](Self::load) about the description and the tensors; the path in them is empty.
    pub fn new(info: CheckpointInfo, tensors: BTreeMap<String, RawTensor>) -> Result<Self, PolicyError> {
        let checkpoint = Self { info, tensors, folder: std::path::PathBuf::new() };
        checkpoint.validate()?;
        Ok(checkpoint)
    }

    /// First values for `network` and `draft`, as training begins with, on CALVIN's layouts with chunks of 16 rows and the
    /// squared-cosine schedule of 100 levels. For measurements of networks that nobody has trained, and tests.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the network can't be built.
    pub fn untrained(network: NetworkConfig, draft: Option<DraftConfig>, tasks: &[&str], seed: u64) -> Result<Self, PolicyError> {
        let n_act = reverie_schema::N_ACT;
        let identity = |width: usize| MinMax { offset: vec![0.0; width], scale: vec![1.0; width] };
        let info = CheckpointInfo {
            format_version: FORMAT_VERSION,
            network,
            draft,
            draft_training: None,
            schedule: ScheduleConfig { kind: crate::ScheduleKind::SquaredCosine, n_steps: 100 },
            horizon: 16,
            n_act,
            action_space: ActionSpace::CalvinRelative,
            features: FeatureKind::CalvinState,
            n_obs: 1,
            tasks: tasks.iter().map(|&task| task.to_owned()).collect(),
            observation_normaliser: identity(STATE_FEATURES),
            action_normaliser: ActionNormaliser {
                range: identity(n_act),
                discrete: DiscreteEntries { indices: vec![n_act - 1], factor: 1.0 },
            },
            decoder: DecoderConfig::default(),
            rti: None,
            training: TrainingRecord::default(),
            tuning: None,
            tensors_sha256: String::new(),
        };
        info.validate()?;
        let specs = info.parameters();
        let values = initial_values(&specs, seed);
        Self::new(info, specs.into_iter().map(|spec| spec.name).zip(values).collect())
    }

    /// Reads the folder `path`.
    ///
    /// # Errors
    /// Names the file, and the key or tensor, that is missing, damaged, of an unknown version, of the wrong shape or not finite.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let file = path.join(INFO_FILE);
        let text = std::fs::read(&file).map_err(|e| PolicyError::io(&file, e))?;
        let json = |source| PolicyError::Json { path: file.clone(), source };
        let version: VersionOnly = serde_json::from_slice(&text).map_err(json)?;
        if version.format_version != u64::from(FORMAT_VERSION) {
            return Err(PolicyError::Version { path: file, expected: FORMAT_VERSION, got: version.format_version });
        }
        let info: CheckpointInfo = serde_json::from_slice(&text).map_err(json)?;

        let file = path.join(TENSORS_FILE);
        let bytes = std::fs::read(&file).map_err(|e| PolicyError::io(&file, e))?;
        let tensors = parse_tensors(&file, &bytes)?;
        let got = hex(&Sha256::digest(&bytes));
        if got != info.tensors_sha256 {
            return Err(PolicyError::Hash { path: file, expected: info.tensors_sha256, got });
        }
        let checkpoint = Self { info, tensors, folder: path.to_owned() };
        checkpoint.validate()?;
        Ok(checkpoint)
    }

    /// Writes both files into the folder `path`, which is made if need be. Each is written beside its place and renamed, the
    /// weights first: what a reader finds is whole, and after a crash between the two the hash tells.
    ///
    /// # Errors
    /// [`PolicyError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), PolicyError> {
        std::fs::create_dir_all(path).map_err(|e| PolicyError::io(path, e))?;
        let bytes = serialise_tensors(&self.tensors, &path.join(TENSORS_FILE), None)?;
        let mut info = self.info.clone();
        info.tensors_sha256 = hex(&Sha256::digest(&bytes));
        let file = path.join(INFO_FILE);
        let mut text = serde_json::to_vec_pretty(&info).map_err(|source| PolicyError::Json { path: file.clone(), source })?;
        text.push(b'\n');
        write_atomically(&path.join(TENSORS_FILE), &bytes)?;
        write_atomically(&file, &text)
    }

    /// The network's sizes.
    pub fn shape(&self) -> PolicyShape {
        self.info.shape()
    }

    /// A tensor by its name.
    ///
    /// # Errors
    /// [`PolicyError::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<&RawTensor, PolicyError> {
        self.tensors
            .get(name)
            .ok_or_else(|| PolicyError::MissingTensor { path: self.folder.join(TENSORS_FILE), name: name.to_owned() })
    }

    /// The same policy with another drafter, `tensors` named as in [`DraftConfig::parameters`].
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_draft(
        &self,
        draft: DraftConfig,
        training: TrainingRecord,
        tensors: BTreeMap<String, RawTensor>,
    ) -> Result<Self, PolicyError> {
        let mut all = self.tensors.clone();
        all.retain(|name, _| !name.starts_with("draft."));
        all.extend(tensors);
        let info = CheckpointInfo { draft: Some(draft), draft_training: Some(training), ..self.info.clone() };
        Self::new(info, all)
    }

    /// Index of a task in the one-hot.
    ///
    /// # Errors
    /// [`PolicyError::UnknownTask`], with the tasks that are known.
    pub fn task_index(&self, task: &str) -> Result<usize, PolicyError> {
        let unknown = || PolicyError::UnknownTask { task: task.to_owned(), known: self.info.tasks.clone() };
        self.info.tasks.iter().position(|t| t == task).ok_or_else(unknown)
    }

    /// The schedule it was trained on.
    ///
    /// # Errors
    /// [`PolicyError::Config`], never on a checkpoint that was loaded or made.
    pub fn schedule(&self) -> Result<NoiseSchedule, PolicyError> {
        self.info.schedule.build()
    }

    /// An empty observation history of the right length.
    pub fn feature_history(&self) -> FeatureHistory {
        FeatureHistory::new(self.info.n_obs)
    }

    /// Builds a decoder for this network, with the schedule it was trained on.
    ///
    /// # Errors
    /// Those of [`DecoderConfig::build`].
    pub fn decoder(&self, config: &DecoderConfig) -> Result<Box<dyn Decoder>, PolicyError> {
        config.build(&self.schedule()?, self.shape(), &self.info.action_normaliser, self.info.rti.as_ref())
    }

    fn validate(&self) -> Result<(), PolicyError> {
        self.info.validate()?;
        let path = self.folder.join(TENSORS_FILE);
        let specs = self.info.parameters();
        for spec in &specs {
            let tensor = self.tensor(&spec.name)?;
            if tensor.shape != spec.shape {
                let (name, expected, got) = (spec.name.clone(), spec.shape.clone(), tensor.shape.clone());
                return Err(PolicyError::TensorShape { path, name, expected, got });
            }
            if tensor.data.len() != spec.numel() {
                return Err(PolicyError::Length { what: "tensor data", expected: spec.numel(), got: tensor.data.len() });
            }
            if let Some(index) = tensor.data.iter().position(|v| !v.is_finite()) {
                return Err(PolicyError::TensorNotFinite { path, name: spec.name.clone(), index, value: tensor.data[index] });
            }
        }
        if let Some(name) = self.tensors.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
            return Err(PolicyError::UnexpectedTensor { path, name: name.clone() });
        }
        Ok(())
    }
}

impl CheckpointInfo {
    /// The network's sizes.
    pub fn shape(&self) -> PolicyShape {
        PolicyShape { horizon: self.horizon, n_act: self.n_act, n_cond: self.n_obs * STATE_FEATURES + self.tasks.len() }
    }

    /// Every parameter of the network and of the drafter, in a fixed order.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut specs = self.network.parameters(self.shape());
        specs.extend(self.draft.iter().flat_map(|draft| draft.parameters(self.shape())));
        specs
    }

    fn validate(&self) -> Result<(), PolicyError> {
        if !(1..=reverie_schema::MAX_CHUNK_ROWS).contains(&self.horizon) {
            let reason = format!("must be in 1..={}", reverie_schema::MAX_CHUNK_ROWS);
            return Err(PolicyError::config("horizon", self.horizon, reason));
        }
        if self.n_act != reverie_schema::N_ACT {
            return Err(PolicyError::config("n_act", self.n_act, format!("CALVIN's action has {}", reverie_schema::N_ACT)));
        }
        if !(1..=64).contains(&self.n_obs) {
            return Err(PolicyError::config("n_obs", self.n_obs, "must be in 1..=64"));
        }
        if self.tasks.is_empty() {
            return Err(PolicyError::config("tasks", &self.tasks, "needs at least one task"));
        }
        self.network.validate(self.shape())?;
        self.draft.as_ref().map_or(Ok(()), DraftConfig::validate)?;
        self.observation_normaliser.validate("observation normaliser", STATE_FEATURES)?;
        self.action_normaliser.validate(self.n_act)?;
        let schedule = self.schedule.build()?;
        if let Some(rti) = &self.rti {
            check_labels("rti.labels", &rti.labels, schedule.n_steps())?;
        } else if self.decoder.needs_calibration() {
            // A policy must load to be calibrated.
            return Ok(());
        }
        self.decoder.build(&schedule, self.shape(), &self.action_normaliser, self.rti.as_ref()).map(drop)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Checkpoint {
        let info = CheckpointInfo {
            format_version: FORMAT_VERSION,
            network: NetworkConfig::ResidualMlp { hidden: 4, blocks: 1, step_embed: 4 },
            draft: None,
            draft_training: None,
            schedule: ScheduleConfig { kind: crate::ScheduleKind::SquaredCosine, n_steps: 10 },
            horizon: 2,
            n_act: 7,
            action_space: ActionSpace::CalvinRelative,
            features: FeatureKind::CalvinState,
            n_obs: 1,
            tasks: vec!["open_drawer".into(), "turn_on_led".into()],
            observation_normaliser: MinMax { offset: vec![0.1; STATE_FEATURES], scale: vec![0.7; STATE_FEATURES] },
            action_normaliser: ActionNormaliser {
                range: MinMax { offset: vec![0.0; 7], scale: vec![1.0; 7] },
                discrete: DiscreteEntries { indices: vec![6], factor: 1.0 },
            },
            decoder: DecoderConfig::default(),
            rti: None,
            training: TrainingRecord::default(),
            tuning: None,
            tensors_sha256: String::new(),
        };
        let specs = info.network.parameters(info.shape());
        let values = crate::net::initial_values(&specs, 3);
        Checkpoint::new(info, specs.into_iter().map(|s| s.name).zip(values).collect()).unwrap()
    }

    /// Saves `tiny()`, lets `damage` at the folder, and returns the error of loading it.
    fn error_after(damage: impl Fn(&Path)) -> PolicyError {
        let folder = tempfile::tempdir().unwrap();
        tiny().save(folder.path()).unwrap();
        damage(folder.path());
        Checkpoint::load(folder.path()).unwrap_err()
    }

    /// Rewrites the weights, with a right hash.
    fn with_tensors(folder: &Path, change: impl Fn(&mut BTreeMap<String, RawTensor>)) {
        let mut checkpoint = Checkpoint::load(folder).unwrap();
        change(&mut checkpoint.tensors);
        checkpoint.save(folder).unwrap();
    }

    fn replace_in_info(folder: &Path, from: &str, to: &str) {
        let file = folder.join(INFO_FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    #[test]
    fn what_was_saved_comes_back_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let saved = tiny();
        saved.save(folder.path()).unwrap();
        saved.save(folder.path()).unwrap();
        let loaded = Checkpoint::load(folder.path()).unwrap();
        assert_eq!(loaded.tensors, saved.tensors);
        assert_eq!(CheckpointInfo { tensors_sha256: String::new(), ..loaded.info.clone() }, saved.info);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(loaded.task_index("turn_on_led").unwrap(), 1);
        let error = loaded.task_index("fly").unwrap_err().to_string();
        assert_eq!(error, "unknown task `fly`; this policy knows open_drawer, turn_on_led");
    }

    /// A policy is trained first and calibrated later; files from before calibrations existed have no such key.
    #[test]
    fn a_policy_without_calibration_loads_and_one_with_it_decodes_by_its_labels() {
        let auto: DecoderConfig = serde_json::from_str(r#"{"name": "rti", "labels": "auto"}"#).unwrap();
        let mut policy = tiny();
        policy.info.decoder = auto.clone();
        let folder = tempfile::tempdir().unwrap();
        policy.save(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(INFO_FILE)).unwrap();
        assert!(!text.contains("\"rti\":"), "{text}");
        let mut policy = Checkpoint::load(folder.path()).unwrap();
        assert!(policy.decoder(&auto).err().unwrap().to_string().contains("reverie tune"));

        policy.info.rti = Some(RtiCalibration { labels: vec![3, 1, 0], ..RtiCalibration::default() });
        policy.save(folder.path()).unwrap();
        let policy = Checkpoint::load(folder.path()).unwrap();
        assert_eq!(policy.info.rti.as_ref().unwrap().labels, [3, 1, 0]);
        assert!(policy.decoder(&auto).is_ok());
        replace_in_info(
            folder.path(),
            "3,\n      1,\n      0\n    ],\n    \"entry_level\"",
            "30,\n      0\n    ],\n    \"entry_level\"",
        );
        let error = Checkpoint::load(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("rti.labels = [30, 0]: the network has noise levels 0 to 9"), "{error}");
    }

    #[test]
    fn missing_and_truncated_files_are_named() {
        for name in [INFO_FILE, TENSORS_FILE] {
            let error = error_after(|folder| std::fs::remove_file(folder.join(name)).unwrap());
            assert!(matches!(&error, PolicyError::Io { path, .. } if path.ends_with(name)), "{error}");
            let error = error_after(|folder| {
                let file = folder.join(name);
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
            });
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn another_checkpoints_weights_are_refused_by_their_hash() {
        let error = error_after(|folder| replace_in_info(folder, "\"tensors_sha256\": \"", "\"tensors_sha256\": \"0"));
        assert!(matches!(error, PolicyError::Hash { .. }), "{error}");
    }

    #[test]
    fn unknown_versions_and_keys_are_refused() {
        let error = error_after(|folder| replace_in_info(folder, "\"format_version\": 1", "\"format_version\": 7"));
        assert!(matches!(error, PolicyError::Version { expected: 1, got: 7, .. }), "{error}");
        let error = error_after(|folder| replace_in_info(folder, "\"n_obs\"", "\"n_obz\""));
        assert!(error.to_string().contains("n_obz"), "{error}");
        let error = error_after(|folder| replace_in_info(folder, "\"horizon\": 2", "\"horizon\": 1000"));
        assert!(error.to_string().starts_with("horizon = 1000"), "{error}");
    }

    #[test]
    fn wrong_tensors_are_named() {
        let error = error_after(|folder| {
            with_tensors(folder, |tensors| tensors.get_mut("blocks.0.1.weight").unwrap().data[5] = f32::NAN);
        });
        assert!(matches!(&error, PolicyError::TensorNotFinite { name, index: 5, .. } if name == "blocks.0.1.weight"), "{error}");
        let error = error_after(|folder| {
            with_tensors(folder, |tensors| {
                tensors.insert("output.bias".into(), RawTensor { shape: vec![3], data: vec![0.0; 3] });
            });
        });
        assert!(error.to_string().ends_with("`output.bias` has shape [3], expected [14]"), "{error}");
        let error = error_after(|folder| with_tensors(folder, |tensors| drop(tensors.remove("time.0.bias"))));
        assert!(matches!(&error, PolicyError::MissingTensor { name, .. } if name == "time.0.bias"), "{error}");
        let error = error_after(|folder| {
            with_tensors(folder, |tensors| {
                tensors.insert("extra".into(), RawTensor { shape: vec![1], data: vec![0.0] });
            });
        });
        assert!(matches!(&error, PolicyError::UnexpectedTensor { name, .. } if name == "extra"), "{error}");
    }
}
