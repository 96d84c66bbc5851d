//! An episode of a data set, as a recording for the rerun viewer.

use std::path::Path;

use anyhow::{Context, Result};
use reverie_rerun::{Level, ServoPoint, Viewer, ViewerOptions};
use reverie_schema::{GripperCommand, RobotSpec};
use reverie_sim::Replay;

use crate::dataset::{Dataset, Label};

/// Writes the recording to `path`.
pub fn write_episode(folder: &Path, episode: usize, path: &Path) -> Result<()> {
    let dataset = Dataset::open(folder)?;
    let beside = dataset.beside(episode)?;
    let recorded_scene = beside.as_ref().and_then(|beside| beside.scene);
    let scene = recorded_scene.unwrap_or_default();
    let scene_words = match recorded_scene {
        Some(scene) => format!("scene {scene}"),
        None => format!("scene not recorded, drawn as {scene}"),
    };
    let replay = Replay::new(scene, RobotSpec::panda())?;
    let images = dataset.images();
    let options = ViewerOptions {
        recording_name: format!("{} episode {episode}", folder.display()),
        cameras: if images.is_empty() { &[] } else { reverie_rerun::CALVIN_CAMERAS },
        plots: reverie_rerun::Plots::Measured,
        ..ViewerOptions::default()
    };
    let mut viewer = Viewer::to_file(path, replay.scene(), &options)?;
    let sentences = dataset.sentences(episode)?.join(" / ");
    let labels: Vec<Label> = beside.map(|beside| beside.labels).unwrap_or_default();
    let (mut poses, mut frame_number) = (Vec::new(), 0);
    dataset.each_frame(episode, true, |frame, pictures| {
        let observation = &frame.observation;
        if frame_number == 0 {
            viewer.begin_episode(&format!("{episode} ({scene_words}): {sentences}"), observation.stamp)?;
        }
        for label in &labels {
            if label.from == frame_number {
                viewer.event(observation.stamp, Level::Info, &format!("{}: {}", label.task, label.text))?;
            }
            if label.to == frame_number {
                viewer.event(observation.stamp, Level::Info, &format!("{}: done", label.task))?;
            }
        }
        replay.poses(observation, &mut poses);
        viewer.poses(observation.stamp, &poses)?;
        let joints = std::array::from_fn(|i| f64::from(observation.robot[7 + i]));
        let tcp = observation.tcp_in_world().map(f64::from);
        viewer.servo(&[ServoPoint {
            stamp: observation.stamp,
            joints_measured_rad: joints,
            joints_commanded_rad: joints,
            gripper_width_m: observation.robot[6].into(),
            gripper_command: if frame.action.0[6] >= 0.0 { GripperCommand::Open } else { GripperCommand::Close },
            tcp_commanded_in_world_m: tcp,
            tcp_measured_in_world_m: tcp,
            lateness_us: 0.0,
        }])?;
        for ((name, [height, width]), pixels) in images.iter().zip(pictures) {
            viewer.image(observation.stamp, name, [*width as u32, *height as u32], pixels)?;
        }
        frame_number += 1;
        Ok(())
    })?;
    viewer.finish().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
