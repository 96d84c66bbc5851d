//! Training by denoising score matching: `t` uniform, `x_t = sqrt(alpha_bar_t) a + sqrt(1 - alpha_bar_t) eps`, mean squared
//! error of the predicted `eps` (Ho et al. 2020; Chi et al. 2023).

mod config;
mod data;

#[cfg(feature = "tch")]
mod adamw;
#[cfg(feature = "tch")]
mod flat;
#[cfg(feature = "tch")]
mod state;
#[cfg(feature = "tch")]
mod trainer;

pub use config::TrainConfig;
pub use data::TrainingData;

#[cfg(feature = "tch")]
pub use adamw::{AdamW, AdamWConfig, clip};
#[cfg(feature = "tch")]
pub use flat::{FlatParameters, to_raw};
#[cfg(feature = "tch")]
pub use trainer::{Outcome, Provenance, TrainProgress, Trainer};
