//! Repeatability, snapshots and limits of the whole world.

#![allow(clippy::unwrap_used)]

mod arm_rig;

use arm_rig::ArmRig;
use rand::{Rng, SeedableRng};
use reverie_schema::{Action, GripperCommand, RobotSpec};
use reverie_sim::{Link, SceneId, SimError, StartState, Task, World, WorldConfig, WorldSnapshot};

/// Random play: bursts of random direction, the gripper opening and closing.
fn play(rig: &mut ArmRig, rng: &mut rand_chacha::ChaCha8Rng, steps: usize, mut each: impl FnMut(&mut ArmRig)) {
    let mut action = [0.0; 7];
    for step in 0..steps {
        if step % 10 == 0 {
            action = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
            action[2] -= 0.2;
            action = action.map(|entry: f32| entry.clamp(-1.0, 1.0));
            action[6] = if rng.random() { 1.0 } else { -1.0 };
        }
        rig.step(Action(action));
        each(rig);
    }
}

fn rig(task: Task, seed: u64) -> ArmRig {
    (seed..).find_map(|seed| ArmRig::new(&WorldConfig::default(), &StartState::sample(SceneId::D, task, seed).unwrap())).unwrap()
}

fn rng(seed: u64) -> rand_chacha::ChaCha8Rng {
    rand_chacha::ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut rig = rig(Task::CloseDrawer, 3);
        let mut hashes = Vec::new();
        play(&mut rig, &mut rng(7), 150, |rig| hashes.push(rig.world.state_hash()));
        hashes
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert!(first.windows(2).any(|pair| pair[0] != pair[1]), "it moves");
}

#[test]
fn a_restored_world_goes_on_identically() {
    let mut rig = rig(Task::OpenDrawer, 11);
    play(&mut rig, &mut rng(1), 60, |_| {});
    let (world, servo, steps) = (rig.world.snapshot(), rig.servo.snapshot(), rig.steps);
    let go_on = |rig: &mut ArmRig| {
        let mut hashes = Vec::new();
        play(rig, &mut rng(2), 90, |rig| hashes.push(rig.world.state_hash()));
        hashes
    };
    let first = go_on(&mut rig);
    rig.world.restore(&world).unwrap();
    rig.servo.restore(&servo);
    rig.steps = steps;
    assert_eq!(first, go_on(&mut rig), "in place");

    let mut fresh = self::rig(Task::OpenDrawer, 11);
    fresh.world.restore(&world).unwrap();
    fresh.servo.restore(&servo);
    fresh.steps = steps;
    assert_eq!(first, go_on(&mut fresh), "in a world built alike");
}

/// Through a file, while a block hangs between the fingers.
#[test]
fn a_world_restored_from_disk_goes_on_identically() {
    let begin = || {
        let mut start = StartState::neutral();
        start.blocks[1] = [0.05, -0.12, 0.46, 0.0];
        start.blocks[0] = [0.30, -0.08, 0.46, 0.0];
        start.blocks[2] = [0.20, -0.08, 0.46, 1.57];
        start.tcp_in_world = [0.05, -0.12, 0.56, std::f64::consts::PI, 0.0, std::f64::consts::FRAC_PI_2];
        ArmRig::new(&WorldConfig::default(), &start).unwrap()
    };
    let mut rig = begin();
    rig.go([0.05, -0.12, 0.465], GripperCommand::Open, 30);
    rig.go([0.05, -0.12, 0.465], GripperCommand::Close, 20);
    rig.go([0.05, -0.12, 0.52], GripperCommand::Close, 20);
    assert!(rig.world.scene_obs()[14] > 0.49, "the block hangs");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.bin");
    rig.world.snapshot().save(&file).unwrap();
    let mut fresh = begin();
    fresh.world.restore(&WorldSnapshot::load(&file).unwrap()).unwrap();
    fresh.servo.restore(&rig.servo.snapshot());
    fresh.steps = rig.steps;
    let go_on = |rig: &mut ArmRig| {
        let mut hashes = Vec::new();
        play(rig, &mut rng(2), 90, |rig| hashes.push(rig.world.state_hash()));
        hashes
    };
    assert_eq!(go_on(&mut rig), go_on(&mut fresh));
}

