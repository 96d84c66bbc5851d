//! What a viewer needs to draw the world: rigid shapes on named bodies, and where the bodies are.

use serde::{Deserialize, Serialize};

/// A rigid transform `parent_from_child`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// Metres.
    pub translation: [f32; 3],
    /// Unit quaternion, x y z w.
    pub rotation_xyzw: [f32; 4],
}

impl Pose {
    /// No motion.
    pub const IDENTITY: Self = Self { translation: [0.0; 3], rotation_xyzw: [0.0, 0.0, 0.0, 1.0] };
}

/// The form of a shape, centred on its own origin, metres.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A box.
    Box {
        /// Half of its edge lengths.
        half_size: [f32; 3],
    },
    /// A cylinder along z.
    Cylinder {
        /// Radius.
        radius: f32,
        /// Half of its height.
        half_height: f32,
    },
    /// A cylinder along z with half spheres at its ends.
    Capsule {
        /// Radius.
        radius: f32,
        /// Half of the distance between the half spheres' centres.
        half_height: f32,
    },
    /// A sphere.
    Sphere {
        /// Radius.
        radius: f32,
    },
}

/// A pattern of two colours: that of the shape, and this one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// The length after which the pattern repeats, metres, positive.
    pub scale_m: f32,
    /// The second colour: red, green, blue, sRGB.
    pub second_rgb: [u8; 3],
}

/// What a shape's surface looks like. Patterns are solid: functions of the place in the shape's own frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texture {
    /// One colour.
    #[default]
    Plain,
    /// One colour that shines by itself, whatever the light.
    Glow,
    /// Grain along the shape's x axis.
    Wood(Pattern),
    /// Cubes of half the scale, in turn.
    Checker(Pattern),
    /// Bands of half the scale across the shape's x axis, in turn.
    Stripes(Pattern),
    /// Clouds.
    Noise(Pattern),
}

/// A coloured shape fixed to a body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Its form.
    pub form: Form,
    /// `body_from_shape`.
    pub pose: Pose,
    /// Red, green, blue, alpha, sRGB.
    pub rgba: [u8; 4],
    /// Its surface. A viewer that knows no textures draws `rgba`.
    #[serde(default)]
    pub texture: Texture,
}

impl Shape {
    /// A shape of one colour.
    pub const fn plain(form: Form, pose: Pose, rgba: [u8; 4]) -> Self {
        Self { form, pose, rgba, texture: Texture::Plain }
    }
}

/// A rigid body and its shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Unique, for example `robot/link3` or `table/drawer`.
    pub name: String,
    /// What is drawn.
    pub shapes: Vec<Shape>,
}

/// All bodies of a world. Their poses `world_from_body` come separately, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The bodies.
    pub bodies: Vec<Body>,
}
