//! The reference filter between the player's target and the commanded pose: third order, jerk-limited, one filter an axis.
//!
//! Linear law, with a triple pole at `-w` (w = bandwidth), written as a cascade so that each stage can be clamped:
//!
//! ```text
//! v_des = clamp(f r' + (w / 3) (r - p), speed)
//! a_des = clamp(w (v_des - v), acceleration)
//! j     = clamp(3 w (a_des - a), jerk)          =>  p''' = w^3 (r - p) + 3 w^2 (f r' - p') - 3 w p''
//! ```
//!
//! With `f = 1` a steady ramp is followed without lag; the error after a ramp of slope 1 begins is
//! `g(t) = (t + w t^2) exp(-w t)`. With `f = 0` the step response never overshoots, and a ramp is followed `3 / w` late.
//!
//! The jerk is held over a step and integrated exactly. The speed limit is kept by viability: a jerk is taken only if braking at
//! full jerk afterwards still keeps below it, so that speed, acceleration and jerk limits all hold exactly, under any target.

use crate::EulerPose;

/// Longest integration step, seconds: longer ones are divided, so that 240 Hz and 1 kHz give the same path.
pub const MAX_STEP_S: f64 = 1e-3;

/// Limits of one axis: metres or radians, and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisLimits {
    /// m/s or rad/s.
    pub speed: f64,
    /// m/s^2 or rad/s^2.
    pub acceleration: f64,
    /// m/s^3 or rad/s^3.
    pub jerk: f64,
}

/// State of one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Axis {
    position: f64,
    velocity: f64,
    acceleration: f64,
}

/// The filter of all six axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracker {
    axes: [Axis; 6],
    limits: [AxisLimits; 6],
    bandwidth: f64,
    feed_forward: f64,
}

impl Tracker {
    /// At rest on the zero pose; `bandwidth` in rad/s, at most 200; `feed_forward` 0 to 1.
    pub fn new(limits: [AxisLimits; 6], bandwidth: f64, feed_forward: f64) -> Self {
        Self { axes: [Axis::default(); 6], limits, bandwidth, feed_forward }
    }

    /// At rest on `pose`.
    pub fn reset(&mut self, pose: &EulerPose) {
        self.axes = pose.map(|position| Axis { position, ..Axis::default() });
    }

    /// Follows for `dt_s` a target that is at `target` when the step begins and moves at `target_velocity`.
    pub fn step(&mut self, target: &EulerPose, target_velocity: &EulerPose, dt_s: f64) {
        let (bandwidth, feed_forward) = (self.bandwidth, self.feed_forward);
        for (i, (axis, limits)) in self.axes.iter_mut().zip(&self.limits).enumerate() {
            integrate(dt_s, |elapsed_s, h| {
                let error = target[i] + target_velocity[i] * elapsed_s - axis.position;
                axis.step(feed_forward * target_velocity[i] + bandwidth / 3.0 * error, bandwidth, limits, h);
            });
        }
    }

    /// Slows down to rest within the limits for `dt_s`, wherever that ends.
    pub fn brake(&mut self, dt_s: f64) {
        for (axis, limits) in self.axes.iter_mut().zip(&self.limits) {
            integrate(dt_s, |_, h| axis.step(0.0, self.bandwidth, limits, h));
        }
    }

    /// The commanded pose.
    pub fn pose(&self) -> EulerPose {
        self.axes.map(|axis| axis.position)
    }

    /// Its velocity, m/s and rad/s.
    pub fn velocity(&self) -> EulerPose {
        self.axes.map(|axis| axis.velocity)
    }

    /// Its acceleration, m/s^2 and rad/s^2.
    pub fn acceleration(&self) -> EulerPose {
        self.axes.map(|axis| axis.acceleration)
    }
}

/// Calls `step(elapsed, h)` for equal parts `h` of `dt_s`, none longer than [`MAX_STEP_S`].
fn integrate(dt_s: f64, mut step: impl FnMut(f64, f64)) {
    // The slack keeps a period of one step, off by a rounding error, from being halved.
    let parts = (dt_s / MAX_STEP_S - 1e-9).ceil().max(0.0) as u32;
    for part in 0..parts {
        let h = dt_s / f64::from(parts);
        step(h * f64::from(part), h);
    }
}

