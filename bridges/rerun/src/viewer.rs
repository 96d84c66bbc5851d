use std::path::Path;

use rerun::{
    Clear, Image, LineStrips3D, Radius, Scalars, SeriesLines, StateChange, TextLog, ViewCoordinates,
    components::{InterpolationMode, TextLogLevel},
};
use reverie_schema::{
    DecodeReport, Stamp,
    scene::{Pose, Scene},
};

use crate::{
    Error, ServoPoint, Written,
    body::Bodies,
    layout::{self, LOG},
    path::ExecutedPath,
    recording::{At, Recording},
    servo::{self, ServoLog, opaque},
};

const PLAN: &str = "world/plan";
const PATH: &str = "world/path";
const DECODE_MS: &str = "plots/decode_ms";
const NFE: &str = "plots/nfe";
const EPISODE: &str = "episode";
/// Room between two episodes whose clocks would make them overlap, nanoseconds.
const EPISODE_GAP_NS: i64 = 500_000_000;

/// How a rollout is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewerOptions {
    /// Name of the recording in the viewer's list. Default `rollout`.
    pub recording_name: String,
    /// Where the eye stands at first, metres. Default: in front of the table, right of it and above, 1.7 m away.
    pub eye_in_world_m: [f32; 3],
    /// What it looks at, metres. Default: above the table's middle.
    pub look_at_in_world_m: [f32; 3],
    /// At least this long between two servo ticks that are kept, nanoseconds. Default 5 ms: a 1 kHz servo is shown at 200 Hz.
    pub servo_period_ns: i64,
    /// Distance between open fingers, metres, which the plot shows as the command "open". Default 0.08 (Franka hand).
    pub gripper_open_m: f64,
    /// Camera images for which the screen has room, side by side: what stands above each, and `/cameras/` with its name. Default none.
    pub cameras: &'static [(&'static str, &'static str)],
    /// Which plots there are. Default [`Plots::Servo`].
    pub plots: Plots,
}

/// CALVIN's cameras, for [`ViewerOptions::cameras`].
pub const CALVIN_CAMERAS: &[(&str, &str)] = &[("Static camera", "/cameras/static"), ("Gripper camera", "/cameras/gripper")];

/// What is plotted beside the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plots {
    /// Joints, gripper, tracking, decoding and the servo's lateness.
    #[default]
    Servo,
    /// Joints and gripper: a recording that knows no commanded joints.
    Measured,
}

impl Default for ViewerOptions {
    fn default() -> Self {
        Self {
            recording_name: "rollout".to_owned(),
            eye_in_world_m: [0.85, -1.30, 1.22],
            look_at_in_world_m: [-0.08, -0.12, 0.46],
            servo_period_ns: 5_000_000,
            gripper_open_m: 0.08,
            cameras: &[],
            plots: Plots::Servo,
        }
    }
}

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who looks closely.
    Debug,
    /// As it should be.
    Info,
    /// It went on, but not as it should.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debug => TextLogLevel::DEBUG,
            Self::Info => TextLogLevel::INFO,
            Self::Warn => TextLogLevel::WARN,
            Self::Error => TextLogLevel::ERROR,
        }
    }
}

/// A rollout in the viewer: the world, the plan, the path, plots and a text log.
///
/// Several episodes follow each other on one time axis that starts at the first; where an episode's clock begins anew, it is
/// moved behind the last. Each method returns the first error of the file behind it; dropped before [`Viewer::finish`], no file
/// is left.
pub struct Viewer(Option<Rollout>);

struct Rollout {
    recording: Recording,
    bodies: Bodies,
    servo: ServoLog,
    path: ExecutedPath,
    gripper_open_m: f64,
    /// Added to a stamp, it gives the time that is shown; none before the first stamp.
    offset_ns: Option<i64>,
    /// The latest time shown.
    last_ns: i64,
}

