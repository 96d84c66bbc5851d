//! A network as a list of phases over one arena of activations.
//!
//! A phase is one layer: convolutions (a linear layer is one over a single row) and what follows them for each value. Its rows
//! of output are shared out to the threads so that a group of the group normalisation never straddles two of them: a thread
//! normalises, activates and writes what it has summed, and one barrier a phase is enough.
//!
//! Activations are `[sample, row, channel]`: the channels that a tap of a convolution reads lie together, and no patches are
//! copied. Taps that would read padding are left out.

use std::ops::Range;

use super::modulation::Modulation;
use super::pack::{CHANNEL_PAD, Matrix, Packed, WeightFormat, Weights};
use crate::{Checkpoint, PolicyError};

/// Where activations lie in the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// First byte.
    pub at: usize,
    /// bfloat16 instead of f32.
    pub narrow: bool,
    /// Elements from sample to sample.
    pub sample: usize,
    /// Elements from row to row.
    pub row: usize,
    pub rows: usize,
    pub channels: usize,
}

impl View {
    /// Bytes of this view as an input in int8, for `max_batch` samples.
    pub fn quantised_bytes(&self, max_batch: usize) -> usize {
        (max_batch * self.rows * self.channels.next_multiple_of(CHANNEL_PAD)).next_multiple_of(64)
    }

    /// The `channels` channels from `first` on.
    pub fn slice(self, first: usize, channels: usize) -> Self {
        Self { at: self.at + first * if self.narrow { 2 } else { 4 }, channels, ..self }
    }
}

/// Output rows `begin..end` of a convolution read input row `stride * row + shift`.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub shift: isize,
    pub begin: usize,
    pub end: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Conv {
    /// Index of its matrix.
    pub matrix: usize,
    /// Which input of the phase.
    pub input: usize,
    pub stride: usize,
    pub taps: Vec<Tap>,
    /// Output row `l` of this convolution is row `first_row + row_step * l` of the phase.
    pub first_row: usize,
    pub row_step: usize,
    pub rows: usize,
}

/// Group normalisation (Wu and He 2018).
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub groups: usize,
    /// `[channels]`, padded to whole vectors.
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// What the noise level and the condition do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Film {
    /// `scale * v + bias`, the scales at this offset of the modulation, the biases behind them.
    Affine(usize),
    /// `v + bias`.
    Bias(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Add {
    Nothing,
    /// What the phase's skip convolution has summed.
    Skip,
    /// An earlier phase's `keep`.
    Kept(View),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub view: View,
    pub mish: bool,
}

/// `v = [mish] [norm] (sum + bias)`, then FiLM, then an addition; `v` is kept and written.
#[derive(Clone, Debug)]
pub(super) struct Epilogue {
    pub norm: Option<Norm>,
    pub mish: bool,
    pub film: Option<Film>,
    pub add: Add,
    pub keep: Option<View>,
    pub outputs: Vec<Output>,
}

#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub format: WeightFormat,
    pub inputs: Vec<View>,
    pub convs: Vec<Conv>,
    pub skip: Option<Conv>,
    /// `[padded rows]` each.
    pub bias: Vec<f32>,
    pub skip_bias: Vec<f32>,
    pub rows: usize,
    pub channels: usize,
    pub tile_rows: usize,
    pub padded: usize,
    /// Panels of each thread.
    pub share: Vec<Range<usize>>,
    pub epilogue: Epilogue,
}

/// A network, packed, for a number of threads. Its phases are run by [`execute`](super::execute).
#[derive(Debug)]
pub(super) struct Program {
    pub weights: Weights,
    pub matrices: Vec<Packed>,
    /// Run once a tick: the condition's part of the modulation.
    pub condition: Vec<Phase>,
    /// Run at every evaluation.
    pub evaluation: Vec<Phase>,
    pub cond: View,
    /// Where Mish of the condition is written before the condition's phase, for a network that wants that.
    pub mish_cond: Option<View>,
    pub x: View,
    pub eps: View,
    /// The condition's part, `[sample, modulation]`.
    pub modulation: View,
    /// The noise level's part, `[labels, modulation]`, rows of `table_row`.
    pub table: Vec<f32>,
    pub table_row: usize,
    /// A one-pass drafter; it runs on the same condition.
    pub draft: Option<Draft>,
    pub arena: Arena,
    pub max_batch: usize,
    pub threads: usize,
}

