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
