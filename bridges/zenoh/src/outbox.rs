use std::marker::PhantomData;

use zenoh::{
    Session, Wait,
    pubsub::Publisher,
    qos::{CongestionControl, Priority},
};

use crate::{
    Error,
    error::reason,
    wire::{self, Message},
};

/// How a message travels.
#[derive(Clone, Copy)]
pub(crate) enum Delivery {
    /// Sent at once and before anything else; dropped rather than queued.
    Newest,
    /// Dropped rather than queued.
    Telemetry,
    /// The sender waits until it fits into the queue.
    Each,
}

/// A publisher of one kind of message.
pub(crate) struct Outbox<T> {
    key: String,
    publisher: Publisher<'static>,
    message: PhantomData<fn(&T)>,
}

impl<T: Message> Outbox<T> {
    pub(crate) fn declare(session: &Session, key: String, delivery: Delivery) -> Result<Self, Error> {
        let builder = session.declare_publisher(key.clone()).encoding("application/msgpack");
        let builder = match delivery {
            Delivery::Newest => builder.express(true).priority(Priority::RealTime).congestion_control(CongestionControl::Drop),
            Delivery::Telemetry => builder.congestion_control(CongestionControl::Drop),
            Delivery::Each => {
                builder.express(true).priority(Priority::InteractiveHigh).congestion_control(CongestionControl::Block)
            }
        };
        let publisher = builder.wait().map_err(|error| Error::Declare { key: key.clone(), reason: reason(&error) })?;
        Ok(Self { key, publisher, message: PhantomData })
    }

    pub(crate) fn send(&self, message: &T) -> Result<(), Error> {
        let payload = wire::encode(&self.key, message)?;
        self.publisher.put(payload).wait().map_err(|error| Error::Send { key: self.key.clone(), reason: reason(&error) })
    }

    /// Whether somebody subscribes to this key now.
    pub(crate) fn has_listener(&self) -> Result<bool, Error> {
        match self.publisher.matching_status().wait() {
            Ok(status) => Ok(status.matching()),
            Err(error) => Err(Error::Send { key: self.key.clone(), reason: reason(&error) }),
        }
    }
}
