//! The CPU decode engine: a checkpoint's network without a tensor library.
//!
//! Weights are packed once, in the order in which they are read, as f32, bf16 or int8; what depends on the noise level alone is
//! tabulated; what depends on the condition alone is computed once a tick. An evaluation allocates nothing, works in memory that
//! its caller owns, and streams every weight once, whatever the batch. Convolutions are followed at once by group norm, Mish,
//! FiLM and the residual sum, on the thread that computed them.
//!
//! ```
//! use reverie_policy::{Checkpoint, Denoiser as _, NetworkConfig, PolicyError, engine::{Engine, EngineConfig}};
//! let checkpoint = Checkpoint::untrained(NetworkConfig::default(), None, &["open_drawer"], 0)?;
//! let engine = Engine::new(&checkpoint, &EngineConfig::default(), 1)?;
//! let mut denoiser = engine.denoiser()?;
//! let shape = denoiser.shape();
//! denoiser.condition(&vec![0.0; shape.n_cond], 1)?;
//! let (x, mut eps) = (vec![0.5; shape.chunk_len()], vec![0.0; shape.chunk_len()]);
//! denoiser.predict_noise(&x, 3, &mut eps)?;
//! assert!(eps.iter().all(|e| e.is_finite()));
//! # Ok::<(), PolicyError>(())
//! ```

mod dispatch;
mod execute;
mod isa;
mod kernel;
mod mlp;
mod modulation;
mod pack;
mod pool;
mod program;
mod unet;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use dispatch::Instructions;
pub use pack::WeightFormat;

use crate::error::check_length;
use crate::{Checkpoint, Denoiser, NetworkConfig, PolicyError, PolicyShape};
pub use execute::MAX_BATCH;

use execute::Job;
use pack::Words;
use pool::Pool;
use program::{Builder, Built, Draft, Parameters, Phase, Program, View, layer, plain};

/// How the engine runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// How weights are stored and multiplied.
    pub weights: WeightFormat,
    /// Threads that work on one evaluation, the caller included (1). They spin while a tick is decoded.
    pub threads: usize,
    /// Instructions to use (auto). Asking for those that the CPU lacks is an error.
    pub instructions: Instructions,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { weights: WeightFormat::F32, threads: 1, instructions: Instructions::Auto }
    }
}

/// More threads than this are a typing error.
const MAX_THREADS: usize = 64;

/// A network, packed. Its denoisers share it.
#[derive(Clone, Debug)]
pub struct Engine {
    program: Arc<Program>,
    shape: PolicyShape,
    instructions: Instructions,
}

impl Engine {
    /// Packs the network of `checkpoint`, and its drafter if it has one, for batches of up to `max_batch` chunks, at most
    /// [`MAX_BATCH`].
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the CPU lacks the instructions that are asked for, or threads or batch are out of range.
    pub fn new(checkpoint: &Checkpoint, config: &EngineConfig, max_batch: usize) -> Result<Self, PolicyError> {
        let instructions = config.instructions.resolve()?;
        if !(1..=MAX_THREADS).contains(&config.threads) {
            return Err(PolicyError::config("engine.threads", config.threads, format!("must be in 1..={MAX_THREADS}")));
        }
        if !(1..=MAX_BATCH).contains(&max_batch) {
            return Err(PolicyError::config("batch", max_batch, format!("must be in 1..={MAX_BATCH}")));
        }
        let (shape, labels) = (checkpoint.shape(), checkpoint.info.schedule.n_steps);
        let parameters = Parameters(checkpoint);
        let mut builder = Builder::new(config.weights, instructions.lanes(), config.threads, max_batch);
        let cond = builder.view(1, shape.n_cond, false);
        let (built, mish_cond) = match &checkpoint.info.network {
            NetworkConfig::Unet1d { widths, kernel, groups, step_embed } => {
                let sizes = unet::Sizes { widths, kernel: *kernel, groups: *groups, step_embed: *step_embed, shape };
                (unet::build(&mut builder, &parameters, &sizes, labels)?, true)
            }
            NetworkConfig::ResidualMlp { blocks, step_embed, .. } => {
                (mlp::build(&mut builder, &parameters, shape, (*blocks, *step_embed), labels)?, false)
            }
        };
        let draft = match &checkpoint.info.draft {
            Some(draft) => Some(mlp::build_draft(&mut builder, &parameters, cond, draft.blocks)?),
            None => None,
        };
        let program = assemble(builder, built, cond, mish_cond, draft);
        Ok(Self { program: Arc::new(program), shape, instructions })
    }

    /// A denoiser with its own memory and threads.
    ///
    /// # Errors
    /// [`PolicyError::Threads`] if a thread can't be started.
    pub fn denoiser(&self) -> Result<EngineDenoiser, PolicyError> {
        let pool = Pool::new(self.program.threads, self.instructions).map_err(PolicyError::Threads)?;
        let arena = Words::zeroed(self.program.arena.bytes.div_ceil(4));
        Ok(EngineDenoiser { engine: self.clone(), arena, pool, batch: 0 })
    }

    /// The network's sizes.
    pub fn shape(&self) -> PolicyShape {
        self.shape
    }

    /// The instructions that it uses.
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Bytes of weights that one evaluation reads.
    pub fn weight_bytes(&self) -> usize {
        let convs = self.program.evaluation.iter().flat_map(|phase| phase.convs.iter().chain(&phase.skip));
        convs.map(|conv| 4 * self.program.matrices[conv.matrix].words()).sum()
    }
}