impl Viewer {
    /// A recording in the file `path`, which appears when [`Viewer::finish`] is done.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be written, [`Error::BodyName`] if the scene's bodies can't be told apart.
    pub fn to_file(path: impl AsRef<Path>, scene: &Scene, options: &ViewerOptions) -> Result<Self, Error> {
        let layout = layout::rollout(options);
        Self::begin(Recording::to_file(path.as_ref(), &options.recording_name, &layout)?, scene, options)
    }

    /// A recording in the viewer at `url` (`rerun+http://ADDRESS:PORT/proxy`).
    ///
    /// # Errors
    /// [`Error::Viewer`] if none answers within 5 s, [`Error::BodyName`] if the scene's bodies can't be told apart.
    pub fn connect(url: &str, scene: &Scene, options: &ViewerOptions) -> Result<Self, Error> {
        let layout = layout::rollout(options);
        Self::begin(Recording::connect(url, &options.recording_name, &layout)?, scene, options)
    }

    /// A viewer that shows nothing and costs nothing.
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Whether anything is recorded.
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    fn begin(recording: Recording, scene: &Scene, options: &ViewerOptions) -> Result<Self, Error> {
        recording.log_static("world", &ViewCoordinates::RIGHT_HAND_Z_UP())?;
        let bodies = Bodies::draw(&recording, scene)?;
        servo::style(&recording)?;
        for (entity, name, rgb) in [(DECODE_MS, "decode, ms", 0xEE6677), (NFE, "network evaluations", 0x66CCEE)] {
            let line = SeriesLines::new()
                .with_names([name])
                .with_colors([opaque(rgb)])
                .with_widths([1.5])
                .with_interpolation_mode(InterpolationMode::StepAfter);
            recording.log_static(entity, &line)?;
        }
        // A file takes a chunk every two seconds, who watches sees ten a second.
        let batch = if recording.is_live() { 20 } else { 400 };
        Ok(Self(Some(Rollout {
            bodies,
            servo: ServoLog::new(options.servo_period_ns, batch),
            path: ExecutedPath::default(),
            gripper_open_m: options.gripper_open_m,
            offset_ns: None,
            last_ns: 0,
            recording,
        })))
    }

    /// Begins an episode: marks it in the log, wipes plan and path, and interrupts the plots' lines.
    ///
    /// # Errors
    /// See [`Viewer`].
    pub fn begin_episode(&mut self, name: &str, stamp: Stamp) -> Result<(), Error> {
        self.with(|rollout| {
            rollout.send_servo()?;
            if rollout.offset_ns.is_some_and(|offset| stamp.plus_ns(offset).0 <= rollout.last_ns) {
                rollout.offset_ns = Some(rollout.last_ns + EPISODE_GAP_NS - stamp.0);
            }
            let at = rollout.at(stamp);
            rollout.path.clear();
            for entity in [PLAN, PATH] {
                rollout.recording.log(entity, at, &Clear::flat())?;
            }
            // To a plot a `Clear` is nothing; a row without a value ends the line.
            for entity in servo::ENTITIES.into_iter().chain([DECODE_MS, NFE]) {
                rollout.recording.log(entity, at, &Scalars::new([0.0; 0]))?;
            }
            rollout.recording.log(EPISODE, at, &StateChange::single(name))?;
            rollout.recording.log(LOG, at, &TextLog::new(format!("episode: {name}")).with_level(TextLogLevel::INFO))
        })
    }

    /// Moves the bodies; `world_from_body` in the scene's order.
    ///
    /// # Errors
    /// [`Error::PoseCount`]; see [`Viewer`].
    pub fn poses(&mut self, stamp: Stamp, world_from_body: &[Pose]) -> Result<(), Error> {
        self.with(|rollout| {
            let at = rollout.at(stamp);
            rollout.bodies.place(&rollout.recording, at, world_from_body)
        })
    }

