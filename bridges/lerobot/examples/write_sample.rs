//! Writes a data set of generated episodes for the check against Python, and its frames once more as raw bytes.
//!
//! `write_sample FOLDER EPISODES FRAMES [IMAGE_SIZE]`: with an image size the frames have a camera. Beside FOLDER it writes
//! `FOLDER.state.f32` (state and action of each frame, little-endian) and `FOLDER.pixels.u8` (the images).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use reverie_lerobot::{DatasetSpec, Feature, FrameValue, Writer};
use serde_json::json;

/// Uniform in [-1, 1): Knuth's generator, so that the example needs no other crate.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, episodes, frames, rest @ ..] = &arguments[..] else {
        return Err("usage: write_sample FOLDER EPISODES FRAMES [IMAGE_SIZE]".into());
    };
    let (episodes, frames): (usize, usize) = (episodes.parse()?, frames.parse()?);
    let size: Option<usize> = rest.first().map(|s| s.parse()).transpose()?;
    let entries = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let mut features = vec![
        Feature::floats("observation.state", entries("robot", 15)),
        Feature::floats("observation.environment_state", entries("scene", 24)),
        Feature::floats("action", entries("rel", 7)),
    ];
    features.extend(size.map(|size| Feature::image("observation.images.static", size, size)));
    let folder = PathBuf::from(folder);
    let mut writer = Writer::create(&folder, DatasetSpec { fps: 30, robot_type: "panda".into(), features })?;
    writer.describe(&json!({ "command": "write_sample" }))?;
    let mut states = BufWriter::new(File::create(folder.with_extension("state.f32"))?);
    let mut images = BufWriter::new(File::create(folder.with_extension("pixels.u8"))?);
    let mut random = Lcg(1);
    for episode in 0..episodes {
        // Lengths differ, tasks come back, and the state wanders as a robot's does.
        let length = frames + episode % 7;
        let mut state = [0.0_f32; 39];
        for frame in 0..length {
            state.iter_mut().for_each(|x| *x += 0.01 * random.next());
            let mut action: [f32; 7] = std::array::from_fn(|_| random.next());
            action[6] = action[6].signum();
            for value in state.iter().chain(&action) {
                states.write_all(&value.to_le_bytes())?;
            }
            let mut values = vec![FrameValue::F32(&state[..15]), FrameValue::F32(&state[15..]), FrameValue::F32(&action)];
            let pixels: Option<Vec<u8>> = size.map(|size| picture(size, episode, frame));
            if let Some(pixels) = &pixels {
                images.write_all(pixels)?;
                values.push(FrameValue::Image(pixels));
            }
            writer.push(&format!("task {}", episode % 34), &values)?;
        }
        writer.finish_episode(&json!({ "seed": episode }))?;
        // Whoever kills this process knows what must be there.
        states.flush()?;
        images.flush()?;
        println!("{}", episode + 1);
    }
    writer.sync()?;
    Ok(())
}

/// A shaded background with a square that moves, about as compressible as a rendered table.
fn picture(size: usize, episode: usize, frame: usize) -> Vec<u8> {
    let corner = (frame * 3 + episode * 11) % size;
    let mut pixels = Vec::with_capacity(size * size * 3);
    for y in 0..size {
        for x in 0..size {
            let inside = (corner..corner + size / 5).contains(&x) && (corner / 2..corner / 2 + size / 5).contains(&y);
            let shade = (y * 255 / size) as u8;
            pixels.extend(if inside { [200, 40, 30] } else { [shade, shade / 2 + 60, 255 - shade] });
        }
    }
    pixels
}
