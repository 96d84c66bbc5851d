//! One stretch of play: skills in random order as a person tries a table, with pauses, slips and second thoughts.

use anyhow::{Result, bail};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::{Action, Frame, GripperCommand, Observation, derive_seed};
use reverie_sim::{Expert, Probe, SceneId, SceneState, Task};

use super::{Clumsiness, Pictures};
use crate::{
    config::Config,
    eyes::CameraName,
    rig::{NoStart, Rig},
};

/// Control steps after which a skill is given up.
const MOST_STEPS: usize = 200;
/// Shares of skills that go otherwise than planned.
const GIVES_UP: f64 = 0.08;
const WANDERS: f64 = 0.15;
/// Share of skills before which the hand rests.
const RESTS: f64 = 0.4;
/// Share of errands that feel about a mechanism.
const PROBES: f64 = 0.45;
/// Share of skills that are tried though there is nothing to be done: a shut drawer is closed, a raised lever lifted.
const BLUFFS: f64 = 0.15;
/// Share of held blocks that are put down on the table although there is a task for them.
const PUTS_DOWN: f64 = 0.25;
/// Starts tried before giving up on a seed.
const START_TRIES: u64 = 20;

/// What happened.
pub struct Played {
    pub frames: Vec<Frame>,
    /// What the labels are made from, one for each frame.
    pub states: Vec<SceneState>,
    /// Pixels of each frame and camera.
    pub images: Vec<Vec<Vec<u8>>>,
}

/// What the hand is up to.
enum Errand {
    Task(Task),
    /// A mechanism's task that need not be possible.
    Bluff(Task),
    /// About a mechanism, for as long as it lasts.
    Probe(Box<Probe>),
    PutDown,
    Wander,
}

struct Session<'a> {
    rig: Rig,
    tasks: &'a [Task],
    scene: SceneId,
    pictures: Pictures,
    rng: ChaCha8Rng,
    played: Played,
    steps: usize,
    /// Share of skills that miss at first.
    errs: f64,
    /// Most of the noise on actions, and that of the present skill, standard deviations.
    most_noise: f32,
    noise: f32,
    clumsiness: Clumsiness,
}

/// Plays with `tasks` for `steps` control steps from a random start. The same arguments give the same play.
pub fn play(config: &Config, tasks: &[Task], cameras: &[CameraName], seed: u64, steps: usize) -> Result<Played> {
    let scene = config.sim.scene;
    let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "play"));
    let rig = start(config, tasks, &mut rng, seed)?;
    let pictures = Pictures::new(config, cameras, &rig.world, seed)?;
    let played = Played { frames: Vec::new(), states: Vec::new(), images: Vec::new() };
    let (most_noise, clumsiness) = (config.collect.play_noise as f32, Clumsiness::new(seed));
    let errs = config.collect.play_errs;
    let mut session = Session { rig, tasks, scene, pictures, rng, played, steps, errs, most_noise, noise: 0.0, clumsiness };
    let mut errand = 0;
    while session.goes_on() {
        session.next(derive_seed(seed, &format!("errand {errand}")))?;
        errand += 1;
    }
    Ok(session.played)
}

fn start(config: &Config, tasks: &[Task], rng: &mut ChaCha8Rng, seed: u64) -> Result<Rig> {
    for attempt in 0..START_TRIES {
        let task = *tasks.choose(rng).expect("a selection names a task");
        match Rig::new(config, task, derive_seed(seed, "play start").wrapping_add(attempt)) {
            Err(error) if error.is::<NoStart>() => {}
            rig => return rig,
        }
    }
    bail!("no valid start for play in scene {} with seed {seed} in {START_TRIES} tries", config.sim.scene)
}

