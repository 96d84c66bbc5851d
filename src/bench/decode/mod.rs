//! `reverie bench decode`: what decoding costs on this machine, and what it is worth.

mod engine;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{config::Config, models, report::write_results};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Run OpenVINO and ONNX Runtime beside ours with this Python, for example .venv-peers/decode/bin/python
    /// (`cargo xtask peers decode`)
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Write the engine's figures, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    engine_results: Option<PathBuf>,
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    let checkpoint = models::load(&args.policy)?;
    let (claims, data) = engine::run(config, &checkpoint, args.peers.as_deref()).context("bench decode")?;
    println!("{}", serde_json::to_string_pretty(&claims)?);
    if let Some(path) = &args.engine_results {
        write_results(path, &claims, &data)?;
    }
    Ok(())
}
