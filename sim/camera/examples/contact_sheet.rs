//! Writes what the cameras see as PNGs: `cargo run -p reverie-camera --example contact_sheet -- FOLDER`.

use std::{fs::File, io::BufWriter, path::Path};

use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer};
use reverie_schema::{
    RobotSpec,
    scene::{Form, Pattern, Texture},
};
use reverie_sim::{StartState, World, WorldConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: contact_sheet FOLDER")?;
    let spec = RobotSpec::panda();
    let start = StartState { bulb: true, led: true, drawer_m: 0.1, ..StartState::neutral() };
    let world = World::new(&WorldConfig::default(), &spec, &start, &spec.home_rad)?;
    let mut poses = Vec::new();
    world.poses(&mut poses);
    let mut scene = world.scene();
    // A look that training could draw at random: everything of the table in wood.
    for shape in scene.bodies.iter_mut().filter(|body| body.name.starts_with("table/")).flat_map(|body| &mut body.shapes) {
        if let (Form::Box { .. }, [red, green, blue, _]) = (shape.form, shape.rgba) {
            let second_rgb = [red, green, blue].map(|channel| (u16::from(channel) * 5 / 8) as u8);
            shape.texture = Texture::Wood(Pattern { scale_m: 0.3, second_rgb });
        }
    }
    for samples_per_axis in [1, 2] {
        let config = RenderConfig { samples_per_axis, ..RenderConfig::default() };
        let mut renderer = Renderer::with_config(&scene, config)?;
        for (name, camera) in [
            ("static", Camera::calvin_static()),
            ("static_large", Camera::calvin_static().with_size(800, 800)),
            ("gripper", Camera::calvin_gripper()),
            ("gripper_large", Camera::calvin_gripper().with_size(504, 504)),
        ] {
            let mut image = Image::default();
            renderer.render(&camera, &poses, &Light::default(), &mut image)?;
            let path = Path::new(&folder).join(format!("{name}_{samples_per_axis}x{samples_per_axis}.png"));
            write_png(&path, &image)?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn write_png(path: &Path, image: &Image) -> Result<(), Box<dyn std::error::Error>> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&image.rgb)?;
    Ok(())
}
