//! Boxes: each visible face is a convex polygon whose inverse depth is linear over the image.

use glam::{Vec2, Vec3};

use crate::{layers::Layers, rigid::Rigid, spans::Spans, view::View};

/// Face `2 * axis + 1` looks along the axis, face `2 * axis` against it.
pub(crate) const FACE_NORMALS: [Vec3; 6] = [Vec3::NEG_X, Vec3::X, Vec3::NEG_Y, Vec3::Y, Vec3::NEG_Z, Vec3::Z];

/// A convex polygon in the camera's frame: a face and one more corner after the near plane has cut it.
struct Polygon {
    corners: [Vec3; 5],
    len: usize,
}

impl Polygon {
    fn push(&mut self, corner: Vec3) {
        if let Some(slot) = self.corners.get_mut(self.len) {
            *slot = corner;
            self.len += 1;
        }
    }
}

/// Draws a box's faces that look at the camera or, with `FAR`, away from it. Face `i` writes `first_id + i`.
pub(crate) fn draw_box<const FAR: bool>(
    camera_from_shape: &Rigid,
    half_size: Vec3,
    first_id: u32,
    view: &View,
    spans: &mut Spans,
    layers: &mut Layers<'_>,
) {
    let axes = camera_from_shape.rotation;
    let centre = camera_from_shape.translation;
    for (face, normal_in_shape) in (0_u32..).zip(FACE_NORMALS) {
        let normal = axes * normal_in_shape;
        let middle = centre + axes * (normal_in_shape * half_size);
        let plane = normal.dot(middle);
        let looks_away = plane >= 0.0;
        if looks_away != FAR || plane.abs() < 1e-9 {
            continue;
        }
        // The edges in the face, a quarter turn apart.
        let first = Vec3::new(normal_in_shape.y, normal_in_shape.z, normal_in_shape.x).abs();
        let [u, v] = [first, normal_in_shape.abs().cross(first).abs()].map(|axis| axes * (axis * half_size));
        let quad = [middle - u - v, middle + u - v, middle + u + v, middle - u + v];
        let polygon = clip(&quad, view.near_m);
        let mut corners = [Vec2::ZERO; 5];
        for (corner, point) in corners.iter_mut().zip(&polygon.corners[..polygon.len]) {
            *corner = view.project(*point);
        }
        let corners = &corners[..polygon.len];
        if corners.len() < 3 {
            continue;
        }
        spans.begin(corners, view.height);
        for (i, &corner) in corners.iter().enumerate() {
            spans.edge(corner, corners[(i + 1) % corners.len()]);
        }
        // normal . (depth * ray) = plane.
        let per_ray = normal / plane;
        let step = per_ray.x * view.step();
        for (row, start, end) in spans.rows(view.width, 0.0) {
            layers.plane(row, start..end, per_ray.dot(view.ray(start, row)), step, first_id + face);
        }
    }
}

/// The part of a convex polygon beyond the near plane.
fn clip(quad: &[Vec3; 4], near: f32) -> Polygon {
    let mut out = Polygon { corners: [Vec3::ZERO; 5], len: 0 };
    for (i, &a) in quad.iter().enumerate() {
        let b = quad[(i + 1) % 4];
        if a.z >= near {
            out.push(a);
        }
        if (a.z >= near) != (b.z >= near) {
            let share = (near - a.z) / (b.z - a.z);
            out.push(Vec3 { z: near, ..a + (b - a) * share });
        }
    }
    out
}
