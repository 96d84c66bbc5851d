use serde::{Deserialize, Serialize};

use super::exit::{ExitConfig, ExitRule};
use super::inpaint::InpaintConfig;
use super::select::{BestOfConfig, Choose};
use crate::{ActionNormaliser, PolicyError};

/// The most candidates of one batch.
const MAX_CANDIDATES: usize = 256;

/// What every decoder can do besides. All is off unless configured, and then results are those of the plain method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeOptions {
    /// Stop when the rows to be executed have settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitConfig>,
    /// Hold the rows that are executed while decoding runs, and go on smoothly from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inpaint: Option<InpaintConfig>,
    /// Decode several candidates and take one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_of: Option<BestOfConfig>,
}

impl DecodeOptions {
    /// Whether nothing is configured.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Chunks in a batch.
    pub fn candidates(&self) -> usize {
        self.best_of.map_or(1, |best_of| best_of.candidates)
    }

    /// What is added to a decoder's name: `+exit+inpaint+best8`.
    pub(super) fn suffix(&self) -> String {
        let mut suffix = String::new();
        if self.exit.is_some() {
            suffix.push_str("+exit");
        }
        if self.inpaint.is_some() {
            suffix.push_str("+inpaint");
        }
        if let Some(best_of) = self.best_of {
            suffix.push_str(&format!("+best{}", best_of.candidates));
        }
        suffix
    }

    /// Checks all values and makes the exit criterion for a network.
    pub(super) fn exit_rule(&self, actions: &ActionNormaliser) -> Result<Option<ExitRule>, PolicyError> {
        if let Some(best_of) = self.best_of {
            if !(1..=MAX_CANDIDATES).contains(&best_of.candidates) {
                let reason = format!("must be in 1..={MAX_CANDIDATES}");
                return refuse("decoder.options.best_of.candidates", best_of.candidates, &reason);
            }
            if let Choose::Coherence { decay } = best_of.choose
                && !(decay > 0.0 && decay <= 1.0)
            {
                return refuse("decoder.options.best_of.choose.decay", decay, "must be in (0, 1]");
            }
        }
        self.exit.map(|exit| ExitRule::new(exit, actions)).transpose()
    }
}

pub(super) fn refuse<T>(key: &'static str, value: impl std::fmt::Debug, reason: &str) -> Result<T, PolicyError> {
    Err(PolicyError::config(key, value, reason))
}
