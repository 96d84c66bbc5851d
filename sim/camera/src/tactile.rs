//! Tactile images: how far each spot of a finger's gel is pressed in, and how its coloured lights show it.
//!
//! CALVIN's are two DIGIT sensors drawn by TACTO, which renders what is before the gel from behind it. So does this, with
//! deviations: rays are nearly parallel, a gel bulges `reach_m` before its pad so that what just touches the pad dents it (TACTO
//! scales by contact forces instead), and it is lit by a red, a green and a blue light a third of a turn apart.

use glam::{Mat3, Vec3};
use reverie_schema::scene::{Pose, Scene};
use serde::{Deserialize, Serialize};

use crate::{
    CameraError,
    layers::Layers,
    piece::{Piece, pieces},
    rigid::Rigid,
    spans::Spans,
    tone::Encoder,
    view::View,
};

/// Distance of the eye behind the pad: far enough that its rays are nearly parallel.
const DISTANCE_M: f32 = 1.0;
/// What has sunk into the pad by at most this is still seen whole.
const DEEPEST_M: f32 = 0.005;

/// A gel on a finger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// The body that carries it.
    pub body: String,
    /// The middle of its face: x to the right of the image, y down, z out of the pad.
    pub body_from_pad: Pose,
}

/// How tactile images are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TactileConfig {
    /// The sensors, in the order of the image's channels.
    pub pads: Vec<Pad>,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Width of the gel, metres; pixels are square.
    pub width_m: f32,
    /// How far the gel bulges before the pad, metres.
    pub reach_m: f32,
    /// Times that the dent is smoothed over its neighbours: the gel's softness.
    pub smoothing: usize,
    /// Bodies whose names begin with this are not felt.
    pub ignored_prefix: String,
}

impl Default for TactileConfig {
    /// CALVIN's size, on the pads of `robot/finger1` and `robot/finger2`, the lower edge at the fingers' tips.
    fn default() -> Self {
        let pad = |number: u8, sign: f32| Pad {
            body: format!("robot/finger{number}"),
            body_from_pad: Rigid {
                rotation: Mat3::from_cols(Vec3::X * sign, Vec3::Z, Vec3::NEG_Y * sign),
                translation: Vec3::new(0.0, 0.0, 0.1367),
            }
            .to_pose(),
        };
        Self {
            pads: vec![pad(1, 1.0), pad(2, -1.0)],
            width: 120,
            height: 160,
            width_m: 0.02,
            reach_m: 0.002,
            smoothing: 3,
            ignored_prefix: "robot/".into(),
        }
    }
}

/// What all pads feel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TactileImage {
    /// `[height, width, 3 * pads]`, sRGB.
    pub rgb: Vec<u8>,
    /// `[height, width, pads]`, how far the gel is pressed in, metres.
    pub depth_m: Vec<f32>,
}

/// Feels a scene. Holds the scratch: no image but the first allocates.
#[derive(Clone)]
pub struct TactileSensor {
    config: TactileConfig,
    /// Index and `body_from_eye` of each pad.
    eyes: Vec<(usize, Rigid)>,
    bodies: usize,
    pieces: Vec<Piece>,
    spans: Spans,
    keys: Vec<f32>,
    dents: Vec<f32>,
    smooth: Vec<f32>,
    encoder: Encoder,
}

impl TactileSensor {
    /// A sensor on the bodies of a scene.
    ///
    /// # Errors
    /// [`CameraError::UnknownBody`], [`CameraError::Shape`], [`CameraError::Setting`], [`CameraError::CameraPose`].
    pub fn new(scene: &Scene, config: TactileConfig) -> Result<Self, CameraError> {
        let sides = 3..=4096;
        if !sides.contains(&config.width) || !sides.contains(&config.height) {
            let value = config.width.min(config.height) as f64;
            return Err(CameraError::Setting { quantity: "a side of the tactile image", value, must_be: "3 to 4096 pixels" });
        }
        for (quantity, value) in [("the gel's width", config.width_m), ("the gel's reach", config.reach_m)] {
            if !(value > 1e-5 && value < 0.5) {
                return Err(CameraError::Setting {
                    quantity,
                    value: value.into(),
                    must_be: "more than 0.01 mm, less than 0.5 m",
                });
            }
        }
        let eye = |pad: &Pad| {
            let named = scene.bodies.iter().position(|body| body.name == pad.body);
            let body = named.ok_or_else(|| CameraError::UnknownBody(pad.body.clone()))?;
            let pose = Rigid::from_pose(&pad.body_from_pad).ok_or(CameraError::CameraPose)?;
            let back = Rigid { rotation: Mat3::IDENTITY, translation: Vec3::new(0.0, 0.0, -DISTANCE_M) };
            Ok((body, pose.then(&back)))
        };
        let eyes = config.pads.iter().map(eye).collect::<Result<_, _>>()?;
        let mut pieces = pieces(scene)?;
        pieces.retain(|piece| !scene.bodies[piece.body].name.starts_with(&config.ignored_prefix));
        let pixels = config.width * config.height;
        let mut spans = Spans::default();
        spans.reserve(config.height);
        Ok(Self {
            eyes,
            bodies: scene.bodies.len(),
            pieces,
            spans,
            keys: vec![0.0; pixels],
            dents: vec![0.0; pixels],
            smooth: vec![0.0; pixels],
            encoder: Encoder::new(),
            config,
        })
    }

