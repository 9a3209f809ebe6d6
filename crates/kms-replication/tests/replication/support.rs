//! Short words for the values of the protocol.

use kms_replication::{
    Answer, Content, FaultText, Jitter, Moment, Origin, OriginAction, OriginEffects, Payload, Request, Uptime, Window,
};
use kms_types::{KeyId, Revision, Timestamp, Watermark, ZoneName};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) fn zone(name: &str) -> ZoneName {
    name.parse().unwrap()
}

pub(crate) fn zones(names: &[&str]) -> BTreeSet<ZoneName> {
    names.iter().map(|name| zone(name)).collect()
}

pub(crate) fn key(number: u32) -> KeyId {
    KeyId::from_time_and_random(u64::from(number), &[7; 10])
}

pub(crate) fn revision(number: u64) -> Revision {
    Revision::new(number).unwrap()
}

pub(crate) fn window(keys: usize) -> Window {
    Window::new(keys).unwrap()
}

pub(crate) fn text(text: &str) -> FaultText {
    FaultText::cleaned(text)
}

pub(crate) fn payload(bytes: &[u8]) -> Payload {
    Payload::new(bytes.to_vec()).unwrap()
}

/// So many milliseconds after the start; the wall clock showed zero then.
pub(crate) fn at(millis: u64) -> Moment {
    let elapsed = Duration::from_millis(millis);
    Moment {
        uptime: Uptime::from_start(elapsed),
        wall: Timestamp::EPOCH.plus(elapsed),
        jitter: Jitter::from_random(millis),
    }
}

pub(crate) fn have(number: u32, applied: u64) -> Answer {
    Answer::Have { key: key(number), applied: Revision::new(applied).map_or(Watermark::NONE, Watermark::at) }
}

pub(crate) fn applied(number: u32, at: u64) -> Answer {
    Answer::Applied { key: key(number), revision: revision(at) }
}

pub(crate) fn ask(target: &str, number: u32, at: u64) -> OriginAction {
    let request = Request::Ask { key: key(number), revision: revision(at) };
    OriginAction::Send { target: zone(target), request }
}

pub(crate) fn ship(target: &str, number: u32, at: u64) -> OriginAction {
    OriginAction::Ship { target: zone(target), key: key(number), revision: revision(at) }
}

pub(crate) fn actions(effects: OriginEffects) -> Vec<OriginAction> {
    effects.into_iter().collect()
}

/// An origin with a connection to `b` since the start.
pub(crate) fn connected(keys_under_way: usize) -> Origin {
    let mut origin = Origin::new(window(keys_under_way));
    assert_eq!(actions(origin.link_up(&zone("b"), at(0))), []);
    origin
}

/// `key` of that number is at that revision and belongs in `b`.
pub(crate) fn change(origin: &mut Origin, number: u32, to: u64, now: Moment) -> Vec<OriginAction> {
    actions(origin.key_changed(key(number), revision(to), Content::Key, &zones(&["b"]), now))
}

/// `b` says this.
pub(crate) fn hear(origin: &mut Origin, answer: &Answer, now: Moment) -> Vec<OriginAction> {
    actions(origin.received(&zone("b"), answer, now))
}
