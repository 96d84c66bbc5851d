//! Pinhole cameras and where they are mounted.

use glam::{Mat3, Vec3};
use reverie_schema::scene::{Pose, Scene};
use serde::{Deserialize, Serialize};

use crate::{CameraError, rigid::Rigid};

/// What carries a camera. A camera's frame has x to the right of the image, y down, z along the optical axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mount {
    /// It stands: `world_from_camera`.
    World(Pose),
    /// It moves with a body.
    Body {
        /// The body's name in the scene.
        name: String,
        /// Where it sits on the body.
        body_from_camera: Pose,
    },
}

/// A pinhole camera with square pixels and its principal point in the image's middle. Row 0 of its image is the top.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Columns of the image.
    pub width: usize,
    /// Rows of the image.
    pub height: usize,
    /// Vertical field of view from edge to edge, radians.
    pub fov_y_rad: f32,
    /// Nothing nearer along the optical axis is drawn, metres.
    pub near_m: f32,
    /// Depth where nothing is hit; nothing farther is drawn, metres.
    pub far_m: f32,
    /// What carries it.
    pub mount: Mount,
}

/// The widest image side, pixels: beyond it a size is a mistake.
const MAX_SIDE: usize = 8192;

impl Camera {
    /// CALVIN's static camera: 200 x 200, 10 degrees, beside and above the table (`conf/cameras/cameras/static.yaml`).
    pub fn calvin_static() -> Self {
        let eye = [2.871_459, -2.166_602_2, 2.555_159_8];
        let target = [-0.026_242_351, -0.030_232_988, 0.392_000_05];
        let up = [0.404_140_4, 0.226_297_91, 0.886_261_7];
        Self {
            width: 200,
            height: 200,
            fov_y_rad: 10_f32.to_radians(),
            near_m: 0.01,
            far_m: 10.0,
            mount: Mount::World(look_at(eye, target, up)),
        }
    }

    /// CALVIN's gripper camera: 84 x 84, 75 degrees, on the body `robot/hand` (`conf/cameras/cameras/gripper.yaml`).
    ///
    /// `panda_longer_finger.urdf` mounts it at (-0.1, 0, 0) with roll 1.3, yaw -1.57; it looks along y of that frame, and up is -z.
    pub fn calvin_gripper() -> Self {
        let hand_from_link = Mat3::from_rotation_z(-1.57) * Mat3::from_rotation_x(1.3);
        let link_from_camera = Mat3::from_cols(Vec3::NEG_X, Vec3::Z, Vec3::Y);
        let body_from_camera =
            Rigid { rotation: hand_from_link * link_from_camera, translation: Vec3::new(-0.1, 0.0, 0.0) }.to_pose();
        Self {
            width: 84,
            height: 84,
            fov_y_rad: 75_f32.to_radians(),
            near_m: 0.01,
            far_m: 2.0,
            mount: Mount::Body { name: "robot/hand".into(), body_from_camera },
        }
    }

    /// The same camera with another image size. The vertical field of view stays.
    #[must_use]
    pub fn with_size(mut self, width: usize, height: usize) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Focal length in pixels, horizontally and vertically.
    pub fn focal_px(&self) -> f32 {
        0.5 * self.height as f32 / (0.5 * self.fov_y_rad).tan()
    }

    pub(crate) fn validate(&self) -> Result<(), CameraError> {
        let check = |good: bool, quantity, value: f64, must_be| {
            if good { Ok(()) } else { Err(CameraError::Setting { quantity, value, must_be }) }
        };
        let sides = 1..=MAX_SIDE;
        check(sides.contains(&self.width), "the image's width", self.width as f64, "1 to 8192 pixels")?;
        check(sides.contains(&self.height), "the image's height", self.height as f64, "1 to 8192 pixels")?;
        let fov = self.fov_y_rad;
        check(fov > 1e-3 && fov < 3.0, "the vertical field of view", fov.into(), "between 0.001 and 3 radians")?;
        let near = self.near_m;
        check(near >= 1e-4 && near.is_finite(), "the near plane", near.into(), "at 0.0001 m or farther")?;
        check(
            self.far_m > near && self.far_m <= 1e4,
            "the far plane",
            self.far_m.into(),
            "beyond the near plane, at most 10000 m",
        )
    }

    /// `camera_from_world` under the bodies' poses.
    pub(crate) fn camera_from_world(&self, scene_names: &[String], world_from_body: &[Pose]) -> Result<Rigid, CameraError> {
        let rigid = |pose: &Pose| Rigid::from_pose(pose).ok_or(CameraError::CameraPose);
        let world_from_camera = match &self.mount {
            Mount::World(pose) => rigid(pose)?,
            Mount::Body { name, body_from_camera } => {
                let unknown = || CameraError::UnknownBody(name.clone());
                let body = scene_names.iter().position(|other| other == name).ok_or_else(unknown)?;
                rigid(world_from_body.get(body).ok_or_else(unknown)?)?.then(&rigid(body_from_camera)?)
            }
        };
        Ok(world_from_camera.inverse())
    }
}

/// `world_from_camera` of a camera at `eye` that sees `target` in the middle and `up` upwards.
pub fn look_at(eye: [f32; 3], target: [f32; 3], up: [f32; 3]) -> Pose {
    let [eye, target, up] = [eye, target, up].map(Vec3::from_array);
    let forward = (target - eye).normalize_or(Vec3::X);
    let right = forward.cross(up).normalize_or(forward.any_orthonormal_vector());
    Rigid { rotation: Mat3::from_cols(right, forward.cross(right), forward), translation: eye }.to_pose()
}

/// Names of a scene's bodies, in order.
pub(crate) fn names(scene: &Scene) -> Vec<String> {
    scene.bodies.iter().map(|body| body.name.clone()).collect()
}
