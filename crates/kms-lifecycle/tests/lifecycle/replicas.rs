//! What replicas make of what their origin tells.

use crate::keys::{after, at_revision, day, delay, just_before, new_key, ordinary, period, rotated_by_hand, zone};
use kms_lifecycle::{
    Command, Decision, DueWork, ForeignState, InconsistentKey, Key, KeyParts, Kind, OriginState, OriginUpdate, Place,
    Reach, Rejection, Status, decide, decide_due, next_due, permit_encrypt,
};
use kms_types::{KeyId, Revision};
use proptest::prelude::*;

fn multi_zone() -> Key {
    new_key(Reach::MultiZone, Kind::Ordinary)
}

fn state(origin: &Key) -> OriginState {
    origin.origin_state().unwrap()
}

fn newer(replica: &Key, origin: &Key, days: u32) -> Key {
    match replica.apply_origin(&state(origin), day(days)) {
        Ok(OriginUpdate::Newer(key)) => *key,
        other => panic!("{other:?}"),
    }
}

fn in_seven_days() -> Command {
    Command::ScheduleDeletion { delay: delay(7) }
}

#[test]
fn a_first_copy_is_usable_as_the_origin_is() {
    let enabled = multi_zone();
    let copy = Key::replica_of(&state(&enabled), day(5));
    assert_eq!(copy.status(), &Status::Enabled { since: day(5) }, "since it is here");
    assert_eq!(copy.place(), &Place::Replica { applied: Revision::FIRST });
    assert_eq!((copy.created_at(), copy.versions()), (enabled.created_at(), enabled.versions()));
    assert_eq!((copy.revision().seq, copy.revision().at), (Revision::FIRST, day(5)));
    assert_eq!(Key::restore(copy.to_parts()), Ok(copy.clone()));
    assert!(copy.is_replica_from(&zone("ch-gva-2")) && !copy.is_replica_from(&zone("de-fra-1")));
    assert!(!enabled.is_replica_from(&zone("ch-gva-2")));

    let disabled = after(&enabled, &Command::Disable, day(1));
    assert_eq!(Key::replica_of(&state(&disabled), day(5)).status(), &Status::Disabled { since: day(5) });
    let pending = after(&enabled, &in_seven_days(), day(1));
    assert_eq!(Key::replica_of(&state(&pending), day(5)).status(), pending.status());
}

#[test]
fn the_zones_that_hold_a_key_are_not_told() {
    let origin = after(&multi_zone(), &Command::Replicate { target: zone("de-fra-1") }, day(1));
    assert_eq!(state(&origin).to_parts().place, Place::Origin { replicas: [].into() });
    assert_eq!(OriginState::restore(state(&origin).to_parts()), Ok(state(&origin)));
    let replica = Key::replica_of(&state(&origin), day(1));
    assert_eq!((replica.origin_state(), ordinary().origin_state()), (None, None));
    assert_eq!(OriginState::restore(replica.to_parts()), Err(InconsistentKey::NotOrigin));
}

#[test]
fn updates_count_in_both_zones_and_keep_what_is_the_replicas_own() {
    let origin = multi_zone();
    let replica = after(&Key::replica_of(&state(&origin), day(1)), &Command::Disable, day(2));
    let origin = rotated_by_hand(&origin, 2, day(3));
    let replica = newer(&replica, &origin, 4);
    assert_eq!((replica.origin_revision().get(), replica.revision().seq.get()), (3, 3), "copy, disable, update");
    assert_eq!(replica.status(), &Status::Disabled { since: day(2) });
    assert_eq!((replica.versions(), replica.rotation()), (origin.versions(), origin.rotation()));
    assert_eq!(replica.apply_origin(&state(&origin), day(5)), Ok(OriginUpdate::AlreadyHeld));
    assert_eq!(replica.apply_origin(&state(&multi_zone()), day(5)), Ok(OriginUpdate::AlreadyHeld), "an older one");
    assert_eq!(Key::restore(replica.to_parts()), Ok(replica));
}

#[test]
fn deletion_and_cancellation_flow_to_replicas() {
    let origin = multi_zone();
    let replica = Key::replica_of(&state(&origin), day(0));
    let pending = after(&origin, &in_seven_days(), day(1));
    let cancelled = after(&pending, &Command::CancelDeletion, day(2));
    let enabled = after(&cancelled, &Command::Enable, day(3));
    let doomed = newer(&replica, &pending, 1);
    assert_eq!(doomed.status(), pending.status());
    for after_it in [&cancelled, &enabled] {
        assert_eq!(newer(&doomed, after_it, 4).status(), &Status::Disabled { since: day(4) });
        assert_eq!(newer(&replica, after_it, 4).status(), &Status::Disabled { since: day(4) }, "nothing seen between");
    }
    let own_choice = after(&newer(&doomed, &cancelled, 4), &Command::Enable, day(5));
    let rotated = after(&enabled, &Command::Rotate, day(6));
    assert_eq!(newer(&own_choice, &rotated, 6).status(), &Status::Enabled { since: day(5) }, "one cancellation, once");
}

