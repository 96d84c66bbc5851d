//! The servo thread allocates nothing: a counting allocator under the real loop, with chunks, refusals, exhaustion and resets.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use reverie_control::{Cadence, SAMPLE_CAPACITY, Servo, ServoConfig, ServoHandle, ServoRequest, run_servo, servo_channels};
use reverie_schema::{Action, ActionChunk, Clock, HoldReason, JointState, ManualClock, RobotSpec, Stamp};

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

/// Plays robot, policy and supervisor whenever the servo sleeps, so that the run is the same each time.
struct World<F> {
    clock: ManualClock,
    state: Mutex<(ServoHandle, u64, F)>,
    allocations: Mutex<(u64, u64)>,
}

impl<F: FnMut(u64, Stamp, &mut ServoHandle) -> i64 + Send> Clock for World<F> {
    fn now(&self) -> Stamp {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Stamp) {
        let mut state = self.state.lock().unwrap();
        let (handle, wake, act) = &mut *state;
        *wake += 1;
        let oversleep_ns = act(*wake, deadline, handle);
        self.clock.advance_to(deadline.plus_ns(oversleep_ns));
        let count = ALLOCATIONS.with(Cell::get);
        let mut seen = self.allocations.lock().unwrap();
        *seen = (if *wake == 1 { count } else { seen.0 }, count);
    }
}

fn run<F: FnMut(u64, Stamp, &mut ServoHandle) -> i64 + Send>(
    stop: &AtomicBool,
    act: F,
) -> (reverie_control::CadenceReport, u64, ServoHandle) {
    let servo = Servo::new(&RobotSpec::panda(), &ServoConfig::default()).unwrap();
    let (ports, handle) = servo_channels();
    let world = World { clock: ManualClock::default(), state: Mutex::new((handle, 0, act)), allocations: Mutex::new((0, 0)) };
    let report = run_servo(servo, ports, &world, stop);
    let (first, last) = *world.allocations.lock().unwrap();
    (report, last - first, world.state.into_inner().unwrap().0)
}

fn follow(handle: &mut ServoHandle, now: Stamp) {
    let home = RobotSpec::panda().home_rad;
    let position = handle.plant.latest_command().map_or(home, |command| command.position);
    handle.plant.publish_state(&JointState { stamp: now, position, ..JointState::default() });
}

#[test]
fn no_allocation_in_thousands_of_ticks_with_everything_that_can_happen() {
    let stop = AtomicBool::new(false);
    let good: [Action; 16] = std::array::from_fn(|i| Action([(i as f32 - 8.0) / 9.0, 0.3, -0.2, 0.1, 0.5, -0.4, 1.0]));
    let mut nan = good;
    nan[3].0[2] = f32::NAN;
    let mut reasons = [false; 8];
    let mut last_resets = 0;
    let mut cadence = Cadence::new();
    let (report, allocations, _) = run(&stop, |wake, now, handle| {
        if !(3000..3300).contains(&wake) {
            follow(handle, now);
        }
        match wake % 1000 {
            50 | 100 | 150 => handle.chunks.send_chunk(&ActionChunk::from_rows(now, &good).unwrap()),
            180 => handle.chunks.send_chunk(&ActionChunk::from_rows(now, &nan).unwrap()),
            950 if wake > 4000 => assert!(handle.supervisor.request(ServoRequest::Stop)),
            990 => assert!(handle.supervisor.request(ServoRequest::Reset { since: now })),
            _ => {}
        }
        for sample in handle.samples.drain_samples() {
            reasons[sample.hold_reason as usize] = true;
            last_resets = sample.resets;
            cadence.record(&sample);
        }
        stop.store(wake == 8000, Ordering::Relaxed);
        if wake % 777 == 0 { 3_500_000 } else { 1000 }
    });
    assert_eq!(allocations, 0);
    assert_eq!(last_resets, 8);
    for reason in [
        HoldReason::None,
        HoldReason::AwaitingFirstChunk,
        HoldReason::ChunkNotFinite,
        HoldReason::Stopped,
        HoldReason::StateStale,
    ] {
        assert!(reasons[reason as usize], "{reason:?} did not occur");
    }
    assert_eq!((report.ticks, report.skipped, report.samples_dropped), (8000, 30, 0));
    assert!((report.lateness_us.p50 - 1.0).abs() < 0.01 && (report.lateness_us.max - 3500.0).abs() < 4.0);
    let seen = cadence.report();
    assert_eq!((seen.ticks, seen.skipped, seen.samples_dropped), (7999, 30, 0));
}

#[test]
fn late_wake_ups_skip_to_the_grid_without_a_burst_and_a_slow_logger_only_loses_samples() {
    let stop = AtomicBool::new(false);
    let mut deadlines = Vec::new();
    let total = SAMPLE_CAPACITY as u64 + 500;
    let (report, _, mut handle) = run(&stop, |wake, deadline, handle| {
        follow(handle, deadline);
        deadlines.push(deadline.0);
        stop.store(wake == total, Ordering::Relaxed);
        if wake == 10 { 5_200_000 } else { 0 }
    });
    assert!(deadlines.iter().all(|ns| ns % 1_000_000 == 0), "the grid stays where it was");
    assert_eq!(deadlines[10] - deadlines[9], 6_000_000);
    assert!(deadlines.windows(2).filter(|pair| pair[1] - pair[0] != 1_000_000).count() == 1);
    assert_eq!((report.ticks, report.skipped, report.samples_dropped), (total, 5, 500));
    let mut cadence = Cadence::new();
    handle.samples.drain_samples().for_each(|sample| cadence.record(&sample));
    assert_eq!((cadence.report().ticks, cadence.report().skipped), (SAMPLE_CAPACITY as u64, 5));
    assert_eq!(handle.supervisor.latest_status().ticks_skipped, 5);
}

#[test]
fn reset_waits_for_a_state_of_the_new_episode() {
    let stop = AtomicBool::new(false);
    let moved = {
        let mut q = RobotSpec::panda().home_rad;
        q[0] += 0.4;
        q
    };
    let mut jumped_at = None;
    run(&stop, |wake, now, handle| {
        match wake {
            0..=99 => follow(handle, now),
            100 => assert!(handle.supervisor.request(ServoRequest::Reset { since: now })),
            120 => handle.plant.publish_state(&JointState { stamp: now, position: moved, ..JointState::default() }),
            _ => {}
        }
        if jumped_at.is_none() && handle.plant.latest_command().is_some_and(|command| command.position == moved) {
            jumped_at = Some(wake);
        }
        stop.store(wake == 200, Ordering::Relaxed);
        0
    });
    assert_eq!(jumped_at, Some(121));
}
