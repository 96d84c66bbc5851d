//! What imagining and learning cost on this machine.

use anyhow::Result;
use serde_json::{Value, json};

use super::Args;
use crate::config::Config;

pub fn run(_: &Config, _: &Args) -> Result<(Value, Value)> {
    Ok((json!({}), json!([])))
}
