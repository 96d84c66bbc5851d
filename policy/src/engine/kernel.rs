//! The innermost loops: panels of weights times columns of activations.

#![allow(clippy::needless_range_loop)] // indices run over several arrays at once

use super::isa::Isa;
use super::pack::WeightFormat;

/// Words of a cache line.
const LINE_WORDS: usize = 16;
/// Words between what is multiplied and what is fetched meanwhile. 4 KiB cover the latency of memory at 20 GB/s a core.
const PREFETCH_WORDS: usize = 1024;
/// Most columns that a kernel holds in registers.
const MAX_COLUMNS: usize = 8;

/// How groups of 4 bytes are multiplied.
pub(super) trait Format {
    const FORMAT: WeightFormat;
    /// `sum + w x`.
    unsafe fn dot<I: Isa>(sum: I::V, w: I::V, x: I::V) -> I::V;
}

pub(super) struct F32;
pub(super) struct Bf16;
pub(super) struct Int8;

impl Format for F32 {
    const FORMAT: WeightFormat = WeightFormat::F32;
    #[inline(always)]
    unsafe fn dot<I: Isa>(sum: I::V, w: I::V, x: I::V) -> I::V {
        // SAFETY: the caller's CPU has the instruction set; so below.
        unsafe { I::fma(w, x, sum) }
    }
}

impl Format for Bf16 {
    const FORMAT: WeightFormat = WeightFormat::Bf16;
    #[inline(always)]
    unsafe fn dot<I: Isa>(sum: I::V, w: I::V, x: I::V) -> I::V {
        // SAFETY: as above.
        unsafe { I::dot_bf16(sum, w, x) }
    }
}

impl Format for Int8 {
    const FORMAT: WeightFormat = WeightFormat::Int8;
    #[inline(always)]
    unsafe fn dot<I: Isa>(sum: I::V, w: I::V, x: I::V) -> I::V {
        // SAFETY: as above.
        unsafe { I::dot_i8(sum, w, x) }
    }
}

/// Columns of a product: the rows of an input that a tap reads, of every sample, and the sums that they go to.
pub(super) struct Columns {
    pub batch: usize,
    pub rows: usize,
    pub x: *const u32,
    pub x_row: usize,
    pub x_sample: usize,
    pub sums: *mut f32,
    pub sums_row: usize,
    pub sums_sample: usize,
}

impl Columns {
    /// Adds `w x` to every column, `w` being `groups` times `R` vectors that belong to the groups from `first` on.
    ///
    /// # Safety
    /// The CPU has `I`'s instructions; `w`, the inputs and the sums are as described.
    #[inline(always)]
    pub unsafe fn add<I: Isa, F: Format, const R: usize>(&self, w: *const u32, first: usize, groups: usize) {
        let most = ((I::REGISTERS - R - 2) / R).min(MAX_COLUMNS);
        let all = self.batch * self.rows;
        let passes = all.div_ceil(most).max(1);
        // In even shares: a kernel with few columns waits for its weights.
        let share = all.div_ceil(passes);
        let block = groups * R * I::LANES;
        for pass in 0..passes {
            let next = pass * share;
            let n = all.saturating_sub(next).min(share);
            // With enough passes, each fetches its part of the next block, so that memory works all the time.
            let fetch =
                if passes >= R { Fetch::Spread(w.wrapping_add(block + pass * groups * LINE_WORDS)) } else { Fetch::Stream };
            // SAFETY: columns that there are.
            unsafe {
                match n {
                    0 => {}
                    1 => kernel::<I, F, R, 1>(w, self.columns(next, first), groups, fetch),
                    2 => kernel::<I, F, R, 2>(w, self.columns(next, first), groups, fetch),
                    3 => kernel::<I, F, R, 3>(w, self.columns(next, first), groups, fetch),
                    4 => kernel::<I, F, R, 4>(w, self.columns(next, first), groups, fetch),
                    5 => kernel::<I, F, R, 5>(w, self.columns(next, first), groups, fetch),
                    6 => kernel::<I, F, R, 6>(w, self.columns(next, first), groups, fetch),
                    7 => kernel::<I, F, R, 7>(w, self.columns(next, first), groups, fetch),
                    _ => kernel::<I, F, R, 8>(w, self.columns(next, first), groups, fetch),
                }
            }
        }
    }

    /// Inputs and sums of `N` columns.
    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, next: usize, first: usize) -> [(*const u32, *mut f32); N] {
        std::array::from_fn(|n| {
            let (sample, row) = ((next + n) / self.rows, (next + n) % self.rows);
            // SAFETY: columns that there are.
            unsafe {
                let x = self.x.add(sample * self.x_sample + row * self.x_row + first);
                (x, self.sums.add(sample * self.sums_sample + row * self.sums_row))
            }
        })
    }
}

/// What is fetched while a kernel multiplies.
#[derive(Clone, Copy)]
enum Fetch {
    /// Its own weights, [`PREFETCH_WORDS`] ahead.
    Stream,
    /// A line a group from here on.
    Spread(*const u32),
}

/// `R x N` sums stay in registers, each vector of weights is used for `N` columns, each broadcast value for `R` vectors.
#[inline(always)]
unsafe fn kernel<I: Isa, F: Format, const R: usize, const N: usize>(
    w: *const u32,
    columns: [(*const u32, *mut f32); N],
    groups: usize,
    fetch: Fetch,
) {
    // SAFETY: `w` holds `groups * R` vectors, each column `groups` groups, and its sums `R` vectors. Prefetches may go astray.
    unsafe {
        match fetch {
            Fetch::Stream => multiply_add::<I, F, R, N>(w, columns, groups, |w, _| {
                for r in 0..R {
                    I::prefetch(w.wrapping_add(PREFETCH_WORDS + r * I::LANES));
                }
            }),
            Fetch::Spread(from) => multiply_add::<I, F, R, N>(w, columns, groups, |_, group| {
                I::prefetch(from.wrapping_add(group * LINE_WORDS));
            }),
        }
    }
}

/// The innermost loops.
#[inline(always)]
unsafe fn multiply_add<I: Isa, F: Format, const R: usize, const N: usize>(
    mut w: *const u32,
    columns: [(*const u32, *mut f32); N],
    groups: usize,
    fetch: impl Fn(*const u32, usize),
) {
    // SAFETY: as above.
    unsafe {
        let mut sum = [[I::splat(0.0); N]; R];
        for r in 0..R {
            for n in 0..N {
                sum[r][n] = I::load(columns[n].1.add(r * I::LANES));
            }
        }
        for group in 0..groups {
            let mut weights = [I::splat(0.0); R];
            for r in 0..R {
                weights[r] = I::load(w.add(r * I::LANES).cast());
            }
            fetch(w, group);
            for n in 0..N {
                let value = I::splat_group(columns[n].0.add(group));
                for r in 0..R {
                    sum[r][n] = F::dot::<I>(sum[r][n], weights[r], value);
                }
            }
            w = w.add(R * I::LANES);
        }
        for r in 0..R {
            for n in 0..N {
                I::store(columns[n].1.add(r * I::LANES), sum[r][n]);
            }
        }
    }
}