    /// Feels what is before the pads, with bodies at `world_from_body` in the scene's order.
    ///
    /// # Errors
    /// [`CameraError::PoseCount`], [`CameraError::CameraPose`] if a finger's pose is not finite.
    pub fn feel(&mut self, world_from_body: &[Pose], image: &mut TactileImage) -> Result<(), CameraError> {
        if world_from_body.len() != self.bodies {
            return Err(CameraError::PoseCount { expected: self.bodies, got: world_from_body.len() });
        }
        let pads = self.eyes.len();
        image.rgb.resize(3 * pads * self.keys.len(), 0);
        image.depth_m.resize(pads * self.keys.len(), 0.0);
        for pad in 0..pads {
            self.press(pad, world_from_body)?;
            for (pixel, &dent) in self.dents.iter().enumerate() {
                image.depth_m[pads * pixel + pad] = dent;
            }
            self.soften();
            self.light(pad, pads, &mut image.rgb);
        }
        Ok(())
    }

    fn press(&mut self, pad: usize, world_from_body: &[Pose]) -> Result<(), CameraError> {
        let TactileConfig { width, height, width_m, reach_m, .. } = self.config;
        let (body, body_from_eye) = self.eyes[pad];
        let world_from_finger = Rigid::from_pose(&world_from_body[body]).ok_or(CameraError::CameraPose)?;
        let far_m = DISTANCE_M + reach_m;
        let view = View {
            width,
            height,
            focal_px: width as f32 / width_m * DISTANCE_M,
            near_m: DISTANCE_M - DEEPEST_M,
            far_m,
            camera_from_world: world_from_finger.then(&body_from_eye).inverse(),
        };
        self.keys.fill(1.0 / far_m);
        let mut layers = Layers { width, keys: &mut self.keys, ids: &mut [] };
        for (index, piece) in self.pieces.iter().enumerate() {
            if let Some(world_from_shape) = piece.place(world_from_body) {
                piece.draw::<false>(index, &world_from_shape, &view, &mut self.spans, &mut layers);
            }
        }
        for (dent, key) in self.dents.iter_mut().zip(&self.keys) {
            *dent = (far_m - 1.0 / key).clamp(0.0, reach_m);
        }
        Ok(())
    }

    /// The gel's skin over the dents: a binomial filter, rows then columns.
    fn soften(&mut self) {
        let width = self.config.width;
        for _ in 0..self.config.smoothing {
            for (row, out) in self.dents.chunks(width).zip(self.smooth.chunks_mut(width)) {
                out.copy_from_slice(row);
                for (out, three) in out[1..].iter_mut().zip(row.windows(3)) {
                    *out = 0.25 * (three[0] + three[2]) + 0.5 * three[1];
                }
            }
            let inner = width..self.dents.len() - width;
            self.dents.copy_from_slice(&self.smooth);
            for i in inner {
                self.dents[i] = 0.25 * (self.smooth[i - width] + self.smooth[i + width]) + 0.5 * self.smooth[i];
            }
        }
    }

    fn light(&self, pad: usize, pads: usize, rgb: &mut [u8]) {
        /// The lights' height over the gel against their distance.
        const RISE: f32 = 0.5;
        const THIRD: (f32, f32) = (0.866_025_4, -0.5);
        let (width, height) = (self.config.width, self.config.height);
        let per_m = width as f32 / self.config.width_m;
        let lights = [(0.0, 1.0), (THIRD.0, THIRD.1), (-THIRD.0, THIRD.1)]
            .map(|(x, y)| Vec3::new(x, y, RISE) / (1.0 + RISE * RISE).sqrt());
        for row in 0..height {
            let (above, below) = (row.saturating_sub(1), (row + 1).min(height - 1));
            for column in 0..width {
                let (left, right) = (column.saturating_sub(1), (column + 1).min(width - 1));
                let dent = |row: usize, column: usize| self.dents[row * width + column];
                let slope_x = (dent(row, right) - dent(row, left)) * 0.5 * per_m;
                let slope_y = (dent(below, column) - dent(above, column)) * 0.5 * per_m;
                // Seen from inside, a dent comes nearer.
                let normal = Vec3::new(-slope_x, -slope_y, 1.0).normalize_or(Vec3::Z);
                let shine = Vec3::from_array(lights.map(|light| light.dot(normal).max(0.0)));
                let pixel = 3 * (pads * (row * width + column) + pad);
                rgb[pixel..pixel + 3].copy_from_slice(&self.encoder.encode(shine * 0.7 + Vec3::splat(0.02)));
            }
        }
    }
}
