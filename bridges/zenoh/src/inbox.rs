use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use zenoh::{
    Session, Wait,
    handlers::{RingChannel, RingChannelHandler},
    pubsub::Subscriber,
    sample::Sample,
};

use crate::{
    Error,
    error::reason,
    wire::{self, Message},
};

const NOTHING_YET: u64 = u64::MAX;

/// What came in on one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxCounts {
    /// Messages taken out.
    pub received: u64,
    /// Payloads that were no message, of another version, or with NaN or infinity.
    pub rejected: u64,
    /// Numbers missing between messages: dropped on the way, or overtaken by a newer one before they were taken out.
    pub skipped: u64,
}

/// Messages of one kind, as they come in. Full, it forgets the oldest; with room for one, that leaves the newest.
pub struct Inbox<T> {
    key: String,
    subscriber: Subscriber<RingChannelHandler<Sample>>,
    received: AtomicU64,
    rejected: AtomicU64,
    skipped: AtomicU64,
    last_seq: AtomicU64,
    message: PhantomData<fn() -> T>,
}

impl<T: Message> Inbox<T> {
    pub(crate) fn declare(session: &Session, key: String, capacity: usize) -> Result<Self, Error> {
        let subscriber = session
            .declare_subscriber(key.clone())
            .with(RingChannel::new(capacity))
            .wait()
            .map_err(|error| Error::Declare { key: key.clone(), reason: reason(&error) })?;
        Ok(Self {
            key,
            subscriber,
            received: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            last_seq: AtomicU64::new(NOTHING_YET),
            message: PhantomData,
        })
    }

    /// The next message if one is there.
    ///
    /// # Errors
    /// A payload that [`wire::decode`] refuses, which is counted and gone; or [`Error::Receive`] when the session is closed.
    pub fn try_recv(&self) -> Result<Option<T>, Error> {
        let sample = self.subscriber.try_recv();
        self.open(sample)
    }

    /// The next message, waiting for it at most `timeout`.
    ///
    /// # Errors
    /// As [`Inbox::try_recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>, Error> {
        let sample = self.subscriber.recv_deadline(Instant::now() + timeout);
        self.open(sample)
    }

    /// What came in so far.
    pub fn counts(&self) -> InboxCounts {
        InboxCounts {
            received: self.received.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
        }
    }

    fn open(&self, sample: zenoh::Result<Option<Sample>>) -> Result<Option<T>, Error> {
        let sample = match sample {
            Ok(Some(sample)) => sample,
            Ok(None) => return Ok(None),
            Err(error) => return Err(Error::Receive { key: self.key.clone(), reason: reason(&error) }),
        };
        let message: T = wire::decode(&self.key, &sample.payload().to_bytes()).inspect_err(|_| {
            self.rejected.fetch_add(1, Relaxed);
        })?;
        self.received.fetch_add(1, Relaxed);
        if let Some(seq) = message.stream_seq() {
            let last = self.last_seq.swap(seq, Relaxed);
            // A number that falls is a sender that began anew.
            if last != NOTHING_YET && seq > last {
                self.skipped.fetch_add(seq - last - 1, Relaxed);
            }
        }
        Ok(Some(message))
    }
}
