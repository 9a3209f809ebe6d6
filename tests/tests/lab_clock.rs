//! What time does to keys, on the lab clock: rotation after 365 days, deletion exactly when due, and both after the
//! server was down over the date.

use crate::{program, scratch_in_memory};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::client::Client;
use zonekms_tests::server::{Dev, Server, wait_for};

#[test]
fn a_key_rotates_by_itself_after_365_days() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let key = client.create("k");
    let (old, version) = client.encrypt(&key, b"before");
    assert_eq!(version, 1);
    let created = get(&mut client, &key);

    server.advance("364d");
    assert_eq!(get(&mut client, &key), created, "nothing happens a day too early");
    server.advance("23h");
    assert_eq!(get(&mut client, &key), created, "nothing happens an hour too early");
    server.advance("1h");
    let rotated = get(&mut client, &key);
    assert_eq!(rotated["material"]["version"], 2);
    assert_eq!(rotated["material"]["automatic"], true);
    assert_eq!(rotated["rotation"]["manual-count"], 0, "it was not asked for");
    let next = date_of(&rotated["rotation"]["next-at"]) - date_of(&created["rotation"]["next-at"]);
    assert_eq!(next, 365, "the next one is due 365 days after this one was");

    let rotations = client.get(&format!("/v2/kms-key/{key}/list-key-rotations")).ok();
    assert_eq!(rotations["rotations"].as_array().unwrap().len(), 1);
    assert_eq!(rotations["rotations"][0]["version"], 2);
    assert_eq!(rotations["rotations"][0]["automatic"], true);
    assert_opens(&mut client, &key, &old, b"before", 1);
    let (new, version) = client.encrypt(&key, b"after");
    assert_eq!(version, 2, "new ciphertexts carry the new version");
    assert_opens(&mut client, &key, &new, b"after", 2);
    server.stop();
}

#[test]
fn a_period_of_its_own_and_none_at_all() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let (short, off) = (client.create("short"), client.create("off"));
    for key in [&short, &off] {
        client.post_empty(&format!("/v2/kms-key/{key}/disable-key-rotation")).ok();
    }
    client.post(&format!("/v2/kms-key/{short}/enable-key-rotation"), json!({ "rotation-period": 90 })).ok();
    server.advance("89d");
    assert_eq!(get(&mut client, &short)["material"]["version"], 1);
    server.advance("1d");
    assert_eq!(get(&mut client, &short)["material"]["version"], 2);
    server.advance("90d");
    assert_eq!(get(&mut client, &short)["material"]["version"], 3);
    server.advance("365d");
    assert_eq!(get(&mut client, &off)["material"]["version"], 1, "rotation is off");
    server.stop();
}

#[test]
fn several_missed_periods_give_one_rotation() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let key = client.create("k");
    let created = get(&mut client, &key);
    client.post_empty(&format!("/v2/kms-key/{key}/disable")).ok();
    server.advance("1200d");
    assert_eq!(get(&mut client, &key)["material"]["version"], 1, "a disabled key waits");
    client.post_empty(&format!("/v2/kms-key/{key}/enable")).ok();
    server.advance("1s");
    let rotated = get(&mut client, &key);
    assert_eq!(rotated["material"]["version"], 2, "one rotation for three missed ones");
    let days = date_of(&rotated["rotation"]["next-at"]) - date_of(&created["rotation"]["next-at"]);
    assert_eq!(days, 3 * 365, "the next date keeps to the old ones and lies ahead");
    server.stop();
}

