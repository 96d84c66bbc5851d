//! The scene's bodies in the 3-D view.

use std::collections::HashSet;

use rerun::{AsComponents, Boxes3D, Capsules3D, Color, Cylinders3D, Ellipsoids3D, FillMode, Quaternion, Transform3D};
use reverie_schema::scene::{Form, Pose, Scene, Shape};

use crate::{
    Error,
    recording::{At, Recording},
};

/// Frame that bodies are placed in. Said with each transform, because otherwise `table/drawer` would be placed in `table`.
const WORLD_FRAME: &str = "tf#/world";

/// Bodies that were drawn, and where they were last.
pub(crate) struct Bodies {
    entities: Vec<String>,
    last: Vec<Option<Pose>>,
}

impl Bodies {
    /// Draws the shapes, once.
    pub(crate) fn draw(recording: &Recording, scene: &Scene) -> Result<Self, Error> {
        let mut taken = HashSet::new();
        let mut entities = Vec::with_capacity(scene.bodies.len());
        for (index, body) in scene.bodies.iter().enumerate() {
            if body.name.is_empty() || !taken.insert(&body.name) {
                return Err(Error::BodyName { index, name: body.name.clone() });
            }
            let entity = format!("world/{}", body.name);
            for (suffix, archetype) in shapes(&body.shapes) {
                recording.log_static(format!("{entity}/{suffix}"), archetype.as_ref())?;
            }
            entities.push(entity);
        }
        Ok(Self { last: vec![None; entities.len()], entities })
    }

    /// Moves the bodies; `world_from_body` in the scene's order. One that stands still costs nothing.
    pub(crate) fn place(&mut self, recording: &Recording, at: At, world_from_body: &[Pose]) -> Result<(), Error> {
        if world_from_body.len() != self.entities.len() {
            return Err(Error::PoseCount { expected: self.entities.len(), got: world_from_body.len() });
        }
        for ((entity, last), pose) in self.entities.iter().zip(&mut self.last).zip(world_from_body) {
            if *last == Some(*pose) {
                continue;
            }
            let transform =
                Transform3D::from_translation_rotation(pose.translation, quaternion(pose)).with_parent_frame(WORLD_FRAME);
            recording.log(entity.as_str(), at, &transform)?;
            *last = Some(*pose);
        }
        Ok(())
    }
}

fn quaternion(pose: &Pose) -> Quaternion {
    Quaternion::from_xyzw(pose.rotation_xyzw)
}

/// One archetype for each form that is there.
fn shapes(all: &[Shape]) -> Vec<(&'static str, Box<dyn AsComponents>)> {
    let (mut boxes, mut cylinders, mut capsules, mut spheres) = (vec![], vec![], vec![], vec![]);
    for shape in all {
        match shape.form {
            Form::Box { half_size } => boxes.push((half_size, shape)),
            Form::Cylinder { radius, half_height } => cylinders.push((2.0 * half_height, radius, shape)),
            Form::Capsule { radius, half_height } => capsules.push((2.0 * half_height, radius, shape)),
            Form::Sphere { radius } => spheres.push((radius, shape)),
        }
    }
    let mut archetypes: Vec<(&'static str, Box<dyn AsComponents>)> = Vec::new();
    if !boxes.is_empty() {
        let archetype = Boxes3D::from_half_sizes(boxes.iter().map(|(half_size, _)| *half_size))
            .with_centers(boxes.iter().map(|(_, shape)| shape.pose.translation))
            .with_quaternions(boxes.iter().map(|(_, shape)| quaternion(&shape.pose)))
            .with_colors(boxes.iter().map(|(_, shape)| color(shape)))
            .with_fill_mode(FillMode::Solid);
        archetypes.push(("boxes", Box::new(archetype)));
    }
    if !cylinders.is_empty() {
        let (lengths, radii) = cylinders.iter().map(|(length, radius, _)| (*length, *radius)).unzip::<_, _, Vec<_>, Vec<_>>();
        let archetype = Cylinders3D::from_lengths_and_radii(lengths, radii)
            .with_centers(cylinders.iter().map(|(.., shape)| shape.pose.translation))
            .with_quaternions(cylinders.iter().map(|(.., shape)| quaternion(&shape.pose)))
            .with_colors(cylinders.iter().map(|(.., shape)| color(shape)))
            .with_fill_mode(FillMode::Solid);
        archetypes.push(("cylinders", Box::new(archetype)));
    }
    if !capsules.is_empty() {
        let (lengths, radii) = capsules.iter().map(|(length, radius, _)| (*length, *radius)).unzip::<_, _, Vec<_>, Vec<_>>();
        // Rerun's capsule begins at its origin; ours is centred.
        let starts = capsules.iter().map(|(length, _, shape)| along_z(&shape.pose, -0.5 * length));
        let archetype = Capsules3D::from_lengths_and_radii(lengths, radii)
            .with_translations(starts)
            .with_quaternions(capsules.iter().map(|(.., shape)| quaternion(&shape.pose)))
            .with_colors(capsules.iter().map(|(.., shape)| color(shape)))
            .with_fill_mode(FillMode::Solid);
        archetypes.push(("capsules", Box::new(archetype)));
    }
    if !spheres.is_empty() {
        let centers = spheres.iter().map(|(_, shape)| shape.pose.translation);
        let archetype = Ellipsoids3D::from_centers_and_radii(centers, spheres.iter().map(|(radius, _)| *radius))
            .with_colors(spheres.iter().map(|(_, shape)| color(shape)))
            .with_fill_mode(FillMode::Solid);
        archetypes.push(("spheres", Box::new(archetype)));
    }
    archetypes
}

fn color(shape: &Shape) -> Color {
    let [r, g, b, a] = shape.rgba;
    Color::from_unmultiplied_rgba(r, g, b, a)
}

/// The pose's origin moved along its own z.
fn along_z(pose: &Pose, distance: f32) -> [f32; 3] {
    let [x, y, z, w] = pose.rotation_xyzw;
    let axis = [2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)];
    std::array::from_fn(|i| pose.translation[i] + distance * axis[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn along_z_follows_the_rotation() {
        let half = std::f32::consts::FRAC_1_SQRT_2;
        // A quarter turn about x takes z to -y, one about y takes z to x.
        for (rotation_xyzw, expected) in [([half, 0.0, 0.0, half], [1.0, 0.0, 3.0]), ([0.0, half, 0.0, half], [3.0, 2.0, 3.0])] {
            let got = along_z(&Pose { translation: [1.0, 2.0, 3.0], rotation_xyzw }, 2.0);
            assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6), "{got:?} {expected:?}");
        }
    }
}
