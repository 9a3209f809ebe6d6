//! Stored fields that belong together, and such that do not.

use crate::keys::{after, day, delay, new_key, on_replica, ordinary, pending, rotated_by_hand, zone};
use kms_lifecycle::{
    Command, InconsistentKey, Key, KeyParts, Kind, Made, ManualCount, Place, Reach, Rotation, Schedule, Status,
    VersionInfo,
};
use kms_types::{MaterialVersion, Revision};

#[test]
fn every_key_restores_from_its_parts() {
    let multi_zone = new_key(Reach::MultiZone, Kind::Ordinary);
    for key in [
        ordinary(),
        pending(),
        rotated_by_hand(&ordinary(), 10, day(3)),
        new_key(Reach::MultiZone, Kind::Default),
        on_replica(&multi_zone),
        after(&multi_zone, &Command::Replicate { target: zone("de-fra-1") }, day(1)),
        after(&pending(), &Command::ScheduleDeletion { delay: delay(30) }, day(2)),
    ] {
        assert_eq!(Key::restore(key.to_parts()), Ok(key));
    }
}

type Damage = fn(&mut KeyParts);

#[test]
fn parts_that_no_life_leads_to_are_refused() {
    let cases: [(InconsistentKey, Damage); 17] = [
        (InconsistentKey::Versions, |parts| parts.versions.clear()),
        (InconsistentKey::Versions, |parts| parts.versions = parts.versions.split_off(1)),
        (InconsistentKey::Versions, |parts| parts.versions.retain(|info| info.version.get() != 2)),
        (InconsistentKey::Versions, |parts| parts.versions.swap(1, 2)),
        (InconsistentKey::Versions, |parts| parts.versions[0].made = Made::Manually),
        (InconsistentKey::Versions, |parts| parts.versions[2].made = Made::Created),
        (InconsistentKey::Versions, |parts| parts.versions[2].created_at = day(1)),
        (InconsistentKey::ManualCount, |parts| parts.versions[2].made = Made::Automatically),
        (InconsistentKey::ManualCount, |parts| {
            let rotation = parts.rotation;
            let count = ManualCount::try_from(3).unwrap();
            parts.rotation = Rotation::new(rotation.schedule(), rotation.period(), rotation.next_at(), count);
        }),
        (InconsistentKey::DeletionDate, |parts| {
            parts.status = Status::PendingDeletion { since: day(2), delete_at: day(2) };
        }),
        (InconsistentKey::OriginAmongReplicas, |parts| {
            parts.place = Place::Origin { replicas: [parts.origin_zone.clone()].into() };
        }),
        (InconsistentKey::DefaultKey, |parts| {
            parts.kind = Kind::Default;
            parts.status = Status::Disabled { since: day(2) };
        }),
        (InconsistentKey::DefaultKey, |parts| {
            let rotation = parts.rotation;
            parts.kind = Kind::Default;
            parts.rotation =
                Rotation::new(Schedule::Off, rotation.period(), rotation.next_at(), rotation.manual_count());
        }),
        (InconsistentKey::Times, |parts| parts.status = Status::Disabled { since: day(3) }),
        (InconsistentKey::Times, |parts| parts.created_at = day(1)),
        (InconsistentKey::Times, |parts| parts.revision.at = day(1)),
        (InconsistentKey::Revision, |parts| parts.revision.seq = Revision::new(u64::MAX).unwrap()),
    ];
    for (number, (expected, damage)) in cases.into_iter().enumerate() {
        let mut parts = rotated_by_hand(&ordinary(), 2, day(2)).to_parts();
        damage(&mut parts);
        assert_eq!(Key::restore(parts), Err(expected), "case {number}");
    }
}

#[test]
fn on_a_replica_the_times_of_two_clocks_are_not_compared() {
    let mut parts = ordinary().to_parts();
    parts.status = Status::Disabled { since: day(3) };
    assert_eq!(Key::restore(parts.clone()), Err(InconsistentKey::Times));
    parts.place = Place::Replica { applied: parts.revision.seq };
    assert!(Key::restore(parts).is_ok());
}

#[test]
fn a_version_more_than_counted_by_hand_may_be_automatic() {
    let mut parts = ordinary().to_parts();
    let version = MaterialVersion::FIRST.next().unwrap();
    parts.versions.push(VersionInfo { version, created_at: day(0), made: Made::Automatically });
    assert!(Key::restore(parts).is_ok());
}
