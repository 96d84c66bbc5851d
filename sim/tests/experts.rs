//! The scripted demonstrators from random starts.

#![allow(clippy::unwrap_used)]

mod arm_rig;

use arm_rig::ArmRig;
use reverie_sim::{Expert, StartState, Task, WorldConfig};

const STARTS: u64 = 200;

fn succeeds(task: Task, seed: u64) -> Option<bool> {
    let mut rig = ArmRig::new(&WorldConfig::default(), &StartState::sample(task, seed).unwrap())?;
    let (start, mut expert) = (rig.world.scene_obs(), Expert::new(task, seed));
    Some((0..240).any(|_| {
        let action = expert.act(&rig.world.observe());
        rig.step(action);
        task.solved(&start, &rig.world.scene_obs())
    }))
}

fn success_rate(task: Task) -> f64 {
    let results: Vec<bool> = (0..).filter_map(|seed| succeeds(task, seed)).take(STARTS as usize).collect();
    let failed: Vec<usize> = results.iter().enumerate().filter(|(_, success)| !**success).map(|(index, _)| index).collect();
    println!("{task}: failed {failed:?}");
    1.0 - failed.len() as f64 / results.len() as f64
}

#[test]
fn every_expert_succeeds_in_95_of_100_random_starts() {
    let rates: Vec<(Task, f64)> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                Task::ALL.into_iter().skip(half).step_by(2).map(|task| (task, success_rate(task))).collect::<Vec<_>>()
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    println!("{rates:?}");
    assert_eq!(rates.len(), 8);
    for (task, rate) in rates {
        assert!(rate >= 0.95, "{task}: {rate}");
    }
}
