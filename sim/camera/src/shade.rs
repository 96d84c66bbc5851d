//! From what is in each pixel to its colour.

use glam::Vec3;
use reverie_schema::scene::Form;

use crate::{
    Backdrop, Light,
    face::FACE_NORMALS,
    layers::{FLOOR, IDS_PER_SHAPE, SHAPES, SKY},
    piece::Piece,
    quadric::{CAP_ABOVE, CAP_BELOW},
    rigid::Rigid,
    shadow::{ShadowMap, SunRow},
    texture::Solid,
    tone::{self, Encoder},
    view::View,
};

/// What shading needs of a picture.
pub(crate) struct Shader<'a> {
    pub view: &'a View,
    pub pieces: &'a [Piece],
    /// Each piece in view.
    pub placed: &'a [Option<Placed>],
    /// In the camera's frame.
    pub directions: Directions,
    pub light: &'a Light,
    pub backdrop: &'a Backdrop,
    /// None: no shadows.
    pub shadows: Option<&'a ShadowMap>,
    pub encoder: Encoder,
}

/// Light on a surface: from the sky, and from the sun where nothing is in between.
#[derive(Clone, Copy)]
struct Irradiance {
    sky: f32,
    sun: f32,
}

/// The sun and up in some frame, unit vectors.
#[derive(Clone, Copy)]
pub(crate) struct Directions {
    to_sun: Vec3,
    up: Vec3,
}

/// A piece as seen by the camera.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    shape_from_camera: Rigid,
    /// In the shape's frame.
    directions: Directions,
}

impl Placed {
    pub fn new(camera_from_shape: &Rigid, in_camera: &Directions) -> Self {
        let shape_from_camera = camera_from_shape.inverse();
        let turn = shape_from_camera.rotation;
        Self { shape_from_camera, directions: Directions { to_sun: turn * in_camera.to_sun, up: turn * in_camera.up } }
    }
}

impl Directions {
    pub fn in_camera(view: &View, light: &Light) -> Self {
        let turn = view.camera_from_world.rotation;
        let to_sun = turn * -Vec3::from_array(light.direction_in_world).normalize_or(Vec3::NEG_Z);
        Self { to_sun, up: turn.z_axis }
    }

    #[inline]
    fn on(&self, normal: Vec3, light: &Light) -> Irradiance {
        let facing = self.to_sun.dot(normal);
        Irradiance {
            sky: light.ambient * (0.75 + 0.25 * self.up.dot(normal)),
            sun: light.diffuse * if facing > 0.0 { facing } else { 0.0 },
        }
    }
}

/// Either every pixel of a run has the same normal, or each its own.
enum Surface {
    Flat(Vec3),
    Round { radius: f32, half_height: f32, ends: bool },
}

