//! What an episode looks like, handed to rerun; nothing without the feature `view`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use reverie_control::ServoSample;
use reverie_schema::{
    ActionChunk, DecodeReport, HoldReason, Observation, ServoState, Stamp, Status,
    scene::{Pose, Scene},
};

#[cfg(feature = "view")]
use reverie_rerun::{Level, ServoPoint, Viewer, ViewerOptions};

/// A recording of rollouts.
pub struct Recorder {
    #[cfg(feature = "view")]
    viewer: Viewer,
    #[cfg_attr(not(feature = "view"), expect(dead_code, reason = "events are told to the viewer alone"))]
    state: (ServoState, HoldReason),
    #[cfg(feature = "view")]
    chunks_rejected: u64,
    tcp: [f32; 3],
}

#[cfg(feature = "view")]
impl Recorder {
    pub fn disabled() -> Self {
        Self::new(Viewer::disabled())
    }

    /// Records to a file, which is there when [`Recorder::finish`] is done.
    pub fn to_file(path: &Path, scene: &Scene) -> Result<Self> {
        Ok(Self::new(Viewer::to_file(path, scene, &ViewerOptions::default())?))
    }

    /// Shows in the viewer at `url`.
    pub fn connect(url: &str, scene: &Scene) -> Result<Self> {
        Ok(Self::new(Viewer::connect(url, scene, &ViewerOptions::default())?))
    }

    fn new(viewer: Viewer) -> Self {
        Self { viewer, state: (ServoState::Holding, HoldReason::None), chunks_rejected: 0, tcp: [0.0; 3] }
    }

    pub fn begin(&mut self, name: &str, stamp: Stamp) -> Result<()> {
        Ok(self.viewer.begin_episode(name, stamp)?)
    }

    pub fn frame(&mut self, observation: &Observation, world_from_body: &[Pose]) -> Result<()> {
        self.tcp = observation.tcp_in_world();
        Ok(self.viewer.poses(observation.stamp, world_from_body)?)
    }

    /// The planned way of the TCP from where it was seen last.
    pub fn plan(&mut self, chunk: &ActionChunk, report: &DecodeReport) -> Result<()> {
        let mut at = self.tcp;
        let mut points = vec![at];
        for row in chunk.rows() {
            let step = row.translation_m();
            at = std::array::from_fn(|i| at[i] + step[i] as f32);
            points.push(at);
        }
        self.viewer.plan(chunk.obs_stamp, &points)?;
        Ok(self.viewer.decode(chunk.obs_stamp, report)?)
    }

    pub fn servo(&mut self, sample: &ServoSample) -> Result<()> {
        let position = |pose: [f64; 6]| [pose[0], pose[1], pose[2]];
        self.viewer.servo(&[ServoPoint {
            stamp: sample.stamp,
            joints_measured_rad: sample.measured.position,
            joints_commanded_rad: sample.command.position,
            gripper_width_m: sample.measured.gripper_width,
            gripper_command: sample.command.gripper,
            tcp_commanded_in_world_m: position(sample.tcp_command),
            tcp_measured_in_world_m: position(sample.tcp_measured),
            lateness_us: sample.lateness_ns as f64 * 1e-3,
        }])?;
        let state = (sample.state, sample.hold_reason);
        if state != self.state {
            self.state = state;
            let (level, text) = match state {
                (ServoState::Tracking, _) => (Level::Info, "servo: playing a chunk".to_owned()),
                (now, reason @ (HoldReason::Stopped | HoldReason::AwaitingFirstChunk)) => {
                    (Level::Debug, format!("servo: {} ({})", words(&now), words(&reason)))
                }
                (now, reason) => (Level::Warn, format!("servo: {} ({})", words(&now), words(&reason))),
            };
            self.viewer.event(sample.stamp, level, &text)?;
        }
        Ok(())
    }

    pub fn status(&mut self, status: &Status) -> Result<()> {
        if status.chunks_rejected > self.chunks_rejected {
            self.viewer.event(status.stamp, Level::Warn, &format!("{} chunks refused so far", status.chunks_rejected))?;
        }
        self.chunks_rejected = status.chunks_rejected;
        Ok(())
    }

    pub fn ended(&mut self, stamp: Stamp, success: bool, steps: u32) -> Result<()> {
        let (level, word) = if success { (Level::Info, "success") } else { (Level::Error, "failure") };
        Ok(self.viewer.event(stamp, level, &format!("{word} after {steps} control steps"))?)
    }

    /// The file written, if one was.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        Ok(self.viewer.finish()?.map(|written| written.path))
    }
}

/// `ChunkExhausted` as `chunk exhausted`.
#[cfg(feature = "view")]
fn words(value: &impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(not(feature = "view"))]
impl Recorder {
    pub fn disabled() -> Self {
        Self { state: (ServoState::Holding, HoldReason::None), tcp: [0.0; 3] }
    }

    pub fn to_file(_: &Path, _: &Scene) -> Result<Self> {
        anyhow::bail!("this program was built without rerun (feature `view`): use --no-rerun")
    }

    pub fn connect(_: &str, _: &Scene) -> Result<Self> {
        anyhow::bail!("this program was built without rerun (feature `view`): leave out --connect")
    }

    pub fn begin(&mut self, _: &str, _: Stamp) -> Result<()> {
        Ok(())
    }

    pub fn frame(&mut self, observation: &Observation, _: &[Pose]) -> Result<()> {
        self.tcp = observation.tcp_in_world();
        Ok(())
    }

    pub fn plan(&mut self, _: &ActionChunk, _: &DecodeReport) -> Result<()> {
        Ok(())
    }

    pub fn servo(&mut self, _: &ServoSample) -> Result<()> {
        Ok(())
    }

    pub fn status(&mut self, _: &Status) -> Result<()> {
        Ok(())
    }

    pub fn ended(&mut self, _: Stamp, _: bool, _: u32) -> Result<()> {
        Ok(())
    }

    pub fn finish(self) -> Result<Option<PathBuf>> {
        Ok(None)
    }
}
