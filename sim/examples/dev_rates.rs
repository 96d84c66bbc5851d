#![allow(clippy::unwrap_used, missing_docs)]
#[path = "../tests/arm_rig/mod.rs"]
mod arm_rig;
use arm_rig::ArmRig;
use reverie_sim::{Expert, SceneId, StartState, Task, WorldConfig};

fn attempt(scene: SceneId, task: Task, seed: u64, trace: bool) -> Option<(bool, u32, String)> {
    let config = WorldConfig { scene, ..WorldConfig::default() };
    let start = StartState::sample(scene, task, seed).unwrap();
    let mut rig = ArmRig::new(&config, &start)?;
    if let Some(before) = StartState::before(task, seed) {
        let (s, mut e) = (rig.world.scene_state(), Expert::new(before, scene, seed));
        let mut ok = false;
        for _ in 0..240 {
            let a = e.act(&rig.world.observe());
            rig.step(a);
            if before.solved(&s, &rig.world.scene_state()) { ok = true; break; }
        }
        if !ok || !task.is_possible_from(scene, &rig.world.scene_state()) { return None; }
    }
    if rig.world.contacts().iter().any(|p| p.0 == reverie_sim::Link::Robot) && StartState::before(task, seed).is_none() { return None; }
    if trace { println!("at start {:?}", rig.world.scene_state().block_contacts); }
    if std::env::var("SETTLE").is_ok() { let q = rig.world.joint_state().position; for _ in 0..2 { rig.world.step(&reverie_schema::JointCommand { position: q, ..Default::default() }).unwrap(); println!("then {:?}", rig.world.scene_state().block_contacts); } }
    let s = rig.world.scene_state();
    let mut expert = Expert::new(task, scene, seed);
    for step in 0..200 {
        let obs = rig.world.observe();
        let a = expert.act(&obs);
        if trace && step % 4 == 0 {
            println!("{step} {} tcp {:.3?} rpy {:.2?} w {:.3} act {:.2?} blocks {:.3?} {:.3?} {:.3?} {:?}", String::new(), &obs.robot[..3], &obs.robot[3..6], obs.robot[6], a.0, &obs.scene[6..12], &obs.scene[12..18], &obs.scene[18..24], rig.world.scene_state().block_contacts);
        }
        rig.step(a);
        if task.solved(&s, &rig.world.scene_state()) { return Some((true, step, String::new())); }
    }
    Some((false, 240, String::new()))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let scene: SceneId = args[1].parse().unwrap();
    if args.len() > 4 {
        let task: Task = args[2].parse().unwrap();
        println!("{:?}", attempt(scene, task, args[3].parse().unwrap(), true));
        return;
    }
    let n: usize = args[2].parse().unwrap();
    let filter = args.get(3).cloned().unwrap_or_default();
    let tasks: Vec<Task> = Task::ALL.into_iter().filter(|t| t.name().contains(&filter)).collect();
    for task in tasks {
        let next = std::sync::atomic::AtomicU64::new(0);
        let results = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|s| { for _ in 0..2 { s.spawn(|| loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if results.lock().unwrap().len() >= n { break; }
            if let Some(r) = attempt(scene, task, seed, false) { results.lock().unwrap().push((seed, r)); }
        }); } });
        let r = results.into_inner().unwrap();
        let ok = r.iter().filter(|x| x.1.0).count();
        let steps: u32 = r.iter().filter(|x| x.1.0).map(|x| x.1.1).sum::<u32>() / (ok.max(1) as u32);
        let drawn = next.load(std::sync::atomic::Ordering::Relaxed);
        let fails: Vec<_> = r.iter().filter(|x| !x.1.0).map(|x| (x.0, x.1.2.clone())).collect();
        println!("{:<28} {ok}/{} of {drawn} steps {steps} fails {:?}", task.name(), r.len(), fails);
    }
}
