//! Promise 2 and the counting rules under real concurrency.

use crate::{program, scratch_in_memory};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::client::{Client, Connection, Request};
use zonekms_tests::configuration::{Configuration, credential};
use zonekms_tests::server::Dev;
use zonekms_tests::stop_flag::StopFlag;

/// L3: no encrypt that is sent after a disable was answered succeeds.
#[test]
fn disable_against_encrypt_for_10_000_rounds() {
    race("disable", &["enable"], 10_000, "Key is Disabled");
}

/// L4: nor one that is sent after schedule-deletion was answered.
#[test]
fn schedule_deletion_against_encrypt_for_1_000_rounds() {
    race("schedule-deletion", &["cancel-deletion", "enable"], 1_000, "Key is Pending Deletion");
}

const RACING_KEYS: u64 = 4;

/// What the encrypting callers of all keys saw.
#[derive(Debug, Default)]
struct Tally {
    /// Encrypts that were refused, by phase: before the stop was answered, and after.
    refused: [AtomicU64; 2],
    /// Encrypts that were served while the key could be used.
    served: AtomicU64,
    /// Encrypts sent after the stop that were served, but whose answer came only after the restart was asked for.
    undecided: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// Each of four keys has one caller that stops and restarts its use, and two that encrypt all the time.
fn race(stop: &str, restart: &[&str], rounds: u64, refusal: &str) {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let begin = Instant::now();
    let tally = Tally::default();
    thread::scope(|scope| {
        for key in 0..RACING_KEYS {
            let (mut client, tally) = (server.client(), &tally);
            let id = client.create(&format!("k{key}"));
            scope.spawn(move || race_on_one_key(&client, &id, (stop, restart), rounds / RACING_KEYS, refusal, tally));
        }
    });
    println!("{rounds} rounds of {stop} against encrypt in {:?}: {tally:?}", begin.elapsed());
    assert!(tally.wrong.lock().unwrap().is_empty());
    assert!(tally.refused[1].load(Ordering::Relaxed) >= 2 * rounds, "both callers were refused in every round");
    server.stop();
}

/// `phase` is odd from the moment the stop was answered until the restart is about to be asked for.
fn race_on_one_key(
    client: &Client,
    id: &str,
    (stop, restart): (&str, &[&str]),
    rounds: u64,
    refusal: &str,
    tally: &Tally,
) {
    let path = format!("/v2/kms-key/{id}");
    let phase = AtomicU64::new(0);
    // The last phase in which each caller was refused.
    let refused_in = [AtomicU64::new(0), AtomicU64::new(0)];
    let done = StopFlag::default();
    let encrypt = |mut client: Client, refused_in: &AtomicU64| {
        while !done.is_raised() {
            let sent_in = phase.load(Ordering::SeqCst);
            let answer = client.post(&format!("{path}/encrypt"), json!({ "plaintext": "YQ==" }));
            let settled = phase.load(Ordering::SeqCst) == sent_in;
            let stopped = sent_in % 2 == 1;
            let counter = match (answer.title().as_str(), stopped) {
                ("success", true) if settled => {
                    let mut wrong = tally.wrong.lock().unwrap();
                    return wrong.push(format!("{id} was used after {stop} was answered"));
                }
                ("success", true) => &tally.undecided,
                ("success", false) => &tally.served,
                (title, true) if title == refusal || !settled => {
                    refused_in.store(sent_in, Ordering::SeqCst);
                    &tally.refused[1]
                }
                // Between the steps of a restart a key is disabled, whatever stopped it.
                ("Key is Disabled", false) => &tally.refused[0],
                (title, false) if title == refusal => &tally.refused[0],
                (title, _) => {
                    return tally.wrong.lock().unwrap().push(format!("{title} in phase {sent_in}"));
                }
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let tell = |operation: &str, client: &mut Client| {
        let answer = client.post_empty(&format!("{path}/{operation}"));
        if answer.status != 200 {
            tally.wrong.lock().unwrap().push(format!("{operation} gives {}", answer.text()));
        }
    };
    thread::scope(|scope| {
        let _at_end = done.raise_at_end();
        for refused_in in &refused_in {
            let (client, encrypt) = (client.another(), &encrypt);
            scope.spawn(move || encrypt(client, refused_in));
        }
        let mut client = client.another();
        for odd in (0..rounds).map(|round| 2 * round + 1) {
            tell(stop, &mut client);
            phase.store(odd, Ordering::SeqCst);
            // A round counts only when both callers were refused in it.
            let refused = || refused_in.iter().all(|refused| refused.load(Ordering::SeqCst) == odd);
            let limit = Instant::now() + Duration::from_secs(120);
            while !refused() && tally.wrong.lock().unwrap().is_empty() {
                thread::sleep(Duration::from_micros(50));
                assert!(Instant::now() < limit, "a caller no longer encrypts");
            }
            if !tally.wrong.lock().unwrap().is_empty() {
                break;
            }
            phase.store(odd + 1, Ordering::SeqCst);
            for operation in restart {
                tell(operation, &mut client);
            }
        }
    });
}

/// L6: of a hundred rotations at once exactly ten are made, each with a version of its own.
#[test]
fn a_hundred_parallel_rotations_make_ten_versions() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let key = client.create("k");
    let (ciphertext, _) = client.encrypt(&key, b"first");
    let path = format!("/v2/kms-key/{key}/rotate");
    let answers = at_once(100, &client, |client, _| client.post_empty(&path).title());
    assert_eq!(answers, BTreeMap::from([("success".into(), 10), ("Manual Rotation Limit".into(), 90)]));

    let seen = client.get(&format!("/v2/kms-key/{key}")).ok();
    assert_eq!((&seen["material"]["version"], &seen["rotation"]["manual-count"]), (&json!(11), &json!(10)));
    assert_eq!(seen["revision"]["seq"], 11);
    let rotations = client.get(&format!("/v2/kms-key/{key}/list-key-rotations")).ok();
    let versions: Vec<&Value> = rotations["rotations"].as_array().unwrap().iter().map(|r| &r["version"]).collect();
    assert_eq!(versions, (2..=11).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    client.decrypt(&key, &ciphertext).ok();
    server.stop();
}

/// L5: every ciphertext that was made while the key rotated opens, under the version that its answer named.
#[test]
fn rotate_against_encrypt() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let key = client.create("k");
    let done = StopFlag::default();
    let made = thread::scope(|scope| {
        let at_end = done.raise_at_end();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (mut client, key, done) = (client.another(), &key, &done);
                scope.spawn(move || {
                    let mut made = Vec::new();
                    while !done.is_raised() {
                        made.push(client.encrypt(key, b"while it rotates"));
                    }
                    made
                })
            })
            .collect();
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(20));
            client.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
        }
        drop(at_end);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    for of_one_caller in &made {
        let versions: Vec<u64> = of_one_caller.iter().map(|(_, version)| *version).collect();
        assert!(versions.is_sorted(), "a caller never sees an older version again");
    }
    let made = made.concat();
    for (ciphertext, version) in made.iter().step_by(7) {
        assert_eq!(client.decrypt(&key, ciphertext).key_version(), *version);
    }
    println!("{} ciphertexts made during ten rotations", made.len());
    assert_eq!(client.encrypt(&key, b"at last").1, 11);
    server.stop();
}

/// L13: with one key left of the quota, a hundred creates at once make exactly one.
#[test]
fn a_hundred_parallel_creates_at_the_quota_make_one() {
    let directory = scratch_in_memory();
    let owner = credential("owner");
    let configuration = Configuration::new(program(), directory.path())
        .limits("keys-per-organisation = 20")
        .organisation("red", &[(&owner, &[])]);
    let server = configuration.serve();
    let mut client = configuration.client(&owner);
    for number in 0..19 {
        client.create(&format!("k{number}"));
    }
    let answers = at_once(100, &client, |client, number| {
        client.post("/v2/kms-key", json!({ "name": format!("late {number}") })).title()
    });
    assert_eq!(answers, BTreeMap::from([("success".into(), 1), ("Key Quota Exceeded".into(), 99)]));
    let detail = "the organisation has 20 keys in this zone, the most it may have";
    assert_eq!(client.post("/v2/kms-key", json!({ "name": "later" })).json()["detail"], detail);
    assert_eq!(client.get("/v2/kms-key").ok()["kms-keys"].as_array().unwrap().len(), 20);
    server.stop();
}

/// A name is given once, however many ask for it at once.
#[test]
fn a_hundred_parallel_creates_of_one_name_make_one() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let answers = at_once(100, &client, |client, _| client.post("/v2/kms-key", json!({ "name": "one" })).title());
    assert_eq!(answers, BTreeMap::from([("success".into(), 1), ("Name Conflict".into(), 99)]));
    assert_eq!(client.get("/v2/kms-key").ok()["kms-keys"].as_array().unwrap().len(), 1);
    server.stop();
}

