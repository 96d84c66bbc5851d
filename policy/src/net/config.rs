use serde::{Deserialize, Serialize};

use crate::{PolicyError, PolicyShape};

/// Which network, as it stands in a configuration file or a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkConfig {
    /// The conditional 1-D U-Net of Diffusion Policy (Chi et al. 2023).
    Unet1d {
        /// Channels of each level, from the full length down; each level but the last halves the length. Multiples of
        /// `groups`. (256, 512, 1024 in the paper.)
        widths: Vec<usize>,
        /// Kernel of the convolutions, odd (5).
        kernel: usize,
        /// Groups of the group normalisation (8).
        groups: usize,
        /// Length of the embedding of the noise level, even, at least 4 (256).
        step_embed: usize,
    },
    /// The residual MLP of DPPO (Ren et al. 2024).
    ResidualMlp {
        /// Width of the hidden layers (512).
        hidden: usize,
        /// Pre-activation residual blocks of two layers each. DPPO's `[512, 512, 512]` is one.
        blocks: usize,
        /// Length of the embedding of the noise level, even, at least 4 (16).
        step_embed: usize,
    },
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::ResidualMlp { hidden: 512, blocks: 2, step_embed: 32 }
    }
}

impl NetworkConfig {
    /// Checks that the network can be built for chunks of `shape`.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the key and the value that can't be used.
    pub fn validate(&self, shape: PolicyShape) -> Result<(), PolicyError> {
        let step_embed = match self {
            Self::Unet1d { step_embed, .. } | Self::ResidualMlp { step_embed, .. } => *step_embed,
        };
        if step_embed < 4 || !step_embed.is_multiple_of(2) || step_embed > MAX_WIDTH {
            return Err(PolicyError::config("network.step_embed", step_embed, "must be even and at least 4"));
        }
        match self {
            Self::Unet1d { widths, kernel, groups, .. } => {
                if widths.is_empty() || *groups == 0 {
                    return Err(PolicyError::config("network.widths", widths, "needs at least one level and one group"));
                }
                if let Some(width) = widths.iter().find(|w| !w.is_multiple_of(*groups) || **w == 0 || **w > MAX_WIDTH) {
                    return Err(PolicyError::config("network.widths", width, format!("must be a multiple of groups = {groups}")));
                }
                if kernel.is_multiple_of(2) || *kernel > 63 {
                    return Err(PolicyError::config("network.kernel", kernel, "must be odd and below 64"));
                }
                let divisor = 1_usize << (widths.len() - 1).min(16);
                if !shape.horizon.is_multiple_of(divisor) {
                    let reason = format!("must be a multiple of {divisor} for {} levels", widths.len());
                    return Err(PolicyError::config("horizon", shape.horizon, reason));
                }
            }
            Self::ResidualMlp { hidden, blocks, .. } => {
                if !(1..=MAX_WIDTH).contains(hidden) {
                    return Err(PolicyError::config("network.hidden", hidden, format!("must be in 1..={MAX_WIDTH}")));
                }
                if *blocks > 64 {
                    return Err(PolicyError::config("network.blocks", blocks, "must be at most 64"));
                }
            }
        }
        Ok(())
    }
}

/// A one-pass drafter (Trajectory Diffuser's idea): a residual MLP from the condition to a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftConfig {
    /// Width of the hidden layers (512).
    pub hidden: usize,
    /// Pre-activation residual blocks of two layers each (2).
    pub blocks: usize,
}

impl Default for DraftConfig {
    fn default() -> Self {
        Self { hidden: 512, blocks: 2 }
    }
}

impl DraftConfig {
    /// Checks that it can be built.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !(1..=MAX_WIDTH).contains(&self.hidden) {
            return Err(PolicyError::config("draft.hidden", self.hidden, format!("must be in 1..={MAX_WIDTH}")));
        }
        if self.blocks > 64 {
            return Err(PolicyError::config("draft.blocks", self.blocks, "must be at most 64"));
        }
        Ok(())
    }
}

/// Wider layers than this are a typing error (or a hostile file), not a policy.
const MAX_WIDTH: usize = 16_384;
