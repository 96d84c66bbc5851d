//! The one decoder: where to begin, which steps to do, and what every decoder can do besides.

use reverie_schema::DecodeStart;

use super::chain::{Chain, ChainScratch, Exit, Hold};
use super::exit::ExitRule;
use super::inpaint::{InpaintConfig, SharedRows};
use super::memory::{Memory, StallConfig};
use super::plan::{Entry, Plan};
use super::select::{BestOfConfig, Choose, ChunkScorer, by_coherence, by_score};
use super::{DecodeRequest, DecodeStats, Decoder, DecoderSnapshot, NoiseSource};
use crate::error::{check_finite, check_length};
use crate::{ActionNormaliser, Denoiser, PolicyError, PolicyShape};

/// What a warm start adds to a cold one.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) plan: Plan,
    /// What the sign of a two-valued entry of the guess is divided by; none leaves the guess as it is.
    pub(super) clip_factor: Option<f32>,
    pub(super) stall: Option<StallConfig>,
    /// Root mean square distance of guess and result, normalised, above which the next tick starts anew.
    pub(super) jump: Option<f32>,
}

/// What a decoder is made of; see [`DecoderConfig::build`](super::DecoderConfig::build), which checks it.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) shape: PolicyShape,
    pub(super) actions: ActionNormaliser,
    pub(super) cold: Plan,
    pub(super) warm: Option<Warm>,
    pub(super) exit: Option<ExitRule>,
    pub(super) inpaint: Option<InpaintConfig>,
    pub(super) best_of: Option<BestOfConfig>,
}

/// DDPM, DDIM and RTI, see [`DecoderConfig`](super::DecoderConfig). After its first decode it allocates nothing.
pub(super) struct DiffusionDecoder {
    parts: Parts,
    candidates: usize,
    scorer: Option<Box<dyn ChunkScorer>>,
    memory: Memory,
    buffers: Buffers,
    chain_scratch: ChainScratch,
}

/// Sized once.
struct Buffers {
    /// `[candidates, n_cond]`.
    cond: Vec<f32>,
    /// `[candidates, horizon, n_act]`.
    x: Vec<f32>,
    /// `[blocks, candidates, horizon, n_act]`.
    noise: Vec<f32>,
    /// The last chunk, shifted, `[horizon, n_act]`.
    known: Vec<f32>,
    /// What the chain begins from and the first estimate is compared with, `[horizon, n_act]`.
    guess: Vec<f32>,
    /// Of in-painting, `[horizon, n_act]`.
    weights: Vec<f32>,
    /// `[candidates]`.
    scores: Vec<f32>,
}

impl DiffusionDecoder {
    pub(super) fn new(parts: Parts) -> Self {
        let candidates = parts.best_of.map_or(1, |best_of| best_of.candidates);
        let (shape, n) = (parts.shape, parts.shape.chunk_len());
        let blocks = parts.cold.noise_blocks().max(parts.warm.as_ref().map_or(0, |warm| warm.plan.noise_blocks()));
        Self {
            candidates,
            scorer: None,
            memory: Memory::new(shape),
            buffers: Buffers {
                cond: vec![0.0; candidates * shape.n_cond],
                x: vec![0.0; candidates * n],
                noise: vec![0.0; blocks * candidates * n],
                known: vec![0.0; n],
                guess: vec![0.0; n],
                weights: vec![0.0; n],
                scores: vec![0.0; candidates],
            },
            chain_scratch: ChainScratch::default(),
            parts,
        }
    }

    fn check(
        &self,
        denoiser: &dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &NoiseSource,
        chunk: &[f32],
    ) -> Result<(), PolicyError> {
        let shape = self.parts.shape;
        check_length("chunk of the network", shape.chunk_len(), denoiser.shape().chunk_len())?;
        check_length("condition of the network", shape.n_cond, denoiser.shape().n_cond)?;
        check_length("condition", shape.n_cond, request.cond.len())?;
        check_finite("condition", request.cond)?;
        check_length("noise source (candidates)", self.candidates, noise.candidates())?;
        check_length("chunk", shape.chunk_len(), chunk.len())
    }

