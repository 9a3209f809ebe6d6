//! What a replica makes of each request, and of the store's reports.

use crate::support::{key, payload, revision, window, zone};
use kms_replication::{Answer, ApplyPermit, Held, RefusalReason, Replica, ReplicaAction, Reply, Request};
use kms_types::{Revision, Watermark};

/// What a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Nothing,
    Applies,
    Sends(Answer),
}

fn ask_at(at: u64) -> Request {
    Request::Ask { key: key(1), revision: revision(at) }
}

fn state_at(at: u64) -> Request {
    Request::State { key: key(1), revision: revision(at), payload: payload(b"sealed") }
}

fn has(applied: u64) -> Outcome {
    let applied = Revision::new(applied).map_or(Watermark::NONE, Watermark::at);
    Outcome::Sends(Answer::Have { key: key(1), applied })
}

fn confirms(at: u64) -> Outcome {
    Outcome::Sends(Answer::Applied { key: key(1), revision: revision(at) })
}

fn refuses(at: u64, reason: RefusalReason) -> Outcome {
    Outcome::Sends(Answer::Refused { key: key(1), revision: revision(at), reason })
}

fn key_of(origin: &str, at: u64) -> Held {
    Held::Key { origin: zone(origin), revision: revision(at) }
}

fn tombstone_of(origin: &str, at: u64) -> Held {
    Held::Tombstone { origin: zone(origin), revision: revision(at) }
}

/// What `a` gets for a request while `held` is in the store.
fn outcome(replica: &mut Replica, from: &str, request: Request, held: &Held) -> (Outcome, Option<ApplyPermit>) {
    let from = zone(from);
    match replica.received(&from, request, &|_| held.clone()) {
        None => (Outcome::Nothing, None),
        Some(ReplicaAction::Send(reply)) => {
            assert_eq!(reply.to, from);
            (Outcome::Sends(reply.answer), None)
        }
        Some(ReplicaAction::Apply { permit, payload }) => {
            assert_eq!((payload.as_bytes(), permit.from()), (&b"sealed"[..], &from));
            (Outcome::Applies, Some(permit))
        }
    }
}

fn applying(replica: &mut Replica, from: &str, number: u32, at: u64) -> ApplyPermit {
    let request = Request::State { key: key(number), revision: revision(at), payload: payload(b"sealed") };
    outcome(replica, from, request, &Held::Nothing).1.unwrap()
}

#[test]
fn every_request_on_everything_that_may_be_held() {
    let not_origin = |at| refuses(at, RefusalReason::NotOrigin);
    let table = [
        (Held::Nothing, ask_at(2), has(0)),
        (Held::Nothing, state_at(2), Outcome::Applies),
        (key_of("a", 1), ask_at(2), has(1)),
        (key_of("a", 2), ask_at(2), has(2)),
        (key_of("a", 3), ask_at(2), has(3)),
        (key_of("a", 1), state_at(2), Outcome::Applies),
        (key_of("a", 2), state_at(2), confirms(2)),
        (key_of("a", 3), state_at(2), confirms(3)),
        (tombstone_of("a", 1), ask_at(2), has(1)),
        (tombstone_of("a", 2), ask_at(2), has(2)),
        (tombstone_of("a", 1), state_at(2), refuses(2, RefusalReason::Deleted)),
        (tombstone_of("a", 2), state_at(2), confirms(2)),
        (tombstone_of("a", 3), state_at(2), confirms(3)),
        (key_of("other", 1), ask_at(2), not_origin(2)),
        (key_of("other", 1), state_at(2), not_origin(2)),
        (key_of("other", 3), state_at(2), not_origin(2)),
        (tombstone_of("other", 1), ask_at(2), not_origin(2)),
        (tombstone_of("other", 1), state_at(2), not_origin(2)),
        (tombstone_of("other", 3), state_at(2), not_origin(2)),
    ];
    for (held, request, expected) in table {
        let mut replica = Replica::new(window(1));
        let (found, _permit) = outcome(&mut replica, "a", request.clone(), &held);
        assert_eq!(found, expected, "{held:?}, {request:?}");
    }
}

/// While revision 2 of `a` is being stored.
#[test]
fn every_request_on_what_is_being_stored() {
    let table = [
        ("a", state_at(1), Outcome::Nothing),
        ("a", state_at(2), Outcome::Nothing),
        ("a", state_at(3), refuses(3, RefusalReason::Busy)),
        ("a", ask_at(1), Outcome::Nothing),
        ("a", ask_at(2), Outcome::Nothing),
        ("a", ask_at(3), has(0)),
        ("other", state_at(1), refuses(1, RefusalReason::Busy)),
        ("other", ask_at(1), has(0)),
    ];
    for (from, request, expected) in table {
        let mut replica = Replica::new(window(2));
        let permit = applying(&mut replica, "a", 1, 2);
        let (found, _) = outcome(&mut replica, from, request.clone(), &Held::Nothing);
        assert_eq!(found, expected, "{from}: {request:?}");
        assert_eq!((permit.key(), permit.revision(), replica.storing(&zone("a"))), (key(1), revision(2), 1));
    }
}

#[test]
fn the_store_decides_what_is_answered() {
    let mut replica = Replica::new(window(1));
    let permit = applying(&mut replica, "a", 1, 2);
    let applied = Answer::Applied { key: key(1), revision: revision(2) };
    assert_eq!(replica.stored(permit), Reply { to: zone("a"), answer: applied });
    let permit = applying(&mut replica, "a", 1, 2);
    let refused = Answer::Refused { key: key(1), revision: revision(2), reason: RefusalReason::NameTaken };
    assert_eq!(replica.rejected(permit, RefusalReason::NameTaken), Reply { to: zone("a"), answer: refused });
    assert_eq!(replica.storing(&zone("a")), 0);
}

#[test]
fn each_origin_has_its_own_window() {
    let mut replica = Replica::new(window(2));
    let mut permits: Vec<_> = [1, 2].map(|number| applying(&mut replica, "a", number, 1)).into();
    let third = |replica: &mut Replica, from| {
        let request = Request::State { key: key(3), revision: revision(1), payload: payload(b"sealed") };
        outcome(replica, from, request, &Held::Nothing)
    };
    let busy = Answer::Refused { key: key(3), revision: revision(1), reason: RefusalReason::Busy };
    assert_eq!(third(&mut replica, "a").0, Outcome::Sends(busy));
    assert_eq!(replica.storing(&zone("a")), 2);
    let (found, other) = third(&mut replica, "other");
    assert_eq!((found, replica.storing(&zone("other"))), (Outcome::Applies, 1));
    drop(other);
    let _reply = replica.stored(permits.remove(0));
    assert_eq!(third(&mut replica, "a").0, Outcome::Applies);
}

#[test]
fn a_permit_that_is_dropped_makes_room() {
    let mut replica = Replica::new(window(1));
    drop(applying(&mut replica, "a", 1, 2));
    assert_eq!(replica.storing(&zone("a")), 0);
    let permit = applying(&mut replica, "a", 1, 2);
    assert_eq!(replica.storing(&zone("a")), 1);
    drop(permit);
}

#[test]
fn a_permit_of_another_life_releases_nothing() {
    let mut before = Replica::new(window(1));
    let old = applying(&mut before, "a", 1, 2);
    let mut after = Replica::new(window(1));
    let permit = applying(&mut after, "a", 1, 2);
    let _reply = after.stored(old);
    assert_eq!(after.storing(&zone("a")), 1);
    drop(permit);
}
