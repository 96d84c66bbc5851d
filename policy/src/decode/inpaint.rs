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

#[cfg(test)]
mod tests {
    use super::super::oracle::{N, SHAPE, build, gaussian, tick};
    use super::super::{ColdStart, DecodeOptions, DecoderConfig, NoiseSource};
    use super::*;

    const ALWAYS: InpaintConfig = InpaintConfig { guide: Guide::Exponential, rows: None, when: GuideWhen::Always };

    fn decoders() -> [DecoderConfig; 3] {
        let mut rti = DecoderConfig::rti(&[10, 5, 2, 0]);
        if let DecoderConfig::Rti { cold, .. } = &mut rti {
            *cold = ColdStart::Ddim { steps: 10, spacing: Default::default() };
        }
        [DecoderConfig::ddpm(), DecoderConfig::ddim(10), rti]
    }

    fn with(mut config: DecoderConfig, inpaint: Option<InpaintConfig>) -> DecoderConfig {
        *config.options_mut() = DecodeOptions { inpaint, ..DecodeOptions::default() };
        config
    }

    /// Two plans, the second after the mean has moved by 0.4, `executed` rows later.
    fn two_plans(config: &DecoderConfig, executed: usize, committed: usize) -> [Vec<f32>; 2] {
        let (mut decoder, mut noise) = (build(config), NoiseSource::new(4, 1));
        [(0.0, 0), (0.4, executed)].map(|(cond, executed)| {
            tick(decoder.as_mut(), &mut gaussian(-0.2, 0.02), &mut noise, cond, [executed, committed, 1]).0
        })
    }

    #[test]
    fn weights_are_those_of_real_time_chunking() {
        let mut weights = vec![f32::NAN; N];
        // H = 16, s = 2, d = 3: c = (14 - i) / 12.
        assert!(ALWAYS.weights(SHAPE, &[6], SharedRows { overlap: 14, committed: 3 }, true, &mut weights));
        for (row, weight) in [(0, 1.0), (2, 1.0), (3, 0.8007), (8, 0.1888), (13, 0.0042), (14, 0.0), (15, 0.0)] {
            assert!((weights[row * 7] - weight).abs() < 1e-4, "row {row}: {}", weights[row * 7]);
        }
        assert_eq!((weights[2 * 7 + 6], weights[3 * 7 + 6]), (1.0, 0.0), "two-valued entries are held, not guided");
    }

    #[test]
    fn committed_rows_are_those_of_the_previous_plan_bit_for_bit() {
        for config in decoders() {
            for committed in 1..=8 {
                let [old, new] = two_plans(&with(config.clone(), Some(InpaintConfig::default())), 2, committed);
                let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&old[2 * 7..(2 + committed) * 7]), bits(&new[..committed * 7]), "{}", config.label());
            }
        }
    }

    /// What the robot executes: the old plan up to the committed rows, then the new one. The mean has jumped by 0.4, and a plan
    /// that ignores the old one jumps with it in one row.
    #[test]
    fn seams_are_smooth_under_delays_of_0_to_8_rows() {
        for config in decoders() {
            for delay in 0..=8 {
                let largest_step = |inpaint| {
                    let [old, new] = two_plans(&with(config.clone(), inpaint), 1, delay);
                    let played: Vec<f32> = old[..(1 + delay) * 7].iter().chain(&new[delay * 7..]).copied().collect();
                    let mean = |row: &[f32]| row[..6].iter().sum::<f32>() / 6.0;
                    let means: Vec<f32> = played.chunks_exact(7).map(mean).collect();
                    means.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
                };
                let (with, without) = (largest_step(Some(ALWAYS)), largest_step(None));
                assert!(with < 0.16, "{} delay {delay}: {with}", config.label());
                assert!(without > 0.25, "{} delay {delay}: {without}", config.label());
            }
        }
    }

    /// By default a plan without delay follows the newest observation alone; the network's rows are then untouched.
    #[test]
    fn without_delay_or_previous_plan_nothing_changes() {
        for config in decoders() {
            let plain = two_plans(&config, 1, 0);
            assert_eq!(two_plans(&with(config.clone(), Some(InpaintConfig::default())), 1, 0), plain);
            assert_ne!(two_plans(&with(config.clone(), Some(ALWAYS)), 1, 0)[1], plain[1]);
            let used_up = two_plans(&config, 16, 3);
            assert_eq!(two_plans(&with(config, Some(InpaintConfig::default())), 16, 3), used_up);
        }
    }

    #[test]
    fn guided_rows_end_where_configured() {
        let limited = InpaintConfig { rows: Some(2), ..ALWAYS };
        let mut weights = vec![0.0; N];
        limited.weights(SHAPE, &[], SharedRows { overlap: 14, committed: 3 }, true, &mut weights);
        assert!(weights[4 * 7] > 0.0 && weights[5 * 7] == 0.0);
        let hard = InpaintConfig { guide: Guide::Hard, ..ALWAYS };
        hard.weights(SHAPE, &[], SharedRows { overlap: 14, committed: 3 }, true, &mut weights);
        assert_eq!((weights[2 * 7], weights[3 * 7]), (1.0, 0.0));
        ALWAYS.weights(SHAPE, &[], SharedRows { overlap: 14, committed: 3 }, false, &mut weights);
        assert_eq!((weights[2 * 7], weights[3 * 7]), (1.0, 0.0), "a plan that leaves the last one keeps only what is committed");
    }
}
