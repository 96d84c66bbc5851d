use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use zenoh::{Session, Wait, liveliness::LivelinessToken, pubsub::Subscriber, sample::SampleKind};

use crate::{Error, LinkConfig, error::reason};

/// Whether the processes at the other end live.
///
/// A process that exits or is killed is noticed as soon as the operating system closes its connections. One that hangs, or
/// whose machine drops off the network, is noticed only when zenoh's lease ends (10 s): deadlines on the data stay needed.
pub struct Presence {
    seen: Arc<Seen>,
    _subscriber: Subscriber<()>,
}

#[derive(Default)]
struct Seen {
    alive: Mutex<BTreeSet<String>>,
    count: AtomicUsize,
    arrivals: AtomicU64,
    departures: AtomicU64,
}

impl Presence {
    /// Follows the processes of `role`. Each has a token of its own, so that a late goodbye of the old process is not taken for
    /// the death of its successor.
    pub(crate) fn follow(session: &Session, config: &LinkConfig, role: &str) -> Result<Self, Error> {
        let key = config.key(&format!("alive/{role}/*"));
        let seen = Arc::new(Seen::default());
        let writer = Arc::clone(&seen);
        let subscriber = session
            .liveliness()
            .declare_subscriber(key.clone())
            .history(true)
            .callback(move |sample| writer.note(sample.key_expr().as_str(), sample.kind()))
            .wait()
            .map_err(|error| Error::Declare { key, reason: reason(&error) })?;
        Ok(Self { seen, _subscriber: subscriber })
    }

    /// Makes this process visible as `role` for as long as the token lives.
    pub(crate) fn announce(session: &Session, config: &LinkConfig, role: &str) -> Result<LivelinessToken, Error> {
        let key = config.key(&format!("alive/{role}/{}", session.zid()));
        session.liveliness().declare_token(key.clone()).wait().map_err(|error| Error::Declare { key, reason: reason(&error) })
    }

    /// Whether at least one lives.
    pub fn is_alive(&self) -> bool {
        self.count() > 0
    }

    /// How many live. Two policies on one robot are one too many.
    pub fn count(&self) -> usize {
        self.seen.count.load(Relaxed)
    }

    /// How many came so far.
    pub fn arrivals(&self) -> u64 {
        self.seen.arrivals.load(Relaxed)
    }

    /// How many went so far: tells of a death that was followed by a restart between two looks.
    pub fn departures(&self) -> u64 {
        self.seen.departures.load(Relaxed)
    }
}

impl Seen {
    fn note(&self, key: &str, kind: SampleKind) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            SampleKind::Put => {
                if alive.insert(key.to_owned()) {
                    self.arrivals.fetch_add(1, Relaxed);
                }
            }
            SampleKind::Delete => {
                if alive.remove(key) {
                    self.departures.fetch_add(1, Relaxed);
                }
            }
        }
        self.count.store(alive.len(), Relaxed);
    }
}