impl Axis {
    fn step(&mut self, velocity_desired: f64, bandwidth: f64, limits: &AxisLimits, h: f64) {
        let velocity_desired = velocity_desired.clamp(-limits.speed, limits.speed);
        let acceleration_desired =
            (bandwidth * (velocity_desired - self.velocity)).clamp(-limits.acceleration, limits.acceleration);
        let jerk = (3.0 * bandwidth * (acceleration_desired - self.acceleration)).clamp(-limits.jerk, limits.jerk);
        let jerk = self.viable(jerk, limits, h);
        let (v, a) = (self.velocity, self.acceleration);
        self.position += h * (v + h * (a / 2.0 + h * jerk / 6.0));
        self.velocity = (v + h * (a + h * jerk / 2.0)).clamp(-limits.speed, limits.speed);
        self.acceleration = (a + h * jerk).clamp(-limits.acceleration, limits.acceleration);
    }

    /// `jerk`, or the nearest one after which the speed limit can still be kept.
    fn viable(&self, jerk: f64, limits: &AxisLimits, h: f64) -> f64 {
        if self.keeps(jerk, limits, h) {
            return jerk;
        }
        // The jerk that takes the acceleration to zero soonest always keeps the limit if the last step did.
        let brake = (-self.acceleration / h).clamp(-limits.jerk, limits.jerk);
        let (mut bad, mut good) = (jerk, brake);
        for _ in 0..24 {
            let middle = 0.5 * (bad + good);
            if self.keeps(middle, limits, h) { good = middle } else { bad = middle }
        }
        good
    }

