//! How far one key has come at one target.

use crate::failure::Failure;
use crate::moment::Uptime;
use crate::schedule::Ticket;
use kms_types::{Revision, Watermark};
use std::num::NonZeroU32;
use std::time::Duration;

/// What the latest revision of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The key.
    Key,
    /// What remains of the deleted key; no other revision follows.
    Tombstone,
}

/// How far a key has come at a target, for the API's `replicas-status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The origin's revision.
    pub wanted: Revision,
    /// What the target confirmed: `last-applied-watermark`. After a start of the origin it is unknown, shown as none, until
    /// the target was asked.
    pub watermark: Watermark,
    /// What is being done.
    pub stage: Stage,
    /// How many attempts have failed since the last that succeeded.
    pub failures: u32,
    /// Why the target is behind: `last-failure`. It stands until the target confirms.
    pub last_failure: Option<Failure>,
}

/// What is being done to bring a key to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing: the target confirmed the wanted revision.
    Confirmed,
    /// It waits for its turn or for the connection.
    Queued,
    /// The target was asked or sent something and has not answered.
    UnderWay,
    /// It pauses after a failure.
    Pausing {
        /// Until then.
        until: Uptime,
    },
}

/// How far a target is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Every key is confirmed.
    None,
    /// Some are not.
    Behind {
        /// How many keys.
        keys: usize,
        /// Since when the one that waits longest does.
        since: Uptime,
    },
}

/// The entry of one key in a link.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) wanted: Revision,
    pub(crate) content: Content,
    pub(crate) watermark: Watermark,
    pub(crate) knowledge: Knowledge,
    pub(crate) standing: Standing,
    pub(crate) setback: Option<Box<Setback>>,
}

/// Whether the watermark is what the target has, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// It may have more, so it is asked before a payload is spent.
    Unknown,
    /// It said so, and nothing was sent since whose outcome is open.
    Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Settled,
    Behind { since: Uptime, step: Step },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Queued(Ticket),
    UnderWay { exchange: Exchange, deadline: Uptime },
    Pausing { until: Uptime },
}

/// What is waiting for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Ask(Revision),
    Ship(Revision),
}

#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) failures: NonZeroU32,
    pub(crate) failure: Failure,
}

impl Lag {
    /// How many keys are behind.
    #[must_use]
    pub const fn keys(self) -> usize {
        match self {
            Self::None => 0,
            Self::Behind { keys, .. } => keys,
        }
    }

    /// How long, at `now`, the oldest has been behind; zero when none is.
    #[must_use]
    pub const fn age(self, now: Uptime) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Behind { since, .. } => now.since(since),
        }
    }
}

impl Entry {
    /// The entry of a key that the target was not asked about yet.
    pub(crate) fn new(wanted: Revision, content: Content) -> Self {
        Self {
            wanted,
            content,
            watermark: Watermark::NONE,
            knowledge: Knowledge::Unknown,
            standing: Standing::Settled,
            setback: None,
        }
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.watermark >= Watermark::at(self.wanted)
    }

    /// What waits for an answer, if anything.
    pub(crate) const fn under_way(&self) -> Option<Exchange> {
        match self.standing {
            Standing::Behind { step: Step::UnderWay { exchange, .. }, .. } => Some(exchange),
            Standing::Settled | Standing::Behind { step: Step::Queued(_) | Step::Pausing { .. }, .. } => None,
        }
    }

    pub(crate) const fn stage(&self) -> Stage {
        match self.standing {
            Standing::Settled => Stage::Confirmed,
            Standing::Behind { step: Step::Queued(_), .. } => Stage::Queued,
            Standing::Behind { step: Step::UnderWay { .. }, .. } => Stage::UnderWay,
            Standing::Behind { step: Step::Pausing { until }, .. } => Stage::Pausing { until },
        }
    }
}

impl Standing {
    /// Since when the key is behind; `now` if it was not until now.
    pub(crate) const fn behind_since(self, now: Uptime) -> Uptime {
        match self {
            Self::Settled => now,
            Self::Behind { since, .. } => since,
        }
    }
}

impl Exchange {
    pub(crate) const fn revision(self) -> Revision {
        match self {
            Self::Ask(revision) | Self::Ship(revision) => revision,
        }
    }
}
