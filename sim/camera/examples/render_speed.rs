//! Time a picture on one core: `cargo run -p reverie-camera --example render_speed [-- PART OF A LINE]`.

use std::time::Instant;

use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer};
use reverie_schema::RobotSpec;
use reverie_sim::{StartState, World, WorldConfig};

const PICTURES: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let spec = RobotSpec::panda();
    let world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad)?;
    let scene = world.scene();
    let mut poses = Vec::new();
    world.poses(&mut poses);
    let shapes: usize = scene.bodies.iter().map(|body| body.shapes.len()).sum();
    println!("{} bodies, {shapes} shapes; microseconds a picture of RGB and depth, {PICTURES} pictures a line", poses.len());
    println!("{:<46} {:>8} {:>8} {:>8}", "", "p50", "p99", "max");
    let cameras = [("static", Camera::calvin_static()), ("gripper", Camera::calvin_gripper())];
    let mut image = Image::default();
    for samples_per_axis in [1, 2] {
        let mut renderer = Renderer::with_config(&scene, RenderConfig { samples_per_axis, ..RenderConfig::default() })?;
        for (name, camera) in &cameras {
            for side in [64, 84, 200] {
                let camera = camera.clone().with_size(side, side);
                for (what, light) in
                    [("shadow map drawn", Light::default()), ("no shadows", Light { shadow: 0.0, ..Light::default() })]
                {
                    let label = format!("{name} {side}x{side} {samples_per_axis}x{samples_per_axis}, {what}");
                    if !label.contains(&wanted) {
                        continue;
                    }
                    let mut micros: Vec<f64> = (0..PICTURES)
                        .map(|i| {
                            // Another pose each time, so that the shadow map is drawn anew.
                            poses[0].translation[2] = 1e-6 * (i % 2) as f32;
                            let start = Instant::now();
                            renderer.render(&camera, &poses, &light, &mut image).map(|_| start.elapsed().as_secs_f64() * 1e6)
                        })
                        .collect::<Result<_, _>>()?;
                    report(&label, &mut micros);
                }
            }
        }
    }
    let mut renderer = Renderer::new(&scene)?;
    let light = Light::default();
    let mut images = [Image::default(), Image::default()];
    let mut micros = Vec::with_capacity(PICTURES);
    for i in 0..PICTURES {
        poses[0].translation[2] = 1e-6 * (i % 2) as f32;
        let start = Instant::now();
        for ((_, camera), image) in cameras.iter().zip(&mut images) {
            renderer.render(camera, &poses, &light, image)?;
        }
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    report("static 200x200 and gripper 84x84, 1x1", &mut micros);
    Ok(())
}

fn report(label: &str, micros: &mut [f64]) {
    micros.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|percent| micros[micros.len() * percent / 100]);
    println!("{label:<46} {p50:>8.1} {p99:>8.1} {:>8.1}", micros[micros.len() - 1]);
}
