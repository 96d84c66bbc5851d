//! What a world costs beside its steps: memory, snapshots, and how many worlds on many cores scale:
//! `cargo run -p reverie-sim --example world_cost`.

#![allow(clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicIsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use reverie_schema::{JointCommand, RobotSpec};
use reverie_sim::{StartState, World, WorldConfig, WorldSnapshot};
use rustix::time::{ClockId, clock_gettime};

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static COUNTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

// SAFETY: every call goes to the system allocator as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.load(Relaxed) {
            HELD.fetch_add(layout.size() as isize, Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if COUNTED.load(Relaxed) {
            HELD.fetch_sub(layout.size() as isize, Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn world() -> (World, JointCommand) {
    let spec = RobotSpec::panda();
    let mut world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad).unwrap();
    let command = JointCommand { position: spec.home_rad, ..JointCommand::default() };
    run(&mut world, command, 480);
    (world, command)
}

/// Steps with the arm swinging by 0.1 rad.
fn run(world: &mut World, mut command: JointCommand, steps: usize) {
    let home = command.position[0];
    for step in 0..steps {
        command.position[0] = home + 0.1 * (step as f64 * 0.01).sin();
        world.step(black_box(&command)).unwrap();
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn least(repeats: usize, mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..repeats).map(once).min().unwrap().as_secs_f64() * 1e6
}

/// Steps per second of processor time of each of `threads` threads, each with four worlds of its own.
fn steps_per_second(threads: usize) -> f64 {
    const STEPS: usize = 6000;
    let barrier = Barrier::new(threads);
    let rates = std::thread::scope(|scope| {
        let work = || {
            let mut worlds: Vec<_> = (0..4).map(|_| world()).collect();
            barrier.wait();
            let start = thread_time();
            for _ in 0..STEPS / 480 {
                for (world, command) in &mut worlds {
                    run(world, *command, 480);
                }
            }
            (STEPS / 480 * 480 * worlds.len()) as f64 / (thread_time() - start).as_secs_f64()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<f64>>()
    });
    rates.iter().sum::<f64>() / rates.len() as f64
}

fn main() {
    let before = HELD.load(Relaxed);
    let (mut world, _) = world();
    println!("memory of a world        {:8.1} kB", (HELD.load(Relaxed) - before) as f64 / 1e3);
    let before = HELD.load(Relaxed);
    let snapshot = world.snapshot();
    println!("memory of a snapshot     {:8.1} kB", (HELD.load(Relaxed) - before) as f64 / 1e3);
    COUNTED.store(false, Relaxed);

    println!("take a snapshot          {:8.1} us", least(200, || drop(black_box(world.snapshot()))));
    println!("restore                  {:8.1} us", least(200, || world.restore(black_box(&snapshot)).unwrap()));
    let file = std::env::temp_dir().join(format!("reverie_world_{}.bin", std::process::id()));
    println!("save to disk             {:8.1} us", least(20, || snapshot.save(&file).unwrap()));
    println!("size on disk             {:8.1} kB", std::fs::metadata(&file).unwrap().len() as f64 / 1e3);
    println!("load from disk           {:8.1} us", least(20, || drop(WorldSnapshot::load(&file).unwrap())));
    std::fs::remove_file(&file).unwrap();

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut scaling: Vec<f64> = (0..5).map(|_| steps_per_second(cores) / steps_per_second(1)).collect();
    scaling.sort_unstable_by(f64::total_cmp);
    println!(
        "{cores} threads against one: each does {:.3} of its steps (middle of five, {:.3} to {:.3})",
        scaling[2], scaling[0], scaling[4]
    );
}
