use std::{
    thread,
    time::{Duration, Instant},
};

use reverie_schema::{ActionChunk, Control, EpisodeEvent, Observation, Status};
use zenoh::{Session, liveliness::LivelinessToken};

use crate::{
    Error, Inbox, LinkConfig, Presence,
    outbox::{Delivery, Outbox},
    session,
    wire::Message,
};

/// Room for messages that must not overtake each other. A reader that is 64 orders behind has stopped reading.
const EACH: usize = 64;
/// Room where only the newest counts.
const NEWEST: usize = 1;
/// How often a wait for the other end looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The robot's end: tells what it sees and does, hears chunks and orders.
///
/// Every method takes `&self`; parts may be used from several threads at once.
pub struct RobotLink {
    obs: Outbox<Observation>,
    status: Outbox<Status>,
    episode: Outbox<EpisodeEvent>,
    chunks: Inbox<ActionChunk>,
    controls: Inbox<Control>,
    policy: Presence,
    _token: LivelinessToken,
    _session: Session,
}

impl RobotLink {
    /// Opens the robot's end.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::Open`] and [`Error::Declare`], or a configuration that can't be used.
    pub fn open(config: &LinkConfig) -> Result<Self, Error> {
        let session = session::open(config)?;
        Ok(Self {
            obs: Outbox::declare(&session, config.key("obs"), Delivery::Newest)?,
            status: Outbox::declare(&session, config.key("status"), Delivery::Telemetry)?,
            episode: Outbox::declare(&session, config.key("episode"), Delivery::Each)?,
            chunks: Inbox::declare(&session, config.key("chunk"), NEWEST)?,
            controls: Inbox::declare(&session, config.key("control"), EACH)?,
            policy: Presence::follow(&session, config, "policy")?,
            _token: Presence::announce(&session, config, "robot")?,
            _session: session,
        })
    }

    /// Sends an observation; a slow link drops it.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn publish_obs(&self, observation: &Observation) -> Result<(), Error> {
        self.obs.send(observation)
    }

    /// Sends a status; a slow link drops it.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn publish_status(&self, status: &Status) -> Result<(), Error> {
        self.status.send(status)
    }

    /// Sends what happened to an episode, waiting for a slow link (zenoh gives up and closes it after 5 s).
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn publish_episode(&self, event: &EpisodeEvent) -> Result<(), Error> {
        self.episode.send(event)
    }

    /// The newest chunk.
    pub fn chunks(&self) -> &Inbox<ActionChunk> {
        &self.chunks
    }

    /// Orders, in the order in which they were given.
    pub fn controls(&self) -> &Inbox<Control> {
        &self.controls
    }

    /// Whether a policy process lives.
    pub fn policy(&self) -> &Presence {
        &self.policy
    }

    /// Waits until a policy process is there and hears episodes; `false` if that took longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn wait_for_policy(&self, timeout: Duration) -> Result<bool, Error> {
        wait_for(&self.policy, &self.episode, timeout)
    }
}

/// The policy's end: hears what the robot sees, tells it what to do.
///
/// Every method takes `&self`; parts may be used from several threads at once.
pub struct PolicyLink {
    obs: Inbox<Observation>,
    status: Inbox<Status>,
    episodes: Inbox<EpisodeEvent>,
    chunk: Outbox<ActionChunk>,
    control: Outbox<Control>,
    robot: Presence,
    _token: LivelinessToken,
    _session: Session,
}

impl PolicyLink {
    /// Opens the policy's end. The robot need not be there yet, see [`PolicyLink::wait_for_robot`].
    ///
    /// # Errors
    /// As [`RobotLink::open`].
    pub fn open(config: &LinkConfig) -> Result<Self, Error> {
        let session = session::open(config)?;
        Ok(Self {
            obs: Inbox::declare(&session, config.key("obs"), NEWEST)?,
            status: Inbox::declare(&session, config.key("status"), NEWEST)?,
            episodes: Inbox::declare(&session, config.key("episode"), EACH)?,
            chunk: Outbox::declare(&session, config.key("chunk"), Delivery::Newest)?,
            control: Outbox::declare(&session, config.key("control"), Delivery::Each)?,
            robot: Presence::follow(&session, config, "robot")?,
            _token: Presence::announce(&session, config, "policy")?,
            _session: session,
        })
    }

    /// Sends a chunk; a slow link drops it.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn publish_chunk(&self, chunk: &ActionChunk) -> Result<(), Error> {
        self.chunk.send(chunk)
    }

    /// Gives an order, waiting for a slow link (zenoh gives up and closes it after 5 s). An order given while no robot is
    /// connected is lost; the [`EpisodeEvent`] with its number is the receipt.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn send_control(&self, order: &Control) -> Result<(), Error> {
        self.control.send(order)
    }

    /// The newest observation.
    pub fn obs(&self) -> &Inbox<Observation> {
        &self.obs
    }

    /// The newest status.
    pub fn status(&self) -> &Inbox<Status> {
        &self.status
    }

    /// What happened to episodes, in order.
    pub fn episodes(&self) -> &Inbox<EpisodeEvent> {
        &self.episodes
    }

    /// Whether the robot's process lives.
    pub fn robot(&self) -> &Presence {
        &self.robot
    }

    /// Waits until the robot is there and hears orders; `false` if that took longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::Send`] when the session is closed.
    pub fn wait_for_robot(&self, timeout: Duration) -> Result<bool, Error> {
        wait_for(&self.robot, &self.control, timeout)
    }
}

fn wait_for<T: Message>(other: &Presence, to_other: &Outbox<T>, timeout: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + timeout;
    loop {
        if other.is_alive() && to_other.has_listener()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(LOOK_AGAIN);
    }
}
