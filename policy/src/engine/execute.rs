//! Runs phases. See [`program`](super::program) for what they are.

#![allow(clippy::needless_range_loop)] // samples index several arrays at once

use super::isa::{Isa, mish};
use super::kernel::{Bf16, Columns, F32, Format, Int8};
use super::pack::{CHANNEL_PAD, WeightFormat};
use super::program::{Add, Conv, Film, Norm, Phase, Program, View};

/// Weights that several samples use one after the other: half of the first cache.
const BLOCK_BYTES: usize = 16 << 10;
/// Most chunks of an evaluation.
pub const MAX_BATCH: usize = 32;
/// PyTorch's default.
const NORM_EPS: f32 = 1e-5;

/// What an evaluation works on. The pointers are valid while it runs.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub program: *const Program,
    pub phases: *const [Phase],
    pub arena: *mut u8,
    pub batch: usize,
    pub label: usize,
}

/// One thread's share of one phase.
///
/// # Safety
/// The CPU has `I`'s instructions; the job's pointers are valid, its batch at most the program's, its label within the table;
/// no other thread runs another phase or the same share meanwhile.
#[inline(always)]
pub(super) unsafe fn run_share<I: Isa>(job: &Job, phase: &Phase, next: Option<&Phase>, thread: usize) {
    // SAFETY: passed on.
    unsafe {
        match phase.format {
            WeightFormat::F32 => Share::<I>::new(job, phase, thread).run::<F32>(next),
            WeightFormat::Bf16 => Share::<I>::new(job, phase, thread).run::<Bf16>(next),
            WeightFormat::Int8 => Share::<I>::new(job, phase, thread).run::<Int8>(next),
        }
    }
}

/// Bytes of the next phase's weights that are fetched while this one normalises and waits at the barrier.
const PREFETCH_NEXT_BYTES: usize = 32 << 10;

/// Quantised inputs: each sample's scale, and the byte that stands for 0.
type Ranges = [[(f32, i32); MAX_BATCH]; 2];

struct Share<'a, I> {
    program: &'a Program,
    job: &'a Job,
    phase: &'a Phase,
    panels: std::ops::Range<usize>,
    /// This thread's own memory.
    own: *mut u8,
    isa: std::marker::PhantomData<I>,
}

impl<'a, I: Isa> Share<'a, I> {
    /// # Safety
    /// Those of [`run_share`], which hold for all functions here.
    #[inline(always)]
    unsafe fn new(job: &'a Job, phase: &'a Phase, thread: usize) -> Self {
        // SAFETY: the program is valid while it runs; each thread has its own part of the arena.
        unsafe {
            let program = &*job.program;
            let own = job.arena.add(program.arena.own + thread * program.arena.own_bytes);
            Self { program, job, phase, panels: phase.share[thread].clone(), own, isa: std::marker::PhantomData }
        }
    }

    #[inline(always)]
    unsafe fn run<F: Format>(&self, next: Option<&Phase>) {
        if self.panels.is_empty() {
            return;
        }
        let (arena, phase) = (&self.program.arena, self.phase);
        // SAFETY: the sums have room for every phase at the largest batch; this thread's rows are its own.
        unsafe {
            let mut ranges = [[(0.0, 0); MAX_BATCH]; 2];
            if F::FORMAT == WeightFormat::Int8 {
                self.quantise(&mut ranges);
            }
            self.sum::<F>(&phase.convs, &phase.bias, self.job.arena.add(arena.sums).cast(), &ranges);
            if let Some(skip) = &phase.skip {
                let sums = self.job.arena.add(arena.skip_sums).cast();
                self.sum::<F>(std::slice::from_ref(skip), &phase.skip_bias, sums, &ranges);
            }
            if let Some(next) = next {
                self.fetch_ahead(next);
            }
            self.finish();
        }
    }

    /// Rows of the output that are this thread's, padding included.
    fn own_rows(&self) -> std::ops::Range<usize> {
        self.panels.start * self.phase.tile_rows..self.panels.end * self.phase.tile_rows
    }

