//! Threads that work on one evaluation together, and spin only while a tick is due.
//!
//! Between the evaluations of a tick there are a few microseconds, which no sleep survives: from [`Pool::wake`] to
//! [`Pool::rest`] the workers spin. Otherwise they are parked and cost nothing.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

use super::dispatch::Instructions;
use super::execute::Job;

/// Rounds of a spin before the core is offered to others: about 100 us. On a machine with fewer cores than threads a waiting
/// thread must not keep the one that it waits for from running.
const SPINS_BEFORE_YIELD: u32 = 4096;

#[inline(always)]
fn spin_until(mut done: impl FnMut() -> bool) {
    let mut spins = 0;
    while !done() {
        spins += 1;
        if spins < SPINS_BEFORE_YIELD {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

/// Lets threads go on only when all have come: each counts its own arrivals and waits for the others' counts.
#[derive(Debug)]
pub(super) struct Barrier(Box<[Counter]>);

impl Barrier {
    fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Counter::default()).collect())
    }

    /// Waits for all others. What they wrote before is then seen.
    #[inline(always)]
    pub fn wait(&self, thread: usize) {
        if self.0.len() == 1 {
            return;
        }
        let mine = self.0[thread].0.load(Ordering::Relaxed).wrapping_add(1);
        self.0[thread].0.store(mine, Ordering::Release);
        for (_, other) in self.0.iter().enumerate().filter(|(index, _)| *index != thread) {
            spin_until(|| (other.0.load(Ordering::Acquire).wrapping_sub(mine) as isize) >= 0);
        }
    }
}

struct Shared {
    instructions: Instructions,
    barrier: Barrier,
    /// Number of the newest job.
    epoch: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    awake: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: `job` is written only by the pool's owner while all workers wait for the next epoch, and read by them after they have
// seen it (release and acquire). Its pointers stay valid until the owner, who takes part in the last barrier, returns.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// Ends the process if a thread unwinds inside a job: the others would wait for it for ever, or work on memory that is gone.
struct NoUnwinding;

impl Drop for NoUnwinding {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The calling thread and its workers.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
}

impl Pool {
    /// A pool of `threads`, the caller included.
    pub fn new(threads: usize, instructions: Instructions) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            instructions,
            barrier: Barrier::new(threads),
            epoch: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            awake: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self { shared, workers: Vec::new() };
        for thread in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let handle = std::thread::Builder::new().name(format!("decode-{thread}")).spawn(move || work(&shared, thread))?;
            pool.workers.push((handle.thread().clone(), Some(handle)));
        }
        Ok(pool)
    }

    /// Makes the workers spin for jobs.
    pub fn wake(&self) {
        if !self.workers.is_empty() && !self.shared.awake.swap(true, Ordering::AcqRel) {
            self.workers.iter().for_each(|(thread, _)| thread.unpark());
        }
    }

    /// Lets them sleep.
    pub fn rest(&self) {
        self.shared.awake.store(false, Ordering::Release);
    }

    /// Runs all phases of `job`; returns when every thread is done.
    ///
    /// # Safety
    /// As for [`Instructions::run`]. The job has at least one phase: its barrier is what keeps workers from reading the next
    /// job early.
    pub unsafe fn run(&mut self, job: Job) {
        let shared = &*self.shared;
        let _guard = NoUnwinding;
        if !self.workers.is_empty() {
            self.wake();
            // SAFETY: every worker has passed the last job's last barrier and reads `job` only after the next epoch.
            unsafe { *shared.job.get() = Some(job) };
            shared.epoch.fetch_add(1, Ordering::Release);
        }
        // SAFETY: passed on; this is thread 0.
        unsafe { shared.instructions.run(&job, 0, &shared.barrier) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.awake.store(false, Ordering::Release);
        for (thread, handle) in &mut self.workers {
            thread.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

fn work(shared: &Shared, thread: usize) {
    let mut seen = 0;
    loop {
        while shared.epoch.load(Ordering::Acquire) == seen {
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            if !shared.awake.load(Ordering::Acquire) {
                std::thread::park();
                continue;
            }
            let wait = || {
                shared.epoch.load(Ordering::Acquire) != seen
                    || !shared.awake.load(Ordering::Acquire)
                    || shared.stop.load(Ordering::Acquire)
            };
            spin_until(wait);
        }
        // One at a time: the owner waits at a job's last barrier before it gives the next.
        seen += 1;
        // SAFETY: written before the epoch that was just seen, and not again before this thread has passed the job's barriers.
        if let Some(job) = unsafe { *shared.job.get() } {
            let _guard = NoUnwinding;
            // SAFETY: as the owner promised to `run`; each worker has its own number.
            unsafe { shared.instructions.run(&job, thread, &shared.barrier) }
        }
    }
}
