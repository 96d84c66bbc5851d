//! What the servo did, as plots.

use rerun::{Color, Scalars, SeriesLines, TimeColumn, components::InterpolationMode};
use reverie_schema::{GripperCommand, N_ARM, Stamp};

use crate::{Error, layout::TIME, recording::Recording};

/// One servo tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServoPoint {
    /// When.
    pub stamp: Stamp,
    /// Measured joint positions, radians.
    pub joints_measured_rad: [f64; N_ARM],
    /// Commanded joint positions, radians.
    pub joints_commanded_rad: [f64; N_ARM],
    /// Distance between the fingers, metres.
    pub gripper_width_m: f64,
    /// What the gripper was told.
    pub gripper_command: GripperCommand,
    /// Commanded TCP position in the world, metres.
    pub tcp_commanded_in_world_m: [f64; 3],
    /// Measured TCP position in the world, metres.
    pub tcp_measured_in_world_m: [f64; 3],
    /// How much later than planned the tick began, microseconds.
    pub lateness_us: f64,
}

pub(crate) const JOINTS_MEASURED: &str = "plots/joints/measured";
pub(crate) const JOINTS_COMMANDED: &str = "plots/joints/commanded";
pub(crate) const GRIPPER_WIDTH: &str = "plots/gripper/width";
pub(crate) const GRIPPER_COMMAND: &str = "plots/gripper/command";
pub(crate) const TRACKING: &str = "plots/tracking";
pub(crate) const LATENESS: &str = "plots/lateness";
/// All of them.
pub(crate) const ENTITIES: [&str; 6] = [JOINTS_MEASURED, JOINTS_COMMANDED, GRIPPER_WIDTH, GRIPPER_COMMAND, TRACKING, LATENESS];

/// Hues that stay apart for colour-blind eyes too (Paul Tol's "bright" scheme).
const JOINT_COLORS: [u32; N_ARM] = [0x4477AA, 0xEE6677, 0x228833, 0xCCBB44, 0x66CCEE, 0xAA3377, 0xBBBBBB];

/// Collects ticks, thins them out and sends them as columns, a hundred times cheaper than one by one.
pub(crate) struct ServoLog {
    period_ns: i64,
    /// Sent when so many are there.
    batch: usize,
    pending: Vec<ServoPoint>,
    /// Since the last tick that was kept.
    worst_lateness_us: f64,
    last_kept: Option<Stamp>,
}

impl ServoLog {
    pub(crate) fn new(period_ns: i64, batch: usize) -> Self {
        Self { period_ns, batch, pending: Vec::with_capacity(batch), worst_lateness_us: 0.0, last_kept: None }
    }

    /// Takes a tick; of those between two kept ones, the worst lateness is told with the second.
    pub(crate) fn add(&mut self, point: &ServoPoint) {
        self.worst_lateness_us = self.worst_lateness_us.max(point.lateness_us);
        if self.last_kept.is_some_and(|last| (0..self.period_ns).contains(&point.stamp.since(last))) {
            return;
        }
        self.last_kept = Some(point.stamp);
        self.pending.push(ServoPoint { lateness_us: self.worst_lateness_us, ..*point });
        self.worst_lateness_us = 0.0;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.pending.len() >= self.batch
    }

    /// Sends what was kept; `offset_ns` is added to the stamps, `gripper_open_m` is the width that "open" asks for.
    pub(crate) fn send(&mut self, recording: &Recording, offset_ns: i64, gripper_open_m: f64) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let points = std::mem::take(&mut self.pending);
        let columns = |entity: &str, width: usize, values: Vec<f64>| {
            let times = points.iter().map(|point| point.stamp.plus_ns(offset_ns).0);
            recording.columns(
                entity,
                TimeColumn::new_duration_nanos(TIME, times),
                Scalars::new(values).columns(std::iter::repeat_n(width, points.len())),
            )
        };
        let each = |value: fn(&ServoPoint) -> f64| points.iter().map(value).collect::<Vec<f64>>();
        columns(JOINTS_MEASURED, N_ARM, points.iter().flat_map(|point| point.joints_measured_rad).collect())?;
        columns(JOINTS_COMMANDED, N_ARM, points.iter().flat_map(|point| point.joints_commanded_rad).collect())?;
        columns(GRIPPER_WIDTH, 1, each(|point| point.gripper_width_m * 1e3))?;
        let asked = |point: &ServoPoint| match point.gripper_command {
            GripperCommand::Open => gripper_open_m * 1e3,
            GripperCommand::Close => 0.0,
        };
        columns(GRIPPER_COMMAND, 1, points.iter().map(asked).collect())?;
        columns(TRACKING, 1, each(ServoPoint::tracking_error_mm))?;
        columns(LATENESS, 1, each(|point| point.lateness_us))
    }
}

impl ServoPoint {
    /// Distance from the measured to the commanded TCP position, millimetres.
    pub fn tracking_error_mm(&self) -> f64 {
        let squares = self.tcp_commanded_in_world_m.iter().zip(&self.tcp_measured_in_world_m).map(|(c, m)| (c - m) * (c - m));
        squares.sum::<f64>().sqrt() * 1e3
    }
}

/// Names and colours of the lines.
pub(crate) fn style(recording: &Recording) -> Result<(), Error> {
    // One name for a joint's two lines is one entry in the legend.
    let joints = |width: f32, dim: u32| {
        SeriesLines::new()
            .with_names((1..=N_ARM).map(|joint| format!("joint {joint}")))
            .with_colors(JOINT_COLORS.map(|rgb| opaque(dimmed(rgb, dim))))
            .with_widths([width; N_ARM])
    };
    // The command lies above the measurement, thin and bright on broad and dim: where they part, both are seen.
    recording.log_static(JOINTS_MEASURED, &joints(3.0, 55))?;
    recording.log_static(JOINTS_COMMANDED, &joints(1.0, 100))?;
    let line = |name: &str, rgb: u32| SeriesLines::new().with_names([name]).with_colors([opaque(rgb)]).with_widths([1.5]);
    recording.log_static(GRIPPER_WIDTH, &line("width, mm", 0x66CCEE))?;
    recording
        .log_static(GRIPPER_COMMAND, &line("command, mm", 0xCCBB44).with_interpolation_mode(InterpolationMode::StepAfter))?;
    recording.log_static(TRACKING, &line("TCP error, mm", 0xEE6677))?;
    recording.log_static(LATENESS, &line("servo wake-up lateness, µs", 0xBBBBBB))
}

pub(crate) fn opaque(rgb: u32) -> Color {
    Color::from_u32((rgb << 8) | 0xFF)
}

fn dimmed(rgb: u32, percent: u32) -> u32 {
    [16, 8, 0].iter().map(|&shift| (((rgb >> shift) & 0xFF) * percent / 100) << shift).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_rate_and_the_worst_lateness() {
        let mut log = ServoLog::new(5_000_000, 1000);
        for tick in 0..1000_i64 {
            let lateness_us = if tick == 503 { 250.0 } else { 10.0 };
            log.add(&ServoPoint { stamp: Stamp(tick * 1_000_000), lateness_us, ..ServoPoint::default() });
        }
        assert_eq!(log.pending.len(), 200);
        assert_eq!(log.pending.iter().filter(|point| point.lateness_us == 250.0).count(), 1);
    }

    #[test]
    fn the_tracking_error_is_a_distance_in_millimetres() {
        let point = ServoPoint { tcp_measured_in_world_m: [0.003, -0.004, 0.0], ..ServoPoint::default() };
        assert!((point.tracking_error_mm() - 5.0).abs() < 1e-12);
    }
}
