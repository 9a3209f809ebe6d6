//! Dates, to the nanosecond.

use crate::keys::{
    A_NANOSECOND, after, change, day, delay, disabled, just_before, on_replica, ordinary, pending, period,
};
use kms_lifecycle::{
    ChangeKind, Command, DueWork, Key, Made, Rejection, RevisionStamp, Schedule, Status, decide, decide_due, next_due,
    permit_encrypt,
};
use kms_types::{Revision, Timestamp};

fn rotate_as_due(key: &Key, now: Timestamp) -> Key {
    match decide_due(key, now) {
        Some(DueWork::Rotate(change)) => {
            assert_eq!(change.kind(), ChangeKind::RotatedAutomatically);
            key.apply(&change).unwrap()
        }
        other => panic!("at {now}: {other:?}"),
    }
}

#[test]
fn the_rotation_is_due_at_its_date_and_not_before() {
    let key = ordinary();
    assert_eq!(next_due(&key), Some(day(365)));
    assert_eq!(decide_due(&key, just_before(day(365))), None);
    let rotated = rotate_as_due(&key, day(365));
    let current = rotated.current_version();
    assert_eq!((current.version.get(), current.made, current.created_at), (2, Made::Automatically, day(365)));
    assert_eq!(rotated.rotation().next_at(), day(730));
    assert_eq!(rotated.rotation().manual_count().get(), 0);
    assert_eq!(decide_due(&rotated, day(365)), None);
}

#[test]
fn three_missed_years_give_one_rotation() {
    let rotated = rotate_as_due(&ordinary(), day(3 * 365 + 100));
    assert_eq!(rotated.versions().len(), 2);
    assert_eq!(next_due(&rotated), Some(day(4 * 365)));
}

#[test]
fn a_rotation_that_falls_on_a_later_date_skips_it() {
    let rotated = rotate_as_due(&ordinary(), day(730));
    assert_eq!(next_due(&rotated), Some(day(1095)));
}

#[test]
fn an_overdue_rotation_waits_while_the_key_is_disabled() {
    let key = disabled();
    assert_eq!(next_due(&key), None);
    assert_eq!(decide_due(&key, day(400)), None);
    let enabled = after(&key, &Command::Enable, day(400));
    assert_eq!(next_due(&enabled), Some(day(365)));
    assert_eq!(next_due(&rotate_as_due(&enabled, day(400))), Some(day(730)));
}

#[test]
fn no_rotation_by_a_schedule_that_is_off_and_a_fresh_date_when_it_is_on_again() {
    let off = after(&ordinary(), &Command::DisableRotation, day(10));
    assert_eq!((off.rotation().schedule(), off.rotation().next_at()), (Schedule::Off, day(365)));
    assert_eq!(off.rotation().period(), period(365));
    assert_eq!((next_due(&off), decide_due(&off, day(1_000))), (None, None));
    let on = after(&off, &Command::EnableRotation { period: period(90) }, day(1_000));
    assert_eq!((on.rotation().schedule(), next_due(&on)), (Schedule::On, Some(day(1_090))));
}

#[test]
fn a_rotation_by_hand_leaves_the_date() {
    let rotated = after(&ordinary(), &Command::Rotate, day(100));
    assert_eq!(rotated.rotation().next_at(), day(365));
    assert_eq!(rotated.rotation().manual_count().get(), 1);
    assert_eq!(rotated.current_version().made, Made::Manually);
}

#[test]
fn the_key_is_gone_at_its_date_and_can_be_kept_until_then() {
    let key = pending();
    let last_moment = just_before(day(8));
    assert_eq!(next_due(&key), Some(day(8)));
    assert!(!key.is_gone(last_moment) && key.is_gone(day(8)));
    assert_eq!(decide_due(&key, last_moment), None);
    assert_eq!(permit_encrypt(&key, last_moment).unwrap_err(), Rejection::KeyPendingDeletion);
    let kept = after(&key, &Command::CancelDeletion, last_moment);
    assert_eq!(kept.status(), &Status::Disabled { since: last_moment });
    assert_eq!(decide_due(&kept, day(1_000)), None);
    assert_eq!(decide(&key, &Command::CancelDeletion, day(8)), Err(Rejection::KeyGone));
}

