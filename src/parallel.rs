//! Independent work over all cores, results in order.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::Result;

/// Runs `work(index)` for `0..count` on `threads` threads. Each thread makes its own context first. The first error ends it.
pub fn map<C, T: Send>(
    count: usize,
    threads: usize,
    context: impl Fn() -> Result<C> + Sync,
    work: impl Fn(&mut C, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let worker = || -> Result<()> {
        let mut context = context()?;
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            anyhow::ensure!(!crate::INTERRUPTED.load(Ordering::Relaxed), "interrupted; nothing was written");
            let result = work(&mut context, index)?;
            if let Ok(mut results) = results.lock() {
                results[index] = Some(result);
            }
        }
        Ok(())
    };
    let guarded = || worker().inspect_err(|_| failed.store(true, Ordering::Relaxed));
    std::thread::scope(|scope| -> Result<()> {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(guarded)).collect();
        for handle in handles {
            handle.join().map_err(|_| anyhow::anyhow!("a worker thread panicked"))??;
        }
        Ok(())
    })?;
    let results = results.into_inner().map_err(|_| anyhow::anyhow!("a worker thread panicked"))?;
    results.into_iter().map(|result| result.ok_or_else(|| anyhow::anyhow!("a piece of work was left out"))).collect()
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
