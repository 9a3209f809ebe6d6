//! Keys to test with.

use kms_lifecycle::{
    Change, Command, Decision, Key, Kind, ManualCount, NewKey, Place, Reach, RevisionStamp, Schedule, Status, Usage,
    decide,
};
use kms_types::{DeletionDelay, KeyId, Revision, RotationPeriod, Timestamp, ZoneName};
use std::time::Duration;

pub(crate) const A_NANOSECOND: Duration = Duration::from_nanos(1);

/// That many days after the keys' creation in 2026.
pub(crate) fn day(days: u32) -> Timestamp {
    Timestamp::from_nanos(1_782_127_883_248_010_627).plus_days(days)
}

pub(crate) fn just_before(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.as_nanos() - 1)
}

pub(crate) fn zone(name: &str) -> ZoneName {
    name.parse().unwrap()
}

pub(crate) fn period(days: u32) -> RotationPeriod {
    days.try_into().unwrap()
}

pub(crate) fn delay(days: u32) -> DeletionDelay {
    days.try_into().unwrap()
}

/// A key created on day 0 in `ch-gva-2`.
pub(crate) fn new_key(multi_zone: Reach, kind: Kind) -> Key {
    let new = NewKey {
        id: KeyId::from_bytes(*b"a key's identity"),
        organisation: "acme".parse().unwrap(),
        name: "k1".parse().unwrap(),
        description: "what it is for".parse().unwrap(),
        usage: Usage::EncryptDecrypt,
        zone: zone("ch-gva-2"),
        multi_zone,
        kind,
    };
    Key::create(new, day(0))
}

pub(crate) fn ordinary() -> Key {
    new_key(Reach::SingleZone, Kind::Ordinary)
}

/// The same key as another zone holds it.
pub(crate) fn on_replica(key: &Key) -> Key {
    let mut parts = key.to_parts();
    parts.place = Place::Replica { applied: parts.revision.seq };
    Key::restore(parts).unwrap()
}

pub(crate) fn at_revision(key: &Key, seq: u64) -> Key {
    let mut parts = key.to_parts();
    parts.revision = RevisionStamp { seq: Revision::new(seq).unwrap(), ..parts.revision };
    Key::restore(parts).unwrap()
}

/// The change that `command` makes.
pub(crate) fn change(key: &Key, command: &Command, now: Timestamp) -> Change {
    match decide(key, command, now) {
        Ok(Decision::Change(change)) => change,
        other => panic!("{command:?} gave {other:?}"),
    }
}

/// The key after `command`.
pub(crate) fn after(key: &Key, command: &Command, now: Timestamp) -> Key {
    key.apply(&change(key, command, now)).unwrap()
}

pub(crate) fn disabled() -> Key {
    after(&ordinary(), &Command::Disable, day(1))
}

/// Its deletion is asked for on day 1 and due on day 8.
pub(crate) fn pending() -> Key {
    after(&ordinary(), &Command::ScheduleDeletion { delay: delay(7) }, day(1))
}

pub(crate) fn rotated_by_hand(key: &Key, times: u8, now: Timestamp) -> Key {
    (0..times).fold(key.clone(), |key, _| after(&key, &Command::Rotate, now))
}

#[test]
fn a_new_key_is_enabled_and_rotates_every_year() {
    let key = ordinary();
    assert_eq!(key.status(), &Status::Enabled { since: day(0) });
    assert_eq!(key.created_at(), day(0));
    assert_eq!(key.revision(), RevisionStamp { seq: Revision::FIRST, at: day(0) });
    assert_eq!(key.current_version().version.get(), 1);
    assert_eq!(key.versions().len(), 1);
    let rotation = key.rotation();
    assert_eq!((rotation.schedule(), rotation.period(), rotation.next_at()), (Schedule::On, period(365), day(365)));
    assert_eq!(rotation.manual_count(), ManualCount::ZERO);
    assert!(!key.is_multi_zone());
    assert!(new_key(Reach::MultiZone, Kind::Ordinary).is_multi_zone());
}
