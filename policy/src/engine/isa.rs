//! Instruction sets behind one trait, so that every kernel is written once.
//!
//! Kernels are generic over [`Isa`] and `#[inline(always)]`; each instruction set has one entry with `#[target_feature]` into
//! which all of them are inlined (see [`dispatch`](super::dispatch)).

/// Vectors of `LANES` 32-bit lanes.
///
/// # Safety
/// All functions require a CPU with the instruction set; pointers must be valid for a whole vector (`LANES` lanes of 4 bytes),
/// `splat_group` for 4 bytes. No alignment is required.
pub(super) trait Isa: Copy + Send + Sync + 'static {
    /// Lanes of a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// `LANES` values of f32; the integer kernels keep their i32 sums in the same bits.
    type V: Copy;

    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn splat(value: f32) -> Self::V;
    /// One group of 4 bytes in every lane.
    unsafe fn splat_group(from: *const u32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller lane; a NaN in `a` stays.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The larger lane; a NaN in `a` stays.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `2^n` for integral `n` in `-126..=127`.
    unsafe fn exp2_integral(n: Self::V) -> Self::V;
    /// Lanes of i32 as f32.
    unsafe fn i32_to_f32(v: Self::V) -> Self::V;
    /// Rounds to bfloat16, to nearest and ties to even, and stores `LANES` of them.
    unsafe fn store_bf16(to: *mut u16, v: Self::V);
    /// `sum + w0 x0 + w1 x1` per lane: groups of two bfloat16.
    unsafe fn dot_bf16(sum: Self::V, w: Self::V, x: Self::V) -> Self::V;
    /// `sum + w0 x0 + .. + w3 x3` per lane in i32: groups of four, `w` i8 and `x` u8.
    unsafe fn dot_i8(sum: Self::V, w: Self::V, x: Self::V) -> Self::V;
    /// Brings a cache line nearer. `from` need not be valid.
    unsafe fn prefetch(from: *const u32);
}

/// Plain Rust: the path of a CPU without the others. On AArch64, whose baseline has NEON with fused multiply-add, the
/// compiler makes NEON of it.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Portable {
    const N: usize = 8;

    #[inline(always)]
    fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Isa for Portable {
    const LANES: usize = Self::N;
    const REGISTERS: usize = 16;
    type V = [f32; 8];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: valid for 8 lanes, as the trait requires.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: valid for 8 lanes, as the trait requires.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn splat_group(from: *const u32) -> Self::V {
        // SAFETY: valid for 4 bytes, as the trait requires.
        [f32::from_bits(unsafe { from.read_unaligned() }); 8]
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| if b < a { b } else { a })
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| if b > a { b } else { a })
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction, `mul_add` is a call of the C library.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    unsafe fn exp2_integral(n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn i32_to_f32(v: Self::V) -> Self::V {
        v.map(|v| v.to_bits() as i32 as f32)
    }

    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, v: Self::V) {
        let rounded: [u16; 8] = v.map(bf16_bits);
        // SAFETY: valid for 8 values of 2 bytes, as the trait requires.
        unsafe { to.cast::<[u16; 8]>().write_unaligned(rounded) }
    }

    #[inline(always)]
    unsafe fn dot_bf16(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
        let low = |v: [f32; 8]| v.map(|v| f32::from_bits(v.to_bits() << 16));
        let high = |v: [f32; 8]| v.map(|v| f32::from_bits(v.to_bits() & 0xffff_0000));
        // SAFETY: plain Rust.
        unsafe { Self::fma(low(w), low(x), Self::fma(high(w), high(x), sum)) }
    }

    #[inline(always)]
    unsafe fn dot_i8(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|i| {
            let (w, x) = (w[i].to_bits().to_le_bytes(), x[i].to_bits().to_le_bytes());
            let dot: i32 = w.into_iter().zip(x).map(|(w, x)| i32::from(w as i8) * i32::from(x)).sum();
            f32::from_bits((sum[i].to_bits() as i32 + dot) as u32)
        })
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u32) {}
}

/// The upper half of an f32, rounded to nearest, ties to even. NaN stays NaN.
pub(super) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// `e^x` to about 1 in 10^7, for `x` in `[-87, 88]` (Cephes' `expf`: reduction by ln 2 in two parts, polynomial of degree 6).
#[inline(always)]
unsafe fn exp<I: Isa>(x: I::V) -> I::V {
    const POLYNOMIAL: [f32; 6] = [1.987_569_2e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    /// Adding and subtracting it leaves the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let splat = |v: f32| I::splat(v);
        let n = I::sub(I::fma(x, splat(std::f32::consts::LOG2_E), splat(ROUND)), splat(ROUND));
        let r = I::fma(n, splat(-0.693_359_4), x);
        let r = I::fma(n, splat(2.121_944_4e-4), r);
        let mut p = splat(POLYNOMIAL[0]);
        for &c in &POLYNOMIAL[1..] {
            p = I::fma(p, r, splat(c));
        }
        let p = I::add(I::fma(I::mul(p, r), r, r), splat(1.0));
        I::mul(p, I::exp2_integral(n))
    }
}

/// `x tanh(ln(1 + e^x)) = x n / (n + 2)` with `n = e^x (e^x + 2)`.
#[inline(always)]
pub(super) unsafe fn mish<I: Isa>(x: I::V) -> I::V {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        // From 20 on, n / (n + 2) is 1 in f32; below -87, e^x is no normal number and the result 0 to 36 digits.
        let e = exp::<I>(I::max(I::min(x, I::splat(20.0)), I::splat(-87.0)));
        let n = I::mul(e, I::add(e, I::splat(2.0)));
        I::div(I::mul(x, n), I::add(n, I::splat(2.0)))
    }
}