    /// Shows a camera's picture, `[height, width, 3]` sRGB from the top; `size` is `[width, height]`.
    ///
    /// # Errors
    /// [`Error::ImageSize`] if there are fewer or more pixels; see [`Viewer`].
    pub fn image(&mut self, stamp: Stamp, camera: &str, size: [u32; 2], rgb: &[u8]) -> Result<(), Error> {
        self.with(|rollout| {
            let [width, height] = size;
            let expected = 3 * width as usize * height as usize;
            if rgb.len() != expected {
                return Err(Error::ImageSize { camera: camera.to_owned(), expected, got: rgb.len() });
            }
            let at = rollout.at(stamp);
            rollout.recording.log(format!("cameras/{camera}"), at, &Image::from_rgb24(rgb.to_vec(), size))
        })
    }

    /// Draws the TCP positions that the newest chunk asks for, metres; none wipe the line.
    ///
    /// # Errors
    /// See [`Viewer`].
    pub fn plan(&mut self, stamp: Stamp, tcp_in_world_m: &[[f32; 3]]) -> Result<(), Error> {
        self.with(|rollout| {
            let at = rollout.at(stamp);
            rollout.recording.log(PLAN, at, &line(tcp_in_world_m, 0x66CCEE, 2.5))
        })
    }

    /// Plots servo ticks, oldest first, and draws the executed path. Ticks that come too fast are thinned out.
    ///
    /// # Errors
    /// See [`Viewer`].
    pub fn servo(&mut self, points: &[ServoPoint]) -> Result<(), Error> {
        self.with(|rollout| {
            for point in points {
                let at = rollout.at(point.stamp);
                rollout.servo.add(point);
                rollout.path.add(point.tcp_measured_in_world_m.map(|metres| metres as f32));
                if let Some(points) = rollout.path.redraw(point.stamp) {
                    rollout.recording.log(PATH, at, &line(points, 0xEE8866, 1.5))?;
                }
            }
            if rollout.servo.is_due() { rollout.send_servo() } else { Ok(()) }
        })
    }

    /// Plots what a decode took.
    ///
    /// # Errors
    /// See [`Viewer`].
    pub fn decode(&mut self, stamp: Stamp, report: &DecodeReport) -> Result<(), Error> {
        self.with(|rollout| {
            let at = rollout.at(stamp);
            rollout.recording.log(DECODE_MS, at, &Scalars::single(report.decode_us * 1e-3))?;
            rollout.recording.log(NFE, at, &Scalars::single(f64::from(report.nfe)))
        })
    }

    /// Adds a line to the text log.
    ///
    /// # Errors
    /// See [`Viewer`].
    pub fn event(&mut self, stamp: Stamp, level: Level, text: &str) -> Result<(), Error> {
        self.with(|rollout| {
            let at = rollout.at(stamp);
            rollout.recording.log(LOG, at, &TextLog::new(text).with_level(level.name()))
        })
    }

    /// Writes what is left, and gives the file its name; nothing written where there is no file.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Viewer`] if something could not be written.
    pub fn finish(mut self) -> Result<Option<Written>, Error> {
        self.with(Rollout::send_servo)?;
        self.0.take().map_or(Ok(None), |rollout| rollout.recording.finish())
    }

    fn with(&mut self, log: impl FnOnce(&mut Rollout) -> Result<(), Error>) -> Result<(), Error> {
        self.0.as_mut().map_or(Ok(()), log)
    }
}

impl Rollout {
    fn at(&mut self, stamp: Stamp) -> At {
        let offset = *self.offset_ns.get_or_insert(stamp.0.saturating_neg());
        let nanos = stamp.plus_ns(offset).0;
        self.last_ns = self.last_ns.max(nanos);
        At::Time { nanos }
    }

    fn send_servo(&mut self) -> Result<(), Error> {
        let offset_ns = self.offset_ns.unwrap_or_default();
        self.servo.send(&self.recording, offset_ns, self.gripper_open_m)
    }
}

fn line(points: &[[f32; 3]], rgb: u32, radius_ui_points: f32) -> LineStrips3D {
    LineStrips3D::new([points]).with_colors([opaque(rgb)]).with_radii([Radius::new_ui_points(radius_ui_points)])
}