/// L4: schedule and cancel at once: the answers and the state that follows fit one order of the two.
#[test]
fn schedule_against_cancel() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let key = client.create("k");
    let path = format!("/v2/kms-key/{key}");
    let mut outcomes = BTreeMap::new();
    for _ in 0..150 {
        let before = client.get(&path).ok();
        let operations = ["schedule-deletion", "cancel-deletion"];
        let titles = pair_at_once(&client, |client, number| {
            client.post_empty(&format!("{path}/{}", operations[number])).title()
        });
        let after = client.get(&path).ok();
        let was_pending = before["status"] == "pending-deletion";
        let order = match (titles.each_ref().map(String::as_str), after["status"].as_str().unwrap()) {
            (["success", "success"], "pending-deletion") if was_pending => "cancel, schedule",
            (["success", "success"], "disabled") => "schedule, cancel",
            (["success", "Not Pending Deletion"], "pending-deletion") if !was_pending => "cancel refused, schedule",
            other => panic!("{other:?} fits no order, from {before} to {after}"),
        };
        let changes = after["revision"]["seq"].as_u64().unwrap() - before["revision"]["seq"].as_u64().unwrap();
        assert_eq!(changes, if order == "cancel refused, schedule" { 1 } else { 2 });
        *outcomes.entry(order).or_insert(0) += 1;
    }
    println!("schedule against cancel: {outcomes:?}");
    server.stop();
}

