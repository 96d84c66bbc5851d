//! In-painting of the rows that two plans share: those that are executed while decoding runs are held, the next ones guided, so
//! that the new plan goes on where the old one is left.
//!
//! Real-time chunking (RTC: Black, Galliker and Levine 2025, arXiv 2506.07339) does this for flow policies. Its soft mask, with
//! `d` rows committed and an overlap of `o` rows with the previous plan (`H - s` there), is
//!
//! ```text
//! w_i = 1                                 i < d
//! w_i = c_i (e^{c_i} - 1) / (e - 1)       d <= i < o,   c_i = (o - i) / (o - d + 1)
//! w_i = 0                                 i >= o
//! ```
//!
//! Deviations. RTC pulls the velocity by the gradient of the masked error through the network (PiGDM: Song et al. 2023), clipped
//! by `beta`. Here the clean estimate itself is pulled, `x0 <- (1 - w) x0 + w known`, at every reverse step: a projection in x0
//! space, which needs no Jacobian, works for ancestral and DDIM steps alike, and gives committed rows back exactly. The network
//! sees the pulled rows from the next evaluation on, which is how the free rows learn of them. Two-valued entries are held in
//! committed rows but not guided after them: they have no seam to smooth, and guiding would delay a grasp.

use serde::{Deserialize, Serialize};

use crate::PolicyShape;

/// Settings of in-painting: `inpaint = { guide = "exponential", rows = 6, when = "delayed" }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InpaintConfig {
    /// How the weight falls over the rows after the committed ones. Default `exponential`, as published.
    pub guide: Guide,
    /// The most rows that are guided after the committed ones. Unset: all that overlap with the previous plan, as published.
    /// Fewer let the plan react sooner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Which plans are guided. Default `delayed`.
    pub when: GuideWhen,
}

/// Weight of the guided rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guide {
    /// `c (e^c - 1) / (e - 1)` (RTC).
    #[default]
    Exponential,
    /// `c`.
    Linear,
    /// None are guided, only the committed ones held.
    Hard,
}

/// Which plans are guided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuideWhen {
    /// Those with committed rows. Without delay a plan begins with the newest observation and should follow it.
    #[default]
    Delayed,
    /// All that have a previous plan. Re-planned at every row, this pulls the row to be executed to the previous plan by about
    /// 0.85, so a robot reacts late.
    Always,
}

impl InpaintConfig {
    /// Writes the weights, `[horizon, n_act]`, for `committed` rows and an overlap of `overlap` rows; `guided` is false where
    /// the previous plan is to be left. Whether any is positive.
    pub(super) fn weights(
        &self,
        shape: PolicyShape,
        discrete: &[usize],
        rows: SharedRows,
        guided: bool,
        weights: &mut [f32],
    ) -> bool {
        let overlap = rows.overlap.min(shape.horizon);
        let committed = rows.committed.min(overlap);
        let guided = guided && self.guide != Guide::Hard && (committed > 0 || self.when == GuideWhen::Always);
        let reach = if guided { self.rows.map_or(overlap, |rows| overlap.min(committed + rows)) } else { committed };
        for (i, row) in weights.chunks_exact_mut(shape.n_act).enumerate() {
            if i < committed {
                row.fill(1.0);
                continue;
            }
            let c = reach.saturating_sub(i) as f32 / (reach - committed + 1) as f32;
            row.fill(match self.guide {
                Guide::Exponential => c * c.exp_m1() / 1.0_f32.exp_m1(),
                Guide::Linear | Guide::Hard => c,
            });
            for &entry in discrete {
                row[entry] = 0.0;
            }
        }
        reach > 0
    }
}

/// Rows that a plan shares with the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedRows {
    /// Rows that the previous plan reaches into the new one.
    pub(super) overlap: usize,
    /// Rows that will be executed from the previous plan.
    pub(super) committed: usize,
}