#[test]
fn a_replica_past_its_date_is_gone_but_waits_for_its_origin() {
    let pending = after(&multi_zone(), &in_seven_days(), day(1));
    let replica = Key::replica_of(&state(&pending), day(1));
    assert_eq!(permit_encrypt(&replica, day(8)).err(), Some(Rejection::KeyGone));
    assert_eq!(decide(&replica, &Command::Enable, day(8)), Err(Rejection::KeyGone));
    assert_eq!((next_due(&replica), decide_due(&replica, day(9))), (None, None));
    let saved = newer(&replica, &after(&pending, &Command::CancelDeletion, day(7)), 9);
    assert!(matches!(decide(&saved, &Command::Enable, day(9)), Ok(Decision::Change(_))));
}

#[test]
fn a_tombstone_names_the_zones_to_tell() {
    let origin = after(&multi_zone(), &Command::Replicate { target: zone("de-fra-1") }, day(0));
    for (key, zones) in [(origin, vec!["de-fra-1"]), (multi_zone(), vec![]), (ordinary(), vec![])] {
        match decide_due(&after(&key, &in_seven_days(), day(1)), day(8)) {
            Some(DueWork::Delete(deletion)) => {
                let expected = zones.into_iter().map(zone).collect();
                assert_eq!(deletion.tombstone().replicas, expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_state_of_another_key_or_another_history_is_refused() {
    let origin = rotated_by_hand(&multi_zone(), 1, day(1));
    let replica = Key::replica_of(&state(&origin), day(1));
    let later = rotated_by_hand(&origin, 1, day(2));
    let altered = |alter: fn(&mut KeyParts)| {
        let mut parts = later.to_parts();
        alter(&mut parts);
        replica.apply_origin(&OriginState::restore(parts).unwrap(), day(3))
    };
    let others: [fn(&mut KeyParts); 5] = [
        |parts| parts.id = KeyId::from_bytes([1; 16]),
        |parts| parts.organisation = "other".parse().unwrap(),
        |parts| parts.name = "k2".parse().unwrap(),
        |parts| parts.origin_zone = zone("de-fra-1"),
        |parts| parts.created_at = just_before(day(0)),
    ];
    for other in others {
        assert_eq!(altered(other), Err(ForeignState::OtherKey));
    }
    assert_eq!(altered(|parts| parts.versions[1].created_at = day(0)), Err(ForeignState::OtherHistory));
    assert!(altered(|parts| parts.description = "another".parse().unwrap()).is_ok());
    assert_eq!(origin.apply_origin(&state(&later), day(3)), Err(ForeignState::NotReplica));
    let worn = at_revision(&replica, u64::MAX - 1);
    assert_eq!(worn.apply_origin(&state(&later), day(3)), Err(ForeignState::Exhausted));
}

#[test]
fn a_cancellation_lies_within_the_revisions_reached() {
    let mut parts = multi_zone().to_parts();
    parts.cancelled = Revision::new(2);
    assert_eq!(Key::restore(parts.clone()), Err(InconsistentKey::Cancellation));
    parts.revision.seq = Revision::new(5).unwrap();
    assert!(Key::restore(parts.clone()).is_ok());
    parts.place = Place::Replica { applied: Revision::FIRST };
    assert_eq!(Key::restore(parts), Err(InconsistentKey::Cancellation), "the origin's revisions are meant");
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Enable),
        Just(Command::Disable),
        Just(Command::Rotate),
        Just(Command::EnableRotation { period: period(90) }),
        Just(Command::DisableRotation),
        Just(in_seven_days()),
        Just(Command::CancelDeletion),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whichever states are lost, repeated or late: with the last one, a replica is where one is that saw them all.
    #[test]
    fn the_outcome_does_not_depend_on_what_arrives_in_between(
        commands in prop::collection::vec(any_command(), 1..30),
        arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut states = vec![multi_zone()];
        for command in &commands {
            let key = states.last().unwrap();
            if let Ok(Decision::Change(change)) = decide(key, command, day(1)) {
                let next = key.apply(&change).unwrap();
                states.push(next);
            }
        }
        let first = Key::replica_of(&state(&states[0]), day(1));
        let take = |replica: Key, origin: &Key| match replica.apply_origin(&state(origin), day(2)).unwrap() {
            OriginUpdate::Newer(key) => *key,
            OriginUpdate::AlreadyHeld => replica,
        };
        let all_seen = states.iter().fold(first.clone(), take);
        let some_seen = arrivals.iter().map(|arrival| arrival.get(&states)).fold(first, take);
        let some_seen = take(some_seen, states.last().unwrap());
        let revision = all_seen.revision();
        let comparable = |key: &Key| KeyParts { revision, ..key.to_parts() };
        prop_assert_eq!(comparable(&some_seen), comparable(&all_seen));
        prop_assert_eq!(all_seen.origin_revision(), states.last().unwrap().revision().seq);
    }
}
