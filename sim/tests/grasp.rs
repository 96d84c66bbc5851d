//! Friction grasps: what holds, how much it slips and sinks in, and what must be dropped.

#![allow(clippy::unwrap_used)]

mod arm_rig;

use arm_rig::ArmRig;
use reverie_schema::GripperCommand::{Close, Open};
use reverie_sim::{Link, StartState, WorldConfig};

struct Grasp {
    lifted_m: f32,
    slip_m: f32,
    penetration_m: f32,
}

/// Takes the blue cube, which lies at `offset` from the TCP and is turned by `yaw`, lifts it by 0.1 m and holds it for 3 s.
fn grasp(force_n: f32, offset: [f32; 2], yaw: f32) -> Grasp {
    let mut start = StartState::neutral();
    let [x, y] = [0.05, -0.12];
    start.blocks = [[0.30, -0.08, 0.46, 0.0], [x + offset[0], y + offset[1], 0.46, yaw], [0.20, -0.08, 0.46, 1.57]];
    start.tcp_in_world = [x.into(), y.into(), 0.56, std::f64::consts::PI, 0.0, std::f64::consts::FRAC_PI_2];
    let mut rig = ArmRig::new(&WorldConfig { grip_force_n: force_n, ..WorldConfig::default() }, &start).unwrap();
    rig.go([x, y, 0.465], Open, 30);
    rig.go([x, y, 0.465], Close, 20);
    rig.go([x, y, 0.565], Close, 40);
    let in_hand = |rig: &mut ArmRig| {
        let observation = rig.world.observe();
        let (tcp, block) = (observation.tcp_in_world(), &observation.scene[12..15]);
        [block[0] - tcp[0], block[1] - tcp[1], block[2] - tcp[2]]
    };
    let before = in_hand(&mut rig);
    let mut penetration_m = 0.0_f32;
    for _ in 0..90 {
        rig.go([x, y, 0.565], Close, 1);
        penetration_m = penetration_m.max(rig.world.deepest_penetration_m(Link::Block(1)));
    }
    let after = in_hand(&mut rig);
    let slip_m = (0..3).map(|i| (after[i] - before[i]).powi(2)).sum::<f32>().sqrt();
    Grasp { lifted_m: rig.world.scene_obs()[14] - 0.46, slip_m, penetration_m }
}

/// Bounds are twice the largest value seen over these trials.
#[test]
fn grasps_hold_without_slip_or_penetration() {
    for (index, (force, dx, dy, yaw)) in [
        (40.0, 0.0, 0.0, 0.0),
        (40.0, 0.006, 0.0, 0.0),
        (40.0, -0.006, 0.003, 0.1),
        (40.0, 0.0, -0.004, -0.2),
        (40.0, 0.004, 0.004, 0.2),
        (70.0, 0.0, 0.0, 0.1),
        (20.0, 0.0, 0.0, 0.0),
    ]
    .into_iter()
    .enumerate()
    {
        let grasp = grasp(force, [dx, dy], yaw);
        println!("{index}: lifted {:.4} slip {:.5} penetration {:.5}", grasp.lifted_m, grasp.slip_m, grasp.penetration_m);
        assert!(grasp.lifted_m > 0.09, "trial {index}: lifted {} m", grasp.lifted_m);
        assert!(grasp.slip_m < 0.0004, "trial {index}: slipped {} m in 3 s", grasp.slip_m);
        assert!(grasp.penetration_m < 0.0002, "trial {index}: sank in {} m", grasp.penetration_m);
    }
}

/// Two pads with friction 0.7 hold 1 kg from 7.0 N on: below, the block must stay on the table.
#[test]
fn a_grip_too_weak_for_the_weight_drops_the_block() {
    for force in [3.0, 5.5] {
        assert!(grasp(force, [0.0, 0.0], 0.0).lifted_m < 0.02, "{force} N");
    }
}