    #[inline(always)]
    unsafe fn fetch_ahead(&self, next: &Phase) {
        // Shares are the same from phase to phase but for their length, so this thread's part begins at the same fraction.
        let matrix = &self.program.matrices[next.convs[0].matrix];
        let first = self.panels.start * next.padded / self.phase.padded / next.tile_rows;
        // SAFETY: prefetches may go astray.
        unsafe {
            let start = self.program.weights.as_ptr().wrapping_add(matrix.start + first * matrix.panel_words());
            for line in 0..(PREFETCH_NEXT_BYTES / 64).min(matrix.panel_words() / 16) {
                I::prefetch(start.wrapping_add(16 * line));
            }
        }
    }

    /// Fills the sums of this thread's rows.
    #[inline(always)]
    unsafe fn sum<F: Format>(&self, convs: &[Conv], bias: &[f32], sums: *mut f32, ranges: &Ranges) {
        // SAFETY: passed on.
        unsafe {
            for conv in convs {
                self.begin_sums::<F>(conv, bias, sums, ranges);
                match self.phase.tile_rows / I::LANES {
                    4 => self.multiply::<F, 4>(conv, sums),
                    _ => self.multiply::<F, 2>(conv, sums),
                }
                if F::FORMAT == WeightFormat::Int8 {
                    self.scale_sums(conv, bias, sums, ranges);
                }
            }
        }
    }

    /// The sums of sample `b` at output row `l` of `conv`.
    #[inline(always)]
    unsafe fn sums_at(&self, conv: &Conv, sums: *mut f32, b: usize, l: usize) -> *mut f32 {
        // SAFETY: within the sums.
        unsafe { sums.add((b * self.phase.rows + conv.first_row + conv.row_step * l) * self.phase.padded) }
    }

    /// The bias; for bytes, whose inputs are off by the byte that stands for 0, what makes up for that.
    #[inline(always)]
    unsafe fn begin_sums<F: Format>(&self, conv: &Conv, bias: &[f32], sums: *mut f32, ranges: &Ranges) {
        let rows = self.own_rows();
        let matrix = &self.program.matrices[conv.matrix];
        for b in 0..self.job.batch {
            for l in 0..conv.rows {
                // SAFETY: this thread's rows of the sums.
                let to = unsafe { std::slice::from_raw_parts_mut(self.sums_at(conv, sums, b, l).add(rows.start), rows.len()) };
                if F::FORMAT != WeightFormat::Int8 {
                    to.copy_from_slice(&bias[rows.clone()]);
                    continue;
                }
                let zero = ranges[conv.input][b].1;
                to.fill(0.0);
                for (t, _) in conv.taps.iter().enumerate().filter(|(_, tap)| (tap.begin..tap.end).contains(&l)) {
                    let tap_sums = &matrix.tap_sums[t * self.phase.padded..][rows.clone()];
                    for (to, sum) in to.iter_mut().zip(tap_sums) {
                        *to = f32::from_bits((to.to_bits() as i32 - zero * sum) as u32);
                    }
                }
            }
        }
    }

    /// From sums of products of bytes to values.
    #[inline(always)]
    unsafe fn scale_sums(&self, conv: &Conv, bias: &[f32], sums: *mut f32, ranges: &Ranges) {
        let matrix = &self.program.matrices[conv.matrix];
        for b in 0..self.job.batch {
            // SAFETY: this thread's rows of the sums; biases and scales are as long.
            unsafe {
                let scale = I::splat(ranges[conv.input][b].0);
                for l in 0..conv.rows {
                    let at = self.sums_at(conv, sums, b, l);
                    for row in self.own_rows().step_by(I::LANES) {
                        let scale = I::mul(scale, I::load(matrix.row_scale.as_ptr().add(row)));
                        let value = I::fma(I::i32_to_f32(I::load(at.add(row))), scale, I::load(bias.as_ptr().add(row)));
                        I::store(at.add(row), value);
                    }
                }
            }
        }
    }