impl Session<'_> {
    fn goes_on(&self) -> bool {
        self.played.frames.len() < self.steps
    }

    fn next(&mut self, seed: u64) -> Result<()> {
        self.noise = self.most_noise * self.clumsiness.rng.random::<f32>();
        match self.choose() {
            Errand::Wander => self.wander(),
            Errand::Probe(probe) => self.probe(*probe),
            errand => self.skill(&errand, seed),
        }
    }

    fn choose(&mut self) -> Errand {
        let state = self.rig.world.scene_state();
        let holds = Expert::holds_block(&state);
        if !holds && self.rng.random_bool(WANDERS) {
            return Errand::Wander;
        }
        if !holds && let Some(&about) = self.tasks.choose(&mut self.rng) {
            let (probes, bluffs) = (self.rng.random_bool(PROBES), self.rng.random_bool(BLUFFS));
            if probes && let Some(probe) = Probe::new(about, self.scene, self.rng.random()) {
                return Errand::Probe(Box::new(probe));
            }
            if bluffs && Task::MECHANISM.contains(&about) {
                return Errand::Bluff(about);
            }
        }
        let possible: Vec<Task> = self.tasks.iter().copied().filter(|&task| Expert::can_do(task, self.scene, &state)).collect();
        if holds && (possible.is_empty() || self.rng.random_bool(PUTS_DOWN)) {
            return Errand::PutDown;
        }
        // By category first: there are six ways to rotate a block and one to stack it.
        let mut categories: Vec<u8> = possible.iter().map(|task| task.category()).collect();
        categories.sort_unstable();
        categories.dedup();
        let Some(&category) = categories.choose(&mut self.rng) else { return Errand::Wander };
        let tasks: Vec<Task> = possible.into_iter().filter(|task| task.category() == category).collect();
        tasks.choose(&mut self.rng).map_or(Errand::Wander, |&task| Errand::Task(task))
    }

    fn skill(&mut self, errand: &Errand, seed: u64) -> Result<()> {
        if !Expert::holds_block(&self.rig.world.scene_state()) && self.rng.random_bool(RESTS) && !self.rest()? {
            return Ok(());
        }
        let expert = match *errand {
            Errand::Task(task) | Errand::Bluff(task) => {
                self.rig.begin(task);
                Expert::new(task, self.scene, seed)
            }
            _ => Expert::put_down(self.scene, seed),
        };
        let mut expert = if self.rng.random_bool(self.errs) {
            let mut off = || self.rng.random_range(-0.03..0.03_f32);
            let off_m = [off(), off(), off()];
            let steps = self.rng.random_range(25..80);
            expert.erring(off_m, steps)
        } else {
            expert
        };
        let bluffs = matches!(errand, Errand::Bluff(_));
        let patience = if bluffs {
            self.rng.random_range(25..80)
        } else if self.rng.random_bool(GIVES_UP) {
            self.rng.random_range(10..60)
        } else {
            MOST_STEPS
        };
        let mut left_after = self.rng.random_range(2..16);
        for _ in 0..patience {
            let observation = self.rig.observe();
            let action = expert.act(&observation);
            if !self.step(observation, action)? {
                return Ok(());
            }
            let done = match errand {
                Errand::Task(_) => self.rig.solved(),
                Errand::Bluff(_) => false,
                _ => !Expert::holds_block(&self.rig.world.scene_state()),
            };
            if done {
                left_after -= 1;
                if left_after == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The hand stays where it is for a moment, mostly open, as at the beginning of every episode. Whether the time goes on.
    fn rest(&mut self) -> Result<bool> {
        let noise = std::mem::take(&mut self.noise);
        let gripper = if self.rng.random_bool(0.8) { GripperCommand::Open } else { GripperCommand::Close };
        for _ in 0..self.rng.random_range(2..12) {
            let observation = self.rig.observe();
            if !self.step(observation, Action::hold(gripper))? {
                return Ok(false);
            }
        }
        self.noise = noise;
        Ok(true)
    }

    fn probe(&mut self, mut probe: Probe) -> Result<()> {
        loop {
            let observation = self.rig.observe();
            let Some(action) = probe.act(&observation) else { return Ok(()) };
            if !self.step(observation, action)? {
                return Ok(());
            }
        }
    }

    /// The hand goes to a random point over, on or before the table, or stays a while. It may press on what is in its way: a world model that
    /// has never seen that lets hands pass through tables.
    fn wander(&mut self) -> Result<()> {
        // Nothing turns the hand back here: clumsy turns would add up until the arm is at its joints' ends.
        self.noise = 0.0;
        let gripper = if self.rng.random() { GripperCommand::Open } else { GripperCommand::Close };
        let speed = self.rng.random_range(0.0..0.9_f32);
        let point = [self.rng.random_range(-0.3..0.35), self.rng.random_range(-0.45..-0.05), self.rng.random_range(0.35..0.66)];
        for _ in 0..self.rng.random_range(10..50) {
            let observation = self.rig.observe();
            let mut action = Expert::towards(point, &observation);
            for entry in &mut action.0[..6] {
                *entry = (*entry + self.rng.random_range(-0.06..0.06)).clamp(-speed, speed);
            }
            action.0[6] = gripper.sign();
            if !self.step(observation, action)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Records and takes a step; false when the time is over.
    fn step(&mut self, observation: Observation, mut action: Action) -> Result<bool> {
        if !self.goes_on() {
            return Ok(false);
        }
        if self.noise > 0.0 {
            self.clumsiness.shake(&mut action, self.noise);
        }
        self.played.states.push(self.rig.world.scene_state());
        self.played.images.push(self.pictures.look(&self.rig.world)?);
        self.played.frames.push(Frame { observation, action });
        self.rig.act(action)?;
        Ok(self.goes_on())
    }
}
