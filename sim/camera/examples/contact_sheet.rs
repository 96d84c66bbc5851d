//! One picture of all scenes through all cameras: `cargo run -p reverie-camera --example contact_sheet -- docs/scenes.png`.
//!
//! A row a scene, A to D; in it the static camera, its depth (near is bright), the gripper camera, its depth.

use std::{fs::File, io::BufWriter, path::Path};

use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer};
use reverie_schema::RobotSpec;
use reverie_sim::{SceneId, StartState, World, WorldConfig};

const SIDE: usize = 300;
const GAP: usize = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: contact_sheet FILE.png")?;
    let spec = RobotSpec::panda();
    let (columns, rows) = (4, SceneId::ALL.len());
    let (width, height) = (columns * (SIDE + GAP) + GAP, rows * (SIDE + GAP) + GAP);
    let mut sheet = vec![255_u8; 3 * width * height];
    for (row, scene) in SceneId::ALL.into_iter().enumerate() {
        let config = WorldConfig { scene, ..WorldConfig::default() };
        let table = scene.layout().table;
        let x = |share: f32| table[0][0] + share * (table[1][0] - table[0][0]);
        let start = StartState {
            bulb: true,
            led: true,
            drawer_m: 0.1,
            slider_m: 0.08,
            blocks: [[x(0.25), -0.12, 0.46, 0.4], [x(0.55), -0.08, 0.46, 1.2], [x(0.85), -0.12, 0.46, -0.3]],
            ..StartState::neutral()
        };
        let world = World::new(&config, &spec, &start, &spec.home_rad)?;
        let mut poses = Vec::new();
        world.poses(&mut poses);
        let mut renderer =
            Renderer::with_config(&world.scene(), RenderConfig { samples_per_axis: 2, ..RenderConfig::default() })?;
        for (camera, column) in [(Camera::calvin_static(), 0), (Camera::calvin_gripper(), 2)] {
            let mut image = Image::default();
            renderer.render(&camera.with_size(SIDE, SIDE), &poses, &Light::default(), &mut image)?;
            let at = |column: usize| (GAP + column * (SIDE + GAP), GAP + row * (SIDE + GAP));
            paste(&mut sheet, width, at(column), &image.rgb);
            paste(&mut sheet, width, at(column + 1), &depth_picture(&image));
        }
    }
    write_png(Path::new(&path), width, height, &sheet)
}

/// Depth between the nearest and the 98th percentile as grey, near bright.
fn depth_picture(image: &Image) -> Vec<u8> {
    let mut sorted = image.depth_m.clone();
    sorted.sort_by(f32::total_cmp);
    let (near, far) = (sorted[0], sorted[sorted.len() * 98 / 100]);
    let grey = |depth: f32| (255.0 * (1.0 - (depth - near) / (far - near).max(1e-6))).clamp(0.0, 255.0) as u8;
    image.depth_m.iter().flat_map(|&depth| [grey(depth); 3]).collect()
}

fn paste(sheet: &mut [u8], width: usize, (left, top): (usize, usize), rgb: &[u8]) {
    for (row, pixels) in rgb.chunks_exact(3 * SIDE).enumerate() {
        let start = 3 * ((top + row) * width + left);
        sheet[start..start + pixels.len()].copy_from_slice(pixels);
    }
}

fn write_png(path: &Path, width: usize, height: usize, rgb: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(rgb)?;
    Ok(())
}