    /// Adds every tap of `conv`, `R` vectors of rows at a time. With more than one sample, so much of a tap at a time that its
    /// weights stay in the first cache until every sample has used them.
    #[inline(always)]
    unsafe fn multiply<F: Format, const R: usize>(&self, conv: &Conv, sums: *mut f32) {
        let (matrix, batch) = (&self.program.matrices[conv.matrix], self.job.batch);
        let vector_bytes = 4 * R * I::LANES;
        let most_groups = if batch == 1 { matrix.groups } else { (BLOCK_BYTES / vector_bytes).min(matrix.groups) };
        // SAFETY: taps read rows that the input has; panels and columns are within the sums.
        unsafe {
            let input = self.input::<F>(conv.input);
            for panel in self.panels.clone() {
                let mut w = self.program.weights.as_ptr().add(matrix.start + panel * matrix.panel_words());
                let sums = sums.add(panel * R * I::LANES);
                for tap in &conv.taps {
                    if tap.begin == tap.end {
                        // Every row that it would read is padding.
                        w = w.add(matrix.tap_words());
                        continue;
                    }
                    let first = (conv.stride * tap.begin).wrapping_add_signed(tap.shift) * input.row;
                    let columns = Columns {
                        batch,
                        rows: tap.end - tap.begin,
                        x: input.at.add(first),
                        x_row: conv.stride * input.row,
                        x_sample: input.sample,
                        sums: self.sums_at(conv, sums, 0, tap.begin),
                        sums_row: conv.row_step * self.phase.padded,
                        sums_sample: self.phase.rows * self.phase.padded,
                    };
                    let mut left = matrix.groups;
                    while left > 0 {
                        let groups = left.min(most_groups);
                        columns.add::<I, F, R>(w, matrix.groups - left, groups);
                        w = w.add(groups * R * I::LANES);
                        left -= groups;
                    }
                }
            }
        }
    }

    /// An input in groups of 4 bytes; quantised inputs lie in this thread's own memory, one behind the other.
    #[inline(always)]
    unsafe fn input<F: Format>(&self, index: usize) -> Groups {
        let view = &self.phase.inputs[index];
        if F::FORMAT == WeightFormat::Int8 {
            let bytes = |view: &View| view.quantised_bytes(self.program.max_batch);
            let before: usize = self.phase.inputs[..index].iter().map(bytes).sum();
            let row = view.channels.div_ceil(CHANNEL_PAD);
            // SAFETY: within this thread's memory.
            return Groups { at: unsafe { self.own.add(before).cast() }, row, sample: view.rows * row };
        }
        let group = F::FORMAT.group();
        // SAFETY: within the arena.
        Groups { at: unsafe { self.job.arena.add(view.at).cast() }, row: view.row / group, sample: view.sample / group }
    }

