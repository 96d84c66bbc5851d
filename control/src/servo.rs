//! The servo as a pure state machine: no clock, no allocation, no threads. [`crate::run_servo`] drives it in real time, a
//! simulation drives it in lockstep.

use reverie_schema::{ActionChunk, HoldReason, JointCommand, JointState, N_ARM, RobotSpec, ServoState, Stamp, Status};

use crate::{
    Arm, ChunkRejection, ControlError, EulerPose, IkStep, ServoConfig, ServoSample,
    admission::Admission,
    euler::{euler_from_isometry, euler_near, isometry_from_euler},
    leash::Leash,
    player::Player,
    tracker::{AxisLimits, Tracker},
};

/// Longest time that one tick makes good, nanoseconds. What passes beyond it (a suspended process) is lost, not caught up with.
pub const MAX_TICK_NS: i64 = 20_000_000;
/// Part of a tick in which the target is taken as linear, nanoseconds: row borders are met to within it at any tick rate.
const SUBSTEP_NS: i64 = 1_000_000;

/// Below these speeds (m/s, rad/s) the commanded pose counts as at rest.
const REST_SPEED_MPS: f64 = 1e-3;
const REST_TURN_RADPS: f64 = 5e-3;

/// Chunks in, joint commands out.
///
/// A tick plays the chunk (player), holds the target near the measured TCP (leash), filters it within speed, acceleration and
/// jerk limits (tracker), and finds joint positions within limits and speeds (inverse kinematics). Cloning it is a snapshot.
#[derive(Clone, Debug)]
pub struct Servo {
    arm: Arm,
    period_ns: i64,
    max_state_age_ns: i64,
    ik: IkStep,
    leash: Leash,
    player: Player,
    tracker: Tracker,
    admission: Admission,
    /// Commanded joint positions.
    q: [f64; N_ARM],
    speed_command_radps: f64,
    measured: JointState,
    last_tick: Stamp,
    /// Whether there is a pose to command: not before the first joint state.
    ready: bool,
    stopped: bool,
    state_stale: bool,
    accepted_since_reset: bool,
    last_rejection: Option<HoldReason>,
    ticks: u64,
    ticks_skipped: u64,
    resets: u64,
    chunks_accepted: u64,
    chunks_rejected: u64,
}

impl Servo {
    /// A servo that has not seen the robot yet: it commands nothing until [`Self::reset`] or the first fresh joint state.
    ///
    /// # Errors
    /// [`ControlError::Config`] or [`ControlError::JointRange`].
    pub fn new(spec: &RobotSpec, config: &ServoConfig) -> Result<Self, ControlError> {
        config.validate()?;
        for (joint, limits) in spec.joints.iter().enumerate() {
            let room = limits.upper_rad - limits.lower_rad - 2.0 * config.joint_margin_rad;
            if room <= 0.0 || room.is_nan() {
                let (lower_rad, upper_rad) = (limits.lower_rad, limits.upper_rad);
                return Err(ControlError::JointRange { joint, lower_rad, upper_rad });
            }
        }
        let linear =
            AxisLimits { speed: config.tcp_speed_mps, acceleration: config.tcp_acceleration_mps2, jerk: config.tcp_jerk_mps3 };
        let angular = AxisLimits {
            speed: config.tcp_turn_radps,
            acceleration: config.tcp_turn_acceleration_radps2,
            jerk: config.tcp_turn_jerk_radps3,
        };
        let limits = [linear, linear, linear, angular, angular, angular];
        Ok(Self {
            arm: Arm::new(spec),
            period_ns: config.period_ns,
            max_state_age_ns: i64::from(config.max_state_age_ms) * 1_000_000,
            ik: IkStep {
                dt_s: 0.0,
                damping: config.ik_damping,
                null_space_rate_per_s: config.null_space_rate_per_s,
                joint_margin_rad: config.joint_margin_rad,
                joint_speed_scale: config.joint_speed_scale,
            },
            leash: Leash { position_m: config.leash_m, rotation_rad: config.leash_rad },
            player: Player::new(Stamp(0), [0.0; 6]),
            tracker: Tracker::new(limits, config.tracker_bandwidth_radps, config.feed_forward),
            admission: Admission::new(config),
            q: spec.home_rad,
            speed_command_radps: 0.0,
            measured: JointState::default(),
            last_tick: Stamp(0),
            ready: false,
            stopped: false,
            state_stale: true,
            accepted_since_reset: false,
            last_rejection: None,
            ticks: 0,
            ticks_skipped: 0,
            resets: 0,
            chunks_accepted: 0,
            chunks_rejected: 0,
        })
    }

