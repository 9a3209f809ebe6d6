//! When work on keys falls due, for those whose work is near.
//!
//! Nearly all keys rotate in some months, so only the keys that are due within the window are listed. The list is made anew
//! from all keys long before its end is reached.

use kms_types::{KeyId, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// How far ahead the list reaches when it is made.
const WINDOW: Duration = Duration::from_secs(86_400);

/// How far ahead it reaches at least.
const MARGIN: Duration = Duration::from_secs(43_200);

/// The keys due soon.
#[derive(Default)]
pub(crate) struct Agenda {
    /// Every key due before this is listed.
    horizon: Option<Timestamp>,
    soon: BTreeSet<(Timestamp, KeyId)>,
}

impl Agenda {
    /// Takes note that work on key `id` is due at `due`.
    pub(crate) fn add(&mut self, due: Timestamp, id: KeyId) {
        if self.horizon.is_some_and(|horizon| due < horizon) {
            self.soon.insert((due, id));
        }
    }

    /// The work of key `id` that was due at `due` is no longer.
    pub(crate) fn remove(&mut self, due: Timestamp, id: KeyId) {
        self.soon.remove(&(due, id));
    }

    /// When the first listed work is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.soon.first().map(|(due, _)| *due)
    }

    /// Whether the list must be made anew before it can tell what is due at `now`.
    pub(crate) fn is_short_at(&self, now: Timestamp) -> bool {
        self.horizon.is_none_or(|horizon| horizon < now.plus(MARGIN))
    }

    /// Makes the list anew at `now`, from all keys that will ever be due.
    pub(crate) fn renew(&mut self, now: Timestamp, all: impl Iterator<Item = (Timestamp, KeyId)>) {
        let horizon = now.plus(WINDOW);
        self.horizon = Some(horizon);
        self.soon = all.filter(|(due, _)| *due < horizon).collect();
    }

    /// Ids of the keys whose work is due at `now`, the longest overdue first.
    pub(crate) fn due_at(&self, now: Timestamp) -> Vec<KeyId> {
        self.soon.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(last: u8) -> KeyId {
        format!("019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}").parse().unwrap()
    }

    fn day(number: u32) -> Timestamp {
        Timestamp::EPOCH.plus(WINDOW * number)
    }

    #[test]
    fn what_is_near_is_listed_and_what_is_far_comes_when_it_is_near() {
        let all = [(day(1), id(1)), (day(2), id(2)), (day(40), id(3))];
        let mut agenda = Agenda::default();
        assert!(agenda.is_short_at(day(0)));
        agenda.renew(day(1), all.into_iter());
        assert!(!agenda.is_short_at(day(1)));
        assert_eq!((agenda.next(), agenda.due_at(day(1))), (Some(day(1)), vec![id(1)]));
        agenda.remove(day(1), id(1));
        assert_eq!((agenda.next(), agenda.due_at(day(1))), (None, vec![]), "day 2 is the horizon itself");
        agenda.add(day(1).plus(MARGIN), id(4));
        agenda.add(day(30), id(5));
        assert_eq!(agenda.next(), Some(day(1).plus(MARGIN)));
        assert!(agenda.is_short_at(day(1).plus(MARGIN).plus(Duration::from_nanos(1))));
        assert!(agenda.is_short_at(day(90)));
        agenda.renew(day(90), all.into_iter());
        assert_eq!(agenda.due_at(day(90)), [id(1), id(2), id(3)]);
    }
}
