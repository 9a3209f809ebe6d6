//! Which reason is told when several apply, and that a refusal or a stale change does nothing.

use crate::keys::{
    after, at_revision, change, day, delay, disabled, new_key, on_replica, ordinary, pending, period, rotated_by_hand,
    zone,
};
use kms_lifecycle::{
    Command, Decision, DecryptRefusal, DueWork, Key, Kind, Reach, Rejection, Schedule, decide, decide_due,
    permit_decrypt, permit_encrypt, permit_reencrypt_destination, permit_reencrypt_source,
};
use kms_types::{MaterialVersion, Revision};

fn all_commands() -> [Command; 8] {
    [
        Command::Enable,
        Command::Disable,
        Command::Rotate,
        Command::EnableRotation { period: period(90) },
        Command::DisableRotation,
        Command::ScheduleDeletion { delay: delay(7) },
        Command::CancelDeletion,
        Command::Replicate { target: zone("de-fra-1") },
    ]
}

#[test]
fn gone_comes_before_everything() {
    let gone = pending();
    let default = new_key(Reach::MultiZone, Kind::Default);
    assert!(!default.is_gone(day(10_000)));
    for key in [gone.clone(), on_replica(&gone)] {
        for command in all_commands() {
            assert_eq!(decide(&key, &command, day(8)), Err(Rejection::KeyGone), "{command:?}");
        }
        let unknown = MaterialVersion::new(2).unwrap();
        assert_eq!(permit_encrypt(&key, day(8)).unwrap_err(), Rejection::KeyGone);
        assert_eq!(permit_decrypt(&key, unknown, day(8)).unwrap_err(), Rejection::KeyGone.into());
        assert_eq!(permit_reencrypt_source(&key, unknown, day(8)).unwrap_err(), Rejection::KeyGone.into());
        assert_eq!(permit_reencrypt_destination(&key, day(8)).unwrap_err(), Rejection::KeyGone);
    }
}

#[test]
fn the_first_reason_in_the_documented_order_is_told() {
    let default = new_key(Reach::MultiZone, Kind::Default);
    let default_single = new_key(Reach::SingleZone, Kind::Default);
    let worn_out = rotated_by_hand(&ordinary(), 10, day(1));
    let worn_out_and_disabled = after(&worn_out, &Command::Disable, day(1));
    let last_revision = u64::MAX - 1;
    let to = |name| Command::Replicate { target: zone(name) };
    let rotation_on = Rejection::RotationConflict { already: Schedule::On };
    let enable_rotation = Command::EnableRotation { period: period(90) };
    for (key, command, told) in [
        // replica before default, where the command is refused on both
        (on_replica(&default), Command::ScheduleDeletion { delay: delay(7) }, Rejection::NotOnReplica),
        (on_replica(&default), enable_rotation.clone(), Rejection::NotOnReplica),
        (on_replica(&default), to("de-fra-1"), Rejection::NotOnReplica),
        (on_replica(&default), Command::Disable, Rejection::NotOnDefault),
        // replica before the state
        (on_replica(&pending()), Command::Rotate, Rejection::NotOnReplica),
        (on_replica(&pending()), Command::CancelDeletion, Rejection::NotOnReplica),
        (on_replica(&disabled()), Command::DisableRotation, Rejection::NotOnReplica),
        (on_replica(&pending()), Command::Enable, Rejection::KeyPendingDeletion),
        // default before what the command demands
        (default.clone(), enable_rotation.clone(), Rejection::NotOnDefault),
        (default_single, to("ch-gva-2"), Rejection::NotOnDefault),
        (default, to("ch-gva-2"), Rejection::NotOnDefault),
        // the state before what the command demands
        (pending(), enable_rotation.clone(), Rejection::KeyPendingDeletion),
        (pending(), to("de-fra-1"), Rejection::KeyPendingDeletion),
        (disabled(), enable_rotation.clone(), Rejection::KeyDisabled),
        (worn_out_and_disabled, Command::Rotate, Rejection::KeyDisabled),
        (ordinary(), to("ch-gva-2"), Rejection::NotMultiZone),
        // the end of the range last
        (at_revision(&worn_out, last_revision), Command::Rotate, Rejection::ManualRotationLimit),
        (at_revision(&ordinary(), last_revision), enable_rotation, rotation_on),
        (at_revision(&ordinary(), last_revision), Command::Rotate, Rejection::Exhausted),
    ] {
        assert_eq!(decide(&key, &command, day(2)), Err(told), "{command:?} on {key:?}");
    }
}