/// Phases of the drafter, from the condition to a chunk.
#[derive(Debug)]
pub(super) struct Draft {
    pub phases: Vec<Phase>,
    pub chunk: View,
}

/// Sizes and fixed places of the arena.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    pub bytes: usize,
    /// Sums of the running phase, `[sample, row, padded channel]`, and those of its skip convolution.
    pub sums: usize,
    pub skip_sums: usize,
    /// First byte and size of each thread's own memory: quantised inputs, then three arrays of channels.
    pub own: usize,
    pub own_bytes: usize,
    pub quantised_bytes: usize,
    pub most_channels: usize,
}

/// What a network's builder made.
pub(super) struct Built {
    pub evaluation: Vec<Phase>,
    pub x: View,
    pub eps: View,
    pub modulation: Modulation,
}

/// The parameters of a checkpoint by name.
pub(super) struct Parameters<'a>(pub &'a Checkpoint);

impl<'a> Parameters<'a> {
    /// `name.weight` and `name.bias`.
    pub fn pair(&self, name: &str) -> Result<[&'a [f32]; 2], PolicyError> {
        Ok([self.0.tensor(&format!("{name}.weight"))?.data.as_slice(), self.0.tensor(&format!("{name}.bias"))?.data.as_slice()])
    }
}

/// Nothing but the sums, written to `to`.
pub(super) fn plain(to: View) -> Epilogue {
    Epilogue {
        norm: None,
        mish: false,
        film: None,
        add: Add::Nothing,
        keep: None,
        outputs: vec![Output { view: to, mish: false }],
    }
}

/// One convolution of one input; what follows is the caller's.
pub(super) fn layer<'a>(format: WeightFormat, input: View, kernel: Kernel<'a>, bias: &[f32], rows: usize) -> Layer<'a> {
    Layer {
        format,
        inputs: vec![input],
        kernels: vec![(0, kernel)],
        skip: None,
        bias: bias.to_vec(),
        skip_bias: Vec::new(),
        rows,
        epilogue: plain(input),
    }
}

/// Makes matrices and phases; see [`Program`].
pub(super) struct Builder<'a> {
    pub format: WeightFormat,
    pub lanes: usize,
    pub threads: usize,
    pub max_batch: usize,
    matrices: Vec<Pending<'a>>,
    bytes: usize,
}

struct Pending<'a> {
    rows: usize,
    taps: usize,
    channels: usize,
    format: WeightFormat,
    tile_rows: usize,
    at: Box<dyn Fn(usize, usize, usize) -> f32 + 'a>,
}

impl Pending<'_> {
    fn matrix(&self) -> Matrix<'_> {
        Matrix { rows: self.rows, taps: self.taps, channels: self.channels, at: &*self.at }
    }
}

/// A convolution before its matrix is packed: `at(row, tap, channel)`.
pub(super) struct Kernel<'a> {
    pub rows_out: usize,
    pub channels_out: usize,
    pub channels_in: usize,
    pub stride: usize,
    /// Input row of tap `t` at output row `l` is `stride * l + shifts[t]`.
    pub shifts: Vec<isize>,
    pub first_row: usize,
    pub row_step: usize,
    pub at: Box<dyn Fn(usize, usize, usize) -> f32 + 'a>,
}

