//! What the servo promises, seen from outside: chunks and joint states in, joint commands out.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reverie_control::{ChunkRejection, Servo, ServoConfig, ServoHandle, ServoSample, run_servo, servo_channels};
use reverie_schema::{
    Action, ActionChunk, CONTROL_PERIOD_NS as T, Clock, HoldReason, JointCommand, JointState, N_ARM, RobotSpec, ServoState,
    Stamp, derive_seed,
};

const MS: i64 = 1_000_000;

/// A servo and a robot whose joints follow the command at once.
struct Bench {
    spec: RobotSpec,
    servo: Servo,
    now: i64,
    measured: JointState,
    command: JointCommand,
}

impl Bench {
    fn new(config: &ServoConfig) -> Self {
        let spec = RobotSpec::panda();
        let mut servo = Servo::new(&spec, config).unwrap();
        let measured = JointState { position: spec.home_rad, gripper_width: 0.08, ..JointState::default() };
        servo.reset(Stamp(0), &measured);
        let command = JointCommand { position: spec.home_rad, ..JointCommand::default() };
        Self { spec, servo, now: 0, measured, command }
    }

    fn tick(&mut self, dt_ns: i64) -> ServoSample {
        self.now += dt_ns;
        let sample = self.servo.tick(Stamp(self.now), &self.measured, &mut self.command);
        self.measured.stamp = Stamp(self.now);
        self.measured.position = self.command.position;
        sample
    }

    fn offer(&mut self, chunk: &ActionChunk) -> Result<(), ChunkRejection> {
        self.servo.offer(Stamp(self.now), chunk)
    }

    fn chunk(&self, seq: u64, rows: &[Action]) -> ActionChunk {
        let mut chunk = ActionChunk::from_rows(Stamp(self.now), rows).unwrap();
        chunk.seq = seq;
        chunk
    }

    fn tcp(&self) -> [f64; 3] {
        self.spec.world_from_tcp(&self.command.position).translation.vector.into()
    }
}

fn random(k: u64) -> f64 {
    derive_seed(k, "servo test") as f64 / u64::MAX as f64
}

