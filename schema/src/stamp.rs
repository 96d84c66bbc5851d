use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// One control step: 30 Hz, the rate of CALVIN's actions.
pub const CONTROL_PERIOD_NS: i64 = 33_333_333;

/// A moment on an injected monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub i64);

impl Stamp {
    /// This moment plus `ns` nanoseconds.
    #[must_use]
    pub const fn plus_ns(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this moment; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds since the clock's zero.
    pub const fn secs(self) -> f64 {
        self.0 as f64 * 1e-9
    }
}

/// The only source of time: wall time on a robot, simulated time in lockstep.
pub trait Clock: Send + Sync {
    /// The present moment. Never goes back.
    fn now(&self) -> Stamp;

    /// Returns at `deadline` or later; at once if it has passed.
    fn sleep_until(&self, deadline: Stamp);
}

/// A clock that moves only when told to. Sleeping moves it to the deadline.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Moves to `to`, never back.
    pub fn advance_to(&self, to: Stamp) {
        self.0.fetch_max(to.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Stamp) {
        self.advance_to(deadline);
    }
}
