//! RTI's label list from plans on held-out episodes.
//!
//! The full chain plans at every tick, so nothing of the warm start is in the statistics. Then
//!
//! 1. drift: root mean square over rows and continuous entries of (previous chunk, shifted by one row) - (present chunk), its
//!    95 % quantile over all ticks;
//! 2. entry level: the lowest whose noise `sqrt(1 - alpha_bar)` is at least the guess's error, so that it looks like noise of
//!    that level to the network. The error is the drift without what two independent samples of one mode differ by anyway,
//!    `sqrt(drift^2 - 2 s^2)` (see step 4 for `s`), but at least half of it: a warm start need not undo that;
//! 3. two-valued entries: the log-odds `l` at which the ideal denoiser at that level exchanges the values,
//!    `l = 2 h g sqrt(alpha_bar) / (1 - alpha_bar)` for data at -g/+g and a guess at -h/+h, must not be above 4 (odds of 55 to
//!    1); the entry level is raised until it isn't;
//! 4. labels: from the entry level to 0, those between evenly spread down to the level that leaves least of the guess's error; the
//!    shortest list whose lag `kappa / (1 - kappa) error` is within the tolerance. `kappa`, the share of the guess's error that survives a tick, is the product over the list of
//!
//! ```text
//! x_weight + x0_weight sqrt(alpha_bar) lambda / (1 - alpha_bar)
//! lambda = s^2 (1 - alpha_bar) / (alpha_bar s^2 + 1 - alpha_bar)
//! ```
//!
//! for the ideal denoiser of a Gaussian mode of standard deviation `s`, the spread of several plans from one condition.
//!
//! RTI-DP chooses its lists by hand, and its convergence theorem bounds the error by factors above 1, so neither gives a rule.
//! The criterion that it hints at, least distance of guess and noised plan, always favours level 0. Its lists end in `..., 1, 0`,
//! which leaves more of the error than a higher label before the last where plans spread widely.

use serde::{Deserialize, Serialize};

use super::DiscreteTreatment;
use crate::error::{check_finite, check_length};
use crate::{ActionNormaliser, NoiseSchedule, PolicyError, PolicyShape};

/// Quantile of the drift that the labels are made for.
const DRIFT_QUANTILE: f64 = 0.95;
/// Share of the drift that is taken for error at least: where plans spread as much as they move, the difference tells nothing, and no
/// error at all would let any list pass.
const LEAST_ERROR: f64 = 0.5;
/// Step 3's limit. The hand-tuned lists of RTI-DP lie between 0.2 and 3.7 for scaled entries.
const MAX_DISCRETE_THRESHOLD: f64 = 4.0;

/// Recorded plans, normalised.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut<'a> {
    /// For each episode the chunks that the full chain planned at successive control steps, `[ticks, horizon, n_act]`.
    pub episodes: &'a [Vec<f32>],
    /// For each of some conditions several independent chunks, at least two, `[samples, horizon, n_act]`.
    pub repeats: &'a [Vec<f32>],
}

/// What is asked of a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationConfig {
    /// The most evaluations of a warm start. Default 3.
    pub max_evaluations: usize,
    /// Largest lag behind the full chain's plan, action units. Default 0.05: 1 mm or 0.0025 rad a row in CALVIN's actions.
    pub tolerance: f32,
    /// What is done with two-valued entries.
    pub discrete: DiscreteTreatment,
}

impl Default for CalibrationConfig {
    fn default() -> Self {
        Self { max_evaluations: 3, tolerance: 0.05, discrete: DiscreteTreatment::None }
    }
}

/// RTI's labels for one checkpoint, and what they were made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtiCalibration {
    /// Noise levels of the warm steps, falling strictly to 0.
    pub labels: Vec<usize>,
    /// The level that drift and two-valued entries ask for: the first label, unless one evaluation is all there may be.
    pub entry_level: usize,
    /// Root mean square distance of a plan and the one before, 95 % quantile, normalised units.
    pub drift_q95: f64,
    /// Spread of plans from one condition, normalised units.
    pub posterior_std: f64,
    /// Share of the guess's error that survives a tick.
    pub kappa: f64,
    /// Steady distance to the full chain's plan, action units.
    pub lag: f64,
    /// The lag that was allowed, action units.
    pub tolerance: f64,
    /// Whether the lag is within it. If not, no list within the bound has less.
    pub within_tolerance: bool,
    /// Log-odds that exchange a two-valued entry at the entry level; none without such entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discrete_threshold: Option<f64>,
    /// The bound on evaluations that was given.
    pub max_evaluations: usize,
}

