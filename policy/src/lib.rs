//! Diffusion policies: networks, noise schedules, decoders, training, checkpoints.
//!
//! A policy turns a condition (normalised state features and a task) into a *chunk*: `horizon` rows of normalised actions. A
//! [`Denoiser`] predicts the noise in a chunk, a [`Decoder`] removes it step by step. Only the networks' evaluation and
//! their training need libtorch (feature `tch`); schedules, decoders, features, normalisation and checkpoints don't.
//!
//! Slices are row-major with the shapes written as `[batch, horizon, n_act]`; actions and observations are CALVIN's, see
//! `reverie-schema`.
//!
//! ```
//! use reverie_policy::{ActionNormaliser, DecoderConfig, DiscreteEntries, MinMax, NoiseSchedule, PolicyShape};
//! let schedule = NoiseSchedule::squared_cosine(100);
//! let shape = PolicyShape { horizon: 16, n_act: 7, n_cond: 59 };
//! let range = MinMax { offset: vec![0.0; 7], scale: vec![1.0; 7] };
//! let actions = ActionNormaliser { range, discrete: DiscreteEntries { indices: vec![6], factor: 1.0 } };
//! let error = DecoderConfig::rti(&[3, 3, 0]).build(&schedule, shape, &actions, None).err().unwrap();
//! assert_eq!(error.to_string(), "decoder.labels = [3, 3, 0]: must fall strictly");
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod checkpoint;
pub mod decode;
mod denoiser;
pub mod engine;
mod error;
mod features;
mod net;
mod normaliser;
mod schedule;
pub mod tensor_file;
pub mod train;

pub use checkpoint::{Checkpoint, CheckpointInfo};
pub use decode::{
    BestOfConfig, Chain, ChainEnd, ChainScratch, Choose, ChunkScorer, ColdStart, DdimSpacing, DecodeOptions, DecodeRequest,
    DecodeStart, DecodeStats, Decoder, DecoderConfig, DecoderSnapshot, DiscreteTreatment, Exit, ExitConfig, Guide, GuideWhen,
    Hold, InpaintConfig, Labels, NoiseSource, RtiCalibration, StallConfig, StopReason,
};
pub use denoiser::{Denoiser, PolicyShape};
pub use error::PolicyError;
pub use features::{FeatureHistory, STATE_FEATURES, observation_of_features, state_features};
pub use net::{DraftConfig, Init, NetworkConfig, ParameterList, ParameterSpec, RawTensor, initial_values};
pub use normaliser::{ActionNormaliser, DiscreteEntries, MinMax};
pub use schedule::{NoiseSchedule, ReverseStep, ScheduleConfig, ScheduleKind};
pub use train::TrainConfig;

#[cfg(feature = "tch")]
pub use net::{Drafter, Linear, Network, TchDenoiser, TensorTable, device_by_name, set_threads};
#[cfg(feature = "tch")]
pub use tch::Device;
