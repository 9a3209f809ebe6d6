//! Keys after a restore from a backup: nothing is used twice, whatever happened since the backup.

use crate::keys::{after, day, delay, new_key, ordinary, rotated_by_hand, zone};
use kms_lifecycle::{
    Command, DueWork, ForeignState, Key, Kind, OriginState, OriginUpdate, Place, Reach, RestoredKey, Status,
    decide_due, permit_decrypt, permit_encrypt,
};
use kms_types::MaterialVersion;
use std::collections::BTreeSet;

/// A day long after those of the backups.
fn today(days: u32) -> kms_types::Timestamp {
    day(20_000 + days)
}

fn multi_zone() -> Key {
    new_key(Reach::MultiZone, Kind::Ordinary)
}

fn restored(key: &Key, days: u32) -> Key {
    key.restored(today(days)).unwrap().key
}

fn state(origin: &Key) -> OriginState {
    origin.origin_state().unwrap()
}

fn newer(replica: &Key, origin: &Key) -> Key {
    match replica.apply_origin(&state(origin), today(100)) {
        Ok(OriginUpdate::Newer(key)) => *key,
        other => panic!("{other:?}"),
    }
}

fn numbers(key: &Key) -> BTreeSet<u32> {
    key.versions().iter().map(|info| info.version.get()).collect()
}

#[test]
fn two_lives_after_one_backup_share_no_number() {
    for backup in [rotated_by_hand(&ordinary(), 1, day(5)), rotated_by_hand(&multi_zone(), 1, day(5))] {
        // What happened after the backup, then a restore and what happened after it, then another of the same backup.
        let lost = rotated_by_hand(&backup, 9, today(0));
        let first = rotated_by_hand(&restored(&backup, 1), 9, today(1));
        let second = rotated_by_hand(&restored(&backup, 2), 9, today(2));
        let kept = numbers(&backup);
        for (one, other) in [(&lost, &first), (&lost, &second), (&first, &second)] {
            assert!(one.revision().seq < restored(&backup, 2).revision().seq);
            assert_eq!(numbers(one).intersection(&numbers(other)).copied().collect::<BTreeSet<_>>(), kept);
        }
        assert_eq!(Key::restore(second.to_parts()), Ok(second.clone()), "its gaps are those of a restore");
        for version in second.versions() {
            let _permit = permit_decrypt(&second, version.version, today(3)).unwrap();
        }
        for lacking in [3, 11, first.current_version().version.get()] {
            assert!(permit_decrypt(&second, MaterialVersion::new(lacking).unwrap(), today(3)).is_err(), "{lacking}");
        }
    }
}

#[test]
fn a_restore_changes_nothing_but_numbers_and_early_deletions() {
    let key = rotated_by_hand(&ordinary(), 2, day(5));
    let RestoredKey { key: after_it, new_version } = key.restored(today(0)).unwrap();
    assert_eq!(new_version, None, "a key of one zone goes on with its material");
    let mut expected = key.to_parts();
    expected.revision = after_it.revision();
    assert_eq!(after_it.to_parts(), expected);
    assert_eq!(after_it.revision().at, today(0));
    assert_eq!(i64::try_from(after_it.revision().seq.get()), Ok(today(0).as_nanos() / 1_000));

    let pending = after(&key, &Command::ScheduleDeletion { delay: delay(30) }, today(0));
    let delete_at = |key: &Key| match key.status() {
        Status::PendingDeletion { delete_at, .. } => *delete_at,
        Status::Enabled { .. } | Status::Disabled { .. } => panic!("{key:?}"),
    };
    assert_eq!(delete_at(&restored(&pending, 1)), today(30), "late enough as it is");
    assert_eq!(delete_at(&restored(&pending, 25)), today(32), "seven days from the restore");
    assert_eq!(delete_at(&restored(&pending, 400)), today(407), "also when its date was past");
    assert!(matches!(decide_due(&restored(&pending, 400), today(407)), Some(DueWork::Delete(_))));
    assert!(decide_due(&restored(&pending, 400), today(406)).is_none());
}

#[test]
fn a_replica_keeps_what_its_restored_origin_lost_and_encrypts_as_it_does() {
    let backup = rotated_by_hand(&multi_zone(), 1, day(5));
    let replica = Key::replica_of(&state(&rotated_by_hand(&backup, 2, today(0))), today(0));
    assert_eq!(numbers(&replica), [1, 2, 3, 4].into());
    let origin = restored(&backup, 1);
    let new = origin.current_version().version.get();
    assert_eq!(numbers(&origin), [1, 2, new].into());

    let joined = newer(&replica, &origin);
    assert_eq!(numbers(&joined), [1, 2, 3, 4, new].into());
    assert_eq!(joined.current_version(), origin.current_version());
    assert_eq!(joined.place(), &Place::Replica { applied: origin.revision().seq });
    assert_eq!(Key::restore(joined.to_parts()), Ok(joined.clone()));
    assert_eq!(permit_encrypt(&joined, today(101)).unwrap().version(), origin.current_version().version);
    let _permit = permit_decrypt(&joined, MaterialVersion::new(3).unwrap(), today(101)).unwrap();

    let rotated = newer(&joined, &rotated_by_hand(&origin, 1, today(2)));
    assert_eq!(numbers(&rotated), [1, 2, 3, 4, new, new + 1].into());
}

#[test]
fn what_no_restore_explains_is_another_history() {
    let backup = rotated_by_hand(&multi_zone(), 1, day(5));
    let replica = Key::replica_of(&state(&rotated_by_hand(&backup, 1, today(0))), today(0));
    // An origin set back that goes on counting: the replica's version 3 may be made again.
    let mut set_back = after(&backup, &Command::Replicate { target: zone("de-fra-1") }, today(1));
    while set_back.revision().seq <= replica.origin_revision() {
        set_back = after(&after(&set_back, &Command::Disable, today(1)), &Command::Enable, today(1));
    }
    assert_eq!(replica.apply_origin(&state(&set_back), today(2)), Err(ForeignState::OtherHistory));
    // A restored one whose version 3 is another.
    let mut parts = restored(&rotated_by_hand(&backup, 1, today(1)), 2).to_parts();
    parts.versions[2].created_at = today(1);
    let other = OriginState::restore(parts).unwrap();
    assert_eq!(replica.apply_origin(&other, today(3)), Err(ForeignState::OtherHistory));
}

#[test]
fn a_restored_replica_is_what_it_was_for_its_origin() {
    let origin = rotated_by_hand(&multi_zone(), 1, day(5));
    let replica = Key::replica_of(&state(&origin), day(6));
    let RestoredKey { key: back, new_version } = replica.restored(today(0)).unwrap();
    assert_eq!((new_version, back.origin_revision()), (None, replica.origin_revision()));
    assert!(back.revision().seq > replica.revision().seq);
    let later = rotated_by_hand(&origin, 1, today(1));
    assert_eq!(numbers(&newer(&back, &later)), [1, 2, 3].into());
    let pending = after(&origin, &Command::ScheduleDeletion { delay: delay(7) }, day(7));
    let told = newer(&replica, &pending);
    assert_eq!(told.restored(today(0)).unwrap().key.status(), pending.status(), "the origin's date stands");
}
