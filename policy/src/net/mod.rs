//! Noise-predicting networks: their configuration and parameters (always), and their evaluation on libtorch (feature `tch`).

mod config;
mod parameters;

#[cfg(feature = "tch")]
mod denoiser;
#[cfg(feature = "tch")]
mod layers;
#[cfg(feature = "tch")]
mod residual_mlp;
#[cfg(feature = "tch")]
mod unet1d;

pub use config::{DraftConfig, NetworkConfig};
pub use parameters::{Init, ParameterList, ParameterSpec, RawTensor, initial_values};

#[cfg(feature = "tch")]
pub use denoiser::{TchDenoiser, device_by_name, set_threads};
#[cfg(feature = "tch")]
pub use layers::{Linear, Network, TensorTable};
#[cfg(feature = "tch")]
pub use residual_mlp::Drafter;
