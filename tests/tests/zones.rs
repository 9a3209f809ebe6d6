//! Replication between zones: through the official client and under faults of the lab's network.

use crate::sdk::with_environment;
use crate::{program, scratch_in_memory, venv};
use serde_json::{Value, json};
use std::time::Duration;
use zonekms_tests::client::{Client, Connection, Request};
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::server::{Dev, Server, wait_for};
use zonekms_tests::zones::settled;

const ORIGIN: &str = "ch-gva-2";
const OTHER: &str = "ch-dk-2";
const THIRD: &str = "de-fra-1";
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn the_official_client_on_three_zones() {
    let descriptions = [venv(Sdk::V0_16_4).openapi(), venv(Sdk::V0_16_3).openapi()];
    let (_directory, server) = three_zones();
    let script = &mut venv(Sdk::V0_16_4).script("zones.py");
    println!("{}", run(with_environment(script.args(&descriptions), &server), "PyPI").trim());
    server.stop();
}

/// Promise 3: while a zone cannot be reached the watermark stays where that zone is, the failure is told, and afterwards it
/// catches up; the other zone never waits.
#[test]
fn a_cut_is_told_and_caught_up_with() {
    let (_directory, server) = three_zones();
    let mut origin = server.client_of(ORIGIN);
    let key = create_everywhere(&mut origin, "orders");
    for (from, to) in [(ORIGIN, OTHER), (OTHER, ORIGIN)] {
        fault(&server, &json!({ "from": from, "to": to, "cut": true }));
        assert_eq!(server.lab()["faults"], json!([{ "from": from, "to": to, "cut": true }]));
        let before = origin.get(&path(&key)).ok()["revision"]["seq"].clone();
        for _ in 0..2 {
            origin.post_empty(&format!("{}/rotate", path(&key))).ok();
        }
        let now = origin.get(&path(&key)).ok()["revision"]["seq"].clone();
        status_when(&mut origin, &key, THIRD, |status| status["last-applied-watermark"] == now);
        let told = status_when(&mut origin, &key, OTHER, |status| status.get("last-failure").is_some());
        if (from, to) == (ORIGIN, OTHER) {
            assert_eq!(told["last-applied-watermark"], before, "{told}");
        }
        let failure = &told["last-failure"];
        let (sent, seen) = (failure["attempted-watermark"].as_u64().unwrap(), now.as_u64().unwrap());
        assert!(before.as_u64().unwrap() < sent && sent <= seen, "{told}");
        assert!(failure["error"].as_str().is_some_and(|error| error.len() > 5), "{told}");
        assert!(failure["failed-at"].as_str().is_some_and(|at| at.ends_with('Z')), "{told}");

        // Whatever is asked meanwhile, the cut zone has no newer version, and a zone that is not cut has.
        let (ciphertext, version) = origin.encrypt(&key, b"sealed while the zone was away");
        server.client_of(THIRD).decrypt(&key, &ciphertext).ok();
        let replica = server.client_of(OTHER).get(&path(&key)).ok();
        assert!((from, to) != (ORIGIN, OTHER) || replica["material"]["version"].as_u64() < Some(version), "{replica}");

        lab(&server, "DELETE", b"");
        assert_eq!(server.lab()["faults"], json!([]));
        settled(&mut origin, &key);
        server.client_of(OTHER).decrypt(&key, &ciphertext).ok();
    }
    server.stop();
}

