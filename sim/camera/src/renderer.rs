//! One picture after the other of one scene.

use glam::Vec3;
use reverie_schema::scene::{Pose, Scene};

use crate::{
    Camera, CameraError, Image, Light, RenderConfig, camera,
    layers::{FLOOR, Layers, SKY},
    piece::{Piece, pieces},
    shade::{Directions, Placed, Shader},
    shadow::{ShadowMap, SunRow},
    spans::Spans,
    tone::{self, Encoder},
    view::View,
};

/// Draws a scene. Holds the scratch: once a camera's size is known, no picture allocates.
///
/// The shadow map is kept while poses and sun stay, so that further cameras of the same moment cost less.
#[derive(Clone)]
pub struct Renderer {
    config: RenderConfig,
    names: Vec<String>,
    pieces: Vec<Piece>,
    placed: Vec<Option<Placed>>,
    shadows: ShadowMap,
    spans: Spans,
    keys: Vec<f32>,
    ids: Vec<u32>,
    depth_row: Vec<f32>,
    sun_row: SunRow,
    /// Samples' colours, where a pixel has several.
    samples_rgb: Vec<u8>,
    encoder: Encoder,
}

/// What a picture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenderReport {
    /// Shapes in the field of view.
    pub drawn: usize,
    /// Shapes left out because their body's pose was not finite.
    pub not_finite: usize,
}

impl Renderer {
    /// A renderer with the default settings.
    ///
    /// # Errors
    /// [`CameraError::Shape`].
    pub fn new(scene: &Scene) -> Result<Self, CameraError> {
        Self::with_config(scene, RenderConfig::default())
    }

    /// A renderer.
    ///
    /// # Errors
    /// [`CameraError::Shape`], [`CameraError::Setting`].
    pub fn with_config(scene: &Scene, config: RenderConfig) -> Result<Self, CameraError> {
        validate(&config)?;
        let pieces = pieces(scene)?;
        Ok(Self {
            names: camera::names(scene),
            placed: vec![None; pieces.len()],
            shadows: ShadowMap::new(&config, scene.bodies.len()),
            pieces,
            config,
            spans: Spans::default(),
            keys: Vec::new(),
            ids: Vec::new(),
            depth_row: Vec::new(),
            sun_row: SunRow::default(),
            samples_rgb: Vec::new(),
            encoder: Encoder::new(),
        })
    }

    /// Draws another scene from now on, for example the same one in other colours. Keeps the scratch.
    ///
    /// # Errors
    /// [`CameraError::Shape`]; then the old scene stays.
    pub fn set_scene(&mut self, scene: &Scene) -> Result<(), CameraError> {
        self.pieces = pieces(scene)?;
        self.placed.resize(self.pieces.len(), None);
        self.names = camera::names(scene);
        self.shadows.invalidate();
        Ok(())
    }

    /// Takes a picture: bodies at `world_from_body`, in the scene's order, into `image`, which takes on the camera's size.
    ///
    /// Shapes are opaque unless their alpha is 0, then they are not drawn. Faces are drawn where a ray enters a shape: one that holds
    /// the camera is not seen. The same input gives the same bytes.
    ///
    /// # Errors
    /// [`CameraError::Setting`], [`CameraError::PoseCount`], [`CameraError::UnknownBody`], [`CameraError::CameraPose`].
    pub fn render(
        &mut self,
        camera: &Camera,
        world_from_body: &[Pose],
        light: &Light,
        image: &mut Image,
    ) -> Result<RenderReport, CameraError> {
        camera.validate()?;
        validate_light(light)?;
        if world_from_body.len() != self.names.len() {
            return Err(CameraError::PoseCount { expected: self.names.len(), got: world_from_body.len() });
        }
        let samples = self.config.samples_per_axis;
        let view = View {
            width: camera.width * samples,
            height: camera.height * samples,
            focal_px: camera.focal_px() * samples as f32,
            near_m: camera.near_m,
            far_m: camera.far_m,
            camera_from_world: camera.camera_from_world(&self.names, world_from_body)?,
        };
        image.resize(camera.width, camera.height);
        self.reserve(&view, samples);
        let directions = Directions::in_camera(&view, light);
        let report = self.draw(&view, &directions, world_from_body);
        let shadowed = self.config.shadow_map_px > 0 && light.shadow > 0.0 && light.diffuse > 0.0;
        if shadowed {
            self.shadows.update(&self.pieces, world_from_body, light, &self.config);
        }
        let shader = Shader {
            view: &view,
            pieces: &self.pieces,
            placed: &self.placed,
            directions,
            light,
            backdrop: &self.config.backdrop,
            shadows: shadowed.then_some(&self.shadows),
            encoder: self.encoder,
        };
        let width = view.width;
        for row in 0..view.height {
            let pixels = row * width..(row + 1) * width;
            let (keys, ids) = (&self.keys[pixels.clone()], &self.ids[pixels.clone()]);
            let colours = 3 * pixels.start..3 * pixels.end;
            if samples == 1 {
                let depth_m = &mut image.depth_m[pixels];
                shader.depth_row(keys, ids, depth_m);
                shader.colour_row(row, ids, depth_m, &mut self.sun_row, &mut image.rgb[colours]);
            } else {
                let depth_m = &mut self.depth_row[..width];
                shader.depth_row(keys, ids, depth_m);
                shader.colour_row(row, ids, depth_m, &mut self.sun_row, &mut self.samples_rgb[colours]);
            }
        }
        if samples > 1 {
            self.merge(&view, samples, image);
        }
        Ok(report)
    }