/// What [`Builder::phase`] takes.
pub(super) struct Layer<'a> {
    pub format: WeightFormat,
    pub inputs: Vec<View>,
    /// With the input that each reads.
    pub kernels: Vec<(usize, Kernel<'a>)>,
    pub skip: Option<(usize, Kernel<'a>)>,
    pub bias: Vec<f32>,
    pub skip_bias: Vec<f32>,
    pub rows: usize,
    pub epilogue: Epilogue,
}

impl<'a> Builder<'a> {
    pub const fn new(format: WeightFormat, lanes: usize, threads: usize, max_batch: usize) -> Self {
        Self { format, lanes, threads, max_batch, matrices: Vec::new(), bytes: 0 }
    }

    /// Room for `[max_batch, rows, channels]`.
    pub fn view(&mut self, rows: usize, channels: usize, narrow: bool) -> View {
        let size = if narrow { 2 } else { 4 };
        // A line more than needed: rows a power of two apart would share the sets of the first cache.
        let row = channels.next_multiple_of(16) + 64 / size;
        let at = self.take(self.max_batch * rows * row * size);
        View { at, narrow, sample: rows * row, row, rows, channels }
    }

    /// Room for an operand of layers in the builder's own format.
    pub fn operand(&mut self, rows: usize, channels: usize) -> View {
        self.view(rows, channels, self.format == WeightFormat::Bf16)
    }

    fn take(&mut self, bytes: usize) -> usize {
        let at = self.bytes;
        self.bytes += bytes.next_multiple_of(64);
        at
    }

    /// A phase; it runs after all those made before.
    pub fn phase(&mut self, layer: Layer<'a>) -> Phase {
        let channels = layer.kernels[0].1.channels_out;
        // Taller panels reuse each broadcast value more often, but hold fewer columns in registers, and a layer that has too
        // few of them would leave a thread without work.
        let tall = 4 * self.lanes;
        let vectors = if layer.rows <= 6 && channels.is_multiple_of(tall * self.threads) { 4 } else { 2 };
        let tile_rows = vectors * self.lanes;
        let panels = channels.div_ceil(tile_rows);
        let unit = match &layer.epilogue.norm {
            Some(norm) => lcm(tile_rows, channels / norm.groups) / tile_rows,
            None => 1,
        };
        let units = panels.div_ceil(unit);
        let share = (0..self.threads)
            .map(|t| (t * units / self.threads * unit).min(panels)..((t + 1) * units / self.threads * unit).min(panels))
            .collect();
        let padded = panels * tile_rows;
        let pad = |mut bias: Vec<f32>| {
            bias.resize(padded, 0.0);
            bias
        };
        let mut conv = |(input, kernel): (usize, Kernel<'a>)| {
            let inputs = layer.inputs[input].rows as isize;
            let taps = kernel.shifts.iter().map(|&shift| {
                let reads = |l: &usize| (0..inputs).contains(&((kernel.stride * l) as isize + shift));
                let begin = (0..kernel.rows_out).find(reads).unwrap_or(0);
                let end = (0..kernel.rows_out).rev().find(reads).map_or(begin, |l| l + 1);
                Tap { shift, begin, end }
            });
            let conv = Conv {
                matrix: self.matrices.len(),
                input,
                stride: kernel.stride,
                taps: taps.collect(),
                first_row: kernel.first_row,
                row_step: kernel.row_step,
                rows: kernel.rows_out,
            };
            self.matrices.push(Pending {
                rows: channels,
                taps: kernel.shifts.len(),
                channels: kernel.channels_in,
                format: layer.format,
                tile_rows,
                at: kernel.at,
            });
            conv
        };
        Phase {
            format: layer.format,
            convs: layer.kernels.into_iter().map(&mut conv).collect(),
            skip: layer.skip.map(&mut conv),
            bias: pad(layer.bias),
            skip_bias: pad(layer.skip_bias),
            rows: layer.rows,
            channels,
            tile_rows,
            padded,
            share,
            epilogue: layer.epilogue,
            inputs: layer.inputs,
        }
    }

    /// Packs all matrices, and lays out the rest of the arena for `phases`.
    pub fn finish<'p>(mut self, phases: impl Iterator<Item = &'p Phase> + Clone) -> (Weights, Vec<Packed>, Arena) {
        let words = self.matrices.iter().map(|m| Weights::words_for(&m.matrix(), m.format, m.tile_rows)).sum();
        let mut weights = Weights::with_capacity(words);
        let matrices = self.matrices.iter().map(|m| weights.pack(&m.matrix(), m.format, m.tile_rows)).collect();
        let most = |of: &dyn Fn(&Phase) -> usize| phases.clone().map(of).max().unwrap_or(0);
        let sums = most(&|phase| phase.rows * phase.padded) * self.max_batch * 4;
        let quantised_bytes = most(&|phase| {
            let input = |view: &View| view.quantised_bytes(self.max_batch);
            if phase.format == WeightFormat::Int8 { phase.inputs.iter().map(input).sum() } else { 0 }
        });
        let most_channels = most(&|phase| phase.padded).next_multiple_of(16);
        let own_bytes = quantised_bytes + 3 * most_channels * 4 + 64;
        let mut arena = Arena { quantised_bytes, most_channels, own_bytes: own_bytes.next_multiple_of(64), ..Arena::default() };
        arena.sums = self.take(sums);
        arena.skip_sums = self.take(sums);
        arena.own = self.take(arena.own_bytes * self.threads);
        // Whole vectors are loaded at the ends of views.
        arena.bytes = self.bytes + 256;
        (weights, matrices, arena)
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}
