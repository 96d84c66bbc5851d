//! Scheduling of the threads that must be on time.

use rustix::thread::CpuSet;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// Asks for SCHED_FIFO at `priority` (1-99) for the calling thread. Returns whether it was granted; without it the thread runs on as
/// before.
pub fn fifo(priority: u8) -> bool {
    let Ok(value) = priority.try_into() else { return false };
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(value),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    )
    .is_ok()
}

/// Keeps the calling thread on the last core that the process may use, away from where interrupts usually go. Does nothing on a
/// single core.
pub fn pin_to_last_core() {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return };
    if allowed.count() < 2 {
        return;
    }
    if let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core)) {
        let mut only = CpuSet::new();
        only.set(last);
        // Refused by some containers; then the scheduler chooses.
        let _ = rustix::thread::sched_setaffinity(None, &only);
    }
}

/// Keeps every page resident once it was touched, so that no page is fetched again in a tick. Returns whether it was granted.
pub fn lock_memory() -> bool {
    rustix::mm::mlockall(
        rustix::mm::MlockAllFlags::CURRENT | rustix::mm::MlockAllFlags::FUTURE | rustix::mm::MlockAllFlags::ONFAULT,
    )
    .is_ok()
}