/// What a list of ancestral steps does to a guess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contraction {
    /// Share of the guess's error that survives.
    pub kappa: f64,
    /// Standard deviation of the noise that is added, normalised units.
    pub noise_std: f64,
}

/// The effect of ancestral steps at `labels` under the ideal denoiser of a Gaussian mode of standard deviation `std` (step 4 of the
/// module's text). Panics if a label is not below `schedule.n_steps()`.
///
/// ```
/// use reverie_policy::{NoiseSchedule, decode::calibrate::contraction};
/// let effect = contraction(&NoiseSchedule::squared_cosine(100), &[3, 1, 0], 0.05);
/// assert!((effect.kappa - 0.434).abs() < 5e-4 && (effect.noise_std - 0.027).abs() < 5e-4);
/// ```
pub fn contraction(schedule: &NoiseSchedule, labels: &[usize], std: f64) -> Contraction {
    labels.iter().fold(Contraction { kappa: 1.0, noise_std: 0.0 }, |before, &label| {
        let (step, alpha_bar) = (schedule.ancestral(label), schedule.alpha_bar(label));
        let gain = alpha_bar.sqrt() * std * std / (alpha_bar * std * std + 1.0 - alpha_bar);
        let kappa = f64::from(step.x_weight) + f64::from(step.x0_weight) * gain;
        Contraction { kappa: before.kappa * kappa, noise_std: (kappa * before.noise_std).hypot(step.sigma.into()) }
    })
}

/// Log-odds above which the ideal denoiser at `label` takes the other value of an entry whose data lie at `-data` and `data`, when it
/// sees a guess of size `guess` with the wrong sign (step 3). Panics if `label >= schedule.n_steps()`.
pub fn discrete_threshold(schedule: &NoiseSchedule, label: usize, guess: f64, data: f64) -> f64 {
    let alpha_bar = schedule.alpha_bar(label);
    2.0 * guess * data * alpha_bar.sqrt() / (1.0 - alpha_bar)
}

/// `evaluations` labels from `entry` to 0, evenly spread down to `lowest`, the last but one: `[7, 5, 3, 1, 0]`, with 1 for `lowest`
/// and 5 of them. Fewer if there are no more levels; always at least one.
pub fn label_list(entry: usize, lowest: usize, evaluations: usize) -> Vec<usize> {
    let lowest = lowest.clamp(1, entry.max(1));
    let count = evaluations.clamp(1, (entry + 2).saturating_sub(lowest).max(1));
    if count <= 2 {
        return if count == 1 || entry == 0 { vec![0] } else { vec![entry, 0] };
    }
    let gaps = count - 2;
    let spread = (0..=gaps).map(|i| entry - (i * (entry - lowest) + gaps / 2) / gaps);
    spread.chain([0]).collect()
}

