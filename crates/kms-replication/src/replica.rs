//! The replica's side: taking in the keys of other zones.

use crate::held::{DurableKeys, Held};
use crate::message::{Answer, Payload, Request};
use crate::refusal::RefusalReason;
use crate::window::Window;
use kms_types::{KeyId, Revision, Watermark, ZoneName};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The replica's side of replication, for the keys of all other zones.
///
/// It remembers only what is being stored; everything else is in the store, so nothing is lost by a restart.
#[derive(Debug)]
pub struct Replica {
    window: Window,
    storing: BTreeMap<KeyId, Storing>,
}

/// What a replica wants done.
#[derive(Debug)]
#[must_use = "nothing is stored or sent until the shell performs it"]
pub enum ReplicaAction {
    /// Open the payload, store what is in it, then call [`Replica::stored`] or [`Replica::rejected`].
    Apply {
        /// What it is, and the right to report on it.
        permit: ApplyPermit,
        /// The sealed record.
        payload: Payload,
    },
    /// Send this answer.
    Send(Reply),
}

/// An answer and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is sent until the shell performs it"]
pub struct Reply {
    /// The zone that asked.
    pub to: ZoneName,
    /// The answer.
    pub answer: Answer,
}

/// The right to store one state and to report on it once. Dropped without a report, it makes room for another attempt.
#[derive(Debug)]
#[must_use = "the origin waits for a report"]
pub struct ApplyPermit {
    from: ZoneName,
    key: KeyId,
    revision: Revision,
    alive: Arc<()>,
}

#[derive(Debug)]
struct Storing {
    from: ZoneName,
    revision: Revision,
    permit: Weak<()>,
}

impl Replica {
    /// A replica that stores at most `window` states of one origin at a time.
    #[must_use]
    pub const fn new(window: Window) -> Self {
        Self { window, storing: BTreeMap::new() }
    }

    /// `from`, as proved by its connection, says this. `durable` tells what this zone's store holds.
    ///
    /// `None` when there is nothing to do now: the report on what is being stored will answer this message too.
    #[must_use]
    pub fn received(&mut self, from: &ZoneName, request: Request, durable: &impl DurableKeys) -> Option<ReplicaAction> {
        self.storing.retain(|_, storing| storing.permit.strong_count() > 0);
        let held = durable.held(request.key());
        match request {
            Request::Ask { key, revision } => self.asked(from, key, revision, &held),
            Request::State { key, revision, payload } => self.offered(from, key, revision, payload, &held),
        }
    }

    /// The store said that the state is durable.
    pub fn stored(&mut self, permit: ApplyPermit) -> Reply {
        self.release(&permit);
        let answer = Answer::Applied { key: permit.key, revision: permit.revision };
        Reply { to: permit.from, answer }
    }

    /// The state was not stored, or it is not known whether it was.
    pub fn rejected(&mut self, permit: ApplyPermit, reason: RefusalReason) -> Reply {
        self.release(&permit);
        let answer = Answer::Refused { key: permit.key, revision: permit.revision, reason };
        Reply { to: permit.from, answer }
    }

    /// How many states of `origin` are being stored: at most the window.
    #[must_use]
    pub fn storing(&self, origin: &ZoneName) -> usize {
        let alive = |storing: &&Storing| storing.from == *origin && storing.permit.strong_count() > 0;
        self.storing.values().filter(alive).count()
    }

    fn asked(&self, from: &ZoneName, key: KeyId, revision: Revision, held: &Held) -> Option<ReplicaAction> {
        let applied = match held {
            Held::Key { origin, .. } | Held::Tombstone { origin, .. } if origin != from => {
                return Some(refuse(from, key, revision, RefusalReason::NotOrigin));
            }
            Held::Key { revision, .. } | Held::Tombstone { revision, .. } => Watermark::at(*revision),
            Held::Nothing => Watermark::NONE,
        };
        match self.storing.get(&key) {
            Some(storing) if storing.from == *from && storing.revision >= revision => None,
            Some(_) | None => Some(send(from, Answer::Have { key, applied })),
        }
    }

    fn offered(
        &mut self,
        from: &ZoneName,
        key: KeyId,
        revision: Revision,
        payload: Payload,
        held: &Held,
    ) -> Option<ReplicaAction> {
        match held {
            Held::Key { origin, .. } | Held::Tombstone { origin, .. } if origin != from => {
                Some(refuse(from, key, revision, RefusalReason::NotOrigin))
            }
            Held::Key { revision: applied, .. } | Held::Tombstone { revision: applied, .. } if *applied >= revision => {
                Some(send(from, Answer::Applied { key, revision: *applied }))
            }
            Held::Tombstone { .. } => Some(refuse(from, key, revision, RefusalReason::Deleted)),
            Held::Key { .. } | Held::Nothing => self.begin(from, key, revision, payload),
        }
    }

    fn begin(&mut self, from: &ZoneName, key: KeyId, revision: Revision, payload: Payload) -> Option<ReplicaAction> {
        match self.storing.get(&key) {
            Some(storing) if storing.from == *from && storing.revision >= revision => return None,
            Some(_) => return Some(refuse(from, key, revision, RefusalReason::Busy)),
            None if self.storing(from) >= self.window.get() => {
                return Some(refuse(from, key, revision, RefusalReason::Busy));
            }
            None => {}
        }
        let alive = Arc::new(());
        let permit = Arc::downgrade(&alive);
        self.storing.insert(key, Storing { from: from.clone(), revision, permit });
        let permit = ApplyPermit { from: from.clone(), key, revision, alive };
        Some(ReplicaAction::Apply { permit, payload })
    }

    /// A permit of an earlier attempt, or of another `Replica`, releases nothing.
    fn release(&mut self, permit: &ApplyPermit) {
        let same = |storing: &Storing| storing.permit.ptr_eq(&Arc::downgrade(&permit.alive));
        if self.storing.get(&permit.key).is_some_and(same) {
            self.storing.remove(&permit.key);
        }
    }
}

impl ApplyPermit {
    /// The zone that sent the state; the record must name it as the key's origin.
    #[must_use]
    pub const fn from(&self) -> &ZoneName {
        &self.from
    }

    /// The key; the record must be this key's.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The revision; the record must have it.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }
}

fn send(to: &ZoneName, answer: Answer) -> ReplicaAction {
    ReplicaAction::Send(Reply { to: to.clone(), answer })
}

fn refuse(to: &ZoneName, key: KeyId, revision: Revision, reason: RefusalReason) -> ReplicaAction {
    send(to, Answer::Refused { key, revision, reason })
}
