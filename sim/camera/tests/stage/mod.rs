//! Scenes of single shapes for the tests, and a small source of numbers.
#![allow(dead_code, reason = "each test binary uses a part")]

use reverie_camera::{Backdrop, Camera, Mount, RenderConfig, look_at};
use reverie_schema::scene::{Body, Form, Pose, Scene, Shape};

pub const GREY: [u8; 4] = [128, 128, 128, 255];

/// A body of one shape.
pub fn body(name: &str, form: Form, rgba: [u8; 4]) -> Body {
    Body { name: name.into(), shapes: vec![Shape::plain(form, Pose::IDENTITY, rgba)] }
}

pub fn scene(bodies: &[(Form, [u8; 4])]) -> Scene {
    let named = bodies.iter().enumerate().map(|(i, &(form, rgba))| body(&format!("body{i}"), form, rgba));
    Scene { bodies: named.collect() }
}

pub fn at(x: f32, y: f32, z: f32) -> Pose {
    Pose { translation: [x, y, z], ..Pose::IDENTITY }
}

/// No floor, no shadows, one sample.
pub fn bare() -> RenderConfig {
    RenderConfig { shadow_map_px: 0, backdrop: Backdrop { floor_m: None, ..Backdrop::default() }, ..RenderConfig::default() }
}

/// A camera at `eye` that looks at `target` with z up.
pub fn standing(eye: [f32; 3], target: [f32; 3], side: usize, fov_degrees: f32) -> Camera {
    let mount = Mount::World(look_at(eye, target, [0.0, 0.0, 1.0]));
    Camera { width: side, height: side, fov_y_rad: fov_degrees.to_radians(), near_m: 0.01, far_m: 20.0, mount }
}

/// Numbers in [-1, 1) (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}
