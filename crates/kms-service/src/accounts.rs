//! Accounting for changes: none begins that could not be recorded, and it is always known up to where all are.
//!
//! A crash can come between a commit and its entry in the audit log. Each entry therefore says up to which commit everything
//! has its entry; what the store has beyond that, and no entry names, is recorded at the next start.

use kms_storage::StoreRevision;
use kms_types::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::Settled;

/// Which changes are under way.
pub(crate) struct Accounts(Mutex<Open>);

struct Open {
    /// The latest commit that has its entry.
    last: StoreRevision,
    next: u64,
    /// For each change under way, a point before its commit.
    under_way: BTreeMap<u64, Settled>,
    /// A point before a commit of which it is not known whether it took place; the next start tells.
    unknown: Option<Settled>,
}

/// A change under way. Without a commit, it is as if it had never begun.
#[must_use]
pub(crate) struct Undertaking<'a> {
    accounts: &'a Accounts,
    number: u64,
}

impl Accounts {
    /// With all commits up to `last` accounted for.
    pub(crate) fn after(last: StoreRevision) -> Self {
        Self(Mutex::new(Open { last, next: 0, under_way: BTreeMap::new(), unknown: None }))
    }

    /// Notes that a change begins. To be called before its time is taken.
    pub(crate) fn begin(&self, now: Timestamp) -> Undertaking<'_> {
        let mut open = self.open();
        let (number, floor) = (open.next, Settled { revision: open.last, at: now });
        open.next += 1;
        open.under_way.insert(number, floor);
        Undertaking { accounts: self, number }
    }

    /// Up to where everything has its entry.
    pub(crate) fn settled(&self, now: Timestamp) -> Settled {
        let open = self.open();
        open.settled(open.last, now, None)
    }

    /// Notes that it is not known whether a change that is under way was stored.
    pub(crate) fn note_unknown(&self, now: Timestamp) {
        let mut open = self.open();
        open.unknown = Some(open.settled(open.last, now, None));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Undertaking<'_> {
    /// Up to where everything has its entry, once `commit`, which this change made, has its own.
    pub(crate) fn settled(&self, commit: StoreRevision, now: Timestamp) -> Settled {
        let open = self.accounts.open();
        open.settled(open.last.max(commit), now, Some(self.number))
    }

    /// Notes that `commit`, which this change made, has its entry.
    pub(crate) fn recorded(&self, commit: StoreRevision) {
        let mut open = self.accounts.open();
        open.last = open.last.max(commit);
    }
}

impl Drop for Undertaking<'_> {
    fn drop(&mut self) {
        self.accounts.open().under_way.remove(&self.number);
    }
}

impl Open {
    /// The earliest point before anything that has no entry yet, `own` left out.
    fn settled(&self, last: StoreRevision, now: Timestamp, own: Option<u64>) -> Settled {
        let others = self.under_way.iter().filter(|(number, _)| Some(**number) != own).map(|(_, floor)| *floor);
        let earliest = |one: Settled, other: Settled| Settled {
            revision: one.revision.min(other.revision),
            at: one.at.min(other.at),
        };
        others.chain(self.unknown).fold(Settled { revision: last, at: now }, earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: u64, time: i64) -> Settled {
        Settled { revision: StoreRevision::new(revision), at: Timestamp::from_nanos(time) }
    }

    fn time(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_change_under_way_holds_back_what_is_settled() {
        let accounts = Accounts::after(StoreRevision::new(10));
        let slow = accounts.begin(time(100));
        let fast = accounts.begin(time(101));
        assert_eq!(fast.settled(StoreRevision::new(12), time(105)), at(10, 100), "commit 11 may be the slow one's");
        fast.recorded(StoreRevision::new(12));
        drop(fast);
        let later = accounts.begin(time(106));
        assert_eq!(later.settled(StoreRevision::new(13), time(107)), at(10, 100));
        assert_eq!(slow.settled(StoreRevision::new(11), time(108)), at(12, 106), "the later one began after commit 12");
        slow.recorded(StoreRevision::new(11));
        drop(slow);
        assert_eq!(later.settled(StoreRevision::new(13), time(109)), at(13, 109));
        drop(later);
        assert_eq!(accounts.settled(time(110)), at(12, 110), "commit 13 was never recorded by anyone");
    }

    #[test]
    fn what_is_not_known_is_never_settled() {
        let accounts = Accounts::after(StoreRevision::new(5));
        let change = accounts.begin(time(1));
        accounts.note_unknown(time(2));
        drop(change);
        let next = accounts.begin(time(3));
        assert_eq!(next.settled(StoreRevision::new(7), time(4)), at(5, 1));
        next.recorded(StoreRevision::new(7));
        drop(next);
        assert_eq!(accounts.settled(time(9)), at(5, 1));
    }

    #[test]
    fn a_change_without_a_commit_leaves_nothing() {
        let accounts = Accounts::after(StoreRevision::new(5));
        drop(accounts.begin(time(1)));
        assert_eq!(accounts.settled(time(9)), at(5, 9));
    }
}