    /// Whether, after `jerk` for `h`, the speed limit holds, and braking at full jerk keeps it. The reserve covers what a brake
    /// that ends within a step exceeds the continuous one by.
    fn keeps(&self, jerk: f64, limits: &AxisLimits, h: f64) -> bool {
        let a = self.acceleration + h * jerk;
        let v = self.velocity + h * (self.acceleration + h * jerk / 2.0);
        // Speed is bounded on both sides; only the side that the acceleration points to needs room to brake.
        let room = limits.speed - if a > 0.0 { v } else { -v };
        let needed = a * a / (2.0 * limits.jerk) + limits.jerk * MAX_STEP_S.powi(2) / 8.0;
        v.abs() <= limits.speed && (a == 0.0 || room >= needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_schema::derive_seed;

    const LIMITS: AxisLimits = AxisLimits { speed: 1.0, acceleration: 13.0, jerk: 6500.0 };
    const W: f64 = 40.0;

    fn tracker(feed_forward: f64) -> Tracker {
        Tracker::new([LIMITS; 6], W, feed_forward)
    }

    /// Runs one axis under `target(t) -> (position, velocity)` at 1 kHz and hands each state to `see(t, r, tracker)`.
    fn follow(tracker: &mut Tracker, seconds: f64, target: impl Fn(f64) -> (f64, f64), mut see: impl FnMut(f64, f64, &Tracker)) {
        let steps = (seconds * 1000.0).round() as usize;
        for k in 0..steps {
            let (r, v) = target(k as f64 * 1e-3);
            tracker.step(&[r, 0.0, 0.0, 0.0, 0.0, 0.0], &[v, 0.0, 0.0, 0.0, 0.0, 0.0], 1e-3);
            let t = (k + 1) as f64 * 1e-3;
            see(t, target(t).0, tracker);
        }
    }

    #[test]
    fn ramp_error_follows_the_closed_form_and_vanishes() {
        let slope = 0.1;
        let g = |t: f64| (t + W * t * t) * (-W * t).exp();
        follow(
            &mut tracker(1.0),
            0.6,
            |t| (slope * t, slope),
            |t, r, tracker| {
                let error = r - tracker.pose()[0];
                assert!((error - slope * g(t)).abs() < 0.03 * slope / W, "at {t}: {error} {}", slope * g(t));
                if t > 0.5 {
                    assert!(error.abs() < 1e-6 && (tracker.velocity()[0] - slope).abs() < 1e-5);
                }
            },
        );
    }

    #[test]
    fn without_feed_forward_a_ramp_lags_by_three_time_constants() {
        follow(
            &mut tracker(0.0),
            1.0,
            |t| (0.1 * t, 0.1),
            |t, r, tracker| {
                if t > 0.8 {
                    assert!((r - tracker.pose()[0] - 0.1 * 3.0 / W).abs() < 1e-5);
                }
            },
        );
    }

    #[test]
    fn a_jump_of_one_row_is_met_without_overshoot_and_a_lone_row_within_a_quarter() {
        let mut highest: f64 = 0.0;
        follow(&mut tracker(1.0), 1.0, |_| (0.02, 0.0), |_, _, tracker| highest = highest.max(tracker.pose()[0]));
        assert!(highest < 0.02 * 1.001 && highest > 0.02 * 0.999, "{highest}");

        let period = 1.0 / 30.0;
        for (feed_forward, most) in [(1.0, 0.25), (0.0, 0.001)] {
            let row = |t: f64| if t < period { (0.6 * t, 0.6) } else { (0.02, 0.0) };
            let mut highest: f64 = 0.0;
            let mut tracker = tracker(feed_forward);
            follow(&mut tracker, 1.0, row, |_, _, tracker| highest = highest.max(tracker.pose()[0]));
            assert!(highest < 0.02 * (1.0 + most), "{feed_forward}: {highest}");
            assert!((tracker.pose()[0] - 0.02).abs() < 1e-9 && tracker.velocity()[0].abs() < 1e-9);
        }
    }

    #[test]
    fn limits_hold_and_motion_is_consistent_under_random_targets_and_step_lengths() {
        let random = |k: u64| derive_seed(k, "tracker") as f64 / u64::MAX as f64;
        let mut tracker = tracker(1.0);
        let mut fastest: f64 = 0.0;
        let (mut target, mut velocity) = ([0.0; 6], [0.0; 6]);
        for k in 0..200_000_u64 {
            if k % 40 == 0 {
                target = std::array::from_fn(|i| 2.0 * random(16 * k + i as u64) - 1.0);
                velocity = std::array::from_fn(|i| 6.0 * random(16 * k + 8 + i as u64) - 3.0);
            }
            let h = 1e-4 + 9e-4 * random(16 * k + 14);
            let before = tracker.clone();
            tracker.step(&target, &velocity, h);
            for (was, is) in before.axes.iter().zip(&tracker.axes) {
                let jerk = (is.acceleration - was.acceleration) / h;
                assert!(jerk.abs() <= LIMITS.jerk * (1.0 + 1e-9) && is.acceleration.abs() <= LIMITS.acceleration);
                assert!(is.velocity.abs() <= LIMITS.speed);
                // The state is a motion, not a clipped number: speed is the integral of a linear acceleration.
                assert!((is.velocity - was.velocity - h * (was.acceleration + is.acceleration) / 2.0).abs() < 1e-12);
                fastest = fastest.max(is.velocity.abs());
            }
        }
        assert!(fastest > 0.99 * LIMITS.speed, "the limit is used: {fastest}");
    }

    #[test]
    fn braking_from_full_speed_takes_the_shortest_time_that_the_limits_allow_up_to_the_tail() {
        let mut tracker = tracker(1.0);
        follow(&mut tracker, 2.0, |t| (0.9 * t, 0.9), |_, _, _| {});
        let start = tracker.pose()[0];
        for _ in 0..300 {
            tracker.brake(1e-3);
        }
        let distance = tracker.pose()[0] - start;
        // v^2 / 2a is the least; the filter's tail adds at most v / w.
        let least = 0.9 * 0.9 / (2.0 * LIMITS.acceleration);
        assert!(distance > least && distance < least + 0.9 / W, "{distance} {least}");
        assert!(tracker.velocity()[0].abs() < 1e-3);
    }
}
