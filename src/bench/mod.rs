//! `reverie bench`: speed on this machine, beside peers.

mod decode;
#[cfg(feature = "learn")]
mod dreams;
mod sim;

use anyhow::Result;

use crate::config::Config;

#[derive(clap::Subcommand)]
pub enum What {
    /// Physics, cameras and whole control steps, beside PyBullet
    Sim(sim::Args),
    /// The decode engine beside OpenVINO, ONNX Runtime and libtorch; decoders by evaluations, latency and success
    Decode(Box<decode::Args>),
    /// Fine-tuning in dreams: before and after, ablations, cost
    #[cfg(feature = "learn")]
    Dreams(Box<dreams::Args>),
}

pub fn run(config: &Config, what: &What) -> Result<()> {
    match what {
        What::Sim(args) => sim::run(config, args),
        What::Decode(args) => decode::run(config, args),
        #[cfg(feature = "learn")]
        What::Dreams(args) => dreams::run(config, args),
    }
}
