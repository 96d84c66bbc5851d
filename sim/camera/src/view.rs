//! The pinhole projection. The ray of column u, row v is (x, y, 1) in the camera's frame, so that its parameter is the depth.

use glam::{Vec2, Vec3};

use crate::rigid::Rigid;

#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub width: usize,
    pub height: usize,
    pub focal_px: f32,
    pub near_m: f32,
    pub far_m: f32,
    pub camera_from_world: Rigid,
}

impl View {
    fn middle(&self) -> Vec2 {
        Vec2::new(0.5 * self.width as f32, 0.5 * self.height as f32)
    }

    /// Change of a ray's x from one column to the next.
    pub fn step(&self) -> f32 {
        1.0 / self.focal_px
    }

    /// Ray through the middle of a pixel.
    pub fn ray(&self, column: usize, row: usize) -> Vec3 {
        let middle = self.middle();
        Vec3::new((column as f32 + 0.5 - middle.x) * self.step(), (row as f32 + 0.5 - middle.y) * self.step(), 1.0)
    }

    /// Image coordinates of a point before the camera: (0, 0) is the outer corner of the first pixel.
    pub fn project(&self, point: Vec3) -> Vec2 {
        self.middle() + Vec2::new(point.x, point.y) * (self.focal_px / point.z)
    }

    /// Whether a sphere in the camera's frame is wholly outside of what is seen.
    pub fn misses(&self, centre: Vec3, radius: f32) -> bool {
        let slopes = self.middle() * self.step();
        let beside = |offset: f32, slope: f32| offset.abs() - centre.z * slope > radius * (1.0 + slope * slope).sqrt();
        centre.z + radius < self.near_m
            || centre.z - radius > self.far_m
            || beside(centre.x, slopes.x)
            || beside(centre.y, slopes.y)
    }
}
