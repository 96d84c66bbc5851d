//! The cameras of a simulated world.

use anyhow::Result;
use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer};
use reverie_schema::scene::{Pose, Scene};
use serde::{Deserialize, Serialize};

/// How cameras see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraSection {
    /// Rows and columns of the static camera (CALVIN: 200).
    pub static_px: usize,
    /// Rows and columns of the gripper camera (CALVIN: 84).
    pub gripper_px: usize,
    /// Sun and sky.
    pub light: Light,
    /// Samples, shadows and background.
    pub render: RenderConfig,
}

impl Default for CameraSection {
    fn default() -> Self {
        Self { static_px: 200, gripper_px: 84, light: Light::default(), render: RenderConfig::default() }
    }
}

/// One of CALVIN's cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraName {
    /// Beside and above the table
    Static,
    /// On the hand
    Gripper,
}

impl CameraName {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Gripper => "gripper",
        }
    }

    /// The camera in the configured size.
    pub fn camera(self, config: &CameraSection) -> Camera {
        match self {
            Self::Static => Camera::calvin_static().with_size(config.static_px, config.static_px),
            Self::Gripper => Camera::calvin_gripper().with_size(config.gripper_px, config.gripper_px),
        }
    }
}

/// Cameras that look at one scene.
pub struct Eyes {
    renderer: Renderer,
    light: Light,
    cameras: Vec<Camera>,
    pub images: Vec<Image>,
}

impl Eyes {
    pub fn new(config: &CameraSection, scene: &Scene, names: &[CameraName]) -> Result<Self> {
        Ok(Self {
            renderer: Renderer::with_config(scene, config.render.clone())?,
            light: config.light.clone(),
            cameras: names.iter().map(|name| name.camera(config)).collect(),
            images: names.iter().map(|_| Image::default()).collect(),
        })
    }

    pub fn cameras_mut(&mut self) -> &mut [Camera] {
        &mut self.cameras
    }

    /// Takes a picture with each camera into `images`.
    pub fn look(&mut self, world_from_body: &[Pose]) -> Result<()> {
        for (camera, image) in self.cameras.iter().zip(&mut self.images) {
            self.renderer.render(camera, world_from_body, &self.light, image)?;
        }
        Ok(())
    }
}
