//! Promise 1, for zones: three `serve` processes on stores of their own, linked over TLS, each killed in turn while all of
//! them are at work.

use crate::{program, scratch};
use serde_json::json;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::random::Choices;
use zonekms_tests::server::Serve;
use zonekms_tests::stop_flag::StopFlag;
use zonekms_tests::zones::{Site, ZonePlan, settled};

const ZONES: [&str; 3] = ["ch-gva-2", "ch-dk-2", "de-fra-1"];
/// Keys of each zone; all are replicated to both others.
const KEYS: usize = 7;

#[test]
fn nothing_answered_is_lost_when_zones_are_killed() {
    kill_each_in_turn(2);
}

/// `cargo test -p zonekms-tests -- --ignored --nocapture killed_in_turn`
#[test]
#[ignore = "ten rounds take minutes"]
fn nothing_answered_is_lost_when_zones_are_killed_in_turn_ten_times() {
    kill_each_in_turn(10);
}

fn kill_each_in_turn(rounds: u64) {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let begin = Instant::now();
    let directory = scratch();
    let sites = ZonePlan::new(program(), directory.path(), &ZONES).set_up();
    let mut running: Vec<Serve> = sites.iter().map(Site::start).collect();
    let mut ledgers: Vec<Mutex<Ledger>> = sites.iter().map(|site| Mutex::new(keys_of(site))).collect();
    let (mut kills, mut open_changes, mut opened) = (0, 0, 0);
    for round in 0..rounds {
        for victim in 0..ZONES.len() {
            let mut moments = Choices::new(seed, 100 * round + victim as u64);
            let stop = StopFlag::default();
            let restarted = thread::scope(|scope| {
                let _at_end = stop.raise_at_end();
                for (worker, (site, ledger)) in (0_u64..).zip(sites.iter().zip(&ledgers)) {
                    let choices = Choices::new(seed, 1_000 * (round + 1) + 10 * worker + victim as u64);
                    let (client, stop) = (site.client(), &stop);
                    scope.spawn(move || work(client, ledger, choices, stop, &|| {}));
                }
                thread::sleep(Duration::from_micros(20_000 + moments.below(300_000)));
                running[victim].process.kill();
                // The others go on without it, and it is back while they are at work.
                thread::sleep(Duration::from_micros(moments.below(200_000)));
                let restarted = sites[victim].start();
                thread::sleep(Duration::from_micros(moments.below(200_000)));
                restarted
            });
            running[victim] = restarted;
            kills += 1;
            for (number, (site, ledger)) in sites.iter().zip(&mut ledgers).enumerate() {
                let ledger = ledger.get_mut().unwrap();
                let open = ledger.open_changes();
                assert!(number == victim || open == 0, "{} was not killed and left {open} changes open", site.zone);
                open_changes += open;
                ledger.verify(&mut site.client());
            }
        }
        for (origin, ledger) in sites.iter().zip(&mut ledgers) {
            let ledger = ledger.get_mut().unwrap();
            for key in ledger.ids() {
                settled(&mut origin.client(), &key);
            }
            for replica in sites.iter().filter(|site| site.zone != origin.zone) {
                opened += ledger.verify_replica(&mut origin.client(), &mut replica.client());
            }
        }
    }
    let answers: u64 = ledgers.iter_mut().map(|ledger| ledger.get_mut().unwrap().answers).sum();
    println!(
        "{kills} kills: {answers} answered changes of {} keys all there, {open_changes} unanswered ones whole or absent, \
         {opened} ciphertexts opened in other zones, every watermark at its key's revision, {:?}",
        KEYS * ZONES.len(),
        begin.elapsed()
    );
    assert!(answers > 20 * kills && opened > 0, "the kills hit zones that were at work");
    running.into_iter().for_each(Serve::stop);
}

/// New keys of this zone, with copies in the others.
fn keys_of(site: &Site) -> Ledger {
    let mut client = site.client();
    let others: Vec<&str> = ZONES.into_iter().filter(|zone| *zone != site.zone).collect();
    let keys: Vec<String> = (0..KEYS)
        .map(|number| site.create_replicated(&mut client, &format!("{}-{number}", site.zone), &others))
        .collect();
    let bodies: Vec<_> = keys.iter().map(|key| settled(&mut client, key)).collect();
    for body in &bodies {
        assert_eq!(body["replicas"].as_array().map(Vec::len), Some(2), "{body}");
        assert_eq!(body["revision"]["seq"], json!(3), "created, and registered for two zones: {body}");
    }
    Ledger::of_keys(&site.zone, &bodies)
}