    fn run(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError> {
        self.check(denoiser, request, noise, chunk)?;
        let Self { parts, candidates, scorer, memory, buffers, chain_scratch } = self;
        let (shape, n, executed) = (parts.shape, parts.shape.chunk_len(), request.rows_executed);

        let overlap = memory.overlap(executed, shape.horizon);
        let stall = parts.warm.as_ref().and_then(|warm| warm.stall.as_ref());
        let reinitialised = memory.should_restart(stall, executed, &parts.actions) && overlap > 0;
        let warm = parts.warm.as_ref().filter(|_| overlap > 0 && !reinitialised);
        let plan = warm.map_or(&parts.cold, |warm| &warm.plan);
        if overlap > 0 {
            memory.write_shifted(executed, shape.n_act, &mut buffers.known);
        }

        for row in buffers.cond.chunks_exact_mut(shape.n_cond.max(1)) {
            row.copy_from_slice(request.cond);
        }
        denoiser.condition(&buffers.cond, *candidates)?;
        match plan.entry {
            Entry::Noise => noise.fill(&mut buffers.x),
            Entry::Previous => {
                buffers.guess.copy_from_slice(&buffers.known);
                if let Some(factor) = warm.and_then(|warm| warm.clip_factor) {
                    clip(&mut buffers.guess, shape.n_act, &parts.actions.discrete.indices, factor);
                }
                buffers.x.chunks_exact_mut(n).for_each(|x| x.copy_from_slice(&buffers.guess));
            }
            Entry::Draft { renoise } => {
                denoiser.draft(&mut buffers.x)?;
                check_finite("draft", &buffers.x)?;
                buffers.guess.copy_from_slice(&buffers.x[..n]);
                if renoise {
                    let (signal, level) = (plan.steps[0].signal, plan.steps[0].noise);
                    let z = &mut buffers.noise[..buffers.x.len()];
                    noise.fill(z);
                    for (x, z) in buffers.x.iter_mut().zip(z) {
                        *x = signal * *x + level * *z;
                    }
                }
            }
        }
        let noise_len = plan.noisy_steps() * buffers.x.len();
        for block in buffers.noise[..noise_len].chunks_exact_mut(buffers.x.len()) {
            noise.fill(block);
        }

        let shared = SharedRows { overlap, committed: request.rows_committed };
        let holds = parts.inpaint.is_some_and(|inpaint| {
            overlap > 0 && inpaint.weights(shape, &parts.actions.discrete.indices, shared, !reinitialised, &mut buffers.weights)
        });
        let first = request.rows_committed.min(shape.horizon - 1);
        let chain = Chain {
            steps: &plan.steps,
            noise: &buffers.noise[..noise_len],
            hold: holds.then_some(Hold { known: &buffers.known, weights: &buffers.weights }),
            exit: parts.exit.as_ref().map(|rule| Exit {
                rows: first..first.saturating_add(request.rows_needed.max(1)).min(shape.horizon),
                tolerance: &rule.tolerance,
                signs: &parts.actions.discrete.indices,
                reference: (plan.entry != Entry::Noise).then_some(&buffers.guess),
                floor: plan.exit_floor,
                cap: plan.exit_cap,
            }),
        };
        let end = denoiser.run_chain(&chain, &mut buffers.x, chain_scratch)?;

        let chosen = match parts.best_of.map(|best_of| best_of.choose) {
            None => 0,
            Some(Choose::Coherence { decay }) => {
                by_coherence(&buffers.x, &buffers.known, if reinitialised { 0 } else { overlap }, shape, decay)
            }
            Some(Choose::Scorer {}) => {
                let scorer = scorer.as_mut().ok_or_else(no_scorer)?;
                by_score(scorer.as_mut(), request.cond, &buffers.x, &mut buffers.scores)?
            }
        };
        chunk.copy_from_slice(&buffers.x[chosen * n..(chosen + 1) * n]);
        let jumped = warm.and_then(|warm| warm.jump).is_some_and(|jump| {
            rms_distance(chunk, &buffers.guess, overlap * shape.n_act, &parts.actions.discrete.indices, shape.n_act) > jump
        });
        memory.remember(chunk, warm.is_none(), jumped);
        let (start, drafts) = match plan.entry {
            Entry::Noise => (DecodeStart::Noise, 0),
            Entry::Previous => (DecodeStart::Previous, 0),
            Entry::Draft { .. } => (DecodeStart::Draft, 1),
        };
        Ok(DecodeStats { nfe: end.nfe + drafts, start, stop: end.stop, reinitialised, chosen })
    }
}

impl Decoder for DiffusionDecoder {
    fn decode(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError> {
        let result = self.run(denoiser, request, noise, chunk);
        denoiser.rest();
        if result.is_err() {
            self.memory.forget();
        }
        result
    }

    fn candidates(&self) -> usize {
        self.candidates
    }

    fn set_scorer(&mut self, scorer: Box<dyn ChunkScorer>) {
        self.scorer = Some(scorer);
    }

    fn reset(&mut self) {
        self.memory.forget();
    }

    fn snapshot(&self) -> DecoderSnapshot {
        self.memory.snapshot()
    }

    fn restore(&mut self, snapshot: &DecoderSnapshot) -> Result<(), PolicyError> {
        self.memory.restore(snapshot)
    }
}

/// Replaces the two-valued entries of every row by their sign over `factor`.
fn clip(rows: &mut [f32], n_act: usize, entries: &[usize], factor: f32) {
    for row in rows.chunks_exact_mut(n_act) {
        for &entry in entries {
            row[entry] = if row[entry] > 0.0 { 1.0 } else { -1.0 } / factor;
        }
    }
}

/// Over the first `len` entries but those of `except`.
fn rms_distance(a: &[f32], b: &[f32], len: usize, except: &[usize], n_act: usize) -> f32 {
    let counted = a.iter().zip(b).take(len).enumerate().filter(|(i, _)| !except.contains(&(i % n_act)));
    let (sum, count) = counted.fold((0.0, 0_u32), |(sum, count), (_, (a, b))| (sum + (a - b) * (a - b), count + 1));
    (sum / count.max(1) as f32).sqrt()
}

fn no_scorer() -> PolicyError {
    PolicyError::config("decoder.options.best_of.choose", "scorer", "this program has plugged in none; use `coherence`")
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{N, build, gaussian, mean_and_std, schedule, tick, two_modes};
    use super::super::{ColdStart, DecodeOptions, DecoderConfig, DiscreteTreatment, ExitConfig, Labels, oracle};
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;
    use reverie_schema::StopReason;

    use super::*;
    use crate::decode::calibrate::discrete_threshold;

    const PLAIN: [usize; 3] = [1, 0, 1];

    fn rti_with(labels: &[usize], cold: ColdStart) -> DecoderConfig {
        let (labels, discrete) = (Labels::List(labels.to_vec()), DiscreteTreatment::None);
        DecoderConfig::Rti { labels, cold, discrete, stall: None, jump: None, options: DecodeOptions::default() }
    }

    fn previous(value: f32) -> DecoderSnapshot {
        DecoderSnapshot { previous: Some(vec![value; N]), ..DecoderSnapshot::default() }
    }

    /// With the exact denoiser of N(0.2, 0.1^2) every step is linear, so the moments of the samples are known: the mean
    /// stays, the variance goes through `v' = k^2 v + sigma^2`. Worked out beforehand for these labels: 0.0872 for DDPM (its
    /// "fixed small" variance is exact only for point masses) and 0.0888 for DDIM. 7168 samples: standard error 0.0012
    /// of the mean, 0.0008 of the deviation.
    #[test]
    fn exact_gaussian_denoiser_gives_back_its_distribution() {
        for (config, expected) in [(DecoderConfig::ddpm(), 0.0872), (DecoderConfig::ddim(50), 0.0888)] {
            let mut decoder = build(&config);
            let chunks: Vec<f32> = (0..64)
                .flat_map(|seed| tick(decoder.as_mut(), &mut gaussian(0.2, 0.1), &mut NoiseSource::new(seed, 1), 0.0, PLAIN).0)
                .collect();
            let (mean, std) = mean_and_std(&chunks);
            assert!((mean - 0.2).abs() < 0.005, "{}: mean {mean}", config.label());
            assert!((std - expected).abs() < 0.003, "{}: std {std}", config.label());
        }
    }

    /// Share of the guess's error that survives a tick, and the noise it adds, for the exact denoiser of N(0, s^2), worked out
    /// beforehand. 14336 samples.
    #[test]
    fn surviving_error_and_noise_of_a_tick_match_the_closed_form() {
        let table = [
            (&[2, 1, 0][..], 0.02, 0.107, 0.010),
            (&[2, 1, 0], 0.05, 0.427, 0.023),
            (&[2, 1, 0], 0.10, 0.750, 0.031),
            (&[3, 1, 0], 0.05, 0.434, 0.027),
            (&[5, 3, 1, 0], 0.10, 0.630, 0.050),
        ];
        for (labels, s, kappa, std) in table {
            let mut decoder = build(&DecoderConfig::rti(labels));
            let mut chunks = Vec::new();
            for seed in 0..128 {
                decoder.restore(&previous(0.2)).unwrap();
                let mut oracle = gaussian(0.0, s);
                let (mut chunk, stats) = tick(decoder.as_mut(), &mut oracle, &mut NoiseSource::new(seed, 1), 0.0, PLAIN);
                assert_eq!((stats.nfe, stats.start, stats.stop), (labels.len(), DecodeStart::Previous, StopReason::ChainEnd));
                chunks.append(&mut chunk);
            }
            let (got_mean, got_std) = mean_and_std(&chunks);
            assert!((got_mean / 0.2 - kappa).abs() < 0.008, "{labels:?} s={s}: kappa {}", got_mean / 0.2);
            assert!((got_std - std).abs() < 0.001, "{labels:?} s={s}: noise {got_std}");
        }
    }

    /// The plain loop, written down once more: one stream, noise drawn as it is needed.
    #[test]
    fn without_options_decoders_are_the_plain_loop_bit_for_bit() {
        let ancestral = |labels: &[usize]| labels.iter().map(|&label| schedule().ancestral(label)).collect::<Vec<_>>();
        let all: Vec<usize> = (0..100).rev().collect();
        let ddim =
            [75, 50, 25, 0].iter().zip([Some(50), Some(25), Some(0), None]).map(|(&label, next)| schedule().ddim(label, next));
        let cases = [
            (DecoderConfig::ddpm(), ancestral(&all), [1; 2]),
            (DecoderConfig::ddim(4), ddim.collect(), [1; 2]),
            (DecoderConfig::rti(&[5, 2, 0]), ancestral(&all), [1, 0]),
        ];
        for (config, cold_steps, is_cold) in cases {
            let mut decoder = build(&config);
            let (mut source, mut stream) = (NoiseSource::new(8, 1), ChaCha8Rng::seed_from_u64(8));
            let mut expected = vec![0.0_f32; N];
            for (cond, is_cold) in [0.05, 0.1].into_iter().zip(is_cold) {
                let steps = if is_cold == 1 { cold_steps.clone() } else { ancestral(&[5, 2, 0]) };
                if is_cold == 1 {
                    expected.fill_with(|| stream.sample(StandardNormal));
                } else {
                    expected.copy_within(2 * 7.., 0);
                    expected.copy_within(N - 3 * 7..N - 2 * 7, N - 2 * 7);
                    expected.copy_within(N - 3 * 7..N - 2 * 7, N - 7);
                }
                let mut oracle = gaussian(0.1, 0.05);
                oracle.condition(&[cond], 1).unwrap();
                let mut eps = vec![0.0; N];
                for step in steps {
                    oracle.predict_noise(&expected, step.label, &mut eps).unwrap();
                    expected.iter_mut().zip(&eps).for_each(|(x, &eps)| *x = step.mean(*x, eps));
                    if step.sigma > 0.0 {
                        expected.iter_mut().for_each(|x| *x += step.sigma * stream.sample::<f32, _>(StandardNormal));
                    }
                }
                let (chunk, _) = tick(decoder.as_mut(), &mut gaussian(0.1, 0.05), &mut source, cond, [2, 0, 1]);
                assert_eq!(chunk, expected, "{}", config.label());
            }
        }
    }

    /// The single step at label 0 returns the clean estimate without noise; with a wide prior that is nearly the guess
    /// itself, so the shift shows in the result.
    #[test]
    fn the_guess_moves_by_the_rows_really_executed() {
        let rows: Vec<f32> = (0..N).map(|i| (i / 7) as f32 / 100.0).collect();
        for executed in [0, 1, 5, 15] {
            let mut decoder = build(&DecoderConfig::rti(&[0]));
            decoder.restore(&DecoderSnapshot { previous: Some(rows.clone()), ..DecoderSnapshot::default() }).unwrap();
            let noise = &mut NoiseSource::new(1, 1);
            let (chunk, _) = tick(decoder.as_mut(), &mut gaussian(0.0, 100.0), noise, 0.0, [executed, 0, 1]);
            for (row, got) in chunk.chunks_exact(7).map(|row| row[0]).enumerate() {
                let want = (row + executed).min(15) as f32 / 100.0;
                assert!((got - want).abs() < 1e-3, "{executed} executed, row {row}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_fully_executed_chunk_is_no_start() {
        let mut decoder = build(&rti_with(&[2, 1, 0], ColdStart::Ddim { steps: 4, spacing: Default::default() }));
        let noise = &mut NoiseSource::new(1, 1);
        for (executed, nfe, start) in [(0, 4, DecodeStart::Noise), (15, 3, DecodeStart::Previous), (16, 4, DecodeStart::Noise)] {
            let mut oracle = gaussian(0.1, 0.05);
            let (_, stats) = tick(decoder.as_mut(), &mut oracle, noise, 0.0, [executed, 0, 1]);
            assert_eq!((stats.nfe, stats.start, stats.reinitialised), (nfe, start, false));
            assert_eq!((oracle.evaluations, oracle.rests), (nfe, 1));
        }
    }

    /// The released code kept its guess across episodes.
    #[test]
    fn after_reset_the_first_tick_is_that_of_a_fresh_decoder() {
        let run =
            |decoder: &mut dyn Decoder| tick(decoder, &mut gaussian(0.1, 0.05), &mut NoiseSource::new(9, 1), 0.1, [3, 0, 1]);
        let mut used = build(&DecoderConfig::rti(&[2, 1, 0]));
        tick(used.as_mut(), &mut gaussian(0.1, 0.05), &mut NoiseSource::new(7, 1), 0.0, PLAIN);
        used.reset();
        assert_eq!(run(used.as_mut()), run(build(&DecoderConfig::rti(&[2, 1, 0])).as_mut()));
    }

    /// The ideal denoiser of two values at -g and g flips a guess of the wrong sign just above the log-odds of the closed form. A
    /// cap of one evaluation shows the clean estimate at the first label.
    #[test]
    fn two_valued_entries_flip_at_the_closed_form_threshold() {
        let cases = [
            (1.0, DiscreteTreatment::None, 1.0, 40),
            (1.0, DiscreteTreatment::Clip { factor: 10.0 }, 0.1, 22),
            (10.0, DiscreteTreatment::Scale {}, 0.1, 3),
            (10.0, DiscreteTreatment::Scale {}, 0.1, 5),
        ];
        for (factor, discrete, guess, label) in cases {
            let cap = ExitConfig { tolerance: 0.0, floor: 1, cap: Some(1), max_noise: 1.0 };
            let config = DecoderConfig::Rti {
                labels: Labels::List(vec![label, 0]),
                cold: ColdStart::default(),
                discrete,
                stall: None,
                jump: None,
                options: DecodeOptions { exit: Some(cap), ..DecodeOptions::default() },
            };
            let mut decoder = config.build(&schedule(), oracle::SHAPE, &oracle::actions(factor), None).unwrap();
            let data = 1.0 / factor;
            let threshold = discrete_threshold(&schedule(), label, guess, data.into()) as f32;
            for (log_odds, flips) in [(threshold * 0.99, false), (threshold * 1.01, true)] {
                decoder.restore(&previous(-data)).unwrap();
                let noise = &mut NoiseSource::new(1, 1);
                let (chunk, stats) = tick(decoder.as_mut(), &mut two_modes(data.into()), noise, log_odds, PLAIN);
                assert_eq!((stats.nfe, stats.stop), (1, StopReason::Cap));
                assert!(chunk.chunks_exact(7).all(|row| (row[6] > 0.0) == flips), "{discrete:?} {label} {log_odds}");
            }
        }
    }

    /// Without a draft's noise, one step at label 0 under a wide prior gives the draft back; with it, the error is that of the level.
    #[test]
    fn a_draft_is_noised_to_the_first_level_and_replaces_the_cold_chain() {
        for (renoise, level) in [(false, 0.0), (true, 0.182)] {
            let cold = ColdStart::Draft { renoise, labels: Some(vec![10, 0]) };
            let mut decoder = build(&rti_with(&[0], cold));
            let mut seen = Vec::new();
            {
                let mut oracle = oracle::Oracle::new(|x, a, _, _| {
                    seen.push((x - a * 0.3) as f32);
                    x
                });
                oracle.draft = Some(0.3);
                let (_, stats) = tick(decoder.as_mut(), &mut oracle, &mut NoiseSource::new(1, 1), 0.0, PLAIN);
                assert_eq!((stats.nfe, stats.start), (3, DecodeStart::Draft));
                let (_, stats) = tick(decoder.as_mut(), &mut oracle, &mut NoiseSource::new(1, 1), 0.0, PLAIN);
                assert_eq!((stats.nfe, stats.start), (1, DecodeStart::Previous));
            }
            let (mean, std) = mean_and_std(&seen[..N]);
            let offset = if renoise { 0.0 } else { 0.3 * (1.0 - schedule().alpha_bar(10).sqrt()) };
            assert!((mean - offset).abs() < 0.06 && (std - level).abs() < 0.04, "renoise {renoise}: {mean} {std}");
        }
    }

    #[test]
    fn a_policy_without_drafter_says_how_to_get_one() {
        let mut decoder = build(&rti_with(&[2, 1, 0], ColdStart::Draft { renoise: true, labels: None }));
        let request = DecodeRequest { cond: &[0.0], rows_executed: 0, rows_committed: 0, rows_needed: 1 };
        let mut oracle = gaussian(0.0, 0.1);
        let error = decoder.decode(&mut oracle, &request, &mut NoiseSource::new(1, 1), &mut [0.0; N]).unwrap_err();
        assert!(error.to_string().contains("reverie train draft"), "{error}");
        assert_eq!(oracle.rests, 1, "threads sleep after an error too");
    }

    #[test]
    fn a_restored_decoder_goes_on_identically() {
        let mut config = DecoderConfig::rti(&[3, 1, 0]);
        if let DecoderConfig::Rti { stall, .. } = &mut config {
            *stall = Some(StallConfig { ticks: 2, action: 0.5 });
        }
        let (mut first, mut noise) = (build(&config), NoiseSource::new(5, 1));
        for _ in 0..2 {
            tick(first.as_mut(), &mut gaussian(0.1, 0.05), &mut noise, 0.0, PLAIN);
        }
        let (snapshot, mut noise_copy) = (first.snapshot(), noise.clone());
        let text = serde_json::to_string(&snapshot).unwrap();
        let mut second = build(&config);
        second.restore(&serde_json::from_str(&text).unwrap()).unwrap();
        for _ in 0..3 {
            let expected = tick(first.as_mut(), &mut gaussian(0.1, 0.05), &mut noise, 0.0, PLAIN);
            assert_eq!(tick(second.as_mut(), &mut gaussian(0.1, 0.05), &mut noise_copy, 0.0, PLAIN), expected);
        }
        assert_eq!(second.snapshot(), first.snapshot());
        let wrong = DecoderSnapshot { previous: Some(vec![0.0; N - 1]), ..DecoderSnapshot::default() };
        assert!(matches!(second.restore(&wrong), Err(PolicyError::Length { what: "previous chunk", .. })));
    }

    #[test]
    fn wrong_lengths_and_nan_are_refused_and_forget_the_chunk() {
        let mut decoder = build(&DecoderConfig::rti(&[3, 1, 0]));
        let mut decode = |cond: &[f32], candidates: usize, len: usize, poison: bool| {
            decoder.restore(&previous(0.1)).unwrap();
            let mut oracle = oracle::Oracle::new(move |x, _, _, _| if poison { f64::NAN } else { x });
            let request = DecodeRequest { cond, rows_executed: 1, rows_committed: 0, rows_needed: 1 };
            let mut chunk = vec![0.0; len];
            let error = decoder.decode(&mut oracle, &request, &mut NoiseSource::new(1, candidates), &mut chunk).unwrap_err();
            assert_eq!(decoder.snapshot(), DecoderSnapshot::default());
            error
        };
        assert!(matches!(decode(&[], 1, N, false), PolicyError::Length { what: "condition", expected: 1, got: 0 }));
        assert!(matches!(decode(&[0.0], 2, N, false), PolicyError::Length { what: "noise source (candidates)", .. }));
        assert!(matches!(decode(&[0.0], 1, N - 1, false), PolicyError::Length { what: "chunk", .. }));
        assert!(matches!(decode(&[f32::NAN], 1, N, false), PolicyError::NotFinite { what: "condition", index: 0, .. }));
        assert!(matches!(decode(&[0.0], 1, N, true), PolicyError::NotFinite { what: "decoded chunk", .. }));
    }
}
