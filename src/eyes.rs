//! The cameras of a simulated world.

use anyhow::Result;
use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer, TactileConfig, TactileImage, TactileSensor};
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
    /// What both fingers feel, as two pictures
    Tactile,
}

impl CameraName {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Gripper => "gripper",
            Self::Tactile => "tactile",
        }
    }

    /// The camera in the configured size; none for what the fingers feel.
    pub fn camera(self, config: &CameraSection) -> Option<Camera> {
        match self {
            Self::Static => Some(Camera::calvin_static().with_size(config.static_px, config.static_px)),
            Self::Gripper => Some(Camera::calvin_gripper().with_size(config.gripper_px, config.gripper_px)),
            Self::Tactile => None,
        }
    }

    /// Names and `[height, width]` of its pictures.
    pub fn pictures(self, config: &CameraSection) -> Vec<(String, [usize; 2])> {
        match self.camera(config) {
            Some(camera) => vec![(self.label().to_owned(), [camera.height, camera.width])],
            None => {
                let TactileConfig { height, width, pads, .. } = TactileConfig::default();
                (1..=pads.len()).map(|pad| (format!("{}_{pad}", self.label()), [height, width])).collect()
            }
        }
    }
}

/// One camera with its latest picture, or the fingers with what they feel.
enum Eye {
    Camera(Camera, Image),
    Fingers(Box<TactileSensor>, TactileImage),
}

/// Cameras that look at one scene.
pub struct Eyes {
    renderer: Renderer,
    light: Light,
    eyes: Vec<Eye>,
}

impl Eyes {
    pub fn new(config: &CameraSection, scene: &Scene, names: &[CameraName]) -> Result<Self> {
        let eye = |name: &CameraName| {
            Ok(match name.camera(config) {
                Some(camera) => Eye::Camera(camera, Image::default()),
                None => Eye::Fingers(Box::new(TactileSensor::new(scene, TactileConfig::default())?), TactileImage::default()),
            })
        };
        Ok(Self {
            renderer: Renderer::with_config(scene, config.render.clone())?,
            light: config.light.clone(),
            eyes: names.iter().map(eye).collect::<Result<_>>()?,
        })
    }

    pub fn cameras_mut(&mut self) -> impl Iterator<Item = &mut Camera> {
        self.eyes.iter_mut().filter_map(|eye| match eye {
            Eye::Camera(camera, _) => Some(camera),
            Eye::Fingers(..) => None,
        })
    }

    /// Takes a picture with each camera.
    pub fn look(&mut self, world_from_body: &[Pose]) -> Result<()> {
        for eye in &mut self.eyes {
            match eye {
                Eye::Camera(camera, image) => drop(self.renderer.render(camera, world_from_body, &self.light, image)?),
                Eye::Fingers(sensor, image) => sensor.feel(world_from_body, image)?,
            }
        }
        Ok(())
    }

    /// The latest pictures, `[height, width, 3]` each, in the order of [`CameraName::pictures`].
    pub fn pictures(&self) -> Vec<Vec<u8>> {
        self.eyes
            .iter()
            .flat_map(|eye| match eye {
                Eye::Camera(_, image) => vec![image.rgb.clone()],
                Eye::Fingers(_, image) => {
                    // [height, width, 3 x pads]
                    let pads = TactileConfig::default().pads.len();
                    let of = |pad: usize| image.rgb.chunks_exact(3 * pads).flat_map(move |at| &at[3 * pad..3 * pad + 3]).copied();
                    (0..pads).map(|pad| of(pad).collect()).collect()
                }
            })
            .collect()
    }
}
