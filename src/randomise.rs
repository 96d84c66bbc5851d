//! Randomisation for training, off by default: each episode draws its own friction, mass, light, camera poses, colours and delays.

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reverie_camera::Mount;
use reverie_schema::{derive_seed, scene::Scene};
use reverie_sim::World;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, MOST_DELAY_STEPS},
    eyes::{CameraName, CameraSection, Eyes},
};

/// How far each quantity may be from its setting. 0 everywhere: nothing is randomised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomiseSection {
    /// Friction of all pairs: a factor between `1 / (1 + x)` and `1 + x`.
    pub friction: f32,
    /// Mass of the blocks: a factor between `1 / (1 + x)` and `1 + x`.
    pub block_mass: f32,
    /// Brightness of sun and sky, as a share, and the sun's direction, as a tangent.
    pub light: f32,
    /// Place of each camera, metres along each axis.
    pub camera_m: f32,
    /// Direction of each camera, radians about each axis.
    pub camera_rad: f32,
    /// Colours and grain, as a share of each channel.
    pub colour: f32,
    /// Most control steps by which an action comes late.
    pub action_delay_steps: u32,
    /// Most control steps by which an observation comes late.
    pub observation_delay_steps: u32,
}

/// A factor between `1 / (1 + spread)` and `1 + spread`, its logarithm uniform.
fn factor(rng: &mut ChaCha8Rng, spread: f32) -> f32 {
    let log = spread.max(0.0).ln_1p();
    (rng.random_range(-1.0..=1.0_f32) * log).exp()
}