    /// Begins an episode: the commanded pose becomes the TCP of `measured`, the queue is emptied, and chunks from observations
    /// before `measured.stamp` are refused from now on. The gripper keeps its command. Counters go on, but `rows_executed`
    /// begins at zero. A joint state that is not finite is refused: the servo then waits for a usable one.
    pub fn reset(&mut self, now: Stamp, measured: &JointState) {
        self.reset_since(now, measured.stamp, measured);
    }

    /// As [`Self::reset`], but the episode began at `since`: chunks from observations at or after it are welcome, even where
    /// `measured` is newer.
    pub fn reset_since(&mut self, now: Stamp, since: Stamp, measured: &JointState) {
        self.resets += 1;
        self.stopped = false;
        self.accepted_since_reset = false;
        self.last_rejection = None;
        self.admission.reset(since);
        self.ready = is_finite(measured);
        self.state_stale = !self.ready;
        self.last_tick = now;
        self.speed_command_radps = 0.0;
        if self.ready {
            self.measured = *measured;
            self.adopt(now);
        }
    }

    /// Puts the commanded pose on the measured one, at rest.
    fn adopt(&mut self, now: Stamp) {
        self.ready = true;
        self.last_tick = now;
        self.q = self.arm.clamp(&self.measured.position);
        let pose = euler_from_isometry(&self.arm.world_from_tcp(&self.q));
        self.player.reset(now, pose);
        self.tracker.reset(&pose);
    }

    /// Offers a chunk. If it's refused, the old one plays on.
    ///
    /// # Errors
    /// Why it was refused. It is counted, and shown as the reason when the arm comes to rest.
    pub fn offer(&mut self, now: Stamp, chunk: &ActionChunk) -> Result<(), ChunkRejection> {
        let admitted = if !self.ready {
            Err(ChunkRejection::NotReady)
        } else if self.stopped {
            Err(ChunkRejection::Stopped)
        } else {
            self.admission.admit(now, chunk)
        };
        match admitted {
            Ok(()) => {
                self.chunks_accepted += 1;
                self.accepted_since_reset = true;
                self.last_rejection = None;
                self.player.merge(now, chunk);
            }
            Err(rejection) => {
                self.chunks_rejected += 1;
                self.last_rejection = rejection.hold_reason().or(self.last_rejection);
            }
        }
        admitted
    }