    fn reserve(&mut self, view: &View, samples: usize) {
        let pixels = view.width * view.height;
        self.spans.reserve(view.height);
        self.sun_row.reserve(view.width);
        grow(&mut self.keys, pixels);
        grow(&mut self.ids, pixels);
        if samples > 1 {
            grow(&mut self.depth_row, view.width);
            grow(&mut self.samples_rgb, 3 * pixels);
        }
    }

    fn draw(&mut self, view: &View, directions: &Directions, world_from_body: &[Pose]) -> RenderReport {
        let pixels = view.width * view.height;
        self.keys[..pixels].fill(1.0 / view.far_m);
        self.ids[..pixels].fill(SKY);
        let mut layers = Layers { width: view.width, keys: &mut self.keys[..pixels], ids: &mut self.ids[..pixels] };
        if let Some(height) = self.config.backdrop.floor_m {
            let normal = view.camera_from_world.rotation.z_axis;
            let plane = normal.dot(view.camera_from_world.point(Vec3::new(0.0, 0.0, height)));
            if plane < -view.near_m {
                let per_ray = normal / plane;
                for row in 0..view.height {
                    layers.plane(row, 0..view.width, per_ray.dot(view.ray(0, row)), per_ray.x * view.step(), FLOOR);
                }
            }
        }
        let mut report = RenderReport::default();
        for (index, (piece, placed)) in self.pieces.iter().zip(&mut self.placed).enumerate() {
            let Some(world_from_shape) = piece.place(world_from_body) else {
                report.not_finite += 1;
                continue;
            };
            if let Some(camera_from_shape) = piece.draw::<false>(index, &world_from_shape, view, &mut self.spans, &mut layers) {
                *placed = Some(Placed::new(&camera_from_shape, directions));
                report.drawn += 1;
            }
        }
        report
    }

    /// Several samples to a pixel: colours are averaged in linear light, depth over those samples that see what the nearest one sees.
    fn merge(&self, view: &View, samples: usize, image: &mut Image) {
        let colour_weight = 1.0 / (samples * samples) as f32;
        let (pixels, _) = image.rgb.as_chunks_mut();
        for (pixel, (rgb, depth)) in pixels.iter_mut().zip(&mut image.depth_m).enumerate() {
            let (row, column) = (pixel / image.width, pixel % image.width);
            let first = row * samples * view.width + column * samples;
            let mut light = Vec3::ZERO;
            let (mut nearest, mut owner) = (0.0, SKY);
            for start in (0..samples).map(|i| first + i * view.width) {
                let (keys, ids) = (&self.keys[start..start + samples], &self.ids[start..start + samples]);
                let (colours, _) = self.samples_rgb[3 * start..3 * (start + samples)].as_chunks();
                for ((&key, &id), &colour) in keys.iter().zip(ids).zip(colours) {
                    light += tone::linear(colour);
                    (nearest, owner) = if key > nearest { (key, id) } else { (nearest, owner) };
                }
            }
            let mut keys = (0.0, 0.0);
            for start in (0..samples).map(|i| first + i * view.width) {
                for (&key, &id) in self.keys[start..start + samples].iter().zip(&self.ids[start..start + samples]) {
                    let share = if id == owner { 1.0 } else { 0.0 };
                    keys = (keys.0 + share * key, keys.1 + share);
                }
            }
            *rgb = self.encoder.encode(light * colour_weight);
            *depth = if owner == SKY { view.far_m } else { keys.1 / keys.0 };
        }
    }
}

fn grow<T: Copy + Default>(scratch: &mut Vec<T>, len: usize) {
    if scratch.len() < len {
        scratch.resize(len, T::default());
    }
}

fn validate(config: &RenderConfig) -> Result<(), CameraError> {
    let setting = |quantity, value: f64, must_be| Err(CameraError::Setting { quantity, value, must_be });
    let samples = config.samples_per_axis;
    if !(1..=4).contains(&samples) {
        return setting("samples_per_axis", samples as f64, "1 to 4");
    }
    let side = config.shadow_map_px;
    if side != 0 && !(16..=4096).contains(&side) {
        return setting("shadow_map_px", side as f64, "0, or 16 to 4096");
    }
    let radius = config.shadow_radius_m;
    if !(radius > 0.0 && radius <= 10.0) {
        return setting("shadow_radius_m", radius.into(), "more than 0, at most 10 m");
    }
    let heights = config.shadow_centre_in_world_m.iter().chain(config.backdrop.floor_m.as_ref());
    match heights.copied().find(|length| length.is_nan() || length.abs() >= 1e4) {
        Some(length) => setting("a length of the shadows' region or the floor", length.into(), "finite, at most 10 km"),
        None => Ok(()),
    }
}

fn validate_light(light: &Light) -> Result<(), CameraError> {
    let setting = |quantity, value: f32, must_be| Err(CameraError::Setting { quantity, value: value.into(), must_be });
    let way = Vec3::from_array(light.direction_in_world).length();
    if !(way > 1e-6 && way < 1e6) {
        return setting("the length of the light's direction", way, "more than 0 and finite");
    }
    let amounts = light.colour.iter().chain([&light.ambient, &light.diffuse]);
    if let Some(&amount) = amounts.into_iter().find(|&&amount| !(0.0..1e4).contains(&amount)) {
        return setting("an amount of light", amount, "0 or more, and finite");
    }
    if !(0.0..=1.0).contains(&light.shadow) {
        return setting("the light's shadow", light.shadow, "0 to 1");
    }
    Ok(())
}
