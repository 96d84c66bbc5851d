//! Spheres, cylinders and capsules, each ray solved exactly.
//!
//! In the shape's frame a ray is o + t d, and t is the depth. With A = d.d and B = o.d (over x and y for a cylinder along z, over
//! all three for a sphere) the roots are t = (-B -+ sqrt(Q)) / A, Q = r^2 A - |o x d|^2. The cross product is what keeps its
//! accuracy for small shapes far away; B^2 - A C would lose it.

use glam::{Vec2, Vec3};
use reverie_schema::scene::Form;

use crate::{layers::Layers, rigid::Rigid, spans::Spans, view::View};

/// Ids within a round shape.
pub(crate) const SIDE: u32 = 0;
/// The cylinder's cap at -z.
pub(crate) const CAP_BELOW: u32 = 1;
/// The cylinder's cap at +z.
pub(crate) const CAP_ABOVE: u32 = 2;

/// A length below which a ray counts as parallel to an axis, squared.
const PARALLEL: f32 = 1e-12;

/// A row of rays in the shape's frame.
#[derive(Clone, Copy)]
struct Rays {
    origin: Vec3,
    first: Vec3,
    step: Vec3,
}

impl Rays {
    #[inline(always)]
    fn at(&self, i: f32) -> Vec3 {
        Vec3 { x: self.first.x + i * self.step.x, y: self.first.y + i * self.step.y, z: self.first.z + i * self.step.z }
    }
}

/// Draws where rays enter a round shape or, with `FAR`, where they leave it. Boxes are left to `draw_box`.
pub(crate) fn draw_round<const FAR: bool>(
    camera_from_shape: &Rigid,
    form: Form,
    first_id: u32,
    view: &View,
    spans: &mut Spans,
    layers: &mut Layers<'_>,
) {
    let (radius, half_height, reach) = match form {
        Form::Box { .. } => return,
        Form::Sphere { radius } => (radius, 0.0, radius),
        Form::Cylinder { radius, half_height } => (radius, half_height, half_height),
        Form::Capsule { radius, half_height } => (radius, half_height, half_height + radius),
    };
    outline(camera_from_shape, Vec3::new(radius, radius, reach), view, spans);
    let shape_from_camera = camera_from_shape.inverse();
    let origin = shape_from_camera.translation;
    let step = shape_from_camera.rotation.x_axis * view.step();
    let near = view.near_m;
    for (row, start, end) in spans.rows(view.width, 1.0) {
        let rays = Rays { origin, first: shape_from_camera.rotation * view.ray(start, row), step };
        let columns = start..end;
        match form {
            Form::Sphere { .. } => layers.surface(row, columns, |i| (sphere::<FAR>(rays, i, radius, near), first_id)),
            Form::Capsule { .. } => {
                layers.surface(row, columns, |i| (capsule::<FAR>(rays, i, radius, half_height, near), first_id));
            }
            _ => layers.surface(row, columns, |i| {
                let (key, part) = cylinder::<FAR>(rays, i, radius, half_height, near);
                (key, first_id + part)
            }),
        }
    }
}

/// The hull of the bounding box's corners.
fn outline(camera_from_shape: &Rigid, reach: Vec3, view: &View, spans: &mut Spans) {
    let mut corners = [Vec2::ZERO; 8];
    for (i, corner) in corners.iter_mut().enumerate() {
        let sign = |bit: usize| if i & bit == 0 { -1.0 } else { 1.0 };
        let point = camera_from_shape.point(reach * Vec3::new(sign(1), sign(2), sign(4)));
        if point.z < view.near_m {
            spans.everything(view.width, view.height);
            return;
        }
        *corner = view.project(point);
    }
    spans.begin(&corners, view.height);
    for i in 0..8 {
        for bit in [1, 2, 4] {
            if i & bit == 0 {
                spans.edge(corners[i], corners[i | bit]);
            }
        }
    }
}

