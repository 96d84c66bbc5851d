use serde::{Deserialize, Serialize};

use crate::ControlError;

/// Settings of the servo. Lengths in metres, angles in radians.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServoConfig {
    /// Period of the servo, nanoseconds. 1,000,000: 1 kHz, the Panda's own rate.
    pub period_ns: i64,
    /// Highest speed of the commanded TCP along each world axis, m/s. 1.0: CALVIN's full-scale action is 0.6; the rest lets the
    /// tracker catch up.
    pub tcp_speed_mps: f64,
    /// Highest acceleration along each axis, m/s^2. 13: the Panda's published Cartesian limit.
    pub tcp_acceleration_mps2: f64,
    /// Highest jerk along each axis, m/s^3. 6500: the Panda's published Cartesian limit.
    pub tcp_jerk_mps3: f64,
    /// Highest speed of each commanded Euler angle, rad/s. 2.5: the Panda's limit; CALVIN's full-scale action is 1.5.
    pub tcp_turn_radps: f64,
    /// Highest angular acceleration of each Euler angle, rad/s^2. 25: the Panda's published Cartesian limit.
    pub tcp_turn_acceleration_radps2: f64,
    /// Highest angular jerk of each Euler angle, rad/s^3. 12500: the Panda's published Cartesian limit.
    pub tcp_turn_jerk_radps3: f64,
    /// Triple pole of the reference filter, rad/s. 40: about halves the slip of a grasped block under shaking, and smooths the
    /// 30 Hz steps of speed; 200 is the most that the 1 ms integration step bears.
    pub tracker_bandwidth_radps: f64,
    /// Share of the target's speed that is fed forward, 0 to 1. 1: no lag on a steady motion, at the price of overshoot where it
    /// ends abruptly (up to a quarter of a lone row, 19 mm from 0.6 m/s); 0: never overshoots, lags by
    /// `3 / tracker_bandwidth_radps` seconds.
    pub feed_forward: f64,
    /// The target stays within this distance of the measured TCP, metres; 0 leaves it free, as CALVIN does. 0.04: in random
    /// play against obstacles it takes the worst error from 0.48 to 0.05 m. What the robot (and, below full feed-forward, the
    /// tracker) lags in free motion counts too: lag in seconds times speed must stay below it.
    pub leash_m: f64,
    /// The same for the angle, radians. 0.3: a fifth of a second at CALVIN's full-scale turn.
    pub leash_rad: f64,
    /// A chunk whose observation is older than this on arrival is refused, milliseconds. 600: a slow decode (300 ms) twice over.
    pub stale_after_ms: u32,
    /// The arm decelerates and holds if the newest joint state is older than this, milliseconds. 100: 24 missed states at 240 Hz.
    pub max_state_age_ms: u32,
    /// Damping of the least-squares inverse kinematics, metres or radians per radian. 0.03: bounds the gain near a singularity to
    /// 17, and loses 1 % of a step where the arm is well-conditioned, which the next iteration makes good.
    pub ik_damping: f64,
    /// Rate at which free motion of the elbow returns to the home posture, 1/s. 0.5: slow beside the task, and seven-joint
    /// postures do not drift over an episode.
    pub null_space_rate_per_s: f64,
    /// Commanded joints stay this far inside their limits, radians. 0.01: the tracking error of the joints at rest is below it.
    pub joint_margin_rad: f64,
    /// Share of the joints' speed limits that may be commanded, 0 to 1. 0.9: leaves the joint controller room to catch up.
    pub joint_speed_scale: f64,
}

impl Default for ServoConfig {
    fn default() -> Self {
        Self {
            period_ns: 1_000_000,
            tcp_speed_mps: 1.0,
            tcp_acceleration_mps2: 13.0,
            tcp_jerk_mps3: 6500.0,
            tcp_turn_radps: 2.5,
            tcp_turn_acceleration_radps2: 25.0,
            tcp_turn_jerk_radps3: 12500.0,
            tracker_bandwidth_radps: 40.0,
            feed_forward: 1.0,
            leash_m: 0.04,
            leash_rad: 0.3,
            stale_after_ms: 600,
            max_state_age_ms: 100,
            ik_damping: 0.03,
            null_space_rate_per_s: 0.5,
            joint_margin_rad: 0.01,
            joint_speed_scale: 0.9,
        }
    }
}

impl ServoConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ControlError::Config`] with the first field out of its range.
    pub fn validate(&self) -> Result<(), ControlError> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        let check = |ok: bool, field, value, expected| {
            if ok { Ok(()) } else { Err(ControlError::Config { field, value, expected }) }
        };
        let period = (100_000..=20_000_000).contains(&self.period_ns);
        check(period, "period_ns", self.period_ns as f64, "100000 to 20000000")?;
        for (field, value) in [
            ("tcp_speed_mps", self.tcp_speed_mps),
            ("tcp_acceleration_mps2", self.tcp_acceleration_mps2),
            ("tcp_jerk_mps3", self.tcp_jerk_mps3),
            ("tcp_turn_radps", self.tcp_turn_radps),
            ("tcp_turn_acceleration_radps2", self.tcp_turn_acceleration_radps2),
            ("tcp_turn_jerk_radps3", self.tcp_turn_jerk_radps3),
            ("ik_damping", self.ik_damping),
        ] {
            check(positive(value), field, value, "positive and finite")?;
        }
        for (field, value) in [
            ("leash_m", self.leash_m),
            ("leash_rad", self.leash_rad),
            ("null_space_rate_per_s", self.null_space_rate_per_s),
            ("joint_margin_rad", self.joint_margin_rad),
        ] {
            check(not_negative(value), field, value, "0 or more, and finite")?;
        }
        let bandwidth = self.tracker_bandwidth_radps;
        check(bandwidth > 0.0 && bandwidth <= 200.0, "tracker_bandwidth_radps", bandwidth, "above 0, at most 200")?;
        check((0.0..=1.0).contains(&self.feed_forward), "feed_forward", self.feed_forward, "0 to 1")?;
        let scale = self.joint_speed_scale;
        check(scale > 0.0 && scale <= 1.0, "joint_speed_scale", scale, "above 0, at most 1")?;
        check(self.stale_after_ms > 0, "stale_after_ms", f64::from(self.stale_after_ms), "positive")?;
        check(self.max_state_age_ms > 0, "max_state_age_ms", f64::from(self.max_state_age_ms), "positive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_setting_is_named() {
        assert_eq!(ServoConfig::default().validate(), Ok(()));
        let bad = ServoConfig { joint_speed_scale: f64::NAN, ..ServoConfig::default() };
        assert!(matches!(bad.validate(), Err(ControlError::Config { field: "joint_speed_scale", .. })));
        let bad = ServoConfig { leash_m: -0.1, ..ServoConfig::default() };
        assert!(bad.validate().unwrap_err().to_string().contains("`leash_m` is -0.1"));
        let bad = ServoConfig { tcp_jerk_mps3: f64::INFINITY, ..ServoConfig::default() };
        assert!(matches!(bad.validate(), Err(ControlError::Config { field: "tcp_jerk_mps3", .. })));
    }
}
