//! `reverie eval`: a policy, or the scripted experts, judged by the oracles in lockstep.

mod chains;
mod tasks;

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result, ensure};
use reverie_policy::{Checkpoint, DecoderConfig};
use serde::Serialize;

use crate::{actor::Actor, config::Config, models, tasks::Selection};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint, or `experts` for the scripted demonstrators
    #[arg(long, default_value = models::SHIPPED)]
    policy: Who,
    /// What is measured: single tasks from random starts, or CALVIN's long-horizon chains of five
    #[arg(long, value_enum, default_value = "tasks")]
    protocol: Protocol,
    /// Task, `mechanism` (the eight of drawer, slider, bulb and LED) or `all` (34); may be given more than once
    #[arg(long = "task", value_name = "TASK", default_value = "mechanism", conflicts_with = "chains")]
    tasks: Vec<Selection>,
    /// Decoder: ddpm, rti or cold-ddim; may be given more than once [default: all; rti for chains]
    #[arg(long = "decoder", value_name = "NAME")]
    decoders: Vec<Name>,
    /// Episodes of each task and decoder
    #[arg(long, default_value_t = 50)]
    episodes: u64,
    /// Chains of the protocol `calvin`
    #[arg(long, default_value_t = 1000)]
    chains: usize,
    /// First seed of the starts; recordings begin at 1000000. Seed of the chains
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu (the decode engine), torch-cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// World model of `vision`: it tells the policy the state from both cameras' pictures, instead of the simulation
    #[cfg(feature = "learn")]
    #[arg(long, value_name = "FOLDER")]
    world_model: Option<PathBuf>,
    /// Where finished chains are noted, so that an interrupted evaluation goes on [default: runs/long_horizon/...]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Begin anew even if there is a journal to go on with
    #[arg(long)]
    fresh: bool,
    /// Write the rows, with command, commit, machine and claims, to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Single tasks from random starts
    Tasks,
    /// LH-MTLC: chains of five tasks
    Calvin,
}

#[derive(Clone, Debug)]
enum Who {
    Experts,
    Policy(PathBuf),
}

impl FromStr for Who {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "experts" { Self::Experts } else { Self::Policy(text.into()) })
    }
}

/// The decoders that the main job compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// All ancestral steps from noise
    Ddpm,
    /// Warm start from the previous chunk, planned again every control step
    Rti,
    /// As many evaluations as RTI from noise, planned again every control step
    ColdDdim,
}

impl Name {
    pub const ALL: [Self; 3] = [Self::Ddpm, Self::Rti, Self::ColdDdim];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Rti => "rti",
            Self::ColdDdim => "cold-ddim",
        }
    }

    pub fn config(self, config: &Config) -> &DecoderConfig {
        match self {
            Self::Ddpm => &config.decode.ddpm,
            Self::Rti => &config.decode.rti,
            Self::ColdDdim => &config.decode.cold_ddim,
        }
    }

    /// Rows played before the next plan, in lockstep.
    pub fn rows(self, config: &Config) -> usize {
        match self {
            Self::Ddpm => config.decode.ddpm_rows,
            Self::Rti | Self::ColdDdim => config.decode.few_step_rows,
        }
    }
}

/// What is evaluated.
enum Subject {
    Experts,
    Policy { checkpoint: Box<Checkpoint>, name: Name, device: String, eyes: Option<PathBuf> },
}

impl Subject {
    const fn label(&self) -> &'static str {
        match self {
            Self::Experts => "expert",
            Self::Policy { name, .. } => name.label(),
        }
    }

    fn actor(&self, config: &Config) -> Result<Actor> {
        match self {
            Self::Experts => Ok(Actor::expert()),
            Self::Policy { checkpoint, name, device, eyes } => {
                let actor = Actor::policy(config, checkpoint, name.config(config), name.rows(config), device)?;
                match eyes {
                    #[cfg(feature = "learn")]
                    Some(folder) => Ok(actor.seeing(crate::dreams::ModelSight::load(config, folder, name.rows(config))?)),
                    _ => Ok(actor),
                }
            }
        }
    }

    /// What a journal or a result names it by.
    fn identity(&self) -> String {
        match self {
            Self::Experts => "experts".into(),
            Self::Policy { checkpoint, eyes: None, .. } => checkpoint.info.tensors_sha256.clone(),
            Self::Policy { checkpoint, eyes: Some(eyes), .. } => {
                format!("{} that sees by {}", checkpoint.info.tensors_sha256, eyes.display())
            }
        }
    }
}

/// The subjects that the arguments ask for; `default` are the decoders if none is named.
fn subjects(config: &Config, args: &Args, default: &[Name]) -> Result<Vec<Subject>> {
    let path = match &args.policy {
        Who::Experts => {
            ensure!(args.decoders.is_empty(), "--decoder has no meaning for --policy experts");
            #[cfg(feature = "learn")]
            ensure!(args.world_model.is_none(), "--world-model has no meaning for --policy experts");
            return Ok(vec![Subject::Experts]);
        }
        Who::Policy(path) => path,
    };
    ensure!(
        config.decode.ddpm_rows > 0 && config.decode.few_step_rows > 0,
        "config keys decode.ddpm_rows and decode.few_step_rows must be at least 1"
    );
    let checkpoint = models::load(path)?;
    models::set_threads(1);
    let names = if args.decoders.is_empty() { default } else { &args.decoders };
    #[cfg(feature = "learn")]
    let eyes = &args.world_model;
    #[cfg(feature = "learn")]
    if let Some(folder) = eyes {
        for name in names {
            crate::dreams::ModelSight::load(config, folder, name.rows(config))
                .with_context(|| format!("--world-model with the decoder {}", name.label()))?;
        }
    }
    #[cfg(not(feature = "learn"))]
    let eyes = &None;
    let subject = |&name: &Name| Subject::Policy {
        checkpoint: Box::new(checkpoint.clone()),
        name,
        device: args.device.clone(),
        eyes: eyes.clone(),
    };
    Ok(names.iter().map(subject).collect())
}

pub fn run(config: &Config, args: &Args) -> Result<()> {
    match args.protocol {
        Protocol::Tasks => tasks::run(config, args).context("eval"),
        Protocol::Calvin => chains::run(config, args).context("eval --protocol calvin"),
    }
}