/// 1 / depth, or 0 for a miss.
#[inline(always)]
fn key(hit: bool, depth: f32) -> f32 {
    if hit { 1.0 / depth } else { 0.0 }
}

/// A maximum that the compiler turns into one instruction.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn sphere<const FAR: bool>(rays: Rays, i: f32, radius: f32, near: f32) -> f32 {
    let (o, d) = (rays.origin, rays.at(i));
    let a = d.x * d.x + d.y * d.y + d.z * d.z;
    let b = o.x * d.x + o.y * d.y + o.z * d.z;
    let [x, y, z] = [o.y * d.z - o.z * d.y, o.z * d.x - o.x * d.z, o.x * d.y - o.y * d.x];
    let q = radius * radius * a - (x * x + y * y + z * z);
    let root = larger(q, 0.0).sqrt();
    let depth = if FAR { (root - b) / a } else { (-b - root) / a };
    key(q > 0.0 && depth >= near, depth)
}

#[inline(always)]
fn capsule<const FAR: bool>(rays: Rays, i: f32, radius: f32, half_height: f32, near: f32) -> f32 {
    let (o, d) = (rays.origin, rays.at(i));
    let flat_a = larger(d.x * d.x + d.y * d.y, PARALLEL);
    let flat_b = o.x * d.x + o.y * d.y;
    let z = o.x * d.y - o.y * d.x;
    let flat_q = radius * radius * flat_a - z * z;
    let root = larger(flat_q, 0.0).sqrt();
    let on_side = if FAR { (root - flat_b) / flat_a } else { (-flat_b - root) / flat_a };
    let height = o.z + on_side * d.z;
    let end = smaller(larger(height, -half_height), half_height);
    // About the end's centre.
    let oz = o.z - end;
    let a = d.x * d.x + d.y * d.y + d.z * d.z;
    let b = flat_b + oz * d.z;
    let [x, y] = [o.y * d.z - oz * d.y, oz * d.x - o.x * d.z];
    let q = radius * radius * a - (x * x + y * y + z * z);
    let root = larger(q, 0.0).sqrt();
    let at_end = if FAR { (root - b) / a } else { (-b - root) / a };
    let side = height == end;
    let depth = if side { on_side } else { at_end };
    key(flat_q > 0.0 && (side || q > 0.0) && depth >= near, depth)
}

#[inline(always)]
fn cylinder<const FAR: bool>(rays: Rays, i: f32, radius: f32, half_height: f32, near: f32) -> (f32, u32) {
    let (o, d) = (rays.origin, rays.at(i));
    let a = larger(d.x * d.x + d.y * d.y, PARALLEL);
    let b = o.x * d.x + o.y * d.y;
    let z = o.x * d.y - o.y * d.x;
    let q = radius * radius * a - z * z;
    let root = larger(q, 0.0).sqrt();
    let [side_in, side_out] = [(-b - root) / a, (root - b) / a];
    let upwards = d.z > 0.0;
    let entered = if upwards { -half_height } else { half_height };
    // A ray across the axis never meets a cap.
    let slope = if upwards { d.z } else { smaller(d.z, -PARALLEL) };
    let [cap_in, cap_out] = [(entered - o.z) / slope, (-entered - o.z) / slope];
    let (depth_in, depth_out) = (larger(side_in, cap_in), smaller(side_out, cap_out));
    let hit = q > 0.0 && depth_in < depth_out;
    // Through the lower cap upwards, and out of the upper one.
    let (in_cap, out_cap) = if upwards { (CAP_BELOW, CAP_ABOVE) } else { (CAP_ABOVE, CAP_BELOW) };
    if FAR {
        (key(hit && depth_out >= near, depth_out), if cap_out < side_out { out_cap } else { SIDE })
    } else {
        (key(hit && depth_in >= near, depth_in), if cap_in > side_in { in_cap } else { SIDE })
    }
}
