//! Checkpoints and the devices that they run on.

use std::path::Path;

use anyhow::{Context, Result};
use reverie_policy::{Checkpoint, DecoderConfig, Denoiser};

use crate::planner::Planner;

/// The checkpoint that ships with the program.
pub const SHIPPED: &str = "models/state";

/// Loads a checkpoint.
pub fn load(path: &Path) -> Result<Checkpoint> {
    Checkpoint::load(path).with_context(|| format!("policy {}", path.display()))
}

/// A planner for `checkpoint` on `device` (`cpu`, `cuda:0`).
pub fn planner(checkpoint: &Checkpoint, decoder: &DecoderConfig, device: &str) -> Result<Planner> {
    Planner::new(checkpoint.clone(), denoiser(checkpoint, device)?, decoder)
}

#[cfg(feature = "learn")]
fn denoiser(checkpoint: &Checkpoint, device: &str) -> Result<Box<dyn Denoiser>> {
    let device = reverie_policy::device_by_name(device)?;
    Ok(Box::new(reverie_policy::TchDenoiser::from_checkpoint(checkpoint, device)?))
}

#[cfg(not(feature = "learn"))]
fn denoiser(_: &Checkpoint, _: &str) -> Result<Box<dyn Denoiser>> {
    anyhow::bail!("this program was built without libtorch (feature `learn`), which runs the networks")
}

/// Threads that libtorch may use inside one operation.
pub fn set_threads(threads: usize) {
    #[cfg(feature = "learn")]
    reverie_policy::set_threads(threads);
    #[cfg(not(feature = "learn"))]
    let _ = threads;
}
