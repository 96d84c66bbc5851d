//! Software cameras: RGB and metric depth of a scene of boxes, cylinders, capsules and spheres, without GPU or display.
//!
//! A camera's frame has x to the right of the image, y down, z along the optical axis; depth is the distance along z, metres. Row 0
//! is the image's top. Boxes are drawn as polygons, round shapes by solving each ray, so that depth is exact up to rounding.
//! Colours are mixed in linear light and written as sRGB.
//!
//! ```
//! use reverie_camera::{Camera, Image, Light, Mount, Renderer, look_at};
//! use reverie_schema::scene::{Body, Form, Pose, Scene, Shape};
//! let ball = Shape::plain(Form::Sphere { radius: 0.1 }, Pose::IDENTITY, [200, 60, 60, 255]);
//! let scene = Scene { bodies: vec![Body { name: "ball".into(), shapes: vec![ball] }] };
//! let mut camera = Camera::calvin_static().with_size(65, 65);
//! camera.mount = Mount::World(look_at([2.0, 0.0, 0.0], [0.0; 3], [0.0, 0.0, 1.0]));
//! let mut image = Image::default();
//! Renderer::new(&scene).unwrap().render(&camera, &[Pose::IDENTITY], &Light::default(), &mut image).unwrap();
//! assert!((image.depth_at(32, 32).unwrap() - 1.9).abs() < 1e-5);
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod camera;
mod error;
mod face;
mod image;
mod layers;
mod light;
mod piece;
mod quadric;
mod renderer;
mod rigid;
mod shade;
mod shadow;
mod spans;
mod tactile;
mod texture;
mod tone;
mod view;

pub use camera::{Camera, Mount, look_at};
pub use error::CameraError;
pub use image::Image;
pub use light::{Backdrop, Light, RenderConfig};
pub use renderer::{RenderReport, Renderer};
pub use tactile::{Pad, TactileConfig, TactileImage, TactileSensor};
