//! Light, and what lies behind everything.

use serde::{Deserialize, Serialize};

/// A sun and an even sky. Colours meet in linear light: `albedo * colour * (ambient * sky(normal) + diffuse * cos * unshadowed)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Light {
    /// The way in which the sun's light travels; any length but 0. The default comes over the robot's right shoulder.
    pub direction_in_world: [f32; 3],
    /// Share of the sky's light, 0 or more. Surfaces that look down get half of it.
    pub ambient: f32,
    /// Share of the sun's light on a surface across it, 0 or more.
    pub diffuse: f32,
    /// Red, green, blue, linear.
    pub colour: [f32; 3],
    /// How much of the sun's light a shadow takes away, 0 to 1; 0 spares the shadow's work.
    pub shadow: f32,
}

impl Default for Light {
    fn default() -> Self {
        Self { direction_in_world: [-0.45, 0.3, -0.85], ambient: 0.45, diffuse: 0.65, colour: [1.0; 3], shadow: 0.7 }
    }
}

/// What is seen where no shape is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backdrop {
    /// Height of a level floor without end, metres; none: there is none. CALVIN's is white, at 0.
    pub floor_m: Option<f32>,
    /// The floor's colour, sRGB.
    pub floor_rgb: [u8; 3],
    /// Beyond the floor and the far plane, sRGB.
    pub sky_rgb: [u8; 3],
}

impl Default for Backdrop {
    fn default() -> Self {
        Self { floor_m: Some(0.0), floor_rgb: [214, 214, 218], sky_rgb: [196, 206, 220] }
    }
}

/// How pictures are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenderConfig {
    /// Samples a pixel and axis, 1 to 4: 1 is fastest, 2 smooths edges at about four times the price.
    pub samples_per_axis: usize,
    /// Rows and columns of the shadow map, 0 (no shadows) to 4096. 256 over 1.8 m: a shadow's edge is 7 mm soft.
    pub shadow_map_px: usize,
    /// The middle of the region that has shadows. The default holds table and arm.
    pub shadow_centre_in_world_m: [f32; 3],
    /// Radius of that region about the sun's axis, metres.
    pub shadow_radius_m: f32,
    /// What is seen where no shape is.
    pub backdrop: Backdrop,
}

impl Default for RenderConfig {
    fn default() -> Self {
        Self {
            samples_per_axis: 1,
            shadow_map_px: 256,
            shadow_centre_in_world_m: [-0.05, -0.1, 0.5],
            shadow_radius_m: 0.9,
            backdrop: Backdrop::default(),
        }
    }
}
