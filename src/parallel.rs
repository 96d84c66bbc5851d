//! Independent work over all cores, results in order.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
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

/// How far ahead of the slowest piece of work the others may run, pieces a thread.
const AHEAD: usize = 1;

/// What workers and consumer of [`in_order`] share.
struct Queue<T> {
    next: usize,
    consumed: usize,
    done: BTreeMap<usize, T>,
    /// Set when no more work is to be begun: the consumer has enough, a worker failed, or the user interrupted.
    closed: bool,
}

/// Runs `work(index)` for the indices from `first` on, on `threads` threads, and hands the results to `consume` in order on this
/// thread, until it breaks. A few results wait at most, so that memory does not grow with their number. An interruption ends it in good
/// order: results before the first that is missing are consumed.
pub fn in_order<C, T: Send>(
    first: usize,
    threads: usize,
    context: impl Fn() -> Result<C> + Sync,
    work: impl Fn(&mut C, usize) -> Result<T> + Sync,
    mut consume: impl FnMut(usize, T) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let threads = threads.max(1);
    let queue = Mutex::new(Queue { next: first, consumed: first, done: BTreeMap::new(), closed: false });
    let changed = Condvar::new();
    // A poisoned lock means that a thread panicked, which the join below reports.
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let close = || {
        lock().closed = true;
        changed.notify_all();
    };
    let worker = || -> Result<()> {
        let mut context = context()?;
        loop {
            let index = {
                let mut queue = lock();
                while !queue.closed && queue.next >= queue.consumed + AHEAD * threads {
                    queue = changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                if queue.closed || crate::INTERRUPTED.load(Ordering::Relaxed) {
                    return Ok(());
                }
                queue.next += 1;
                queue.next - 1
            };
            let result = work(&mut context, index)?;
            lock().done.insert(index, result);
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    // Also when it panics, the consumer must not wait for it.
                    let closing = Closing(close);
                    let result = worker();
                    if result.is_ok() {
                        std::mem::forget(closing);
                        changed.notify_all();
                    }
                    result
                })
            })
            .collect();
        // Also when it panics, the workers must not wait for it.
        let closing = Closing(close);
        let mut enough = false;
        let consumed = (|| -> Result<()> {
            loop {
                let index = {
                    let mut queue = lock();
                    loop {
                        let index = queue.consumed;
                        if queue.done.contains_key(&index) {
                            break;
                        }
                        let idle = workers.iter().all(std::thread::ScopedJoinHandle::is_finished);
                        if idle || (queue.closed && queue.next == index) {
                            return Ok(());
                        }
                        queue = changed
                            .wait_timeout(queue, std::time::Duration::from_millis(100))
                            .unwrap_or_else(PoisonError::into_inner)
                            .0;
                    }
                    queue.consumed
                };
                let Some(result) = lock().done.remove(&index) else { return Ok(()) };
                if consume(index, result)?.is_break() {
                    enough = true;
                    return Ok(());
                }
                lock().consumed += 1;
                changed.notify_all();
            }
        })();
        drop(closing);
        for worker in workers {
            let result = worker.join().map_err(|_| anyhow::anyhow!("a worker thread panicked"))?;
            // Who has enough does not care for what failed beyond it, which depends on how far ahead the others were.
            if !enough {
                result?;
            }
        }
        consumed
    })
}

/// Calls its function when it goes.
struct Closing<F: Fn()>(F);

impl<F: Fn()> Drop for Closing<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_few_run_ahead() {
        let (begun, mut seen) = (AtomicUsize::new(0), Vec::new());
        in_order(
            3,
            4,
            || Ok(()),
            |(), index| {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(index * index)
            },
            |index, square| {
                assert!(begun.load(Ordering::Relaxed) <= seen.len() + 4 * AHEAD);
                seen.push((index, square));
                Ok(if index == 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )
        .unwrap();
        assert_eq!(seen, (3..=40).map(|i| (i, i * i)).collect::<Vec<_>>());
    }

    #[test]
    fn what_came_before_a_failure_is_consumed_and_the_failure_told() {
        let mut seen = Vec::new();
        let error = in_order(
            0,
            2,
            || Ok(()),
            |(), index| if index == 7 { anyhow::bail!("seven") } else { Ok(index) },
            |index, _| {
                seen.push(index);
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "seven");
        assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>());
        assert!(seen.len() <= 7);
    }
}
