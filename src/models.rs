//! Checkpoints and the devices that they run on.

use std::path::Path;

use anyhow::{Context, Result};
use reverie_policy::{
    Checkpoint, DecoderConfig, Denoiser,
    engine::{Engine, MAX_BATCH},
};

use crate::{config::Config, planner::Planner};

/// The checkpoint that ships with the program.
pub const SHIPPED: &str = "models/state";

/// Loads a checkpoint.
pub fn load(path: &Path) -> Result<Checkpoint> {
    Checkpoint::load(path).with_context(|| format!("policy {}", path.display()))
}

/// A planner for `checkpoint` on `device`: `cpu` is the decode engine, `torch-cpu` and `cuda:0` are libtorch.
pub fn planner(config: &Config, checkpoint: &Checkpoint, decoder: &DecoderConfig, device: &str) -> Result<Planner> {
    let section = &config.decode;
    let candidates = [decoder, &section.ddpm, &section.rti, &section.cold_ddim].map(DecoderConfig::candidates);
    let max_batch = candidates.into_iter().max().unwrap_or(1);
    anyhow::ensure!(
        device != "cpu" || max_batch <= MAX_BATCH,
        "a decoder of config section decode has best_of.candidates = {max_batch}: the engine decodes at most {MAX_BATCH} at once"
    );
    let denoiser: Box<dyn Denoiser> = match device {
        "cpu" => Box::new(Engine::new(checkpoint, &config.engine, max_batch)?.denoiser()?),
        _ => torch(checkpoint, device)?,
    };
    Planner::new(checkpoint.clone(), denoiser, decoder)
}

#[cfg(feature = "learn")]
fn torch(checkpoint: &Checkpoint, device: &str) -> Result<Box<dyn Denoiser>> {
    let device = torch_device(device)?;
    Ok(Box::new(reverie_policy::TchDenoiser::from_checkpoint(checkpoint, device)?))
}

#[cfg(not(feature = "learn"))]
fn torch(_: &Checkpoint, device: &str) -> Result<Box<dyn Denoiser>> {
    anyhow::bail!("--device {device}: this program was built without libtorch (feature `learn`); `cpu` is the decode engine")
}

/// A device of libtorch by its name on the command line.
#[cfg(feature = "learn")]
pub fn torch_device(name: &str) -> Result<reverie_policy::Device> {
    let device = match name {
        "cpu" | "torch-cpu" => reverie_policy::device_by_name("cpu"),
        _ => reverie_policy::device_by_name(name),
    };
    device.with_context(|| format!("--device {name} (`cpu`, `torch-cpu`, `cuda:0`)"))
}

/// Threads that libtorch may use inside one operation.
pub fn set_threads(threads: usize) {
    #[cfg(feature = "learn")]
    reverie_policy::set_threads(threads);
    #[cfg(not(feature = "learn"))]
    let _ = threads;
}
