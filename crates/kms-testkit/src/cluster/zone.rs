//! One zone: its disk, its clocks, and the state machines as long as it runs.

use super::disk::Disk;
use super::network::ZoneIndex;
use kms_replication::{Jitter, Moment, Origin, Replica, Uptime, Window};
use kms_types::{KeyId, Timestamp, Watermark, ZoneName};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many keys an origin has under way to a target. Small, so that few keys fill it.
pub(crate) const ORIGIN_WINDOW: usize = 3;

/// How many states of an origin a replica stores at a time. Smaller, so that it has to refuse.
pub(crate) const REPLICA_WINDOW: usize = 2;

pub(crate) struct Zone {
    pub(crate) name: ZoneName,
    pub(crate) disk: Disk,
    /// Thousandths of true time that its monotonic clock makes.
    pub(crate) clock_rate: u32,
    pub(crate) wall_at_start: Timestamp,
    pub(crate) process: Option<Process>,
}

/// What a crash wipes out.
pub(crate) struct Process {
    pub(crate) origin: Origin,
    pub(crate) replica: Replica,
    pub(crate) started_at: Duration,
    pub(crate) chores: Vec<Chore>,
    /// The watermarks shown so far, to see that they never go back.
    pub(crate) shown: BTreeMap<(KeyId, ZoneIndex), Watermark>,
}

/// What the shell has still to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chore {
    /// Tell the origin of a change that has become durable.
    Announce(KeyId),
    /// Load, seal and send.
    Ship { target: ZoneIndex, key: KeyId },
}

impl Zone {
    pub(crate) fn moment(&self, now: Duration, random: u64) -> Moment {
        let started_at = self.process.as_ref().map_or(now, |process| process.started_at);
        Moment {
            uptime: Uptime::from_start((now - started_at) * self.clock_rate / 1000),
            wall: self.wall_at_start.plus(now),
            jitter: Jitter::from_random(random),
        }
    }
}

impl Process {
    /// A process that knows what the disk says: the keys of its own are to be announced.
    pub(crate) fn start(name: &ZoneName, disk: &Disk, now: Duration) -> Self {
        let own = disk.records().iter().filter(|(_, record)| record.origin == *name);
        Self {
            origin: Origin::new(Window::new(ORIGIN_WINDOW).unwrap_or_default()),
            replica: Replica::new(Window::new(REPLICA_WINDOW).unwrap_or_default()),
            started_at: now,
            chores: own.map(|(key, _)| Chore::Announce(*key)).collect(),
            shown: BTreeMap::new(),
        }
    }
}
