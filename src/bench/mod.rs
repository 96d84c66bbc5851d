//! `reverie bench`: speed on this machine, beside peers.

mod sim;

use anyhow::Result;

use crate::config::Config;

#[derive(clap::Subcommand)]
pub enum What {
    /// Physics, cameras and whole control steps, beside PyBullet
    Sim(sim::Args),
}

pub fn run(config: &Config, what: &What) -> Result<()> {
    match what {
        What::Sim(args) => sim::run(config, args),
    }
}