/// Adds the condition's phase, packs everything and lays out the memory.
fn assemble(mut builder: Builder<'_>, built: Built, cond: View, mish_cond: bool, draft: Option<(Vec<Phase>, View)>) -> Program {
    let Built { evaluation, x, eps, modulation: tables } = built;
    let n = tables.n;
    let modulation = builder.view(1, n, false);
    let (n_cond, weight) = (cond.channels, tables.cond);
    let input = if mish_cond { builder.view(1, n_cond, false) } else { cond };
    let kernel = mlp::dense(n, n_cond, move |row, column| weight[row * n_cond + column]);
    let zeros = vec![0.0; n];
    let epilogue = plain(modulation);
    let condition = vec![builder.phase(program::Layer { epilogue, ..layer(WeightFormat::F32, input, kernel, &zeros, 1) })];
    let draft = draft.map(|(phases, chunk)| Draft { phases, chunk });
    let (threads, max_batch) = (builder.threads, builder.max_batch);
    let all = condition.iter().chain(&evaluation).chain(draft.iter().flat_map(|draft| &draft.phases));
    let (weights, matrices, arena) = builder.finish(all);
    Program {
        weights,
        matrices,
        cond,
        mish_cond: mish_cond.then_some(input),
        x,
        eps,
        modulation,
        table: tables.table,
        table_row: n,
        draft,
        arena,
        max_batch,
        threads,
        condition,
        evaluation,
    }
}

/// [`Engine`] as a [`Denoiser`]: the network with memory to work in.
pub struct EngineDenoiser {
    engine: Engine,
    arena: Words,
    pool: Pool,
    batch: usize,
}

impl std::fmt::Debug for EngineDenoiser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineDenoiser").field("engine", &self.engine).field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl EngineDenoiser {
    /// The values of `view` in each sample's row.
    fn rows(&mut self, view: View, batch: usize) -> impl Iterator<Item = &mut [f32]> {
        // SAFETY: the arena is initialised memory, and any bits are an f32.
        let values: &mut [f32] = unsafe { std::mem::transmute::<&mut [u32], &mut [f32]>(self.arena.as_mut_slice()) };
        let samples = values[view.at / 4..][..batch * view.sample].chunks_exact_mut(view.sample);
        samples.flat_map(move |sample| sample.chunks_exact_mut(view.row).map(move |row| &mut row[..view.channels]))
    }

    fn write(&mut self, view: View, batch: usize, values: &[f32]) {
        for (row, values) in self.rows(view, batch).zip(values.chunks_exact(view.channels)) {
            row.copy_from_slice(values);
        }
    }

    fn read(&mut self, view: View, batch: usize, values: &mut [f32]) {
        for (row, values) in self.rows(view, batch).zip(values.chunks_exact_mut(view.channels)) {
            values.copy_from_slice(row);
        }
    }

    fn check_condition(&self) -> Result<(), PolicyError> {
        if self.batch == 0 {
            return Err(PolicyError::config("condition", "none", "set one before an evaluation"));
        }
        Ok(())
    }

    fn run(&mut self, phases: fn(&Program) -> &[Phase], label: usize) {
        let program = &*self.engine.program;
        let job = Job {
            program,
            phases: phases(program),
            arena: self.arena.as_mut_slice().as_mut_ptr().cast(),
            batch: self.batch,
            label,
        };
        // SAFETY: program and arena outlive the call; batch and label were checked; the instructions were found on this CPU.
        unsafe { self.pool.run(job) }
    }
}

impl Denoiser for EngineDenoiser {
    fn shape(&self) -> PolicyShape {
        self.engine.shape
    }

    fn condition(&mut self, cond: &[f32], batch: usize) -> Result<(), PolicyError> {
        let n_cond = self.engine.shape.n_cond;
        check_length("condition", batch * n_cond, cond.len())?;
        if !(1..=self.engine.program.max_batch).contains(&batch) {
            let reason = format!("the engine was laid out for 1..={}", self.engine.program.max_batch);
            return Err(PolicyError::config("batch", batch, reason));
        }
        self.pool.wake();
        self.batch = batch;
        self.write(self.engine.program.cond, batch, cond);
        if let Some(view) = self.engine.program.mish_cond {
            for (row, cond) in self.rows(view, batch).zip(cond.chunks_exact(n_cond)) {
                row.iter_mut().zip(cond).for_each(|(to, &value)| *to = modulation::mish_scalar(value));
            }
        }
        self.run(|program| &program.condition, 0);
        Ok(())
    }

    fn predict_noise(&mut self, x: &[f32], label: usize, eps: &mut [f32]) -> Result<(), PolicyError> {
        self.check_condition()?;
        let n = self.batch * self.engine.shape.chunk_len();
        check_length("noisy chunk", n, x.len())?;
        check_length("predicted noise", n, eps.len())?;
        let labels = self.engine.program.table.len() / self.engine.program.table_row;
        if label >= labels {
            return Err(PolicyError::config("label", label, format!("the network has noise levels 0 to {}", labels - 1)));
        }
        self.write(self.engine.program.x, self.batch, x);
        self.run(|program| &program.evaluation, label);
        self.read(self.engine.program.eps, self.batch, eps);
        Ok(())
    }

    fn rest(&mut self) {
        self.pool.rest();
    }

    fn has_draft(&self) -> bool {
        self.engine.program.draft.is_some()
    }

    fn draft(&mut self, chunk: &mut [f32]) -> Result<(), PolicyError> {
        let Some(view) = self.engine.program.draft.as_ref().map(|draft| draft.chunk) else { return Err(PolicyError::NoDrafter) };
        self.check_condition()?;
        check_length("draft", self.batch * self.engine.shape.chunk_len(), chunk.len())?;
        self.run(|program| program.draft.as_ref().map_or(&[], |draft| &draft.phases), 0);
        self.read(view, self.batch, chunk);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