#[test]
fn a_key_is_deleted_exactly_when_due() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let (key, saved) = (client.create("k"), client.create("saved"));
    let (ciphertext, _) = client.encrypt(&saved, b"kept");
    let schedule = |client: &mut Client, key: &str| {
        let answer = client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
        comparable(answer["delete-at"].as_str().unwrap())
    };
    let due = schedule(&mut client, &key);
    let due_of_saved = schedule(&mut client, &saved);

    server.advance("6d");
    server.advance("23h");
    server.advance("59m");
    let seen = get(&mut client, &key);
    assert_eq!(comparable(seen["delete-at"].as_str().unwrap()), due, "a minute early it is there");
    // To within a few seconds of the date, by whole seconds, never over it.
    let left = seconds_until(&server, &due);
    assert!((9..=60).contains(&left), "{left} seconds are left");
    server.advance(&format!("{}s", left - 8));

    // From here on the clock runs by itself. Each look at the key lies between two looks at the clock.
    let end = Instant::now() + Duration::from_secs(60);
    let mut looks = 0;
    loop {
        assert!(Instant::now() < end, "the key is still there");
        let before = now(&server);
        let status = client.get(&format!("/v2/kms-key/{key}")).status;
        let after = now(&server);
        looks += 1;
        if status == 200 {
            assert!(before < due, "at {before} the key was there, due at {due}");
        } else {
            assert_eq!(status, 404);
            assert!(after >= due, "at {after} the key was gone, due only at {due}");
            break;
        }
    }
    println!("{looks} looks around the second of deletion");
    assert!(looks > 20, "the key was watched closely");
    assert!(due_of_saved > due, "the second key is due a moment later");
    let names: Vec<Value> = client.get("/v2/kms-key").ok()["kms-keys"].as_array().unwrap().clone();
    assert!(names.iter().all(|entry| entry["name"] != "k"), "the list has forgotten it");
    // A name is free once the deletion is stored, which is a moment after the key is gone.
    let mut free = |name: &str| {
        let made = wait_for(Duration::from_secs(60), || {
            let answer = client.post("/v2/kms-key", json!({ "name": name }));
            (answer.status == 200).then(|| answer.json()["id"].as_str().unwrap().to_owned())
        });
        made.unwrap_or_else(|| panic!("the name {name} is not free"))
    };
    free("k");
    // The second key is gone, too, by now: its ciphertext does not come back with a new key of that name.
    let again = free("saved");
    assert_eq!(client.decrypt(&saved, &ciphertext).status, 404);
    assert_eq!(client.decrypt(&again, &ciphertext).title(), "Bad Request");
    server.stop();
}

#[test]
fn a_cancelled_deletion_never_happens() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let key = client.create("k");
    let (ciphertext, _) = client.encrypt(&key, b"kept");
    client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    server.advance("6d");
    server.advance("86300s");
    client.post_empty(&format!("/v2/kms-key/{key}/cancel-deletion")).ok();
    let cancelled = get(&mut client, &key);
    assert_eq!(cancelled["status"], "disabled");
    assert!(cancelled.get("delete-at").is_none());
    server.advance("60d");
    assert_eq!(get(&mut client, &key), cancelled, "nothing is due any more");
    client.post_empty(&format!("/v2/kms-key/{key}/enable")).ok();
    assert_opens(&mut client, &key, &ciphertext, b"kept", 1);
    server.stop();
}

#[test]
fn a_later_date_replaces_the_earlier_one() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let key = client.create("k");
    client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 30 })).ok();
    server.advance("29d");
    assert_eq!(get(&mut client, &key)["status"], "pending-deletion");
    server.advance("1d");
    assert_eq!(client.get(&format!("/v2/kms-key/{key}")).status, 404);
    server.stop();
}

/// The dates pass while no server runs, seen from a server that starts later: the other server's clock goes on with the
/// same data. The lab's offset survives the restart, so only due work that fell into the gap is caught up with.
#[test]
fn due_work_is_done_after_the_server_was_down_over_the_date() {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let mut client = server.client();
    let (rotating, dying, saved) = (client.create("rotating"), client.create("dying"), client.create("saved"));
    let (ciphertext, _) = client.encrypt(&rotating, b"before");
    server.advance("364d");
    server.advance("86385s");
    for key in [&dying, &saved] {
        client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    }
    let shift = |server: &Server| server.lab()["offset-seconds"].as_i64().unwrap();
    let offset = shift(&server);
    assert_eq!(offset, 365 * 86400 - 15);
    let version = get(&mut client, &rotating)["material"]["version"].clone();
    assert_eq!(version, 1, "not due yet");
    let due = get(&mut client, &rotating)["rotation"]["next-at"].as_str().map(comparable).unwrap();
    server.stop();

    // Down over the date of the rotation: at most 15 seconds of real time are left until it.
    thread::sleep(Duration::from_secs(16));
    let server = dev.start();
    let mut client = server.client();
    assert_eq!(shift(&server), offset, "the lab's clock survives a restart");
    assert!(now(&server) > due);
    let rotated = get(&mut client, &rotating);
    assert_eq!(rotated["material"]["version"], 2, "the rotation was caught up with");
    assert_eq!(rotated["material"]["automatic"], true);
    assert_opens(&mut client, &rotating, &ciphertext, b"before", 1);
    assert_eq!(get(&mut client, &dying)["status"], "pending-deletion", "its date has not come");

    client.post_empty(&format!("/v2/kms-key/{saved}/cancel-deletion")).ok();
    let due = get(&mut client, &dying)["delete-at"].as_str().map(comparable).unwrap();
    let left = seconds_until(&server, &due);
    server.advance(&format!("{}s", left - 10));
    assert_eq!(get(&mut client, &dying)["status"], "pending-deletion", "seconds early it is there");
    server.kill();

    // Down over the date of the deletion.
    thread::sleep(Duration::from_secs(11));
    let server = dev.start();
    let mut client = server.client();
    assert!(now(&server) > due);
    assert_eq!(client.get(&format!("/v2/kms-key/{dying}")).status, 404, "the deletion was caught up with");
    assert_eq!(get(&mut client, &saved)["status"], "disabled", "the cancelled one is there");
    assert_eq!(get(&mut client, &rotating)["material"]["version"], 2, "nothing happened twice");
    server.stop();
}