/// All that a network may do to single messages, in both directions at once, under changes at the origin: no order of
/// arrival takes a replica back, and all come to rest at the same state.
#[test]
fn lost_repeated_late_and_reordered_messages_converge() {
    let (_directory, server) = three_zones();
    let mut origin = server.client_of(ORIGIN);
    let keys: Vec<String> = (0..4).map(|number| create_everywhere(&mut origin, &format!("k{number}"))).collect();
    for other in [OTHER, THIRD] {
        for (from, to) in [(ORIGIN, other), (other, ORIGIN)] {
            let bad = json!({ "from": from, "to": to, "delay-ms": 10, "drop": 0.1, "duplicate": 0.3, "reorder": 0.3 });
            fault(&server, &bad);
        }
    }
    let mut versions = vec![[0_u64; 2]; keys.len()];
    for round in 0..10 {
        for (key, seen) in keys.iter().zip(&mut versions) {
            let change = ["rotate", "disable-key-rotation", "enable-key-rotation"][round % 3];
            origin.post_empty(&format!("{}/{change}", path(key))).ok();
            for (zone, seen) in [OTHER, THIRD].iter().zip(seen) {
                let now = server.client_of(zone).get(&path(key)).ok()["material"]["version"].as_u64().unwrap();
                assert!(now >= *seen, "{key} in {zone} went back from version {seen} to {now}");
                *seen = now;
            }
        }
    }
    lab(&server, "DELETE", b"");
    for key in &keys {
        let at_origin = settled(&mut origin, key);
        assert_eq!(at_origin["material"]["version"], 5);
        for zone in [OTHER, THIRD] {
            let replica = server.client_of(zone).get(&path(key)).ok();
            assert_eq!((&replica["material"], &replica["rotation"]), (&at_origin["material"], &at_origin["rotation"]));
        }
    }
    server.stop();
}

/// A deletion whose date comes while a zone is away: that zone refuses use by its own clock, and when the link is back its
/// copy ends too and does not return.
#[test]
fn a_deletion_reaches_a_zone_that_was_away() {
    let (_directory, server) = three_zones();
    let mut origin = server.client_of(ORIGIN);
    let mut away = server.client_of(OTHER);
    let key = create_everywhere(&mut origin, "orders");
    let ciphertext = origin.encrypt(&key, b"kept").0;
    origin.post(&format!("{}/schedule-deletion", path(&key)), json!({ "delay-days": 7 })).ok();
    settled(&mut origin, &key);
    fault(&server, &json!({ "from": ORIGIN, "to": OTHER, "cut": true }));
    server.advance("8d");
    for zone in [ORIGIN, THIRD] {
        let gone = wait_for(LIMIT, || (server.client_of(zone).get(&path(&key)).status == 404).then_some(()));
        assert!(gone.is_some(), "the key is still in {zone}");
    }
    assert_eq!(away.get(&path(&key)).title(), "Key Not Found");
    assert_eq!(away.decrypt(&key, &ciphertext).title(), "Key Not Found");
    assert_eq!(away.post(KEYS, json!({ "name": "orders" })).title(), "Name Conflict", "the copy holds its name");
    lab(&server, "DELETE", b"");
    let free = wait_for(LIMIT, || (away.post(KEYS, json!({ "name": "orders" })).status == 200).then_some(()));
    assert!(free.is_some(), "the tombstone did not reach the zone that was away");
    assert_eq!(away.get(&path(&key)).title(), "Key Not Found");
    server.stop();
}

const KEYS: &str = "/v2/kms-key";

fn three_zones() -> (tempfile::TempDir, Server) {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).zones(&[ORIGIN, OTHER, THIRD]).start();
    (directory, server)
}

fn path(key: &str) -> String {
    format!("{KEYS}/{key}")
}

fn create_everywhere(origin: &mut Client, name: &str) -> String {
    let created = origin.post(KEYS, json!({ "name": name, "multi-zone": true })).ok();
    let key = created["id"].as_str().unwrap().to_owned();
    for zone in [OTHER, THIRD] {
        origin.post(&format!("{}/replicate", path(&key)), json!({ "zone": zone })).ok();
    }
    settled(origin, &key);
    key
}

/// The status of the key's replica in `zone`, once it is so; no watermark passes the key's own revision meanwhile.
fn status_when(origin: &mut Client, key: &str, zone: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = wait_for(LIMIT, || {
        let seen = origin.get(&path(key)).ok();
        let replicas = seen["replicas-status"].as_array().unwrap();
        last = replicas.iter().find(|replica| replica["zone"] == zone).unwrap().clone();
        assert!(last["last-applied-watermark"].as_u64() <= seen["revision"]["seq"].as_u64(), "{seen}");
        so(&last).then_some(())
    });
    assert!(found.is_some(), "the replica in {zone} stays {last}");
    last
}

fn fault(server: &Server, fault: &Value) {
    lab(server, "POST", fault.to_string().as_bytes());
}

fn lab(server: &Server, method: &str, body: &[u8]) {
    let mut connection = Connection::open(server.environment.lab).unwrap();
    connection.call(&Request::new(method, "/lab/faults", body)).unwrap().ok();
}