/// Chooses the labels.
///
/// # Errors
/// [`PolicyError::Config`] for settings that can't be used, [`PolicyError::Length`], [`PolicyError::NotFinite`] or
/// [`PolicyError::Data`] for plans that don't fit the shape, are no numbers, or are too few: two successive ticks, two samples of
/// one condition.
pub fn calibrate(
    held_out: &HeldOut<'_>,
    config: &CalibrationConfig,
    schedule: &NoiseSchedule,
    shape: PolicyShape,
    actions: &ActionNormaliser,
) -> Result<RtiCalibration, PolicyError> {
    if config.max_evaluations == 0 {
        return Err(PolicyError::config("tune.max_evaluations", 0, "must be at least 1"));
    }
    if !(config.tolerance.is_finite() && config.tolerance > 0.0) {
        return Err(PolicyError::config("tune.tolerance", config.tolerance, "must be positive"));
    }
    config.discrete.check(&actions.discrete)?;
    let continuous: Vec<usize> = (0..shape.n_act).filter(|entry| !actions.discrete.indices.contains(entry)).collect();
    let drift_q95 = drift_quantile(held_out.episodes, shape, &continuous)?;
    let posterior_std = spread(held_out.repeats, shape, &continuous)?;

    let threshold = |label| {
        let data = f64::from(actions.discrete.factor).recip();
        let guess = match config.discrete {
            DiscreteTreatment::Clip { factor } => f64::from(factor).recip(),
            DiscreteTreatment::None | DiscreteTreatment::Scale {} => data,
        };
        (!actions.discrete.indices.is_empty()).then(|| discrete_threshold(schedule, label, guess, data))
    };
    let error = (drift_q95 * drift_q95 - 2.0 * posterior_std * posterior_std).max(0.0).sqrt().max(LEAST_ERROR * drift_q95);
    let top = schedule.n_steps() - 1;
    let suits = |label: &usize| {
        (1.0 - schedule.alpha_bar(*label)).sqrt() >= error
            && threshold(*label).is_none_or(|threshold| threshold <= MAX_DISCRETE_THRESHOLD)
    };
    let entry_level = (0..=top).find(suits).unwrap_or(top);

    let largest_scale = continuous.iter().map(|&entry| f64::from(actions.range.scale[entry])).fold(0.0, f64::max);
    let tolerance = f64::from(config.tolerance);
    let candidate = |evaluations| {
        let kappa = |labels: &Vec<usize>| contraction(schedule, labels, posterior_std).kappa;
        let lists = (1..entry_level.max(2)).map(|lowest| label_list(entry_level, lowest, evaluations));
        let labels = lists.min_by(|a, b| kappa(a).total_cmp(&kappa(b))).unwrap_or_default();
        let kappa = kappa(&labels);
        let lag = if error > 0.0 { kappa / (1.0 - kappa) * error * largest_scale } else { 0.0 };
        (labels, kappa, lag)
    };
    let fewest = 2.min(config.max_evaluations).min(entry_level + 1);
    let mut best = candidate(fewest);
    for evaluations in fewest + 1..=config.max_evaluations {
        if best.2 <= tolerance {
            break;
        }
        let next = candidate(evaluations);
        if next.2 < best.2 {
            best = next;
        }
    }
    let (labels, kappa, lag) = best;
    Ok(RtiCalibration {
        labels,
        entry_level,
        drift_q95,
        posterior_std,
        kappa,
        lag,
        tolerance,
        within_tolerance: lag <= tolerance,
        discrete_threshold: threshold(entry_level),
        max_evaluations: config.max_evaluations,
    })
}

fn drift_quantile(episodes: &[Vec<f32>], shape: PolicyShape, continuous: &[usize]) -> Result<f64, PolicyError> {
    let n = shape.chunk_len();
    let mut drifts = Vec::new();
    for episode in episodes {
        check_length("plans of an episode", episode.len() / n * n, episode.len())?;
        check_finite("plan of an episode", episode)?;
        for (previous, present) in episode.chunks_exact(n).zip(episode.chunks_exact(n).skip(1)) {
            let rows = previous.chunks_exact(shape.n_act).skip(1).zip(present.chunks_exact(shape.n_act));
            let squares = rows.flat_map(|(a, b)| continuous.iter().map(|&entry| f64::from(a[entry] - b[entry]).powi(2)));
            let (sum, count) = squares.fold((0.0, 0_u32), |(sum, count), square| (sum + square, count + 1));
            if count > 0 {
                drifts.push((sum / f64::from(count)).sqrt());
            }
        }
    }
    drifts.sort_by(f64::total_cmp);
    let rank = (DRIFT_QUANTILE * drifts.len() as f64).ceil() as usize;
    let too_few = || PolicyError::Data("the drift of plans needs two successive plans of more than one row".into());
    drifts.get(rank.saturating_sub(1)).copied().ok_or_else(too_few)
}