/// L7: cancel at the second when the deletion is due: the key is cancelled and whole, or it is gone.
#[test]
fn cancel_at_the_due_second() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let keys: Vec<(String, String)> = (0..60)
        .map(|number| {
            let key = client.create(&format!("k{number}"));
            let ciphertext = client.encrypt(&key, b"kept").0;
            (key, ciphertext)
        })
        .collect();
    for (key, _) in &keys {
        client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    }
    server.advance("6d");
    server.advance("86200s");
    let mut outcomes = BTreeMap::new();
    // The clock moves on when a third is cancelled, and the last third waits until it has: only the second third races.
    let (a_third, moved) = (&Barrier::new(2), &Barrier::new(2));
    thread::scope(|scope| {
        let mut canceller = client.another();
        let keys = &keys;
        let cancelling = scope.spawn(move || {
            let mut titles = Vec::new();
            for (number, (key, _)) in keys.iter().enumerate() {
                match number {
                    20 => drop(a_third.wait()),
                    40 => drop(moved.wait()),
                    _ => {}
                }
                titles.push(canceller.post_empty(&format!("/v2/kms-key/{key}/cancel-deletion")).title());
            }
            titles
        });
        a_third.wait();
        server.advance("200s");
        moved.wait();
        let titles = cancelling.join().unwrap();
        for ((key, ciphertext), title) in keys.iter().zip(titles) {
            match title.as_str() {
                "success" => {
                    client.post_empty(&format!("/v2/kms-key/{key}/enable")).ok();
                    client.decrypt(key, ciphertext).ok();
                }
                "Key Not Found" => assert_eq!(client.decrypt(key, ciphertext).status, 404),
                other => panic!("cancel at the due second gives {other}"),
            }
            *outcomes.entry(title).or_insert(0) += 1;
        }
    });
    println!("cancel at the due second: {outcomes:?}");
    assert_eq!(outcomes.len(), 2, "the due second was hit: {outcomes:?}");
    server.stop();
}

/// A caller that leaves before the answer leaves nothing half done and holds nobody up.
#[test]
fn callers_that_leave() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let key = client.create("k");
    let path = format!("/v2/kms-key/{key}");
    let (mut made, mut last) = (0, 1);
    for round in 0..300 {
        let leaving = Request::new("POST", &format!("{path}/disable"), b"").signed(client.credential());
        let mut connection = Connection::open(client.address()).unwrap();
        connection.send(&leaving.bytes()).unwrap();
        if round % 3 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
        drop(connection);
        client.post_empty(&format!("{path}/enable")).ok();
        let seen = client.get(&path).ok();
        let revision = seen["revision"]["seq"].as_u64().unwrap();
        assert!(revision >= last, "revisions go on");
        assert_eq!(seen["status-since"], seen["revision"]["at"], "a change is whole: {seen}");
        made += u64::from(revision > last);
        last = revision;
    }
    println!("300 callers left, the changes of {made} were seen");
    assert!(made > 0, "some of the changes were made");
    client.post_empty(&format!("{path}/enable")).ok();
    client.encrypt(&key, b"x");
    server.stop();
}

/// Sends `count` requests at once, each on a connection of its own; gives how often each outcome was seen.
fn at_once(count: usize, client: &Client, ask: impl Fn(&mut Client, usize) -> String + Sync) -> BTreeMap<String, u64> {
    let barrier = Barrier::new(count);
    let mut outcomes = BTreeMap::new();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..count)
            .map(|number| {
                let (mut client, barrier, ask) = (client.another(), &barrier, &ask);
                scope.spawn(move || {
                    client.get("/v2/zone").ok();
                    barrier.wait();
                    ask(&mut client, number)
                })
            })
            .collect();
        for caller in callers {
            *outcomes.entry(caller.join().unwrap()).or_insert(0) += 1;
        }
    });
    outcomes
}

/// Two requests at once; their outcomes in order.
fn pair_at_once(client: &Client, ask: impl Fn(&mut Client, usize) -> String + Sync) -> [String; 2] {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        [0, 1]
            .map(|number| {
                let (mut client, barrier, ask) = (client.another(), &barrier, &ask);
                scope.spawn(move || {
                    client.get("/v2/zone").ok();
                    barrier.wait();
                    ask(&mut client, number)
                })
            })
            .map(|caller| caller.join().unwrap())
    })
}
