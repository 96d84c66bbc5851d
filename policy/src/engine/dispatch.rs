//! Which instruction set runs, found at run time.

use serde::{Deserialize, Serialize};

use super::execute::{Job, run_share};
use super::isa::{Isa, Portable};
use super::pool::Barrier;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512, Avx512Dot};
use crate::PolicyError;

/// Instructions that the engine's kernels use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instructions {
    /// The fastest that this CPU has.
    #[default]
    Auto,
    /// AVX-512 with dot products of bfloat16 and bytes (BF16, VNNI).
    Avx512Dot,
    /// AVX-512 F, BW, DQ, VL; bf16 and int8 are widened.
    Avx512,
    /// AVX2 and FMA; bf16 and int8 are widened.
    Avx2,
    /// What the compiler makes of plain Rust: NEON on AArch64, SSE2 on x86-64.
    Portable,
}

impl Instructions {
    /// All but [`Auto`](Self::Auto), the fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512Dot, Self::Avx512, Self::Avx2, Self::Portable];

    /// Its name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512Dot => "avx512_dot",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this CPU has them.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = || {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            };
            match self {
                Self::Avx512Dot => avx512() && is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bf16"),
                Self::Avx512 => avx512(),
                Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                Self::Auto | Self::Portable => true,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Auto | Self::Portable)
    }

    /// The instructions to use.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if this CPU doesn't have them, with those that it has.
    pub fn resolve(self) -> Result<Self, PolicyError> {
        let mut there = Self::ALL.into_iter().filter(|i| i.available());
        if self == Self::Auto {
            return Ok(there.next().unwrap_or(Self::Portable));
        }
        if !self.available() {
            let names: Vec<_> = there.map(Self::name).collect();
            return Err(PolicyError::config("engine.instructions", self.name(), format!("this CPU has {}", names.join(", "))));
        }
        Ok(self)
    }

    /// Lanes of 32 bits.
    pub(super) const fn lanes(self) -> usize {
        match self {
            Self::Avx512Dot | Self::Avx512 => 16,
            Self::Auto | Self::Avx2 | Self::Portable => 8,
        }
    }

    /// Runs all phases of `job` together with the other threads.
    ///
    /// # Safety
    /// The CPU has these instructions; the job's pointers stay valid until every thread has returned; each of the barrier's
    /// threads calls it once, with its own number.
    pub(super) unsafe fn run(self, job: &Job, thread: usize, barrier: &Barrier) {
        // SAFETY: passed on.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Dot => run_avx512_dot(job, thread, barrier),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => run_avx512(job, thread, barrier),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => run_avx2(job, thread, barrier),
                _ => run_all::<Portable>(job, thread, barrier),
            }
        }
    }
}

#[inline(always)]
unsafe fn run_all<I: Isa>(job: &Job, thread: usize, barrier: &Barrier) {
    // SAFETY: the job's phases are valid; the barrier after each keeps threads from running different ones at once.
    unsafe {
        let phases = &*job.phases;
        for (index, phase) in phases.iter().enumerate() {
            run_share::<I>(job, phase, phases.get(index + 1), thread);
            barrier.wait(thread);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")]
unsafe fn run_avx512_dot(job: &Job, thread: usize, barrier: &Barrier) {
    // SAFETY: passed on.
    unsafe { run_all::<Avx512Dot>(job, thread, barrier) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
unsafe fn run_avx512(job: &Job, thread: usize, barrier: &Barrier) {
    // SAFETY: passed on.
    unsafe { run_all::<Avx512>(job, thread, barrier) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(job: &Job, thread: usize, barrier: &Barrier) {
    // SAFETY: passed on.
    unsafe { run_all::<Avx2>(job, thread, barrier) }
}
