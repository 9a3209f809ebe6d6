//! Which key is next: indexes over the standings of a link's keys.
//!
//! Every key that is behind stands in exactly one of `queue`, `under_way` and `pausing`, and in `behind`; a settled key in
//! none. [`Schedule::put`] is the only way to change a standing, so the indexes cannot drift from it.

use crate::moment::Uptime;
use crate::progress::{Exchange, Lag, Standing, Step};
use kms_types::KeyId;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next_ticket: Ticket,
    queue: BTreeMap<Ticket, KeyId>,
    under_way: BTreeSet<(Uptime, KeyId)>,
    pausing: BTreeSet<(Uptime, KeyId)>,
    behind: BTreeSet<(Uptime, KeyId)>,
}

impl Schedule {
    pub(crate) fn settle(&mut self, key: KeyId, standing: &mut Standing) {
        self.put(key, standing, Standing::Settled);
    }

    /// To the end of the queue; a key that waits there keeps its place.
    pub(crate) fn enqueue(&mut self, key: KeyId, standing: &mut Standing, now: Uptime) {
        if let Standing::Behind { step: Step::Queued(_), .. } = standing {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        self.put(key, standing, Standing::Behind { since: standing.behind_since(now), step: Step::Queued(ticket) });
    }

    pub(crate) fn start(
        &mut self,
        key: KeyId,
        standing: &mut Standing,
        exchange: Exchange,
        now: Uptime,
        deadline: Uptime,
    ) {
        let step = Step::UnderWay { exchange, deadline };
        self.put(key, standing, Standing::Behind { since: standing.behind_since(now), step });
    }

    pub(crate) fn pause(&mut self, key: KeyId, standing: &mut Standing, now: Uptime, until: Uptime) {
        self.put(key, standing, Standing::Behind { since: standing.behind_since(now), step: Step::Pausing { until } });
    }

    /// The key whose turn it is.
    pub(crate) fn next(&self) -> Option<KeyId> {
        self.queue.first_key_value().map(|(_, key)| *key)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn keys_under_way(&self) -> Vec<KeyId> {
        self.under_way.iter().map(|(_, key)| *key).collect()
    }

    pub(crate) fn keys_pausing(&self) -> Vec<KeyId> {
        self.pausing.iter().map(|(_, key)| *key).collect()
    }

    /// A key whose answer is overdue.
    pub(crate) fn overdue(&self, now: Uptime) -> Option<KeyId> {
        self.under_way.first().filter(|(deadline, _)| *deadline <= now).map(|(_, key)| *key)
    }

    /// A key whose pause is over.
    pub(crate) fn rested(&self, now: Uptime) -> Option<KeyId> {
        self.pausing.first().filter(|(until, _)| *until <= now).map(|(_, key)| *key)
    }

    /// When the next answer is overdue or the next pause over.
    pub(crate) fn next_deadline(&self) -> Option<Uptime> {
        [self.under_way.first(), self.pausing.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }

    pub(crate) fn lag(&self) -> Lag {
        self.behind.first().map_or(Lag::None, |(since, _)| Lag::Behind { keys: self.behind.len(), since: *since })
    }

    fn put(&mut self, key: KeyId, standing: &mut Standing, next: Standing) {
        if let Standing::Behind { since, step } = *standing {
            self.behind.remove(&(since, key));
            match step {
                Step::Queued(ticket) => drop(self.queue.remove(&ticket)),
                Step::UnderWay { deadline, .. } => drop(self.under_way.remove(&(deadline, key))),
                Step::Pausing { until } => drop(self.pausing.remove(&(until, key))),
            }
        }
        if let Standing::Behind { since, step } = next {
            self.behind.insert((since, key));
            match step {
                Step::Queued(ticket) => drop(self.queue.insert(ticket, key)),
                Step::UnderWay { deadline, .. } => drop(self.under_way.insert((deadline, key))),
                Step::Pausing { until } => drop(self.pausing.insert((until, key))),
            }
        }
        *standing = next;
    }
}