/// Root mean square, over conditions, rows and continuous entries, of the unbiased standard deviation over samples.
fn spread(repeats: &[Vec<f32>], shape: PolicyShape, continuous: &[usize]) -> Result<f64, PolicyError> {
    let n = shape.chunk_len();
    let (mut sum, mut count) = (0.0, 0_u32);
    for samples in repeats {
        check_length("repeated plans", samples.len() / n * n, samples.len())?;
        check_finite("repeated plan", samples)?;
        let samples_n = samples.len() / n;
        if samples_n < 2 {
            continue;
        }
        for row in 0..shape.horizon {
            for entry in continuous {
                let values = || samples.iter().skip(row * shape.n_act + entry).step_by(n).map(|&value| f64::from(value));
                let mean = values().sum::<f64>() / samples_n as f64;
                sum += values().map(|value| (value - mean).powi(2)).sum::<f64>() / (samples_n - 1) as f64;
                count += 1;
            }
        }
    }
    if count == 0 {
        return Err(PolicyError::Data("the spread of plans needs at least two plans from one condition".into()));
    }
    Ok((sum / f64::from(count)).sqrt())
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_distr::StandardNormal;

    use super::super::oracle::{N, SHAPE, actions, schedule};
    use super::*;

    /// Worked out beforehand with the posterior variance of a Gaussian mode.
    #[test]
    fn contraction_matches_the_published_table() {
        let down = [15, 13, 11, 9, 7, 5, 3, 2, 1, 0];
        for (labels, rows) in [
            (&[2, 1, 0][..], [(0.02, 0.107, 0.010), (0.05, 0.427, 0.023), (0.10, 0.750, 0.031), (0.30, 0.966, 0.035)]),
            (&[3, 1, 0], [(0.02, 0.120, 0.010), (0.05, 0.434, 0.027), (0.10, 0.737, 0.036), (0.30, 0.961, 0.041)]),
            (&[5, 3, 1, 0], [(0.02, 0.088, 0.012), (0.05, 0.336, 0.034), (0.10, 0.630, 0.050), (0.30, 0.933, 0.061)]),
            (&[7, 5, 3, 1, 0], [(0.02, 0.069, 0.013), (0.05, 0.272, 0.039), (0.10, 0.541, 0.061), (0.30, 0.900, 0.080)]),
            (&down, [(0.02, 0.021, 0.012), (0.05, 0.110, 0.042), (0.10, 0.290, 0.084), (0.30, 0.733, 0.149)]),
        ] {
            for (std, kappa, noise_std) in rows {
                let got = contraction(&schedule(), labels, std);
                assert!((got.kappa - kappa).abs() < 6e-4, "{labels:?} {std}: {got:?}");
                assert!((got.noise_std - noise_std).abs() < 6e-4, "{labels:?} {std}: {got:?}");
            }
        }
    }

    /// Log-odds at which a wrong guess is given up: at full size, clipped and scaled by 10.
    #[test]
    fn discrete_thresholds_match_the_published_ones() {
        for (label, guess, data, expected) in [
            (3, 1.0, 1.0, 367.0),
            (20, 1.0, 1.0, 17.0),
            (40, 1.0, 1.0, 4.3),
            (22, 0.1, 1.0, 1.4),
            (28, 0.1, 1.0, 0.9),
            (3, 0.1, 0.1, 3.7),
            (5, 0.1, 0.1, 1.8),
            (15, 0.1, 0.1, 0.29),
        ] {
            let got = discrete_threshold(&schedule(), label, guess, data);
            assert!((got / expected - 1.0).abs() < 0.04, "{label} {guess} {data}: {got}");
        }
    }

    #[test]
    fn lists_of_the_paper_come_out_of_their_ends_and_lengths() {
        let cases = [(2, vec![2, 1, 0]), (3, vec![3, 1, 0]), (5, vec![5, 3, 1, 0]), (7, vec![7, 5, 3, 1, 0])];
        for (entry, list) in cases {
            assert_eq!(label_list(entry, 1, list.len()), list);
        }
        assert_eq!((label_list(0, 1, 5), label_list(1, 1, 5), label_list(9, 1, 1)), (vec![0], vec![1, 0], vec![0]));
        for entry in 0..100 {
            for evaluations in 1..=entry + 1 {
                let list = label_list(entry, 1, evaluations);
                assert_eq!((list.len(), list.last()), (evaluations, Some(&0)));
                assert!(list.windows(2).all(|pair| pair[0] > pair[1]), "{list:?}");
            }
        }
    }

    /// Plans `rate` apart from tick to tick in every continuous entry after shifting, each with `std` of its own; the gripper
    /// changes all the time, which must not count.
    fn plans(rate: f32, std: f32, ticks: usize, seed: u64) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut chunks = Vec::new();
        for tick in 0..ticks {
            for row in 0..SHAPE.horizon {
                // Plans agree after shifting up to `rate`.
                let drift = rate * tick as f32 + 0.001 * (row + tick) as f32;
                chunks.extend((0..6).map(|_| drift + std * rng.sample::<f32, _>(StandardNormal)));
                chunks.push(if (row + tick) % 2 == 0 { 1.0 } else { -1.0 });
            }
        }
        chunks
    }

    fn calibrate_plans(rate: f32, std: f32, factor: f32, config: CalibrationConfig) -> RtiCalibration {
        let episodes = [plans(rate, std, 20, 1), plans(rate, std, 20, 2)];
        let repeats = [plans(0.0, std, 2, 3), plans(0.0, std, 2, 4)].map(|mut chunks| {
            // Undo the row ramp between the two samples: one condition.
            for (i, value) in chunks[N..].iter_mut().enumerate() {
                *value -= if i % 7 < 6 { 0.001 } else { 0.0 };
            }
            chunks
        });
        calibrate(&HeldOut { episodes: &episodes, repeats: &repeats }, &config, &schedule(), SHAPE, &actions(factor)).unwrap()
    }

    #[test]
    fn drift_and_spread_are_measured_and_set_the_entry_level() {
        let config = CalibrationConfig { discrete: DiscreteTreatment::Scale {}, ..CalibrationConfig::default() };
        let found = calibrate_plans(0.115, 0.01, 10.0, config);
        let expected = 0.115_f64.hypot(0.01 * 2.0_f64.sqrt());
        assert!((found.drift_q95 - expected).abs() < 0.005, "{found:?}");
        assert!((found.posterior_std - 0.01).abs() < 0.001, "{found:?}");
        // sqrt(1 - alpha_bar) is 0.105 at 5 and 0.120 at 6.
        assert_eq!((found.entry_level, found.labels[0]), (6, 6));
        assert_eq!(found.labels, [6, 0], "the shortest list that suffices");
        assert!(found.within_tolerance && found.lag < 0.05, "{found:?}");
        assert!((found.discrete_threshold.unwrap() - 1.35).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn a_tighter_tolerance_takes_longer_lists_up_to_the_bound() {
        let config =
            |tolerance, max_evaluations| CalibrationConfig { tolerance, max_evaluations, discrete: DiscreteTreatment::Scale {} };
        let count = |tolerance, max| {
            let found = calibrate_plans(0.12, 0.03, 10.0, config(tolerance, max));
            assert_eq!(found.within_tolerance, found.lag <= f64::from(tolerance));
            let drift = (found.drift_q95.powi(2) - 2.0 * found.posterior_std.powi(2)).sqrt();
            let kappa = contraction(&schedule(), &found.labels, found.posterior_std).kappa;
            assert!((found.lag - kappa / (1.0 - kappa) * drift).abs() < 1e-9);
            (found.labels.len(), found.within_tolerance)
        };
        assert_eq!(count(1.0, 3), (2, true));
        let (longer, within) = count(0.02, 7);
        assert!(longer > 3 && within, "{longer}");
        assert_eq!(count(0.001, 3), (3, false), "the least lag within the bound, and it says so");
    }

    #[test]
    fn two_valued_entries_raise_the_entry_level() {
        let find = |factor, discrete| {
            let config = CalibrationConfig { discrete, ..CalibrationConfig::default() };
            let found = calibrate_plans(0.02, 0.001, factor, config);
            (found.entry_level, found.discrete_threshold.unwrap())
        };
        // The drift alone asks for level 0.
        for (factor, discrete, level) in [
            (10.0, DiscreteTreatment::Scale {}, 3),
            (1.0, DiscreteTreatment::Clip { factor: 10.0 }, 13),
            (1.0, DiscreteTreatment::None, 42),
        ] {
            let (got, threshold) = find(factor, discrete);
            assert!(got.abs_diff(level) <= 1 && threshold <= 4.0, "{discrete:?}: {got}, {threshold}");
        }
    }

    #[test]
    fn too_few_or_bad_plans_are_named() {
        let config = CalibrationConfig::default();
        let run = |episodes: &[Vec<f32>], repeats: &[Vec<f32>], config| {
            let held_out = HeldOut { episodes, repeats };
            calibrate(&held_out, config, &schedule(), SHAPE, &actions(1.0)).unwrap_err().to_string()
        };
        let two = [vec![0.0; 2 * N]];
        assert!(run(&[vec![0.0; N]], &two, &config).contains("two successive plans"));
        assert!(run(&two, &[vec![0.0; N]], &config).contains("two plans from one condition"));
        assert!(run(&[vec![f32::NAN; 2 * N]], &two, &config).starts_with("plan of an episode, entry 0 is NaN"));
        assert!(run(&[vec![0.0; N + 1]], &two, &config).starts_with("plans of an episode has"));
        let none = CalibrationConfig { max_evaluations: 0, ..config };
        assert!(run(&two, &two, &none).starts_with("tune.max_evaluations = 0"));
    }
}