#[test]
fn uses_tell_the_state_before_the_version() {
    let unknown = MaterialVersion::new(2).unwrap();
    let zero_day = day(2);
    assert_eq!(permit_decrypt(&disabled(), unknown, zero_day).unwrap_err(), Rejection::KeyDisabled.into());
    assert_eq!(permit_decrypt(&pending(), unknown, zero_day).unwrap_err(), Rejection::KeyPendingDeletion.into());
    assert_eq!(permit_decrypt(&ordinary(), unknown, zero_day).unwrap_err(), DecryptRefusal::UnknownVersion);
    let default = new_key(Reach::SingleZone, Kind::Default);
    assert_eq!(permit_reencrypt_source(&default, unknown, zero_day).unwrap_err(), Rejection::NotOnDefault.into());
}

#[test]
fn permits_name_the_key_and_the_version() {
    let key = rotated_by_hand(&ordinary(), 2, day(1));
    let encrypt = permit_encrypt(&key, day(1)).unwrap();
    assert_eq!((encrypt.key_id(), encrypt.version().get()), (key.id(), 3));
    for number in 1..=3 {
        let decrypt = permit_decrypt(&key, MaterialVersion::new(number).unwrap(), day(1)).unwrap();
        assert_eq!((decrypt.key_id(), decrypt.version().get()), (key.id(), number));
    }
}

#[test]
fn what_is_already_so_is_success_without_a_revision() {
    assert_eq!(decide(&ordinary(), &Command::Enable, day(1)), Ok(Decision::AlreadyApplied));
    assert_eq!(decide(&disabled(), &Command::Disable, day(2)), Ok(Decision::AlreadyApplied));
    let at_the_end = at_revision(&ordinary(), u64::MAX - 1);
    assert_eq!(decide(&at_the_end, &Command::Enable, day(1)), Ok(Decision::AlreadyApplied));
}

#[test]
fn a_change_applies_once_and_to_its_own_key() {
    let key = ordinary();
    let rotate = change(&key, &Command::Rotate, day(1));
    let rotated = key.apply(&rotate).unwrap();
    assert!(rotated.apply(&rotate).is_err());
    let mut parts = key.to_parts();
    parts.id = kms_types::KeyId::from_bytes([7; 16]);
    assert!(Key::restore(parts).unwrap().apply(&rotate).is_err());
    assert_eq!(rotate.new_version(), MaterialVersion::new(2));
    assert_eq!(change(&key, &Command::Disable, day(1)).new_version(), None);
}

#[test]
fn the_last_revision_is_kept_for_the_tombstone() {
    let last = Revision::new(u64::MAX).unwrap();
    let nearly = at_revision(&ordinary(), u64::MAX - 2);
    let dying = after(&nearly, &Command::ScheduleDeletion { delay: delay(7) }, day(1));
    assert_eq!(decide(&dying, &Command::CancelDeletion, day(2)), Err(Rejection::Exhausted));
    match decide_due(&dying, day(8)) {
        Some(DueWork::Delete(deletion)) => assert_eq!(deletion.tombstone().revision.seq, last),
        other => panic!("{other:?}"),
    }
    let mut parts = dying.to_parts();
    parts.revision.seq = last;
    assert!(Key::restore(parts).is_err());
    assert_eq!(decide_due(&at_revision(&ordinary(), u64::MAX - 1), day(365)), None);
}
