//! AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::isa::Isa;

/// AVX2 with FMA. Products of bfloat16 and of bytes are made of wider ones.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// AVX-512 (F, BW, DQ, VL). Products of bfloat16 and of bytes are made of wider ones.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// AVX-512 with the dot products of bfloat16 (BF16) and of bytes (VNNI).
#[derive(Clone, Copy)]
pub(super) struct Avx512Dot;

impl Isa for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type V = __m256;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: see the trait; so for every function here.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn splat_group(from: *const u32) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_set1_ps(f32::from_bits(from.read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above. The instruction returns its second operand if one is NaN.
        unsafe { _mm256_min_ps(b, a) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_max_ps(b, a) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn exp2_integral(n: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    unsafe fn i32_to_f32(v: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(v)) }
    }

    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, v: Self::V) {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, nan, is_nan));
            let packed = _mm256_packus_epi32(upper, upper);
            let packed = _mm256_permute4x64_epi64::<0b1000>(packed);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
        }
    }

    #[inline(always)]
    unsafe fn dot_bf16(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
            let high = |v| _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32)));
            Self::fma(low(w), low(x), Self::fma(high(w), high(x), sum))
        }
    }

    #[inline(always)]
    unsafe fn dot_i8(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
        // SAFETY: as above. Products of 16-bit halves are exact; `maddubs` would saturate.
        unsafe {
            let (w, x) = (_mm256_castps_si256(w), _mm256_castps_si256(x));
            let w_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            let w_odd = _mm256_srai_epi16::<8>(w);
            let x_even = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
            let x_odd = _mm256_srli_epi16::<8>(x);
            let dot = _mm256_add_epi32(_mm256_madd_epi16(w_even, x_even), _mm256_madd_epi16(w_odd, x_odd));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), dot))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const u32) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

/// What both kinds of AVX-512 share; `$bf16` and `$i8` are the bodies of the dot products.
macro_rules! avx512 {
    ($isa:ty, $bf16:expr, $i8:expr) => {
        impl Isa for $isa {
            const LANES: usize = 16;
            const REGISTERS: usize = 32;
            type V = __m512;

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self::V {
                // SAFETY: see the trait; so for every function here.
                unsafe { _mm512_loadu_ps(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut f32, v: Self::V) {
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(to, v) }
            }

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_set1_ps(value) }
            }

            #[inline(always)]
            unsafe fn splat_group(from: *const u32) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_set1_ps(f32::from_bits(from.read_unaligned())) }
            }

            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_add_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_sub_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_mul_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_div_ps(a, b) }
            }

            #[inline(always)]
            unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_min_ps(b, a) }
            }

            #[inline(always)]
            unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_max_ps(b, a) }
            }

            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            unsafe fn exp2_integral(n: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe {
                    let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
                }
            }

            #[inline(always)]
            unsafe fn i32_to_f32(v: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(v)) }
            }

            #[inline(always)]
            unsafe fn store_bf16(to: *mut u16, v: Self::V) {
                // SAFETY: as above.
                unsafe {
                    let bits = _mm512_castps_si512(v);
                    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                    let nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
                    let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                    let upper = _mm512_srli_epi32::<16>(_mm512_mask_mov_epi32(rounded, is_nan, nan));
                    _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(upper));
                }
            }

            #[inline(always)]
            unsafe fn dot_bf16(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { $bf16(sum, w, x) }
            }

            #[inline(always)]
            unsafe fn dot_i8(sum: Self::V, w: Self::V, x: Self::V) -> Self::V {
                // SAFETY: as above.
                unsafe { $i8(sum, w, x) }
            }

            #[inline(always)]
            unsafe fn prefetch(from: *const u32) {
                // SAFETY: a prefetch of any address is harmless.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
            }
        }
    };
}

avx512!(Avx512, wide_dot_bf16, wide_dot_i8);
avx512!(Avx512Dot, native_dot_bf16, native_dot_i8);

#[inline(always)]
unsafe fn native_dot_bf16(sum: __m512, w: __m512, x: __m512) -> __m512 {
    // SAFETY: as in the trait; `__m512bh` is 64 bytes of any content.
    unsafe { _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512, __m512bh>(w), std::mem::transmute::<__m512, __m512bh>(x)) }
}

#[inline(always)]
unsafe fn native_dot_i8(sum: __m512, w: __m512, x: __m512) -> __m512 {
    // SAFETY: as in the trait.
    unsafe { _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), _mm512_castps_si512(x), _mm512_castps_si512(w))) }
}

#[inline(always)]
unsafe fn wide_dot_bf16(sum: __m512, w: __m512, x: __m512) -> __m512 {
    // SAFETY: as in the trait.
    unsafe {
        let low = |v| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v)));
        let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        let high = |v| _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), mask));
        _mm512_fmadd_ps(low(w), low(x), _mm512_fmadd_ps(high(w), high(x), sum))
    }
}

#[inline(always)]
unsafe fn wide_dot_i8(sum: __m512, w: __m512, x: __m512) -> __m512 {
    // SAFETY: as in the trait. Products of 16-bit halves are exact.
    unsafe {
        let (w, x) = (_mm512_castps_si512(w), _mm512_castps_si512(x));
        let w_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w));
        let w_odd = _mm512_srai_epi16::<8>(w);
        let x_even = _mm512_and_si512(x, _mm512_set1_epi16(0xff));
        let x_odd = _mm512_srli_epi16::<8>(x);
        let dot = _mm512_add_epi32(_mm512_madd_epi16(w_even, x_even), _mm512_madd_epi16(w_odd, x_odd));
        _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sum), dot))
    }
}