    /// Rounds every input to bytes over the range that it has in each sample. NaN or infinity make the scale NaN.
    #[inline(always)]
    unsafe fn quantise(&self, ranges: &mut Ranges) {
        let mut to = self.own;
        for (index, view) in self.phase.inputs.iter().enumerate() {
            let bytes_per_row = view.channels.next_multiple_of(CHANNEL_PAD);
            for b in 0..self.job.batch {
                // SAFETY: within the arena, and within this thread's memory.
                unsafe {
                    let from = self.job.arena.add(view.at).cast::<f32>().add(b * view.sample);
                    let row = |l: usize| std::slice::from_raw_parts(from.add(l * view.row), view.channels);
                    let (mut low, mut high, mut broken) = ([0.0_f32; 16], [0.0_f32; 16], [0.0_f32; 16]);
                    for l in 0..view.rows {
                        let (vectors, rest) = row(l).as_chunks::<16>();
                        for vector in vectors {
                            for i in 0..16 {
                                low[i] = if vector[i] < low[i] { vector[i] } else { low[i] };
                                high[i] = if vector[i] > high[i] { vector[i] } else { high[i] };
                                broken[i] += vector[i] * 0.0;
                            }
                        }
                        for &value in rest {
                            low[0] = low[0].min(value);
                            high[0] = high[0].max(value);
                            broken[0] += value * 0.0;
                        }
                    }
                    let (low, high) = (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max));
                    let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
                    let (zero, inverse) = ((-low / scale).round_ties_even(), 1.0 / scale);
                    ranges[index][b] = (scale + broken.into_iter().sum::<f32>(), zero as i32);
                    let to = to.add(b * view.rows * bytes_per_row);
                    for l in 0..view.rows {
                        let bytes = std::slice::from_raw_parts_mut(to.add(l * bytes_per_row), bytes_per_row);
                        for (byte, value) in bytes.iter_mut().zip(row(l)) {
                            // Between 0 and 255, also for NaN, which `clamp` would keep: the conversion is defined.
                            #[allow(clippy::manual_clamp)]
                            let scaled = (value * inverse + (zero + 0.5)).max(0.0).min(255.0);
                            *byte = scaled.to_int_unchecked::<i32>() as u8;
                        }
                    }
                }
            }
            // SAFETY: within this thread's memory.
            to = unsafe { to.add(view.quantised_bytes(self.program.max_batch)) };
        }
    }

    /// Everything that follows the sums, for this thread's channels.
    #[inline(always)]
    unsafe fn finish(&self) {
        let (phase, program, arena) = (self.phase, self.program, &self.program.arena);
        let rows = self.own_rows();
        let channels = rows.start..rows.end.min(phase.channels);
        let epilogue = &phase.epilogue;
        // SAFETY: sums, views and the modulation hold whole vectors at each multiple of the lanes below `channels`; partial ones
        // are loaded and stored lane by lane.
        unsafe {
            let own = self.own.add(arena.quantised_bytes).cast::<f32>();
            let (gain, offset) = (own, own.add(arena.most_channels));
            for b in 0..self.job.batch {
                let sums = self.job.arena.add(arena.sums).cast::<f32>().add(b * phase.rows * phase.padded);
                let skip = self.job.arena.add(arena.skip_sums).cast::<f32>().add(b * phase.rows * phase.padded);
                if let Some(norm) = &epilogue.norm {
                    self.normalise(norm, channels.clone(), sums, [gain, offset, own.add(2 * arena.most_channels)]);
                }
                let modulation = self.job.arena.add(program.modulation.at).cast::<f32>().add(b * program.modulation.sample);
                let table = program.table.as_ptr().add(self.job.label * program.table_row);
                for c in channels.clone().step_by(I::LANES) {
                    let lanes = I::LANES.min(channels.end - c);
                    let modulated =
                        |at: usize| I::add(load_part::<I>(table.add(at), lanes), load_part::<I>(modulation.add(at), lanes));
                    let film = match epilogue.film {
                        Some(Film::Affine(at)) => Some((modulated(at + c), modulated(at + phase.channels + c))),
                        Some(Film::Bias(at)) => Some((I::splat(1.0), modulated(at + c))),
                        None => None,
                    };
                    let norm = epilogue.norm.is_some().then(|| (I::load(gain.add(c)), I::load(offset.add(c))));
                    for l in 0..phase.rows {
                        let mut v = I::load(sums.add(l * phase.padded + c));
                        if let Some((gain, offset)) = norm {
                            v = I::fma(v, gain, offset);
                        }
                        if epilogue.mish {
                            v = mish::<I>(v);
                        }
                        if let Some((scale, bias)) = film {
                            v = I::fma(v, scale, bias);
                        }
                        match epilogue.add {
                            Add::Nothing => {}
                            Add::Skip => v = I::add(v, I::load(skip.add(l * phase.padded + c))),
                            Add::Kept(view) => v = I::add(v, load_part::<I>(self.place(&view, b, l, c).cast(), lanes)),
                        }
                        if let Some(view) = &epilogue.keep {
                            store_part::<I>(self.place(view, b, l, c).cast(), v, lanes);
                        }
                        for output in &epilogue.outputs {
                            let v = if output.mish { mish::<I>(v) } else { v };
                            let to = self.place(&output.view, b, l, c);
                            if output.view.narrow {
                                store_part_bf16::<I>(to.cast(), v, lanes);
                            } else {
                                store_part::<I>(to.cast(), v, lanes);
                            }
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn place(&self, view: &View, b: usize, l: usize, c: usize) -> *mut u8 {
        let element = b * view.sample + l * view.row + c;
        // SAFETY: within the arena.
        unsafe { self.job.arena.add(view.at + element * if view.narrow { 2 } else { 4 }) }
    }

    /// `gain` and `offset` of each channel such that `gain v + offset` is normalised over its group, scaled and shifted. The
    /// variance is summed around the mean.
    #[inline(always)]
    unsafe fn normalise(&self, norm: &Norm, channels: std::ops::Range<usize>, sums: *const f32, own: [*mut f32; 3]) {
        let [gain, offset, sum] = own;
        let (rows, per_group) = (self.phase.rows, self.phase.channels / norm.groups);
        let values = (rows * per_group) as f32;
        // SAFETY: the three arrays hold every channel, padded.
        unsafe {
            for c in channels.clone().step_by(I::LANES) {
                let mut total = I::load(sums.add(c));
                for l in 1..rows {
                    total = I::add(total, I::load(sums.add(l * self.phase.padded + c)));
                }
                I::store(sum.add(c), total);
            }
            for group in channels.clone().step_by(per_group) {
                let mean = (group..group + per_group).map(|c| *sum.add(c)).sum::<f32>() / values;
                for c in group..group + per_group {
                    *offset.add(c) = mean;
                }
            }
            for c in channels.clone().step_by(I::LANES) {
                let mean = I::load(offset.add(c));
                let mut total = I::splat(0.0);
                for l in 0..rows {
                    let from_mean = I::sub(I::load(sums.add(l * self.phase.padded + c)), mean);
                    total = I::fma(from_mean, from_mean, total);
                }
                I::store(sum.add(c), total);
            }
            for group in channels.step_by(per_group) {
                let variance = (group..group + per_group).map(|c| *sum.add(c)).sum::<f32>() / values;
                let inverse = 1.0 / (variance + NORM_EPS).sqrt();
                for c in group..group + per_group {
                    *gain.add(c) = norm.gamma[c] * inverse;
                    *offset.add(c) = norm.beta[c] - *offset.add(c) * *gain.add(c);
                }
            }
        }
    }
}

/// An operand in groups of 4 bytes.
struct Groups {
    at: *const u32,
    row: usize,
    sample: usize,
}

#[inline(always)]
unsafe fn load_part<I: Isa>(from: *const f32, lanes: usize) -> I::V {
    // SAFETY: valid for `lanes` values; an array of 16 holds any vector.
    unsafe {
        if lanes == I::LANES {
            return I::load(from);
        }
        let mut values = [0.0; 16];
        std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), lanes);
        I::load(values.as_ptr())
    }
}

#[inline(always)]
unsafe fn store_part<I: Isa>(to: *mut f32, v: I::V, lanes: usize) {
    // SAFETY: as above.
    unsafe {
        if lanes == I::LANES {
            return I::store(to, v);
        }
        let mut values = [0.0; 16];
        I::store(values.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(values.as_ptr(), to, lanes);
    }
}

#[inline(always)]
unsafe fn store_part_bf16<I: Isa>(to: *mut u16, v: I::V, lanes: usize) {
    // SAFETY: as above.
    unsafe {
        if lanes == I::LANES {
            return I::store_bf16(to, v);
        }
        let mut values = [0; 16];
        I::store_bf16(values.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(values.as_ptr(), to, lanes);
    }
}
