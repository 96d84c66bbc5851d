//! Start states of episodes.
//!
//! Blocks as CALVIN resets them (a random surface each, rejected until nothing touches), mechanisms and TCP as DiWA samples
//! its dream starts. Deviations: the TCP stays clear of the lever, and a block that would touch anything
//! but its surface is drawn again. Whether the arm reaches the pose is for the caller to see.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use reverie_schema::derive_seed;

use crate::{
    SimError, Task,
    geometry::{BLOCK_HALF_SIZE_M, DRAWER_RANGE_M, SLIDER_RANGE_M, SWITCH_RANGE_M},
};

/// Where everything is when an episode begins.
#[derive(Clone, Debug, PartialEq)]
pub struct StartState {
    /// TCP position (m) and extrinsic x-y-z Euler angles (rad), world frame.
    pub tcp_in_world: [f64; 6],
    /// Sliding door, metres.
    pub slider_m: f32,
    /// Drawer, metres.
    pub drawer_m: f32,
    /// Light bulb; the switch stands accordingly.
    pub bulb: bool,
    /// LED.
    pub led: bool,
    /// Position (m) and yaw (rad) of red, blue and pink.
    pub blocks: [[f32; 4]; 3],
}

/// Highest number of draws before giving up; one in about three is rejected.
const MAX_TRIES: usize = 500;
/// Rest height of a block's centre.
const BLOCK_Z_M: f32 = 0.46;

impl StartState {
    /// Everything closed and dark, blocks on the table, the TCP where CALVIN's neutral pose has it.
    pub fn neutral() -> Self {
        Self {
            tcp_in_world: [0.026, -0.231, 0.571, 3.090, -0.029, 1.500],
            slider_m: 0.0,
            drawer_m: 0.0,
            bulb: false,
            led: false,
            blocks: [[0.05, -0.12, BLOCK_Z_M, 0.0], [0.16, -0.06, BLOCK_Z_M, 0.0], [0.28, -0.12, BLOCK_Z_M, 0.0]],
        }
    }

    /// A random start from which `task` can be done. The same `task` and `seed` give the same start.
    ///
    /// # Errors
    /// [`SimError::NoStart`] if no draw was free of contact.
    pub fn sample(task: Task, seed: u64) -> Result<Self, SimError> {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, task.name()));
        (0..MAX_TRIES).map(|_| Self::draw(task, &mut rng)).find(Self::is_free).ok_or(SimError::NoStart {
            task: task.name(),
            seed,
            tries: MAX_TRIES,
        })
    }

    fn draw(task: Task, rng: &mut ChaCha8Rng) -> Self {
        let slider_m = match task {
            Task::MoveSliderLeft => *[0.0, 0.02].choose(rng).expect("not empty"),
            Task::MoveSliderRight => *[0.25, 0.26, 0.28].choose(rng).expect("not empty"),
            _ => rng.random_range(0.0..SLIDER_RANGE_M),
        };
        let drawer_m = match task {
            Task::OpenDrawer => 0.0,
            Task::CloseDrawer => rng.random_range(0.19..DRAWER_RANGE_M),
            _ => *[0.0, 0.19, 0.22].choose(rng).expect("not empty"),
        };
        let bulb = match task {
            Task::TurnOnLightbulb => false,
            Task::TurnOffLightbulb => true,
            _ => rng.random(),
        };
        let led = match task {
            Task::TurnOnLed => false,
            Task::TurnOffLed => true,
            _ => rng.random(),
        };
        let mut blocks: [[f32; 4]; 3] = std::array::from_fn(|_| block_on_a_surface(rng));
        if drawer_m > 0.1 {
            // As DiWA: an open drawer has a block in it.
            let inside: usize = rng.random_range(0..3);
            let yaw = rng.random_range(-std::f32::consts::PI..std::f32::consts::PI);
            blocks[inside] = [rng.random_range(0.15..0.25), rng.random_range(-0.30..-0.25), 0.361, yaw];
        }
        Self { tcp_in_world: tcp(rng), slider_m, drawer_m, bulb, led, blocks }
    }

    /// Whether the blocks keep clear of each other and of the leaning door in front of the shelf.
    fn is_free(&self) -> bool {
        let reach = |index: usize| BLOCK_HALF_SIZE_M[index][0].hypot(BLOCK_HALF_SIZE_M[index][1]);
        for (i, (&[x, y, z, yaw], half)) in self.blocks.iter().zip(BLOCK_HALF_SIZE_M).enumerate() {
            let on_shelf = y > 0.0 && z > 0.4;
            // The door's face at the block's top is at y = 0.045; its reach towards the door must stay behind.
            let towards_door = half[0] * yaw.sin().abs() + half[1] * yaw.cos().abs();
            if on_shelf && (y - towards_door < 0.052 || y + towards_door > 0.155) {
                return false;
            }
            for j in 0..i {
                let [other_x, other_y, other_z, _] = self.blocks[j];
                if (z - other_z).abs() < 0.045 && (x - other_x).hypot(y - other_y) < reach(i) + reach(j) {
                    return false;
                }
            }
        }
        true
    }

    /// Travel of the switch that goes with the bulb.
    pub(crate) const fn switch_m(&self) -> f32 {
        if self.bulb { SWITCH_RANGE_M } else { 0.0 }
    }

    pub(crate) fn validate(&self) -> Result<(), SimError> {
        for (quantity, value, upper) in
            [("sliding door (m)", self.slider_m, SLIDER_RANGE_M), ("drawer (m)", self.drawer_m, DRAWER_RANGE_M)]
        {
            if !(0.0..=upper).contains(&value) {
                return Err(SimError::StartOutOfRange { quantity, value: value.into(), lower: 0.0, upper: upper.into() });
            }
        }
        for value in self.blocks.as_flattened() {
            if value.is_nan() || value.abs() > 10.0 {
                return Err(SimError::StartOutOfRange {
                    quantity: "block pose (m, rad)",
                    value: (*value).into(),
                    lower: -10.0,
                    upper: 10.0,
                });
            }
        }
        Ok(())
    }
}

fn block_on_a_surface(rng: &mut ChaCha8Rng) -> [f32; 4] {
    let (x, y) = match rng.random_range(0..3) {
        0 => (rng.random_range(0.0..0.35), rng.random_range(-0.15..-0.03)),
        1 => (rng.random_range(-0.32..-0.16), rng.random_range(0.05..0.12)),
        _ => (rng.random_range(-0.05..0.13), rng.random_range(0.05..0.12)),
    };
    [x, y, BLOCK_Z_M, rng.random_range(-std::f32::consts::PI..std::f32::consts::PI)]
}

/// DiWA's recipe, world frame.
fn tcp(rng: &mut ChaCha8Rng) -> [f64; 6] {
    let tilt = Normal::new(-0.1_f64, 0.1).expect("a positive deviation");
    let x = if rng.random_bool(0.75) { rng.random_range(-0.3..0.3) } else { rng.random_range(-0.1..0.25) };
    let y: f64 = if rng.random_bool(0.75) { rng.random_range(-0.15..0.0) } else { rng.random_range(-0.3..-0.15) };
    let roll = rng.random_range(3.0..std::f64::consts::PI) * if rng.random_bool(0.8) { 1.0 } else { -1.0 };
    let pitch = tilt.sample(rng).clamp(-0.3, 0.1);
    let yaw = 1.57 + Normal::new(0.0_f64, 0.1).expect("a positive deviation").sample(rng).clamp(-0.25, 0.25);
    // The door's handle and the lever reach out to y = 0.
    [x, y.min(-0.06), rng.random_range(0.50..0.575), roll, pitch, yaw]
}
