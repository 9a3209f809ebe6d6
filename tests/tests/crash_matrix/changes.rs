//! Keys made and changed by several workers when the server dies.

use super::{CHANGE_POINTS, PATIENCE, was_killed};
use crate::{program, scratch};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::crash_at;
use zonekms_tests::random::Choices;
use zonekms_tests::server::Dev;
use zonekms_tests::stop_flag::StopFlag;

const WORKERS: u64 = 3;

#[test]
fn crash_matrix_of_changes() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    for point in CHANGE_POINTS {
        let died = killed_in_turn(seed, Some(point), 2);
        assert_eq!(died, 2, "{point} was not come to");
    }
}

/// Kills a server at work `times` times, at `point` or at any instant, on one directory. Gives how often it died there.
pub(super) fn killed_in_turn(seed: u64, point: Option<&str>, times: u64) -> u64 {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let ledgers: Vec<Mutex<Ledger>> =
        (0..WORKERS).map(|worker| Mutex::new(Ledger::new(&format!("w{worker}")))).collect();
    let mut died = 0;
    for kill in 0..times {
        let mut choices = Choices::new(seed, kill);
        // Each worker makes at most a dozen keys, and changes them for ever.
        let passes = match point {
            Some(point) if point.starts_with("create") => choices.below(5),
            Some(_) | None => choices.below(30),
        };
        let armed = point.map(|point| dev.clone().crash_at(crash_at::at(point, passes)));
        match armed.as_ref().unwrap_or(&dev).try_start() {
            Ok(mut server) => {
                let stop = StopFlag::default();
                thread::scope(|scope| {
                    let _at_end = stop.raise_at_end();
                    for (worker, ledger) in (0..).zip(&ledgers) {
                        let choices = Choices::new(seed, 1_000 + kill * WORKERS + worker);
                        let (client, stop) = (server.client(), &stop);
                        scope.spawn(move || work(client, ledger, choices, stop, &|| {}));
                    }
                    if point.is_none() {
                        thread::sleep(Duration::from_micros(2_000 + choices.below(200_000)));
                        server.process.kill();
                    }
                    let status = server.process.ends_within(PATIENCE);
                    died += u64::from(status.is_some_and(was_killed));
                });
            }
            Err(mut process) => died += u64::from(process.ends_within(PATIENCE).is_some_and(was_killed)),
        }
        let server = dev.start();
        for ledger in &ledgers {
            ledger.lock().unwrap().verify(&mut server.client());
        }
        server.stop();
    }
    died
}
