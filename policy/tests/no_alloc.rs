//! After its first decode a decoder allocates nothing, whatever it is configured to do.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use reverie_policy::{
    ActionNormaliser, ChunkScorer, DecodeRequest, DecodeStart, DecoderConfig, Denoiser, DiscreteEntries, MinMax, NoiseSchedule,
    NoiseSource, PolicyError, PolicyShape,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands every call to the system allocator unchanged; counting touches only a const-initialised thread-local `Cell`
// without destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHAPE: PolicyShape = PolicyShape { horizon: 16, n_act: 7, n_cond: 3 };

/// Takes half of what it sees for noise.
struct Half;

impl Denoiser for Half {
    fn shape(&self) -> PolicyShape {
        SHAPE
    }

    fn condition(&mut self, _: &[f32], _: usize) -> Result<(), PolicyError> {
        Ok(())
    }

    fn predict_noise(&mut self, x: &[f32], _: usize, eps: &mut [f32]) -> Result<(), PolicyError> {
        eps.iter_mut().zip(x).for_each(|(eps, x)| *eps = 0.5 * x);
        Ok(())
    }

    fn draft(&mut self, chunk: &mut [f32]) -> Result<(), PolicyError> {
        chunk.fill(0.1);
        Ok(())
    }
}

struct First;

impl ChunkScorer for First {
    fn score(&mut self, _: &[f32], _: &[f32], scores: &mut [f32]) -> Result<(), PolicyError> {
        scores.fill(0.0);
        Ok(())
    }
}

#[test]
fn decoding_allocates_nothing_after_the_first_chunk() {
    let options = r#""exit": {"tolerance": 0.01}, "inpaint": {}, "best_of": {"candidates": 4"#;
    let configs = [
        format!(r#"{{"name": "ddim", "steps": 10, "options": {{{options}}}}}}}"#),
        format!(
            r#"{{"name": "rti", "labels": [5, 3, 1, 0], "cold": {{"kind": "draft"}}, "stall": {{"ticks": 2, "action": 2.0}},
                "jump": 0.5, "discrete": {{"kind": "clip"}}, "options": {{{options}}}}}}}"#
        ),
        format!(r#"{{"name": "ddpm", "options": {{{options}, "choose": {{"kind": "scorer"}}}}}}}}"#),
    ];
    let range = MinMax { offset: vec![0.0; 7], scale: vec![1.0; 7] };
    let actions = ActionNormaliser { range, discrete: DiscreteEntries { indices: vec![6], factor: 1.0 } };
    for text in configs {
        let config: DecoderConfig = serde_json::from_str(&text).unwrap();
        let mut decoder = config.build(&NoiseSchedule::squared_cosine(100), SHAPE, &actions, None).unwrap();
        decoder.set_scorer(Box::new(First));
        let mut noise = NoiseSource::new(1, decoder.candidates());
        let mut chunk = vec![0.0; SHAPE.chunk_len()];
        let request = DecodeRequest { cond: &[0.0; 3], rows_executed: 1, rows_committed: 2, rows_needed: 1 };
        decoder.decode(&mut Half, &request, &mut noise, &mut chunk).unwrap();
        let before = ALLOCATIONS.get();
        let (mut previous, mut reinitialised) = (0, 0);
        for tick in 0..8 {
            if tick == 6 {
                decoder.reset();
            }
            let stats = decoder.decode(&mut Half, &request, &mut noise, &mut chunk).unwrap();
            previous += u32::from(stats.start == DecodeStart::Previous);
            reinitialised += u32::from(stats.reinitialised);
        }
        assert_eq!(ALLOCATIONS.get(), before, "{}", config.label());
        if config.label().starts_with("rti") {
            assert!(previous > 0 && reinitialised > 0, "warm and cold ticks were both counted: {previous} {reinitialised}");
        }
    }
}
