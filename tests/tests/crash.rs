//! Promise 1, for a killed process: a real server under concurrent changes, SIGKILL at a random instant, again and again.

use crate::{program, scratch};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::client::{Connection, Request};
use zonekms_tests::random::Choices;
use zonekms_tests::server::{Dev, wait_for};
use zonekms_tests::stop_flag::StopFlag;

const WORKERS: u64 = 6;
/// After so many kills the next ones begin with an empty directory.
const KILLS_PER_DIRECTORY: u64 = 10;

#[test]
fn nothing_answered_is_lost_when_the_server_is_killed() {
    kill(8, Duration::from_secs(60));
}

/// `cargo test -p zonekms-tests -- --ignored --nocapture killed_a_hundred_times`
#[test]
#[ignore = "a hundred kills take minutes"]
fn nothing_answered_is_lost_when_the_server_is_killed_a_hundred_times() {
    kill(100, Duration::MAX);
}

fn kill(times: u64, limit: Duration) {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let begin = Instant::now();
    let (mut kills, mut answers, mut opened, mut open_changes) = (0, 0, 0, 0);
    // At least so many kills as there is time for, and on until one hit a change on its way.
    while (kills < times && begin.elapsed() < limit) || (open_changes == 0 && kills < 50) {
        let directory = scratch();
        let dev = Dev::new(program(), directory.path());
        let ledgers: Vec<Mutex<Ledger>> =
            (0..WORKERS).map(|worker| Mutex::new(Ledger::new(&format!("w{worker}")))).collect();
        for _ in 0..KILLS_PER_DIRECTORY.min(times.saturating_sub(kills).max(1)) {
            let mut moments = Choices::new(seed, kills);
            let mut server = dev.start();
            let stop = StopFlag::default();
            thread::scope(|scope| {
                let _at_end = stop.raise_at_end();
                for (worker, ledger) in (0..).zip(&ledgers) {
                    let choices = Choices::new(seed, 1000 + kills * WORKERS + worker);
                    let (client, stop) = (server.client(), &stop);
                    scope.spawn(move || work(client, ledger, choices, stop, &|| {}));
                }
                thread::sleep(Duration::from_micros(2_000 + moments.below(300_000)));
                server.process.kill();
            });
            kills += 1;

            let server = dev.start();
            for ledger in &ledgers {
                let mut ledger = ledger.lock().unwrap();
                open_changes += ledger.open_changes();
                opened += ledger.verify(&mut server.client());
            }
            // Half of the starts follow a kill without any change, the other half an orderly stop.
            if moments.below(2) == 0 { server.kill() } else { server.stop() }
        }
        answers += ledgers.iter().map(|ledger| ledger.lock().unwrap().answers).sum::<u64>();
    }
    println!(
        "{kills} kills: {answers} answered changes all there, {open_changes} unanswered ones whole or absent, \
         {opened} ciphertexts opened, {:?}",
        begin.elapsed()
    );
    assert!(kills > 0 && answers > kills, "the kills hit a server that was at work");
    assert!(open_changes > 0, "no kill ever hit a change on its way");
}

const DUE_KEYS: usize = 120;

/// L11, D10: the server is killed while rotations and deletions that are due are being carried out. Afterwards each has
/// happened exactly once, and no ciphertext is lost.
#[test]
fn due_work_is_done_once_whenever_the_server_is_killed() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let mut outcomes = BTreeMap::new();
    // At least six kills, and on until one hit the work itself.
    for trial in 0..40 {
        if trial >= 6 && outcomes.contains_key("at work") {
            break;
        }
        let directory = scratch();
        let dev = Dev::new(program(), directory.path());
        let server = dev.start();
        let mut client = server.client();
        let keys: Vec<(String, String)> = (0..DUE_KEYS)
            .map(|number| {
                let key = client.create(&format!("k{number}"));
                let ciphertext = client.encrypt(&key, b"kept").0;
                (key, ciphertext)
            })
            .collect();
        server.advance("360d");
        let (dying, rotating) = keys.split_at(DUE_KEYS / 2);
        for (key, _) in dying {
            client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
        }
        let pid = server.process.pid();
        let wait = Duration::from_micros(Choices::new(seed, trial).below(25_000));
        let answered = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(wait);
                kill_process(pid, Signal::KILL).unwrap();
            });
            let body = json!({ "advance": "8d" }).to_string();
            let request = Request::new("POST", "/lab/clock", body.as_bytes());
            Connection::open(server.environment.lab).and_then(|mut lab| lab.call(&request)).is_ok()
        });
        server.kill();

        let server = dev.start();
        let moved = server.lab()["offset-seconds"].as_u64().unwrap();
        let left = 368 * 86_400 - moved;
        if left > 0 {
            server.advance(&format!("{left}s"));
        }
        let mut client = server.client();
        for (key, _) in dying {
            assert_eq!(client.get(&format!("/v2/kms-key/{key}")).status, 404, "deleted");
        }
        for (key, ciphertext) in rotating {
            let seen = client.get(&format!("/v2/kms-key/{key}")).ok();
            assert_eq!(
                (&seen["material"]["version"], &seen["revision"]["seq"]),
                (&2.into(), &2.into()),
                "rotated once"
            );
            client.decrypt(key, ciphertext).ok();
            assert_eq!(client.encrypt(key, b"new").1, 2);
        }
        assert_eq!(client.get("/v2/kms-key").ok()["kms-keys"].as_array().unwrap().len(), rotating.len());
        // The names of the deleted are free again, and only theirs.
        let free = wait_for(Duration::from_secs(60), || {
            (client.post("/v2/kms-key", json!({ "name": "k0" })).status == 200).then_some(())
        });
        assert!(free.is_some(), "the name of a deleted key is free");
        assert_eq!(client.post("/v2/kms-key", json!({ "name": format!("k{}", DUE_KEYS - 1) })).status, 409);
        let moment = match (left > 0, answered) {
            (true, _) => "before the clock was moved",
            (false, false) => "at work",
            (false, true) => "after it",
        };
        *outcomes.entry(moment).or_insert(0) += 1;
        server.stop();
    }
    println!("due work of {DUE_KEYS} keys, killed: {outcomes:?}");
    assert!(outcomes.contains_key("at work"), "no kill ever hit the work");
}