impl Shader<'_> {
    /// Depths of a row, metres, from inverse depths.
    pub fn depth_row(&self, keys: &[f32], ids: &[u32], depth_m: &mut [f32]) {
        for ((depth, &key), &id) in depth_m.iter_mut().zip(keys).zip(ids) {
            *depth = if id == SKY { self.view.far_m } else { 1.0 / key };
        }
    }

    /// Colours of a row, `rgb` `[width, 3]`.
    pub fn colour_row(&self, row: usize, ids: &[u32], depth_m: &[f32], sun_row: &mut SunRow, rgb: &mut [u8]) {
        if let Some(shadows) = self.shadows {
            shadows.see_row(self.view, row, depth_m, sun_row);
        }
        let mut start = 0;
        for run in ids.chunk_by(|a, b| a == b) {
            let end = start + run.len();
            let run = Run { id: run[0], row, start, depth_m: &depth_m[start..end], sun_row };
            self.colour_run(&run, rgb[3 * start..3 * end].as_chunks_mut().0);
            start = end;
        }
    }

    fn colour_run(&self, run: &Run<'_>, out: &mut [[u8; 3]]) {
        if run.id == SKY {
            out.fill(self.backdrop.sky_rgb);
        } else if run.id == FLOOR {
            let irradiance = self.directions.on(self.directions.up, self.light);
            self.flat(run, irradiance, tone::linear(self.backdrop.floor_rgb), out);
        } else {
            let index = ((run.id - SHAPES) / IDS_PER_SHAPE) as usize;
            let (Some(piece), Some(Some(placed))) = (self.pieces.get(index), self.placed.get(index)) else { return };
            self.shape(run, piece, placed, out);
        }
    }

    fn shape(&self, run: &Run<'_>, piece: &Piece, placed: &Placed, out: &mut [[u8; 3]]) {
        let Placed { shape_from_camera, directions } = placed;
        let [first, second] = piece.colours;
        let surface = surface(piece.form, (run.id - SHAPES) % IDS_PER_SHAPE);
        let ray = Steps {
            origin: shape_from_camera.translation,
            first: shape_from_camera.rotation * self.view.ray(run.start, run.row),
            step: shape_from_camera.rotation.x_axis * self.view.step(),
        };
        match (&piece.solid, surface) {
            (Solid::Glow, _) => out.fill(self.encoder.encode(first)),
            (Solid::Plain, Surface::Flat(normal)) => self.flat(run, directions.on(normal, self.light), first, out),
            (solid, Surface::Flat(normal)) => {
                let irradiance = directions.on(normal, self.light);
                for (i, (pixel, &depth)) in out.iter_mut().zip(run.depth_m).enumerate() {
                    let albedo = first + (second - first) * solid.share(ray.at(i, depth));
                    *pixel = self.encoder.encode(albedo * self.colour(irradiance, self.lit(run, i, irradiance)));
                }
            }
            (solid, Surface::Round { radius, half_height, ends }) => {
                let per_radius = 1.0 / radius;
                for (i, (pixel, &depth)) in out.iter_mut().zip(run.depth_m).enumerate() {
                    let place = ray.at(i, depth);
                    let along = if ends { place.z - place.z.clamp(-half_height, half_height) } else { 0.0 };
                    let normal = Vec3::new(place.x, place.y, along) * per_radius;
                    let irradiance = directions.on(normal, self.light);
                    let albedo = match solid {
                        Solid::Plain => first,
                        solid => first + (second - first) * solid.share(place),
                    };
                    *pixel = self.encoder.encode(albedo * self.colour(irradiance, self.lit(run, i, irradiance)));
                }
            }
        }
    }

    /// One colour under one light; only shadows differ.
    fn flat(&self, run: &Run<'_>, irradiance: Irradiance, albedo: Vec3, out: &mut [[u8; 3]]) {
        let bright = albedo * self.colour(irradiance, 1.0);
        let encoded = self.encoder.encode(bright);
        if self.shadows.is_none() || irradiance.sun <= 0.0 {
            out.fill(encoded);
            return;
        }
        let dark = albedo * self.colour(irradiance, 1.0 - self.light.shadow);
        let encoded_dark = self.encoder.encode(dark);
        let Some(shadows) = self.shadows else { return };
        for (i, pixel) in out.iter_mut().enumerate() {
            let lit = shadows.lit(run.sun_row, run.start + i);
            *pixel = if lit == 1.0 {
                encoded
            } else if lit == 0.0 {
                encoded_dark
            } else {
                self.encoder.encode(dark + (bright - dark) * lit)
            };
        }
    }

    #[inline]
    fn lit(&self, run: &Run<'_>, i: usize, irradiance: Irradiance) -> f32 {
        match self.shadows {
            Some(shadows) if irradiance.sun > 0.0 => 1.0 - self.light.shadow * (1.0 - shadows.lit(run.sun_row, run.start + i)),
            _ => 1.0,
        }
    }

    #[inline]
    fn colour(&self, irradiance: Irradiance, lit: f32) -> Vec3 {
        Vec3::from_array(self.light.colour) * (irradiance.sky + irradiance.sun * lit)
    }
}

/// Neighbouring pixels of a row on the same surface.
struct Run<'a> {
    id: u32,
    row: usize,
    start: usize,
    depth_m: &'a [f32],
    sun_row: &'a SunRow,
}

/// Rays of a run in a shape's frame.
struct Steps {
    origin: Vec3,
    first: Vec3,
    step: Vec3,
}

impl Steps {
    #[inline]
    fn at(&self, i: usize, depth: f32) -> Vec3 {
        self.origin + (self.first + self.step * (i as i32 as f32)) * depth
    }
}

fn surface(form: Form, part: u32) -> Surface {
    match (form, part) {
        (Form::Box { .. }, face) => Surface::Flat(FACE_NORMALS.get(face as usize).copied().unwrap_or(Vec3::Z)),
        (Form::Cylinder { .. }, CAP_BELOW) => Surface::Flat(Vec3::NEG_Z),
        (Form::Cylinder { .. }, CAP_ABOVE) => Surface::Flat(Vec3::Z),
        (Form::Cylinder { radius, half_height }, _) => Surface::Round { radius, half_height, ends: false },
        (Form::Capsule { radius, half_height }, _) => Surface::Round { radius, half_height, ends: true },
        (Form::Sphere { radius }, _) => Surface::Round { radius, half_height: 0.0, ends: true },
    }
}
