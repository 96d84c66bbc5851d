//! Weights in the order in which the kernels read them.
//!
//! A matrix of `rows x (taps * channels)` becomes panels of `tile_rows` rows. Within a panel, for each tap and each *group* of
//! channels, the group's values of all rows of the panel lie together, one group of 4 bytes a row: one f32, two bfloat16 or
//! four i8. A kernel that works on a panel thus reads memory from front to back, once, a vector of rows at a time.

use serde::{Deserialize, Serialize};

use super::isa::bf16_bits;

/// How weights are stored, and what is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightFormat {
    /// As trained.
    #[default]
    F32,
    /// bfloat16 weights and activations, sums in f32. The input and output layers stay f32.
    Bf16,
    /// 8-bit weights with a scale for each output channel; activations quantised to 8 bits layer by layer, by the range that
    /// they have at that evaluation; sums in i32. The input and output layers stay f32.
    Int8,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Its name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Values in a group of 4 bytes.
    pub(super) const fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }
}

/// Channels of every operand are padded to a multiple of this, so that a group never straddles two taps.
pub(super) const CHANNEL_PAD: usize = 4;

/// One matrix, packed; its words lie in a [`Weights`].
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// First word in the store.
    pub start: usize,
    /// Rows of a panel.
    pub tile_rows: usize,
    pub panels: usize,
    /// Groups of a tap.
    pub groups: usize,
    pub taps: usize,
    /// int8: scale of each row, `[panels * tile_rows]`; else empty.
    pub row_scale: Vec<f32>,
    /// int8: sum of each tap's quantised weights, `[taps, panels * tile_rows]`; else empty.
    pub tap_sums: Vec<i32>,
}

impl Packed {
    /// Words of a panel.
    pub const fn panel_words(&self) -> usize {
        self.taps * self.tap_words()
    }

    /// Words of all panels.
    pub const fn words(&self) -> usize {
        self.panels * self.panel_words()
    }

    /// Words of one tap of a panel.
    pub const fn tap_words(&self) -> usize {
        self.groups * self.tile_rows
    }
}

/// A matrix to be packed, read by `at(row, tap, channel)`.
pub(super) struct Matrix<'a> {
    pub rows: usize,
    pub taps: usize,
    pub channels: usize,
    pub at: &'a dyn Fn(usize, usize, usize) -> f32,
}

/// The packed words of a network, in the order of use.
#[derive(Debug)]
pub(super) struct Weights {
    words: Words,
    used: usize,
}

impl Weights {
    /// Room for `words` words.
    pub fn with_capacity(words: usize) -> Self {
        Self { words: Words::zeroed(words), used: 0 }
    }

    /// Words that [`pack`](Self::pack) takes.
    pub fn words_for(matrix: &Matrix<'_>, format: WeightFormat, tile_rows: usize) -> usize {
        let groups = matrix.channels.next_multiple_of(CHANNEL_PAD) / format.group();
        matrix.rows.next_multiple_of(tile_rows) * matrix.taps * groups
    }

    /// Appends `matrix`. Panics without room.
    pub fn pack(&mut self, matrix: &Matrix<'_>, format: WeightFormat, tile_rows: usize) -> Packed {
        let (per_group, panels) = (format.group(), matrix.rows.div_ceil(tile_rows));
        let groups = matrix.channels.next_multiple_of(CHANNEL_PAD) / per_group;
        let value = |row: usize, tap: usize, channel: usize| {
            if row < matrix.rows && channel < matrix.channels { (matrix.at)(row, tap, channel) } else { 0.0 }
        };
        let (start, padded) = (self.used, panels * tile_rows);
        let largest = |row: usize| {
            let all = (0..matrix.taps).flat_map(|tap| (0..matrix.channels).map(move |channel| (tap, channel)));
            all.map(|(tap, channel)| value(row, tap, channel).abs()).fold(0.0, f32::max)
        };
        let mut packed =
            Packed { start, tile_rows, panels, groups, taps: matrix.taps, row_scale: Vec::new(), tap_sums: Vec::new() };
        if format == WeightFormat::Int8 {
            packed.row_scale = (0..padded).map(|row| (largest(row) / 127.0).max(f32::MIN_POSITIVE)).collect();
            packed.tap_sums = vec![0; matrix.taps * padded];
        }
        let words = &mut self.words.as_mut_slice()[start..];
        let mut at = 0;
        for panel in 0..panels {
            for tap in 0..matrix.taps {
                for group in 0..groups {
                    for row in panel * tile_rows..(panel + 1) * tile_rows {
                        let value = |i: usize| value(row, tap, group * per_group + i);
                        words[at] = match format {
                            WeightFormat::F32 => value(0).to_bits(),
                            WeightFormat::Bf16 => u32::from(bf16_bits(value(0))) | u32::from(bf16_bits(value(1))) << 16,
                            WeightFormat::Int8 => {
                                let quantised: [i8; 4] =
                                    std::array::from_fn(|i| (value(i) / packed.row_scale[row]).round_ties_even() as i8);
                                packed.tap_sums[tap * padded + row] += quantised.iter().map(|&q| i32::from(q)).sum::<i32>();
                                u32::from_le_bytes(quantised.map(|q| q as u8))
                            }
                        };
                        at += 1;
                    }
                }
            }
        }
        self.used = start + at;
        packed
    }

    pub fn as_ptr(&self) -> *const u32 {
        self.words.as_slice().as_ptr()
    }
}

/// Memory on huge pages where the system grants them: streaming 100 MB through 4 KiB pages costs a page walk every 64 lines, and
/// the hardware prefetchers stop at each page.
pub(super) struct Words {
    start: std::ptr::NonNull<u32>,
    len: usize,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} words", self.len)
    }
}

impl Words {
    const HUGE_PAGE: usize = 2 << 20;
    const CACHE_LINE: usize = 64;

    fn layout(len: usize) -> std::alloc::Layout {
        let bytes = (len * 4).max(Self::CACHE_LINE);
        let align = if bytes >= Self::HUGE_PAGE { Self::HUGE_PAGE } else { Self::CACHE_LINE };
        std::alloc::Layout::from_size_align(bytes.next_multiple_of(align), align).expect("weights fit the address space")
    }

    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not 0.
        let start = unsafe { std::alloc::alloc(layout) };
        let Some(start) = std::ptr::NonNull::new(start.cast::<u32>()) else { std::alloc::handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if layout.align() == Self::HUGE_PAGE {
            // SAFETY: the range was just allocated, and the advice changes no content. Without huge pages it is only slower.
            let _ = unsafe { rustix::mm::madvise(start.as_ptr().cast(), layout.size(), rustix::mm::Advice::LinuxHugepage) };
        }
        // SAFETY: the allocation holds `layout.size()` bytes.
        unsafe { start.as_ptr().cast::<u8>().write_bytes(0, layout.size()) };
        Self { start, len }
    }

    pub fn as_slice(&self) -> &[u32] {
        // SAFETY: `len` words were allocated and initialised.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) }
    }
}

// SAFETY: plain memory, owned.
unsafe impl Send for Words {}
// SAFETY: shared access only reads.
unsafe impl Sync for Words {}
