//! The robot side in real time: the simulated arm at 240 Hz of wall time, and its servo at 1 kHz.
//!
//! Two threads. The servo thread runs [`run_servo`]. The plant thread stands for the robot: it steps the world under the servo's
//! newest command, publishes joint states to it, makes observations at 30 Hz, and judges episodes. Nothing here knows who plans.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use reverie_control::{
    CadenceReport, ChunkSender, PlantPort, SampleReader, Servo, ServoRequest, Supervisor, run_servo, servo_channels,
};
use reverie_schema::{
    Clock, GripperCommand, HoldReason, JointCommand, Observation, RobotSpec, ServoState, Stamp, Status,
    scene::{Pose, Scene},
};
use reverie_sim::{STEPS_PER_CONTROL, STEPS_PER_SECOND, SceneState, StartState, Task, World};

use crate::{clock::WallClock, config::Config, realtime, rig::Rig};

/// SCHED_FIFO priorities: the servo before the robot that it drives.
const SERVO_PRIORITY: u8 = 80;
const PLANT_PRIORITY: u8 = 70;
/// Physics steps between two status reports: 10 a second.
const STEPS_PER_STATUS: u64 = 24;
/// The servo answers a reset within a tick or two; after this many physics steps something is wrong.
const RESET_PATIENCE_STEPS: u32 = 240;

/// An episode to run.
#[derive(Clone, Debug)]
pub struct EpisodeOrder {
    pub seq: u64,
    pub task: Task,
    pub seed: u64,
    pub max_steps: u32,
}

enum PlantOrder {
    Begin(EpisodeOrder),
    Stop,
}

/// What the plant thread tells.
pub enum PlantEvent {
    Started {
        order: EpisodeOrder,
        stamp: Stamp,
    },
    /// One control step, 30 a second.
    Frame {
        observation: Observation,
        world_from_body: Vec<Pose>,
    },
    Ended {
        order: EpisodeOrder,
        stamp: Stamp,
        success: bool,
        steps: u32,
    },
    /// The order could not be carried out.
    Refused {
        order: EpisodeOrder,
        reason: String,
    },
    /// 10 a second.
    Status(Status),
}

/// Which privileges were granted.
#[derive(Clone, Copy, Debug)]
pub struct Privileges {
    pub servo_fifo: bool,
    pub memory_locked: bool,
}

/// A running robot. Dropping it stops its threads.
pub struct Robot {
    pub events: mpsc::Receiver<PlantEvent>,
    pub chunks: Option<ChunkSender>,
    pub samples: SampleReader,
    pub scene: Scene,
    pub privileges: Privileges,
    orders: mpsc::Sender<PlantOrder>,
    stop: Arc<AtomicBool>,
    servo: Option<thread::JoinHandle<CadenceReport>>,
    plant: Option<thread::JoinHandle<Result<()>>>,
}

impl Robot {
    /// Starts both threads. `on_observation` is called on the plant thread, 30 times a second, and must not wait.
    pub fn start(config: &Config, on_observation: impl FnMut(&Observation) + Send + 'static) -> Result<Self> {
        let spec = RobotSpec::panda();
        let world = World::new(&config.sim, &spec, &StartState::neutral(), &spec.home_rad)?;
        let scene = world.scene();
        let servo = Servo::new(&spec, &config.servo).context("config section servo")?;
        let (ports, handle) = servo_channels();
        let stop = Arc::new(AtomicBool::new(false));
        let memory_locked = realtime::lock_memory();

        let (granted_in, granted) = mpsc::channel();
        let servo_stop = Arc::clone(&stop);
        let servo = thread::Builder::new().name("servo".into()).spawn(move || {
            let fifo = realtime::fifo(SERVO_PRIORITY);
            realtime::pin_to_last_core();
            // Whoever started the thread waits for this; if it has gone, nobody needs it.
            let _ = granted_in.send(fifo);
            run_servo(servo, ports, &WallClock, &servo_stop)
        })?;
        let servo_fifo = granted.recv_timeout(Duration::from_secs(5)).context("the servo thread did not start")?;

        let (orders, order_inbox) = mpsc::channel();
        let (event_outbox, events) = mpsc::channel();
        let plant = Plant {
            config: config.clone(),
            port: handle.plant,
            supervisor: handle.supervisor,
            orders: order_inbox,
            events: event_outbox,
            on_observation: Box::new(on_observation),
            observations: 0,
            stop: Arc::clone(&stop),
        };
        let plant = thread::Builder::new().name("plant".into()).spawn(move || {
            realtime::fifo(PLANT_PRIORITY);
            plant.run(world)
        })?;
        Ok(Self {
            events,
            chunks: Some(handle.chunks),
            samples: handle.samples,
            scene,
            privileges: Privileges { servo_fifo, memory_locked },
            orders,
            stop,
            servo: Some(servo),
            plant: Some(plant),
        })
    }

