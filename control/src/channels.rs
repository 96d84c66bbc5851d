//! The servo thread's exchange with everybody else, without locks: newest-value triple buffers and bounded rings.

use reverie_schema::{ActionChunk, JointCommand, JointState, Stamp, Status};
use rtrb::RingBuffer;
use triple_buffer::triple_buffer;

use crate::{Cadence, ServoSample};

/// Samples that wait for the logger: 4 s at 1 kHz.
pub const SAMPLE_CAPACITY: usize = 4096;
/// Requests that wait for the servo.
pub const REQUEST_CAPACITY: usize = 16;

/// An order to the servo thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServoRequest {
    /// Begin an episode on the newest measured joints, as soon as a joint state made at or after `since` is there. Chunks from
    /// observations before `since` are refused afterwards.
    Reset {
        /// When the episode began: the stamp of the robot's state after it was put into place. `Stamp(i64::MIN)` takes whatever
        /// state is newest.
        since: Stamp,
    },
    /// Decelerate and hold until the next reset.
    Stop,
}

/// The servo thread's ends.
pub struct ServoPorts {
    pub(crate) chunks: triple_buffer::Output<Option<ActionChunk>>,
    pub(crate) states: triple_buffer::Output<Option<JointState>>,
    pub(crate) commands: triple_buffer::Input<Option<JointCommand>>,
    pub(crate) statuses: triple_buffer::Input<Status>,
    pub(crate) samples: rtrb::Producer<ServoSample>,
    pub(crate) requests: rtrb::Consumer<ServoRequest>,
    pub(crate) cadence: Cadence,
}

/// Everybody else's ends. The parts are independent: move each to the thread that uses it.
pub struct ServoHandle {
    /// For the policy thread.
    pub chunks: ChunkSender,
    /// For the robot's driver or the simulation.
    pub plant: PlantPort,
    /// For the logger.
    pub samples: SampleReader,
    /// For whoever begins and ends episodes.
    pub supervisor: Supervisor,
}

/// Sends chunks to the servo.
pub struct ChunkSender(triple_buffer::Input<Option<ActionChunk>>);

/// The robot's side.
pub struct PlantPort {
    states: triple_buffer::Input<Option<JointState>>,
    commands: triple_buffer::Output<Option<JointCommand>>,
}

/// Receives the samples.
pub struct SampleReader(rtrb::Consumer<ServoSample>);

/// Orders the servo and sees how it does.
pub struct Supervisor {
    requests: rtrb::Producer<ServoRequest>,
    statuses: triple_buffer::Output<Status>,
}

/// Both ends. Takes all memory that the servo thread will use.
pub fn servo_channels() -> (ServoPorts, ServoHandle) {
    let (chunk_in, chunk_out) = triple_buffer(&None);
    let (state_in, state_out) = triple_buffer(&None);
    let (command_in, command_out) = triple_buffer(&None);
    let (status_in, status_out) = triple_buffer(&Status::default());
    let (sample_in, sample_out) = RingBuffer::new(SAMPLE_CAPACITY);
    let (request_in, request_out) = RingBuffer::new(REQUEST_CAPACITY);
    let ports = ServoPorts {
        chunks: chunk_out,
        states: state_out,
        commands: command_in,
        statuses: status_in,
        samples: sample_in,
        requests: request_out,
        cadence: Cadence::new(),
    };
    let handle = ServoHandle {
        chunks: ChunkSender(chunk_in),
        plant: PlantPort { states: state_in, commands: command_out },
        samples: SampleReader(sample_out),
        supervisor: Supervisor { requests: request_in, statuses: status_out },
    };
    (ports, handle)
}

impl ChunkSender {
    /// Hands over a chunk. One that the servo has not fetched yet is replaced.
    pub fn send_chunk(&mut self, chunk: &ActionChunk) {
        self.0.write(Some(*chunk));
    }
}

impl PlantPort {
    /// Publishes what the robot measured.
    pub fn publish_state(&mut self, state: &JointState) {
        self.states.write(Some(*state));
    }

    /// The newest joint command; `None` until the servo has a pose to command.
    pub fn latest_command(&mut self) -> Option<JointCommand> {
        *self.commands.read()
    }
}

impl SampleReader {
    /// The samples since the last call, oldest first.
    pub fn drain_samples(&mut self) -> impl Iterator<Item = ServoSample> + '_ {
        std::iter::from_fn(|| self.0.pop().ok())
    }
}

impl Supervisor {
    /// Queues an order. False if [`REQUEST_CAPACITY`] orders wait already: the servo thread is not running.
    #[must_use]
    pub fn request(&mut self, request: ServoRequest) -> bool {
        self.requests.push(request).is_ok()
    }

    /// The servo's newest report.
    pub fn latest_status(&mut self) -> Status {
        *self.statuses.read()
    }
}
