//! The engine's evaluations allocate nothing, on no thread. The only test of its binary: the counter is the whole process's.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use reverie_policy::engine::{Engine, EngineConfig, WeightFormat};
use reverie_policy::{Checkpoint, Denoiser, DraftConfig, NetworkConfig};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: hands every call to the system allocator unchanged; counting touches an atomic only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Conditions, evaluations and drafts of the engine, in every format, with and without a second thread.
#[test]
fn the_engine_allocates_nothing() {
    let network = NetworkConfig::Unet1d { widths: vec![16, 32], kernel: 5, groups: 8, step_embed: 16 };
    let draft = Some(DraftConfig { hidden: 32, blocks: 1 });
    let checkpoint = Checkpoint::untrained(network, draft, &["open_drawer"], 1).unwrap();
    let shape = checkpoint.shape();
    for weights in WeightFormat::ALL {
        for threads in [1, 2] {
            let config = EngineConfig { weights, threads, ..EngineConfig::default() };
            let mut denoiser = Engine::new(&checkpoint, &config, 2).unwrap().denoiser().unwrap();
            let (cond, x) = (vec![0.1; 2 * shape.n_cond], vec![0.2; 2 * shape.chunk_len()]);
            let mut out = x.clone();
            let mut round = || {
                let before = ALLOCATIONS.load(Ordering::SeqCst);
                for label in 0..10 {
                    denoiser.condition(&cond, 2).unwrap();
                    denoiser.predict_noise(&x, label, &mut out).unwrap();
                    denoiser.draft(&mut out).unwrap();
                    denoiser.rest();
                }
                ALLOCATIONS.load(Ordering::SeqCst) - before
            };
            // The first rounds see threads begin, which allocate, and the test's own harness; an evaluation that allocated
            // would do so in every round.
            let fewest = (0..5).map(|_| round()).min();
            assert_eq!(fewest, Some(0), "{config:?}");
        }
    }
}