    /// Decelerates and holds until the next reset.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.player.clear();
    }

    /// Advances to `now` and writes the joint command. `measured` is the newest joint state there is; one that is not finite is
    /// ignored, and if no usable one is younger than the limit, the arm decelerates and holds. Before the first usable joint
    /// state `out` is left as it was (see [`Self::is_ready`]).
    ///
    /// The time since the last tick counts up to [`MAX_TICK_NS`]; time that goes back counts as none.
    pub fn tick(&mut self, now: Stamp, measured: &JointState, out: &mut JointCommand) -> ServoSample {
        self.ticks += 1;
        let usable = is_finite(measured);
        if usable {
            self.measured = *measured;
        }
        let seen = self.ready || usable;
        self.state_stale = !seen || now.since(self.measured.stamp) > self.max_state_age_ns;
        if !self.ready && !self.state_stale {
            self.adopt(now);
        }
        if self.ready {
            self.advance(now);
            *out = JointCommand { stamp: now, position: self.q, gripper: self.player.gripper() };
        }
        self.sample(now, out)
    }

    fn advance(&mut self, now: Stamp) {
        let elapsed_ns = now.since(self.last_tick).max(0);
        let dt_ns = elapsed_ns.min(MAX_TICK_NS);
        let begin = now.plus_ns(-dt_ns);
        self.last_tick = self.last_tick.max(now);
        if elapsed_ns > dt_ns {
            self.player.skip_to(begin);
        }
        if self.stopped || self.state_stale {
            self.tracker.brake(dt_ns as f64 * 1e-9);
            self.player.skip_to(now);
            self.player.set_target(self.tracker.pose());
        } else {
            self.follow(begin, dt_ns);
            self.player.advance_to(now);
        }
        if dt_ns > 0 {
            let dt_s = dt_ns as f64 * 1e-9;
            let before = self.q;
            let target = isometry_from_euler(&self.tracker.pose());
            // The elbow goes home on the way, not while the arm is held.
            let null_space_rate_per_s = if self.state() == ServoState::Tracking { self.ik.null_space_rate_per_s } else { 0.0 };
            self.arm.ik_step(&mut self.q, &target, &IkStep { dt_s, null_space_rate_per_s, ..self.ik });
            self.speed_command_radps = self.q.iter().zip(before).map(|(a, b)| (a - b).abs() / dt_s).fold(0.0, f64::max);
        }
    }

    /// Player, leash and tracker, from `begin` for `dt_ns`.
    fn follow(&mut self, begin: Stamp, dt_ns: i64) {
        let measured = self.arm.pose(&self.measured.position);
        let twist = measured.twist(&self.measured.velocity);
        let parts = (dt_ns + SUBSTEP_NS - 1) / SUBSTEP_NS;
        for part in 0..parts {
            let from = begin.plus_ns(dt_ns * part / parts);
            let to = begin.plus_ns(dt_ns * (part + 1) / parts);
            self.player.advance_to(from);
            let (mut target, mut velocity) = (*self.player.target(), self.player.velocity());
            if self.leash.pull(&mut target, &mut velocity, &measured.world_from_tcp, &twist) {
                self.player.set_target(target);
            }
            self.tracker.step(&target, &velocity, to.since(from) as f64 * 1e-9);
        }
    }

    /// A copy of the whole state.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        self.clone()
    }

    /// Goes back to `snapshot`; it goes on identically, to the last bit.
    pub fn restore(&mut self, snapshot: &Self) {
        self.clone_from(snapshot);
    }

    /// Whether there is a pose to command: a joint state has been seen.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// The period that the configuration asks for, nanoseconds.
    pub const fn period_ns(&self) -> i64 {
        self.period_ns
    }

    /// Counts `ticks` as left out.
    pub const fn note_skipped(&mut self, ticks: u64) {
        self.ticks_skipped += ticks;
    }

    /// The report; `seq` is that of the tick.
    pub fn status(&self) -> Status {
        Status {
            seq: self.ticks,
            stamp: self.last_tick,
            servo: self.state(),
            hold_reason: self.hold_reason(),
            ticks: self.ticks,
            ticks_skipped: self.ticks_skipped,
            chunks_accepted: self.chunks_accepted,
            chunks_rejected: self.chunks_rejected,
            chunk_seq: self.player.chunk_seq(),
            position_command: self.q,
            speed_command_radps: self.speed_command_radps,
        }
    }

    fn state(&self) -> ServoState {
        if self.hold_reason() == HoldReason::None {
            return ServoState::Tracking;
        }
        let velocity = self.tracker.velocity();
        let moving =
            velocity[..3].iter().any(|v| v.abs() > REST_SPEED_MPS) || velocity[3..].iter().any(|v| v.abs() > REST_TURN_RADPS);
        if moving { ServoState::Decelerating } else { ServoState::Holding }
    }

    fn hold_reason(&self) -> HoldReason {
        if self.stopped {
            HoldReason::Stopped
        } else if self.state_stale {
            HoldReason::StateStale
        } else if !self.player.is_exhausted() {
            HoldReason::None
        } else if let Some(reason) = self.last_rejection {
            reason
        } else if self.accepted_since_reset {
            HoldReason::ChunkExhausted
        } else {
            HoldReason::AwaitingFirstChunk
        }
    }

    fn sample(&self, now: Stamp, command: &JointCommand) -> ServoSample {
        let tcp_command = euler_near(&self.arm.world_from_tcp(&self.q), &self.tracker.pose());
        let tcp_measured = euler_near(&self.arm.world_from_tcp(&self.measured.position), &tcp_command);
        let [vx, vy, vz, ..] = self.tracker.velocity();
        ServoSample {
            tick: self.ticks,
            stamp: now,
            lateness_ns: 0,
            tick_ns: 0,
            ticks_skipped: self.ticks_skipped,
            resets: self.resets,
            state: self.state(),
            hold_reason: self.hold_reason(),
            command: *command,
            measured: self.measured,
            tcp_command,
            tcp_measured,
            tcp_speed_mps: (vx * vx + vy * vy + vz * vz).sqrt(),
            chunk_seq: self.player.chunk_seq(),
            rows_executed: self.player.rows_executed(),
        }
    }

    /// The pose that the tracker commands now, before inverse kinematics.
    pub fn commanded_pose(&self) -> EulerPose {
        self.tracker.pose()
    }
}

fn is_finite(state: &JointState) -> bool {
    state.position.iter().chain(&state.velocity).all(|x| x.is_finite())
}