    /// Puts the world into a start state and begins an episode; [`PlantEvent`]s tell the rest.
    pub fn begin(&self, order: EpisodeOrder) -> Result<()> {
        self.orders.send(PlantOrder::Begin(order)).map_err(|_| anyhow::anyhow!("the simulation thread has ended"))
    }

    /// Decelerates and holds until the next episode.
    pub fn halt(&self) -> Result<()> {
        self.orders.send(PlantOrder::Stop).map_err(|_| anyhow::anyhow!("the simulation thread has ended"))
    }

    /// Ends both threads and returns the servo's cadence over its whole life.
    pub fn finish(mut self) -> Result<CadenceReport> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |_| anyhow::anyhow!("a robot thread panicked");
        if let Some(plant) = self.plant.take() {
            plant.join().map_err(joined)??;
        }
        let servo = self.servo.take().context("the servo thread was joined already")?;
        servo.join().map_err(joined)
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(plant) = self.plant.take() {
            let _ = plant.join();
        }
        if let Some(servo) = self.servo.take() {
            let _ = servo.join();
        }
    }
}

struct Plant {
    config: Config,
    port: PlantPort,
    supervisor: Supervisor,
    orders: mpsc::Receiver<PlantOrder>,
    events: mpsc::Sender<PlantEvent>,
    on_observation: Box<dyn FnMut(&Observation) + Send>,
    /// Counted over all episodes; a world's own number begins anew with it.
    observations: u64,
    stop: Arc<AtomicBool>,
}

struct Episode {
    order: EpisodeOrder,
    start: SceneState,
    steps: u32,
    /// The fingers stay open, as the start state has them, until the first chunk plays.
    began: bool,
}

impl Plant {
    fn run(mut self, mut world: World) -> Result<()> {
        let mut episode: Option<Episode> = None;
        let mut poses = Vec::new();
        let mut grid = Grid::new(WallClock.now());
        while !self.stop.load(Ordering::Relaxed) {
            if let Ok(order) = self.orders.try_recv() {
                if let Some(Episode { order, steps, .. }) = episode.take() {
                    self.tell(PlantEvent::Ended { order, stamp: WallClock.now(), success: false, steps });
                }
                match order {
                    PlantOrder::Begin(order) => episode = self.begin(order, &mut world, &mut grid),
                    PlantOrder::Stop => {
                        let _ = self.supervisor.request(ServoRequest::Stop);
                    }
                }
            }
            let now = grid.next();
            let mut command = self.command(&world);
            let status = self.supervisor.latest_status();
            if let Some(episode) = &mut episode {
                episode.began |= status.servo == ServoState::Tracking;
                if !episode.began {
                    command.gripper = GripperCommand::Open;
                }
            }
            world.step(&command)?;
            self.publish_state(&world, now);
            if world.steps().is_multiple_of(STEPS_PER_STATUS) {
                self.tell(PlantEvent::Status(status));
            }
            if world.steps().is_multiple_of(STEPS_PER_CONTROL) {
                let ended = episode.as_mut().and_then(|episode| {
                    episode.steps += 1;
                    let success = episode.order.task.solved(&episode.start, &world.scene_state());
                    (success || episode.steps >= episode.order.max_steps).then_some((success, episode.steps))
                });
                self.observe(&mut world, now, &mut poses);
                if let Some((success, steps)) = ended
                    && let Some(Episode { order, .. }) = episode.take()
                {
                    let _ = self.supervisor.request(ServoRequest::Stop);
                    self.tell(PlantEvent::Ended { order, stamp: now, success, steps });
                }
            }
        }
        Ok(())
    }

