//! `reverie bench decode`: what decoding costs on this machine, and what it is worth.

mod engine;
mod plot;
mod success;

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{config::Config, models, report::write_results};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// What is measured
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Run OpenVINO and ONNX Runtime beside ours with this Python, for example .venv-peers/decode/bin/python
    /// (`cargo xtask peers decode`)
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Episodes of each task and decoder
    #[arg(long, default_value_t = 125)]
    episodes: u64,
    /// First seed of the starts; development used 5000 to 5999
    #[arg(long, default_value_t = 20_000)]
    seed: u64,
    /// Decoders to run, by the names in the table
    #[arg(long, value_delimiter = ',', value_name = "CELL")]
    only: Vec<String>,
    /// Where finished decoders are noted, so that an interrupted run goes on
    #[arg(long, value_name = "FILE", default_value = "runs/bench_decode.jsonl")]
    journal: PathBuf,
    /// Write the engine's figures, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    engine_results: Option<PathBuf>,
    /// Write the decoders' figures, with command, commit and machine, to this file
    #[arg(long, value_name = "FILE")]
    success_results: Option<PathBuf>,
    /// Draw latency against success into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Evaluations beside peers, bandwidth, re-plan rate
    Engine,
    /// Decoders in closed loop
    Success,
    /// Both
    All,
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    let checkpoint = models::load(&args.policy)?;
    if args.part != Part::Success {
        let (claims, data) = engine::run(config, &checkpoint, args.peers.as_deref()).context("bench decode")?;
        println!("{}", serde_json::to_string_pretty(&claims)?);
        if let Some(path) = &args.engine_results {
            write_results(path, &claims, &data)?;
            eprintln!("wrote {}", path.display());
        }
    }
    if args.part != Part::Engine {
        let (checkpoint, episodes, seed) = (&checkpoint, args.episodes, args.seed);
        let settings = success::Settings { checkpoint, episodes, seed, only: &args.only, journal: args.journal.clone() };
        let outcomes = success::run(config, &settings).context("bench decode")?;
        let claims = success::claims(&outcomes);
        if let Some(path) = &args.success_results {
            let data = json!({
                "policy": checkpoint.info.tensors_sha256, "calibration": checkpoint.info.rti, "episodes_per_task": episodes,
                "first_seed": seed, "cells": outcomes, "config": config,
            });
            write_results(path, &claims, &data)?;
            eprintln!("wrote {}", path.display());
        }
        if let Some(path) = &args.plot {
            crate::report::write_atomically(path, plot::svg(&outcomes).as_bytes())?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}