#[test]
fn bad_snapshot_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.bin");
    let refusal = || WorldSnapshot::load(&file).err().unwrap().to_string();
    assert!(refusal().contains("world.bin"), "{}", refusal());

    let spec = RobotSpec::panda();
    let world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad).unwrap();
    world.snapshot().save(&file).unwrap();
    let good = std::fs::read(&file).unwrap();
    let with = |bytes: &[u8], expected: &str| {
        std::fs::write(&file, bytes).unwrap();
        assert!(refusal().contains("world.bin") && refusal().contains(expected), "{}", refusal());
    };
    with(b"something else", "is no world snapshot");
    with(&good[..10], "ends early");
    with(&good[..good.len() - 1], "ends early");
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    with(&damaged, "damaged");
    let mut newer = good;
    newer[8] = 99;
    with(&newer, "format version 99");
}

/// Joint limits within 5 mrad, blocks slower than 8 m/s, no NaN. Joint speeds within 10 % of the published limits while the robot
/// touches nothing; what pushes against its 12 N m wrist can turn it faster than its motors would, up to twice that.
#[test]
fn random_play_keeps_limits() {
    let spec = RobotSpec::panda();
    for seed in 0..12 {
        let mut rig = rig(Task::MECHANISM[seed as usize % 8], 100 + seed);
        let mut since_contact = 0;
        play(&mut rig, &mut rng(seed), 200, |rig| {
            let state = rig.world.joint_state();
            let touching = rig.world.contacts().iter().any(|pair| pair.0 == Link::Robot);
            since_contact = if touching { 0 } else { since_contact + 1 };
            let tolerance = if since_contact > 3 { 1.1 } else { 2.0 };
            for (i, joint) in spec.joints.iter().enumerate() {
                let (q, speed) = (state.position[i], state.velocity[i]);
                assert!(q > joint.lower_rad - 0.005 && q < joint.upper_rad + 0.005, "seed {seed}: joint {i} at {q}");
                assert!(speed.abs() < tolerance * joint.velocity_radps, "seed {seed}: joint {i} at {speed} rad/s");
            }
            for block in 0..3 {
                assert!(rig.world.block_speed_mps(block) < 8.0, "seed {seed}: block {block} flies");
            }
            let scene = rig.world.scene_obs();
            assert!(scene.iter().all(|value| value.is_finite()));
            for (value, range) in [(scene[0], 0.28), (scene[1], 0.22), (scene[2], 0.020), (scene[3], 0.088)] {
                assert!(value > -0.003 && value < range + 0.003, "seed {seed}: mechanism at {value} of {range}");
            }
        });
    }
}

#[test]
fn starts_are_free_of_robot_contact_and_at_rest() {
    for task in Task::MECHANISM {
        for seed in 0..10 {
            let Some(mut rig) = ArmRig::new(&WorldConfig::default(), &StartState::sample(SceneId::D, task, seed).unwrap()) else {
                continue;
            };
            let (before, start) = (rig.world.scene_obs(), rig.world.scene_state());
            for _ in 0..15 {
                rig.step(Action::hold(reverie_schema::GripperCommand::Open));
            }
            let after = rig.world.scene_obs();
            for block in 0..3 {
                let moved = (0..3).map(|i| (after[6 + 6 * block + i] - before[6 + 6 * block + i]).abs()).fold(0.0, f32::max);
                assert!(moved < 0.01, "{task} {seed}: block {block} moved {moved} m");
            }
            assert!(!task.solved(&start, &rig.world.scene_state()));
            assert!(rig.world.contacts().iter().all(|pair| pair.0 != Link::Robot), "{task} {seed}");
        }
    }
}

#[test]
fn bad_starts_and_commands_are_named() {
    let spec = RobotSpec::panda();
    let start = StartState { drawer_m: 0.3, ..StartState::neutral() };
    let error = World::new(&WorldConfig::default(), &spec, &start, &spec.home_rad).err().unwrap();
    assert!(error.to_string().contains("drawer (m) is 0.3"), "{error}");

    let config = WorldConfig { arm_damping: f32::NAN, ..WorldConfig::default() };
    let error = World::new(&config, &spec, &StartState::neutral(), &spec.home_rad).err().unwrap();
    assert!(error.to_string().contains("sim.arm_damping"), "{error}");

    let mut world = World::new(&WorldConfig::default(), &spec, &StartState::neutral(), &spec.home_rad).unwrap();
    let before = world.state_hash();
    let mut command = reverie_schema::JointCommand { position: spec.home_rad, ..Default::default() };
    command.position[3] = f64::INFINITY;
    assert_eq!(world.step(&command), Err(SimError::CommandNotFinite { joint: 3, value: f64::INFINITY }));
    assert_eq!(world.state_hash(), before);
}
