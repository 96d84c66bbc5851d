//! The shadow map: where the sun's light ends, drawn from a far camera along the sun's way.
//!
//! The map holds where light leaves solids, not where it enters them: a lit face then never meets its own entry in the map, which
//! would speckle it, and no bias is needed that would lift shadows off the objects that cast them.

use glam::{Mat3, Vec3};
use reverie_schema::scene::Pose;

use crate::{Light, RenderConfig, layers::Layers, piece::Piece, rigid::Rigid, spans::Spans, texture::whole, view::View};

/// Distance of the camera: far enough that its rays are nearly parallel.
const DISTANCE_M: f32 = 20.0;
/// A surface is in shadow if the light ends this far before it, metres.
const BIAS_M: f32 = 0.006;

/// The map and what it was drawn for.
#[derive(Clone, Default)]
pub(crate) struct ShadowMap {
    side: usize,
    keys: Vec<f32>,
    spans: Spans,
    view: Option<View>,
    drawn_for: (Vec<Pose>, Option<[f32; 3]>),
}

/// A row of pixels as the sun sees them: place in the map, and inverse distance.
#[derive(Clone, Default)]
pub(crate) struct SunRow {
    column: Vec<f32>,
    row: Vec<f32>,
    key: Vec<f32>,
}

impl ShadowMap {
    pub fn new(config: &RenderConfig, bodies: usize) -> Self {
        let side = config.shadow_map_px;
        let mut spans = Spans::default();
        spans.reserve(side);
        let drawn_for = (Vec::with_capacity(bodies), None);
        Self { side, keys: vec![0.0; side * side], spans, view: None, drawn_for }
    }

    /// Forgets what it was drawn for.
    pub fn invalidate(&mut self) {
        self.drawn_for.1 = None;
    }

    /// Draws the map, unless it stands already for these poses and this sun.
    pub fn update(&mut self, pieces: &[Piece], world_from_body: &[Pose], light: &Light, config: &RenderConfig) {
        let sun = Some(light.direction_in_world);
        if self.drawn_for.1 == sun && self.drawn_for.0 == world_from_body {
            return;
        }
        self.drawn_for.0.clear();
        self.drawn_for.0.extend_from_slice(world_from_body);
        self.drawn_for.1 = sun;

        let forward = Vec3::from_array(light.direction_in_world).normalize_or(Vec3::NEG_Z);
        let right = forward.any_orthonormal_vector();
        let centre = Vec3::from_array(config.shadow_centre_in_world_m);
        let world_from_sun =
            Rigid { rotation: Mat3::from_cols(right, forward.cross(right), forward), translation: centre - forward * DISTANCE_M };
        let view = View {
            width: self.side,
            height: self.side,
            focal_px: 0.5 * self.side as f32 * DISTANCE_M / config.shadow_radius_m,
            near_m: 1.0,
            far_m: 2.0 * DISTANCE_M,
            camera_from_world: world_from_sun.inverse(),
        };
        self.keys.fill(0.0);
        let mut layers = Layers { width: self.side, keys: &mut self.keys, ids: &mut [] };
        for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.glows()) {
            if let Some(world_from_shape) = piece.place(world_from_body) {
                piece.draw::<true>(index, &world_from_shape, &view, &mut self.spans, &mut layers);
            }
        }
        self.view = Some(view);
    }

    /// Brings a row of a picture, `depth_m` along its rays, to the sun's eyes.
    pub fn see_row(&self, camera: &View, row: usize, depth_m: &[f32], out: &mut SunRow) {
        let Some(sun) = &self.view else { return };
        let sun_from_camera = sun.camera_from_world.then(&camera.camera_from_world.inverse());
        let first = sun_from_camera.rotation * camera.ray(0, row);
        let step = sun_from_camera.rotation.x_axis * camera.step();
        let origin = sun_from_camera.translation;
        let (focal, middle) = (sun.focal_px, 0.5 * self.side as f32 - 0.5);
        let places = out.column.iter_mut().zip(&mut out.row).zip(&mut out.key);
        for (i, (((column, row), key), &depth)) in places.zip(depth_m).enumerate() {
            let i = i as i32 as f32;
            let inverse = 1.0 / (origin.z + depth * (first.z + i * step.z));
            *column = middle + focal * inverse * (origin.x + depth * (first.x + i * step.x));
            *row = middle + focal * inverse * (origin.y + depth * (first.y + i * step.y));
            *key = inverse * (1.0 + BIAS_M / DISTANCE_M);
        }
    }

    /// Share of the sun's light that reaches pixel `i` of the row, 0 to 1, smooth between the map's pixels.
    #[inline]
    pub fn lit(&self, at: &SunRow, i: usize) -> f32 {
        let (Some(&column), Some(&row), Some(&key)) = (at.column.get(i), at.row.get(i), at.key.get(i)) else { return 1.0 };
        let last = self.side as f32 - 1.0;
        // Beyond the map nothing is known to be in shadow. A NaN ends here, too.
        if !(column >= 0.5 && row >= 0.5 && column < last - 0.5 && row < last - 0.5) {
            return 1.0;
        }
        let (left, top) = (whole(column - 0.5), whole(row - 0.5));
        let (right_share, lower_share) = (column - left as f32, row - top as f32);
        let corner = top * self.side + left;
        let Some(keys) = self.keys.get(corner..corner + self.side + 2) else { return 1.0 };
        let reaches = |nearest: f32| if nearest > key { 0.0 } else { 1.0 };
        let across = |a: f32, b: f32| {
            let (a, b) = (reaches(a), reaches(b));
            a + (b - a) * right_share
        };
        let (upper, lower) = (across(keys[0], keys[1]), across(keys[self.side], keys[self.side + 1]));
        upper + (lower - upper) * lower_share
    }
}

impl SunRow {
    pub fn reserve(&mut self, width: usize) {
        for values in [&mut self.column, &mut self.row, &mut self.key] {
            if values.len() < width {
                values.resize(width, 0.0);
            }
        }
    }
}