#[test]
fn the_tombstone_tells_the_date_and_when_it_was_done() {
    let key = pending();
    let late = day(8).plus(A_NANOSECOND);
    match decide_due(&key, late) {
        Some(DueWork::Delete(deletion)) => {
            assert_eq!(deletion.made_for(), key.revision().seq);
            let tombstone = deletion.into_tombstone();
            assert_eq!(tombstone.deleted_at, day(8));
            assert_eq!(tombstone.revision, RevisionStamp { seq: Revision::new(3).unwrap(), at: late });
            assert_eq!((tombstone.id, &tombstone.name), (key.id(), key.name()));
            assert_eq!((&tombstone.organisation, &tombstone.origin_zone), (key.organisation(), key.origin_zone()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn asking_again_moves_the_date_and_keeps_the_time_of_the_first_request() {
    let first = pending();
    for (days, delete_at) in [(30, day(35)), (7, day(12))] {
        let again = after(&first, &Command::ScheduleDeletion { delay: delay(days) }, day(5));
        assert_eq!(again.status(), &Status::PendingDeletion { since: day(1), delete_at });
        assert_eq!(again.revision().seq.get(), first.revision().seq.get() + 1);
    }
}

#[test]
fn a_pending_key_does_not_rotate() {
    let key = after(&ordinary(), &Command::ScheduleDeletion { delay: delay(30) }, day(360));
    assert_eq!(next_due(&key), Some(day(390)));
    assert_eq!(decide_due(&key, day(366)), None);
}

#[test]
fn nothing_is_ever_due_on_a_replica() {
    for key in [ordinary(), pending()] {
        let replica = on_replica(&key);
        assert_eq!((next_due(&replica), decide_due(&replica, day(10_000))), (None, None));
    }
}

#[test]
fn a_clock_set_back_moves_no_time_of_the_key_back() {
    let key = after(&ordinary(), &Command::Rotate, day(100));
    let earlier = day(50);
    for command in [Command::Disable, Command::Rotate, Command::ScheduleDeletion { delay: delay(7) }] {
        let change = change(&key, &command, earlier);
        assert_eq!(change.stamp(), RevisionStamp { seq: Revision::new(3).unwrap(), at: day(100) });
    }
    assert_eq!(after(&key, &Command::Disable, earlier).status(), &Status::Disabled { since: day(100) });
    assert_eq!(after(&key, &Command::Rotate, earlier).current_version().created_at, day(100));
    let pending = after(&key, &Command::ScheduleDeletion { delay: delay(7) }, earlier);
    assert_eq!(pending.status(), &Status::PendingDeletion { since: day(100), delete_at: day(107) });
    let off = after(&key, &Command::DisableRotation, day(100));
    let on = after(&off, &Command::EnableRotation { period: period(90) }, earlier);
    assert_eq!(on.rotation().next_at(), day(190));
}

#[test]
fn a_deletion_is_refused_when_the_range_of_time_would_cut_its_delay_short() {
    let end = Timestamp::from_nanos(i64::MAX);
    let seven_days_before = Timestamp::from_nanos(i64::MAX - 7 * 86_400_000_000_000);
    let key = ordinary();
    let command = Command::ScheduleDeletion { delay: delay(7) };
    let status = *after(&key, &command, seven_days_before).status();
    assert_eq!(status, Status::PendingDeletion { since: seven_days_before, delete_at: end });
    assert_eq!(decide(&key, &command, seven_days_before.plus(A_NANOSECOND)), Err(Rejection::Exhausted));
}
