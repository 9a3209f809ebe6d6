//! Ten thousand keys: what they cost in messages and in entries under way. Counted, not timed.

use crate::support::{at, key, payload, revision, window, zone, zones};
use kms_replication::{
    Answer, Content, Held, Lag, Origin, OriginAction, OriginEffects, Replica, ReplicaAction, Request, Window,
};
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::{BTreeMap, VecDeque};

const KEYS: u32 = 10_000;

/// A target that stores at once.
struct Target {
    replica: Replica,
    held: BTreeMap<KeyId, Revision>,
}

/// How many messages and how much at once it took.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    asked: u32,
    shipped: u32,
    answered: u32,
    most_under_way: usize,
    most_in_the_network: usize,
}

/// A message of the origin on its way to a target.
enum Sent {
    Ask(ZoneName, Request),
    Ship(ZoneName, KeyId, Revision),
}

fn new_target() -> Target {
    Target { replica: Replica::new(Window::DEFAULT), held: BTreeMap::new() }
}

fn target_zones() -> BTreeMap<ZoneName, Target> {
    ["b", "c"].map(|name| (zone(name), new_target())).into()
}

/// Announces keys 1 to `keys` and serves every message until none is on its way. Targets that are missing never answer.
fn converge(origin: &mut Origin, targets: &mut BTreeMap<ZoneName, Target>, keys: u32, to: u64) -> Cost {
    let mut cost = Cost::default();
    let mut network = VecDeque::new();
    for target in ["b", "c"] {
        let effects = origin.link_up(&zone(target), at(0));
        send(effects, &mut network, &mut cost);
    }
    for number in 1..=keys {
        let effects = origin.key_changed(key(number), revision(to), Content::Key, &zones(&["b", "c"]), at(0));
        send(effects, &mut network, &mut cost);
    }
    while let Some(sent) = network.pop_front() {
        let (to, request) = match sent {
            Sent::Ask(to, request) => (to, request),
            Sent::Ship(to, key, revision) => (to, Request::State { key, revision, payload: payload(b"sealed") }),
        };
        let Some(answer) = targets.get_mut(&to).map(|target| answer(target, request)) else { continue };
        cost.answered += 1;
        let effects = origin.received(&to, &answer, at(0));
        send(effects, &mut network, &mut cost);
        cost.most_under_way = cost.most_under_way.max(origin.under_way(&to));
    }
    cost
}

fn send(effects: OriginEffects, network: &mut VecDeque<Sent>, cost: &mut Cost) {
    for action in effects {
        match action {
            OriginAction::Send { target, request } => {
                cost.asked += 1;
                network.push_back(Sent::Ask(target, request));
            }
            OriginAction::Ship { target, key, revision } => {
                cost.shipped += 1;
                network.push_back(Sent::Ship(target, key, revision));
            }
            action @ (OriginAction::Failed { .. } | OriginAction::Retired { .. }) => panic!("{action:?}"),
        }
    }
    cost.most_in_the_network = cost.most_in_the_network.max(network.len());
}

fn answer(target: &mut Target, request: Request) -> Answer {
    let held = |key| match target.held.get(&key) {
        Some(revision) => Held::Key { origin: zone("a"), revision: *revision },
        None => Held::Nothing,
    };
    match target.replica.received(&zone("a"), request, &held).unwrap() {
        ReplicaAction::Send(reply) => reply.answer,
        ReplicaAction::Apply { permit, .. } => {
            target.held.insert(permit.key(), permit.revision());
            target.replica.stored(permit).answer
        }
    }
}

#[test]
fn every_key_costs_the_same_however_many_there_are() {
    for keys in [100, 1_000, KEYS] {
        let (mut origin, mut targets) = (Origin::new(Window::DEFAULT), target_zones());
        let cost = converge(&mut origin, &mut targets, keys, 1);
        assert_eq!((cost.asked, cost.shipped, cost.answered), (2 * keys, 2 * keys, 4 * keys));
        assert_eq!((cost.most_under_way, cost.most_in_the_network), (64, 128));
        for (name, target) in &targets {
            assert_eq!((origin.lag(name), origin.under_way(name)), (Lag::None, 0));
            assert!((1..=keys).all(|number| target.held.get(&key(number)) == Some(&Revision::FIRST)));
        }
        assert_eq!(origin.wake_at(), None);
    }
}

#[test]
fn unchanged_keys_cost_no_payload_after_a_restart() {
    let mut targets = target_zones();
    converge(&mut Origin::new(Window::DEFAULT), &mut targets, KEYS, 1);
    let mut restarted = Origin::new(Window::DEFAULT);
    let cost = converge(&mut restarted, &mut targets, KEYS, 1);
    assert_eq!((cost.asked, cost.shipped, cost.answered), (2 * KEYS, 0, 2 * KEYS));
    assert_eq!((cost.most_under_way, restarted.lag(&zone("b"))), (64, Lag::None));
}

#[test]
fn known_targets_are_not_asked_again() {
    let (mut origin, mut targets) = (Origin::new(window(8)), target_zones());
    converge(&mut origin, &mut targets, 1_000, 1);
    let cost = converge(&mut origin, &mut targets, 1_000, 2);
    assert_eq!((cost.asked, cost.shipped, cost.answered), (0, 2_000, 2_000));
    assert_eq!(cost.most_in_the_network, 16);
}

#[test]
fn a_dead_target_does_not_slow_the_other() {
    let (mut origin, mut targets) = (Origin::new(Window::DEFAULT), target_zones());
    targets.remove(&zone("b"));
    let cost = converge(&mut origin, &mut targets, KEYS, 1);
    assert_eq!(origin.lag(&zone("c")), Lag::None, "all of it without any time passing");
    assert_eq!(targets[&zone("c")].held.len(), usize::try_from(KEYS).unwrap());
    assert_eq!((cost.asked, cost.shipped, cost.answered), (KEYS + 64, KEYS, 2 * KEYS));
    assert_eq!((origin.under_way(&zone("b")), origin.lag(&zone("b")).keys()), (64, 10_000));
}