#[test]
fn the_clock_of_every_zone_moves_and_only_forward() {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]);
    let server = dev.start();
    let mut there = server.client_of("ch-dk-2");
    let key = there.create("k");
    let moved = server.advance("400d");
    assert_eq!(moved["offset-seconds"], 400 * 86400);
    assert_eq!(get(&mut there, &key)["material"]["version"], 2);
    for wrong in ["-1d", "0", "", "1", "1y", "1.5d", "1d ", "d", "99999999999999999999d"] {
        let body = json!({ "advance": wrong }).to_string();
        let request = zonekms_tests::client::Request::new("POST", "/lab/clock", body.as_bytes());
        let answer = zonekms_tests::client::Connection::open(server.environment.lab).unwrap().call(&request).unwrap();
        assert_eq!(answer.status, 400, "advance {wrong:?} gives {}", answer.text());
    }
    assert_eq!(server.lab()["offset-seconds"], 400 * 86400, "a refused move moves nothing");
    for (step, seconds) in [("1h", 3600), ("1m", 60), ("1s", 1)] {
        let before = server.lab()["offset-seconds"].as_i64().unwrap();
        assert_eq!(server.advance(step)["offset-seconds"], before + seconds);
    }
    server.stop();
}

fn get(client: &mut Client, key: &str) -> Value {
    client.get(&format!("/v2/kms-key/{key}")).ok()
}

fn assert_opens(client: &mut Client, key: &str, ciphertext: &str, plaintext: &[u8], version: u64) {
    let answer = client.decrypt(key, ciphertext);
    let opened = zonekms_tests::client::unbase64(answer.ok()["plaintext"].as_str().unwrap());
    assert_eq!((opened.as_slice(), answer.key_version()), (plaintext, version));
}

/// The lab's time; RFC 3339 in UTC with nine digits compares as text.
fn now(server: &Server) -> String {
    let now = server.lab()["now"].as_str().unwrap().to_owned();
    comparable(&now)
}

/// Nine fractional digits, so that texts compare as times.
fn comparable(moment: &str) -> String {
    let text = moment.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

fn seconds_until(server: &Server, moment: &str) -> i64 {
    seconds_of(moment) - seconds_of(&now(server))
}

/// Whole seconds since 1970 of an RFC 3339 time in UTC.
fn seconds_of(moment: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| moment[range].parse::<i64>().unwrap();
    date_of(&json!(moment)) * 86400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)
}

/// Days since 1970 of the date in an RFC 3339 time (Howard Hinnant's `days_from_civil`).
fn date_of(moment: &Value) -> i64 {
    let text = moment.as_str().unwrap();
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[test]
fn seconds_of_known_times() {
    assert_eq!(seconds_of("1970-01-02T00:00:01.5Z"), 86401);
    assert_eq!(seconds_of("2026-11-21T21:23:38Z"), 1_795_296_218);
    assert!(comparable("2026-01-01T00:00:00Z") < comparable("2026-01-01T00:00:00.000000001Z"));
}
