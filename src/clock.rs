use reverie_schema::{Clock, Stamp};
use rustix::thread::{ClockId, Timespec};

/// Wall time: the system's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Stamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Stamp(time.tv_sec * 1_000_000_000 + time.tv_nsec)
    }

    fn sleep_until(&self, deadline: Stamp) {
        let request = Timespec { tv_sec: deadline.0 / 1_000_000_000, tv_nsec: deadline.0 % 1_000_000_000 };
        // A signal ends the sleep early; a past deadline returns at once.
        while rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request) == Err(rustix::io::Errno::INTR) {}
    }
}
