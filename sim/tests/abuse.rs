//! A thousand episodes of random actions: the world stays sane, and comes to rest.

#![allow(clippy::unwrap_used)]

mod arm_rig;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use arm_rig::ArmRig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reverie_schema::{Action, GripperCommand, RobotSpec};
use reverie_sim::{Link, SceneId, StartState, Task, WorldConfig};

const EPISODES: u64 = 1000;
const STEPS: usize = 360;
/// Control steps of rest at the end: whatever was thrown has landed by then.
const REST_STEPS: usize = 45;

/// The largest values seen.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    joint_beyond_rad: f64,
    mechanism_beyond_m: f32,
    block_speed_mps: f32,
    penetration_m: f32,
    /// Kinetic energy of the blocks after the rest, joules (1 kg each; translation).
    energy_at_rest_j: f32,
}

impl Worst {
    fn join(self, other: Self) -> Self {
        Self {
            joint_beyond_rad: self.joint_beyond_rad.max(other.joint_beyond_rad),
            mechanism_beyond_m: self.mechanism_beyond_m.max(other.mechanism_beyond_m),
            block_speed_mps: self.block_speed_mps.max(other.block_speed_mps),
            penetration_m: self.penetration_m.max(other.penetration_m),
            energy_at_rest_j: self.energy_at_rest_j.max(other.energy_at_rest_j),
        }
    }

    fn look(&mut self, rig: &mut ArmRig, spec: &RobotSpec, scene: SceneId, episode: u64) {
        let state = rig.world.joint_state();
        for (joint, &q) in spec.joints.iter().zip(&state.position) {
            assert!(q.is_finite(), "episode {episode}: a joint is at {q}");
            self.joint_beyond_rad = self.joint_beyond_rad.max(joint.lower_rad - q).max(q - joint.upper_rad);
        }
        let obs = rig.world.scene_obs();
        assert!(obs.iter().all(|value| value.is_finite()), "episode {episode}: {obs:?}");
        for (value, range) in obs.into_iter().zip([scene.layout().slider_range_m, 0.22, 0.020, 0.088]) {
            self.mechanism_beyond_m = self.mechanism_beyond_m.max(-value).max(value - range);
        }
        for block in 0..3 {
            self.block_speed_mps = self.block_speed_mps.max(rig.world.block_speed_mps(block));
            self.penetration_m = self.penetration_m.max(rig.world.deepest_penetration_m(Link::Block(block)));
            let z = obs[8 + 6 * block];
            assert!(z > -0.01, "episode {episode}: block {block} at z = {z} fell through the floor");
        }
    }
}

/// Actions of full size, held for a third of a second each, towards the table more often than away, hand opening and closing.
fn episode(number: u64) -> Option<Worst> {
    let scene = SceneId::ALL[(number % 4) as usize];
    let task = Task::ALL[(number % 34) as usize];
    let config = WorldConfig { scene, ..WorldConfig::default() };
    let spec = RobotSpec::panda();
    let mut rig = (0..50).find_map(|i| ArmRig::new(&config, &StartState::sample(scene, task, 50 * number + i).unwrap()))?;
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let (mut worst, mut action) = (Worst::default(), [0.0_f32; 7]);
    for step in 0..STEPS {
        if step % 10 == 0 {
            action = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
            action[2] = (action[2] - 0.25).max(-1.0);
            action[6] = if rng.random() { 1.0 } else { -1.0 };
        }
        rig.step(Action(action));
        worst.look(&mut rig, &spec, scene, number);
    }
    for _ in 0..REST_STEPS {
        rig.step(Action::hold(GripperCommand::Open));
        worst.look(&mut rig, &spec, scene, number);
    }
    worst.energy_at_rest_j = (0..3).map(|block| 0.5 * rig.world.block_speed_mps(block).powi(2)).sum();
    Some(worst)
}

#[test]
fn a_thousand_random_episodes_stay_sane() {
    let (next, results) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= EPISODES {
                        break;
                    }
                    let worst = episode(number).unwrap_or_else(|| panic!("no start within reach for episode {number}"));
                    results.lock().unwrap().push((number, worst));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    assert_eq!(results.len() as u64, EPISODES);
    let of =
        |value: fn(&Worst) -> f32| results.iter().max_by(|a, b| value(&a.1).total_cmp(&value(&b.1))).map(|(n, w)| (*n, value(w)));
    println!("speed {:?} penetration {:?}", of(|w| w.block_speed_mps), of(|w| w.penetration_m));
    println!("mechanism {:?} energy {:?}", of(|w| w.mechanism_beyond_m), of(|w| w.energy_at_rest_j));
    let worst = results.into_iter().fold(Worst::default(), |worst, (_, one)| worst.join(one));
    println!("{worst:?}");
    assert!(worst.joint_beyond_rad < 0.0011 && worst.mechanism_beyond_m < 0.0011, "{worst:?}");
    // A fall from the cabinet to the floor gives 3.6 m/s.
    assert!(worst.block_speed_mps < 5.0, "{worst:?}");
    // Half of a block's thickness: deeper, and it would come out on the other side.
    assert!(worst.penetration_m < 0.02, "{worst:?}");
    assert!(worst.energy_at_rest_j < 0.001, "{worst:?}");
}