fn along_x(x: f32) -> Action {
    Action([x, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
}

fn random_rows(seed: u64) -> [Action; 16] {
    std::array::from_fn(|row| {
        Action(std::array::from_fn(|entry| {
            let value = 2.0 * random(seed * 1000 + row as u64 * 7 + entry as u64) as f32 - 1.0;
            if entry == 6 { value.signum() } else { value }
        }))
    })
}

#[test]
fn n_rows_along_an_axis_move_the_tcp_by_exactly_their_sum() {
    for n in [1, 5, 12] {
        for (entry, sign) in [(0, 1.0), (1, -1.0), (2, -1.0)] {
            let mut bench = Bench::new(&ServoConfig::default());
            let before = bench.tcp();
            let mut row = Action([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
            row.0[entry] = sign;
            bench.offer(&bench.chunk(1, &vec![row; n])).unwrap();
            let mut last = None;
            for _ in 0..1500 {
                last = Some(bench.tick(MS));
            }
            let mut expected = before;
            expected[entry] += f64::from(sign) * 0.02 * n as f64;
            for (got, want) in bench.tcp().iter().zip(expected) {
                assert!((got - want).abs() < 1e-6, "{:?} {expected:?}", bench.tcp());
            }
            let last = last.unwrap();
            assert_eq!(
                (last.rows_executed, last.state, last.hold_reason),
                (n as u64, ServoState::Holding, HoldReason::ChunkExhausted)
            );
        }
    }
}

#[test]
fn rotation_rows_add_to_the_euler_angles() {
    let mut bench = Bench::new(&ServoConfig::default());
    let before = bench.tick(MS).tcp_command;
    bench.offer(&bench.chunk(1, &[Action([0.0, 0.0, 0.0, 1.0, 0.5, -1.0, 1.0]); 6])).unwrap();
    let mut after = before;
    for _ in 0..1500 {
        after = bench.tick(MS).tcp_command;
    }
    for (i, want) in [(3, 0.3), (4, 0.15), (5, -0.3)] {
        assert!((after[i] - before[i] - want).abs() < 1e-5, "{i}: {before:?} {after:?}");
    }
}

#[test]
fn overlapping_random_chunks_never_exceed_acceleration_or_jerk_of_the_commanded_pose() {
    let config = ServoConfig::default();
    for seed in 0..6_u64 {
        let mut bench = Bench::new(&config);
        let mut history = [bench.servo.commanded_pose(); 3];
        let (mut velocity, mut last_acceleration) = ([0.0; 6], [0.0; 6]);
        for k in 0..4000_u64 {
            if k % 37 == 0 {
                bench.offer(&bench.chunk(k, &random_rows(seed * 4000 + k))).unwrap();
            }
            bench.tick(MS);
            history = [history[1], history[2], bench.servo.commanded_pose()];
            for i in 0..6 {
                let speed = (history[2][i] - history[1][i]) * 1e3;
                let acceleration = (speed - velocity[i]) * 1e3;
                let (most_v, most_a, most_j) = if i < 3 {
                    (config.tcp_speed_mps, config.tcp_acceleration_mps2, config.tcp_jerk_mps3)
                } else {
                    (config.tcp_turn_radps, config.tcp_turn_acceleration_radps2, config.tcp_turn_jerk_radps3)
                };
                assert!(speed.abs() <= most_v * 1.000_001 && acceleration.abs() <= most_a * 1.000_001);
                assert!((acceleration - last_acceleration[i]).abs() * 1e3 <= most_j * 1.001, "seed {seed} tick {k} axis {i}");
                velocity[i] = speed;
                last_acceleration[i] = acceleration;
            }
        }
    }
}

#[test]
fn joint_limits_and_speeds_hold_over_random_play() {
    let config = ServoConfig::default();
    for seed in 0..8_u64 {
        let mut bench = Bench::new(&config);
        let dt = if seed % 2 == 0 { MS } else { 1_000_000_000 / 240 };
        let bias = std::array::from_fn::<f32, 6, _>(|i| 0.8 * (2.0 * random(seed * 6 + i as u64) as f32 - 1.0));
        for k in 0..20_000_u64 {
            if k % 100 == 0 {
                let mut rows = random_rows(seed * 20_000 + k);
                for row in &mut rows {
                    (0..6).for_each(|i| row.0[i] = (0.4 * row.0[i] + bias[i]).clamp(-1.0, 1.0));
                }
                bench.offer(&bench.chunk(k, &rows)).unwrap();
            }
            let before = bench.command.position;
            bench.tick(dt);
            for (i, (&q, q_before)) in bench.command.position.iter().zip(before).enumerate() {
                let joint = &bench.spec.joints[i];
                assert!(q >= joint.lower_rad + config.joint_margin_rad - 1e-12, "joint {i} at {q}");
                assert!(q <= joint.upper_rad - config.joint_margin_rad + 1e-12, "joint {i} at {q}");
                let speed = (q - q_before).abs() / (dt as f64 * 1e-9);
                assert!(speed <= config.joint_speed_scale * joint.velocity_radps * (1.0 + 1e-9), "joint {i}: {speed}");
            }
        }
    }
}

#[test]
fn when_the_policy_dies_the_arm_comes_to_rest_within_limits_and_holds() {
    let mut bench = Bench::new(&ServoConfig::default());
    bench.offer(&bench.chunk(1, &[along_x(0.9); 8])).unwrap();
    let mut states = Vec::new();
    let mut at_rest = None;
    for _ in 0..2000 {
        let sample = bench.tick(MS);
        if states.last() != Some(&(sample.state, sample.hold_reason)) {
            states.push((sample.state, sample.hold_reason));
        }
        if sample.state == ServoState::Holding {
            let rest = *at_rest.get_or_insert(sample.tcp_command);
            assert!((0..6).all(|i| (rest[i] - sample.tcp_command[i]).abs() < 1e-3));
        }
    }
    assert_eq!(
        states,
        [
            (ServoState::Tracking, HoldReason::None),
            (ServoState::Decelerating, HoldReason::ChunkExhausted),
            (ServoState::Holding, HoldReason::ChunkExhausted)
        ]
    );
}

#[test]
fn a_chunk_with_nan_is_refused_and_the_old_one_plays_to_its_end() {
    let mut bench = Bench::new(&ServoConfig::default());
    assert_eq!(bench.tick(MS).hold_reason, HoldReason::AwaitingFirstChunk);
    let before = bench.tcp();
    bench.offer(&bench.chunk(1, &[along_x(1.0); 10])).unwrap();
    for _ in 0..50 {
        bench.tick(MS);
    }
    let refused = bench.offer(&bench.chunk(2, &[along_x(f32::NAN); 10]));
    assert!(matches!(refused, Err(ChunkRejection::Invalid(_))), "{refused:?}");
    assert_eq!(bench.tick(MS).hold_reason, HoldReason::None);
    for _ in 0..1500 {
        bench.tick(MS);
    }
    assert!((bench.tcp()[0] - before[0] - 0.2).abs() < 1e-6);
    let status = bench.servo.status();
    assert_eq!(status.hold_reason, HoldReason::ChunkNotFinite);
    assert_eq!((status.chunks_accepted, status.chunks_rejected, status.chunk_seq), (1, 1, 1));
    bench.offer(&bench.chunk(3, &[along_x(0.1); 1])).unwrap();
    assert_eq!(bench.tick(MS).hold_reason, HoldReason::None);
}

#[test]
fn one_kilohertz_and_240_hertz_give_the_same_path() {
    let config = ServoConfig::default();
    let mut fast = Bench::new(&config);
    let mut slow = Bench::new(&config);
    // 240 Hz against 960 Hz: every fourth tick of one falls on a tick of the other.
    for k in 0..1200_u64 {
        if k % 60 == 0 {
            let mut rows = random_rows(k);
            rows.iter_mut().for_each(|row| row.0[..6].iter_mut().for_each(|x| *x *= 0.7));
            for bench in [&mut fast, &mut slow] {
                bench.offer(&bench.chunk(k, &rows)).unwrap();
            }
        }
        let dt = 1_000_000_000 / 240;
        slow.tick(dt);
        for part in 0..4 {
            fast.tick(dt * (part + 1) / 4 - dt * part / 4);
        }
        assert_eq!(fast.now, slow.now);
        let distance = fast.tcp().iter().zip(slow.tcp()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(distance < 1e-3, "tick {k}: {distance}");
    }
}

#[test]
fn a_restored_servo_goes_on_identically_to_the_last_bit() {
    let mut bench = Bench::new(&ServoConfig::default());
    bench.offer(&bench.chunk(1, &random_rows(1))).unwrap();
    for _ in 0..111 {
        bench.tick(MS);
    }
    let snapshot = bench.servo.snapshot();
    let (now, measured, command) = (bench.now, bench.measured, bench.command);
    let run = |bench: &mut Bench| -> Vec<ServoSample> {
        (0..900)
            .map(|k| {
                if k % 200 == 50 {
                    bench.offer(&bench.chunk(k, &random_rows(k))).unwrap();
                }
                bench.tick(MS)
            })
            .collect()
    };
    let first = run(&mut bench);
    bench.servo.restore(&snapshot);
    (bench.now, bench.measured, bench.command) = (now, measured, command);
    assert!(first == run(&mut bench));
}

#[test]
fn a_blocked_arm_is_not_left_behind_by_more_than_the_leash() {
    for (leash_m, bound) in [(0.04, 0.055), (0.0, 0.5)] {
        let mut bench = Bench::new(&ServoConfig { leash_m, ..ServoConfig::default() });
        let stuck = bench.measured;
        bench.offer(&bench.chunk(1, &[along_x(1.0); 12])).unwrap();
        let before = bench.tcp();
        for _ in 0..1500 {
            bench.measured = JointState { stamp: Stamp(bench.now), ..stuck };
            bench.tick(MS);
            assert!(bench.tcp()[0] - before[0] < bound);
        }
        let reached = bench.tcp()[0] - before[0];
        let expected = if leash_m > 0.0 { leash_m } else { 0.24 };
        assert!((reached - expected).abs() < 1e-4, "{reached}");
    }
}

#[test]
fn a_robot_that_lags_within_the_leash_loses_nothing() {
    let mut bench = Bench::new(&ServoConfig::default());
    let before = bench.tcp();
    bench.offer(&bench.chunk(1, &[along_x(1.0); 10])).unwrap();
    for _ in 0..2000 {
        let was = bench.measured.position;
        bench.tick(MS);
        // Joints follow with a time constant of 40 ms: 24 mm at full speed.
        bench.measured.position = std::array::from_fn(|i| was[i] + (bench.command.position[i] - was[i]) / 40.0);
    }
    assert!((bench.tcp()[0] - before[0] - 0.2).abs() < 1e-6);
}

#[test]
fn a_robot_that_falls_silent_is_braked_and_play_resumes_when_it_speaks_again() {
    let mut bench = Bench::new(&ServoConfig::default());
    bench.offer(&bench.chunk(1, &[along_x(0.5); 40])).unwrap();
    for _ in 0..200 {
        bench.tick(MS);
    }
    // Published at 199 ms, seen by the tick at 200 ms: the last one that the servo saw.
    let last_seen = Stamp(199 * MS);
    let silent = bench.measured;
    let mut bad = silent;
    bad.position[3] = f64::NAN;
    bad.stamp = Stamp(i64::MAX);
    let mut last = None;
    for _ in 0..500 {
        bench.measured = bad;
        last = Some(bench.tick(MS));
    }
    let last = last.unwrap();
    assert_eq!((last.state, last.hold_reason, last.measured.stamp), (ServoState::Holding, HoldReason::StateStale, last_seen));
    bench.measured = JointState { stamp: Stamp(bench.now), position: bench.command.position, ..silent };
    assert_eq!(bench.tick(MS).hold_reason, HoldReason::None);
    let rest = bench.tcp()[0];
    for _ in 0..1500 {
        bench.tick(MS);
    }
    // 0.7 s had passed; the rest of 40 rows is played, and no more.
    let left = 0.01 * (40.0 - 701e6 / T as f64);
    assert!((bench.tcp()[0] - rest - left).abs() < 5e-4, "{} {left}", bench.tcp()[0] - rest);
}

#[test]
fn stop_holds_until_the_reset_and_a_gap_in_time_is_not_caught_up() {
    let mut bench = Bench::new(&ServoConfig::default());
    bench.offer(&bench.chunk(1, &[along_x(1.0); 20])).unwrap();
    for _ in 0..150 {
        bench.tick(MS);
    }
    bench.servo.stop();
    assert_eq!(bench.tick(MS).state, ServoState::Decelerating);
    assert_eq!(bench.offer(&bench.chunk(2, &[along_x(1.0)])), Err(ChunkRejection::Stopped));
    for _ in 0..400 {
        bench.tick(MS);
    }
    let status = bench.servo.status();
    assert_eq!((status.servo, status.hold_reason), (ServoState::Holding, HoldReason::Stopped));
    bench.servo.reset(Stamp(bench.now), &bench.measured);
    assert_eq!(bench.tick(MS).hold_reason, HoldReason::AwaitingFirstChunk);

    bench.offer(&bench.chunk(3, &[along_x(1.0); 30])).unwrap();
    let before = bench.tcp()[0];
    bench.tick(500 * MS);
    assert!(bench.tcp()[0] - before < 0.02 * 1.0, "moves for 20 ms at most");
}

#[test]
fn nothing_is_commanded_before_the_first_joint_state() {
    let spec = RobotSpec::panda();
    let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
    let untouched = JointCommand { stamp: Stamp(-7), ..JointCommand::default() };
    let mut command = untouched;
    let unseen = JointState { position: [f64::NAN; N_ARM], ..JointState::default() };
    let sample = servo.tick(Stamp(MS), &unseen, &mut command);
    assert_eq!((command, sample.hold_reason, servo.is_ready()), (untouched, HoldReason::StateStale, false));
    let chunk = ActionChunk::from_rows(Stamp(MS), &[along_x(1.0)]).unwrap();
    assert_eq!(servo.offer(Stamp(MS), &chunk), Err(ChunkRejection::NotReady));
    let measured = JointState { stamp: Stamp(2 * MS), position: spec.home_rad, ..JointState::default() };
    servo.tick(Stamp(2 * MS), &measured, &mut command);
    assert_eq!(command.position, spec.home_rad);
}

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Stamp {
        Stamp(self.0.elapsed().as_nanos() as i64)
    }

    fn sleep_until(&self, deadline: Stamp) {
        let left = deadline.since(self.now());
        std::thread::sleep(Duration::from_nanos(left.max(0) as u64));
    }
}

#[test]
fn policy_robot_and_logger_on_their_own_threads_drive_the_arm_in_real_time() {
    let spec = RobotSpec::panda();
    let servo = Servo::new(&spec, &ServoConfig { max_state_age_ms: 10_000, ..ServoConfig::default() }).unwrap();
    let (ports, ServoHandle { mut chunks, mut plant, mut samples, mut supervisor }) = servo_channels();
    let (clock, stop) = (WallClock(Instant::now()), AtomicBool::new(false));
    let report = std::thread::scope(|scope| {
        let thread = scope.spawn(|| run_servo(servo, ports, &clock, &stop));
        scope.spawn(|| {
            let measured = JointState { stamp: clock.now(), position: spec.home_rad, ..JointState::default() };
            plant.publish_state(&measured);
            let moved = |q: &[f64; N_ARM]| q.iter().zip(spec.home_rad).any(|(q, home)| (q - home).abs() > 1e-3);
            while !plant.latest_command().is_some_and(|command| moved(&command.position)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            for seq in 0.. {
                let mut chunk = ActionChunk::from_rows(clock.now(), &[along_x(0.5); 16]).unwrap();
                chunk.seq = seq;
                chunks.send_chunk(&chunk);
                std::thread::sleep(Duration::from_millis(5));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        thread.join().unwrap()
    });
    assert!(supervisor.latest_status().chunks_accepted > 0);
    assert_eq!(samples.drain_samples().count() as u64 + report.samples_dropped, report.ticks);
}

/// At CALVIN's home posture (roll near a half turn) the triple nearest to zero answers a pitch command backwards.
#[test]
fn a_pitch_command_from_home_turns_the_way_calvin_turns() {
    let spec = RobotSpec::panda();
    let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
    servo.reset(Stamp(0), &JointState { position: spec.home_rad, ..JointState::default() });
    let [.., roll, pitch, _] = servo.commanded_pose();
    assert!((roll - 3.09).abs() < 0.01 && (pitch + 0.029).abs() < 0.01, "{roll} {pitch}");
}

/// Held, the arm is still: the elbow does not go on drifting home behind a resting hand.
#[test]
fn a_held_arm_does_not_move_its_elbow() {
    let spec = RobotSpec::panda();
    let mut q = spec.home_rad;
    q[0] += 0.6;
    q[2] -= 0.6;
    let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
    let mut state = JointState { position: q, ..JointState::default() };
    servo.reset(Stamp(0), &state);
    let mut command = JointCommand::default();
    for tick in 1..2000 {
        state.stamp = Stamp(tick * MS);
        servo.tick(state.stamp, &state, &mut command);
        state.position = command.position;
    }
    let moved = command.position.iter().zip(q).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(moved < 1e-3, "{moved} rad");
}

#[test]
fn a_chunk_far_ahead_or_with_endless_rows_is_refused() {
    let spec = RobotSpec::panda();
    let mut servo = Servo::new(&spec, &ServoConfig::default()).unwrap();
    servo.reset(Stamp(0), &JointState { position: spec.home_rad, ..JointState::default() });
    let mut chunk = ActionChunk::from_rows(Stamp(0), &[Action([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])]).unwrap();
    chunk.start = Stamp(3_600_000 * MS);
    assert!(matches!(servo.offer(Stamp(0), &chunk), Err(ChunkRejection::TooSlow { .. })));
    chunk.start = Stamp(0);
    chunk.period_ns = 3_600_000 * MS;
    assert!(matches!(servo.offer(Stamp(0), &chunk), Err(ChunkRejection::TooSlow { .. })));
    chunk.period_ns = T;
    servo.offer(Stamp(0), &chunk).unwrap();
}