    /// Builds the start state, and waits until the servo commands it.
    fn begin(&mut self, order: EpisodeOrder, world: &mut World, grid: &mut Grid) -> Option<Episode> {
        if StartState::before(order.task, 0).is_some() {
            let reason = format!("{} begins with a block in the hand, which a start in real time does not have", order.task);
            self.tell(PlantEvent::Refused { order, reason });
            return None;
        }
        match Rig::new(&self.config, order.task, order.seed) {
            Ok(rig) => *world = rig.world,
            Err(error) => {
                self.tell(PlantEvent::Refused { order, reason: format!("{error:#}") });
                return None;
            }
        }
        // Building took a while; the missed steps are not made up for.
        *grid = Grid::new(WallClock.now());
        let since = WallClock.now();
        let q = world.joint_state().position;
        self.publish_state(world, since);
        if !self.supervisor.request(ServoRequest::Reset { since }) {
            self.tell(PlantEvent::Refused { order, reason: "the servo takes no orders".into() });
            return None;
        }
        for _ in 0..RESET_PATIENCE_STEPS {
            let now = grid.next();
            self.publish_state(world, now);
            let status = self.supervisor.latest_status();
            let at_start = status.position_command.iter().zip(q).all(|(command, q)| (command - q).abs() < 0.02);
            if status.hold_reason == HoldReason::AwaitingFirstChunk && at_start {
                let stamp = now;
                self.tell(PlantEvent::Started { order: order.clone(), stamp });
                let start = world.scene_state();
                self.observe(world, now, &mut Vec::new());
                return Some(Episode { order, start, steps: 0, began: false });
            }
        }
        self.tell(PlantEvent::Refused { order, reason: "the servo did not take up the start pose within a second".into() });
        None
    }

    /// The servo's newest command; before its first, the arm stays where it is.
    fn command(&mut self, world: &World) -> JointCommand {
        self.port
            .latest_command()
            .unwrap_or_else(|| JointCommand { position: world.joint_state().position, ..JointCommand::default() })
    }

    fn publish_state(&mut self, world: &World, now: Stamp) {
        let mut state = world.joint_state();
        state.stamp = now;
        self.port.publish_state(&state);
    }

    fn observe(&mut self, world: &mut World, now: Stamp, poses: &mut Vec<Pose>) {
        let observation = Observation { seq: self.observations, stamp: now, ..world.observe() };
        self.observations += 1;
        (self.on_observation)(&observation);
        world.poses(poses);
        self.tell(PlantEvent::Frame { observation, world_from_body: poses.clone() });
    }

    /// Nobody listening is no reason to stop the robot.
    fn tell(&self, event: PlantEvent) {
        let _ = self.events.send(event);
    }
}

/// Deadlines of the physics steps in wall time.
struct Grid {
    zero: Stamp,
    step: i64,
}

impl Grid {
    const fn new(zero: Stamp) -> Self {
        Self { zero, step: 0 }
    }

    /// Sleeps until the next step. What was missed by more than two steps is left out: time is real.
    fn next(&mut self) -> Stamp {
        self.step += 1;
        let deadline = self.zero.plus_ns(self.step * 1_000_000_000 / STEPS_PER_SECOND);
        WallClock.sleep_until(deadline);
        let now = WallClock.now();
        if now.since(deadline) > 2 * 1_000_000_000 / STEPS_PER_SECOND {
            *self = Self::new(now);
            return now;
        }
        deadline
    }
}
