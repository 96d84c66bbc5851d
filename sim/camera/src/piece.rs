//! The scene's shapes, made ready for drawing.

use glam::Vec3;
use reverie_schema::scene::{Form, Pose, Scene, Shape, Texture};

use crate::{
    CameraError,
    face::draw_box,
    layers::{IDS_PER_SHAPE, Layers, SHAPES},
    quadric::draw_round,
    rigid::Rigid,
    spans::Spans,
    texture::Solid,
    tone,
    view::View,
};

/// A shape of the scene.
#[derive(Clone)]
pub(crate) struct Piece {
    pub body: usize,
    body_from_shape: Rigid,
    pub form: Form,
    /// Radius of a ball about its origin that holds it.
    bound: f32,
    /// Linear.
    pub colours: [Vec3; 2],
    pub solid: Solid,
    visible: bool,
}

pub(crate) fn pieces(scene: &Scene) -> Result<Vec<Piece>, CameraError> {
    let mut out = Vec::new();
    for (index, body) in scene.bodies.iter().enumerate() {
        for (number, shape) in body.shapes.iter().enumerate() {
            let refuse = |reason| CameraError::Shape { body: body.name.clone(), shape: number, reason };
            out.push(Piece::new(index, shape).map_err(refuse)?);
        }
    }
    Ok(out)
}

impl Piece {
    fn new(body: usize, shape: &Shape) -> Result<Self, &'static str> {
        let body_from_shape =
            Rigid::from_pose(&shape.pose).ok_or("its pose is not finite, or its rotation is no unit quaternion")?;
        let (lengths, bound) = match shape.form {
            Form::Box { half_size } => (half_size, Vec3::from_array(half_size).length()),
            Form::Sphere { radius } => ([radius; 3], radius),
            Form::Cylinder { radius, half_height } => ([radius, half_height, half_height], radius.hypot(half_height)),
            // A capsule without a straight part is a sphere.
            Form::Capsule { radius, half_height } => ([radius, radius, half_height.max(radius)], radius + half_height),
        };
        // A NaN fails the comparison.
        if !lengths.iter().all(|&length| length > 0.0 && length < 1e4) || !bound.is_finite() {
            return Err("a length is not positive and below 10 km");
        }
        let second = match shape.texture {
            Texture::Plain | Texture::Glow => None,
            Texture::Wood(pattern) | Texture::Checker(pattern) | Texture::Stripes(pattern) | Texture::Noise(pattern) => {
                if !(1e-4..1e4).contains(&pattern.scale_m) {
                    return Err("its texture's scale is not between 0.1 mm and 10 km");
                }
                Some(pattern.second_rgb)
            }
        };
        let [red, green, blue, alpha] = shape.rgba;
        let first = tone::linear([red, green, blue]);
        Ok(Self {
            body,
            body_from_shape,
            form: shape.form,
            bound,
            colours: [first, second.map_or(first, tone::linear)],
            solid: Solid::new(&shape.texture),
            visible: alpha > 0,
        })
    }

    /// `world_from_shape`, if the body's pose is one.
    pub fn place(&self, world_from_body: &[Pose]) -> Option<Rigid> {
        Rigid::from_pose(world_from_body.get(self.body)?).map(|body| body.then(&self.body_from_shape))
    }

    pub fn glows(&self) -> bool {
        matches!(self.solid, Solid::Glow)
    }

    /// Draws what looks at the camera or, with `FAR`, away from it, as shape `index`; returns `camera_from_shape` if it is in view.
    pub fn draw<const FAR: bool>(
        &self,
        index: usize,
        world_from_shape: &Rigid,
        view: &View,
        spans: &mut Spans,
        layers: &mut Layers<'_>,
    ) -> Option<Rigid> {
        let camera_from_shape = view.camera_from_world.then(world_from_shape);
        if !self.visible || view.misses(camera_from_shape.translation, self.bound) {
            return None;
        }
        let first_id = SHAPES + IDS_PER_SHAPE * index as u32;
        match self.form {
            Form::Box { half_size } => {
                draw_box::<FAR>(&camera_from_shape, Vec3::from_array(half_size), first_id, view, spans, layers);
            }
            form => draw_round::<FAR>(&camera_from_shape, form, first_id, view, spans, layers),
        }
        Some(camera_from_shape)
    }
}
