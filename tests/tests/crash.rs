//! Promise 1, for a killed process: a real server under concurrent changes, SIGKILL at a random instant, again and again.

use crate::{program, scratch};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::random::Choices;
use zonekms_tests::server::Dev;
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
    while kills < times && begin.elapsed() < limit {
        let directory = scratch();
        let dev = Dev::new(program(), directory.path());
        let ledgers: Vec<Mutex<Ledger>> =
            (0..WORKERS).map(|worker| Mutex::new(Ledger::new(&format!("w{worker}")))).collect();
        for _ in 0..KILLS_PER_DIRECTORY.min(times - kills) {
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
