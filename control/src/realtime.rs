//! The servo thread's loop.

use std::sync::atomic::{AtomicBool, Ordering};

use reverie_schema::{Clock, JointCommand, JointState, N_ARM, Stamp};

use crate::{CadenceReport, Servo, ServoPorts, ServoRequest, ServoSample};

/// Stands for "no joint state yet": the servo ignores what is not finite.
const UNSEEN: JointState =
    JointState { stamp: Stamp(i64::MIN), position: [f64::NAN; N_ARM], velocity: [f64::NAN; N_ARM], gripper_width: f64::NAN };

/// Runs the servo until `stop` is set, one tick every [`crate::ServoConfig::period_ns`] on a fixed grid of deadlines.
///
/// A tick that wakes whole periods late skips to the grid and counts the ticks left out: they're never made up for in a burst.
/// Nothing in here allocates, locks, logs or waits for anybody but `clock`. Set the thread's priority and affinity before.
pub fn run_servo(mut servo: Servo, mut ports: ServoPorts, clock: &dyn Clock, stop: &AtomicBool) -> CadenceReport {
    let period_ns = servo.period_ns();
    let mut deadline = clock.now().plus_ns(period_ns);
    let mut inbox = Inbox { measured: UNSEEN, reset_since: None };
    let mut command = JointCommand::default();
    while !stop.load(Ordering::Relaxed) {
        clock.sleep_until(deadline);
        let now = clock.now();
        let lateness_ns = now.since(deadline).max(0);
        let missed = lateness_ns / period_ns;
        servo.note_skipped(missed as u64);
        deadline = deadline.plus_ns((missed + 1) * period_ns);

        inbox.deliver(now, &mut servo, &mut ports);
        let sample = servo.tick(now, &inbox.measured, &mut command);
        if servo.is_ready() {
            ports.commands.write(Some(command));
        }
        ports.statuses.write(servo.status());
        let tick_ns = clock.now().since(now);
        ports.report(ServoSample { lateness_ns, tick_ns, ..sample });
    }
    ports.cadence.report()
}

/// What has come in and waits for its time.
struct Inbox {
    measured: JointState,
    reset_since: Option<Stamp>,
}

impl Inbox {
    fn deliver(&mut self, now: Stamp, servo: &mut Servo, ports: &mut ServoPorts) {
        while let Ok(request) = ports.requests.pop() {
            match request {
                ServoRequest::Reset { since } => {
                    // Until the state of the new episode is there, nothing of the old one plays on.
                    servo.stop();
                    self.reset_since = Some(since);
                }
                ServoRequest::Stop => {
                    self.reset_since = None;
                    servo.stop();
                }
            }
        }
        if ports.states.update()
            && let Some(state) = *ports.states.peek_output_buffer()
        {
            self.measured = state;
        }
        if let Some(since) = self.reset_since
            && self.measured.position[0].is_finite()
            && self.measured.stamp >= since
        {
            self.reset_since = None;
            servo.reset_since(now, since, &self.measured);
        }
        if ports.chunks.update()
            && let Some(chunk) = ports.chunks.peek_output_buffer()
        {
            // A refusal is counted by the servo and shown in its status.
            let _ = servo.offer(now, chunk);
        }
    }
}

impl ServoPorts {
    fn report(&mut self, sample: ServoSample) {
        self.cadence.record(&sample);
        if self.samples.push(sample).is_err() {
            self.cadence.note_dropped();
        }
    }
}