impl RandomiseSection {
    /// # Errors
    /// The first value that is no spread, or a delay that is too long.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("friction", self.friction),
            ("block_mass", self.block_mass),
            ("light", self.light),
            ("camera_m", self.camera_m),
            ("camera_rad", self.camera_rad),
            ("colour", self.colour),
        ] {
            ensure!(value.is_finite() && value >= 0.0, "config key randomise.{key} is {value}, must be 0 or more");
        }
        ensure!(
            self.action_delay_steps.max(self.observation_delay_steps) <= MOST_DELAY_STEPS,
            "config section randomise: a delay is at most {MOST_DELAY_STEPS} control steps"
        );
        Ok(())
    }

    fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(derive_seed(seed, purpose))
    }

    /// The configuration of the episode `seed`: physics and delays as drawn.
    pub fn episode(&self, config: &Config, seed: u64) -> Config {
        let mut config = config.clone();
        let mut rng = Self::stream(seed, "randomise physics");
        config.sim.friction_scale *= factor(&mut rng, self.friction);
        config.sim.block_mass_kg *= factor(&mut rng, self.block_mass);
        let mut rng = Self::stream(seed, "randomise delays");
        config.delay.action_steps += rng.random_range(0..=self.action_delay_steps);
        config.delay.observation_steps += rng.random_range(0..=self.observation_delay_steps);
        config
    }

    /// The cameras of the episode `seed` on `world`: light, poses and colours as drawn.
    pub fn eyes(&self, section: &CameraSection, world: &World, names: &[CameraName], seed: u64) -> Result<Eyes> {
        let mut rng = Self::stream(seed, "randomise light");
        let mut section = section.clone();
        let spread = self.light.max(0.0);
        section.light.ambient *= factor(&mut rng, spread);
        section.light.diffuse *= factor(&mut rng, spread);
        let down = section.light.direction_in_world[2].abs();
        for entry in &mut section.light.direction_in_world[..2] {
            *entry += down * spread * rng.random_range(-1.0..=1.0_f32);
        }
        let mut scene = world.scene();
        self.recolour(&mut scene, seed);
        let mut eyes = Eyes::new(&section, &scene, names)?;
        let mut rng = Self::stream(seed, "randomise cameras");
        for camera in eyes.cameras_mut() {
            let (Mount::World(pose) | Mount::Body { body_from_camera: pose, .. }) = &mut camera.mount;
            let mut draw = |spread: f32| -> [f32; 3] { std::array::from_fn(|_| spread * rng.random_range(-1.0..=1.0_f32)) };
            let (shift, turn) = (draw(self.camera_m), draw(self.camera_rad));
            for (entry, shift) in pose.translation.iter_mut().zip(shift) {
                *entry += shift;
            }
            let [x, y, z, w] = pose.rotation_xyzw.map(f64::from);
            let before = nalgebra::UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(w, x, y, z));
            let after = before * nalgebra::UnitQuaternion::from_scaled_axis(nalgebra::Vector3::from(turn.map(f64::from)));
            pose.rotation_xyzw = [after.i as f32, after.j as f32, after.k as f32, after.w as f32];
        }
        Ok(eyes)
    }

    fn recolour(&self, scene: &mut Scene, seed: u64) {
        use reverie_schema::scene::Texture::{Checker, Glow, Noise, Plain, Stripes, Wood};
        let mut rng = Self::stream(seed, "randomise colours");
        let mut mix = |[r, g, b]: [u8; 3]| -> [u8; 3] {
            [r, g, b].map(|channel| {
                let shift = 255.0 * self.colour * rng.random_range(-1.0..=1.0_f32);
                (f32::from(channel) + shift).round().clamp(0.0, 255.0) as u8
            })
        };
        for shape in scene.bodies.iter_mut().flat_map(|body| &mut body.shapes) {
            let [r, g, b, alpha] = shape.rgba;
            let [r, g, b] = mix([r, g, b]);
            shape.rgba = [r, g, b, alpha];
            match &mut shape.texture {
                Wood(pattern) | Checker(pattern) | Stripes(pattern) | Noise(pattern) => {
                    pattern.second_rgb = mix(pattern.second_rgb);
                }
                Plain | Glow => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> RandomiseSection {
        RandomiseSection {
            friction: 0.5,
            block_mass: 0.5,
            light: 0.3,
            camera_m: 0.02,
            camera_rad: 0.02,
            colour: 0.2,
            action_delay_steps: 3,
            observation_delay_steps: 2,
        }
    }

    #[test]
    fn nothing_is_randomised_by_default_and_everything_within_its_bounds() {
        let config = Config::default();
        assert_eq!(RandomiseSection::default().episode(&config, 7), config);
        let random = everything();
        let drawn: Vec<Config> = (0..200).map(|seed| random.episode(&config, seed)).collect();
        for one in &drawn {
            assert!((1.0 / 1.5001..1.5001).contains(&one.sim.friction_scale), "{}", one.sim.friction_scale);
            assert!(one.delay.action_steps <= 3 && one.delay.observation_steps <= 2);
        }
        let spread = |value: fn(&Config) -> f32| {
            let values = drawn.iter().map(value);
            values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
        };
        assert!(spread(|config| config.sim.friction_scale) > 0.6);
        assert!(spread(|config| config.sim.block_mass_kg) > 0.6);
        assert!(drawn.iter().any(|config| config.delay.action_steps == 3));
    }

    #[test]
    fn pictures_differ_between_seeds_and_repeat_for_one() {
        let config = Config::default();
        let rig = crate::rig::Rig::new(&config, reverie_sim::Task::OpenDrawer, 0).unwrap();
        let mut poses = Vec::new();
        rig.world.poses(&mut poses);
        let picture = |random: &RandomiseSection, seed| {
            let mut eyes = random
                .eyes(&config.cameras, &rig.world, &[CameraName::Static, CameraName::Gripper, CameraName::Tactile], seed)
                .unwrap();
            eyes.look(&poses).unwrap();
            eyes.pictures()
        };
        let off = RandomiseSection::default();
        assert_eq!(picture(&off, 1), picture(&off, 2));
        assert_eq!(picture(&everything(), 1), picture(&everything(), 1));
        assert_ne!(picture(&everything(), 1), picture(&everything(), 2));
    }
}
