//! Whole clusters under faults.

use kms_testkit::cluster::{self, Coverage};
use std::ops::Range;

const STEPS: usize = 300;

/// What must happen, or the runs prove nothing.
const EVENTS: [&str; 44] = [
    "connected",
    "deleted key forgotten",
    "disconnected",
    "failure: claimed ahead",
    "failure: not sent",
    "failure: refused",
    "failure: timed out",
    "forged answer",
    "forged revival",
    "forged state",
    "links healed",
    "message delivered late",
    "message held up",
    "message into a cut",
    "message lost",
    "message overtakes others",
    "message repeated",
    "message repeated long after",
    "message to a stopped zone",
    "one direction cut",
    "sent: applied",
    "sent: ask",
    "sent: have",
    "sent: refused, busy",
    "sent: refused, deleted",
    "sent: refused, failed",
    "sent: refused, malformed",
    "sent: refused, name taken",
    "sent: refused, not origin",
    "sent: refused, quota reached",
    "sent: state",
    "shipped before announced",
    "user changes a key",
    "user creates a key",
    "user creates a key whose id exists elsewhere",
    "user deletes a key",
    "user registers a target",
    "wall clock jumps",
    "write failed",
    "write failed but is on the disk",
    "write lost a compare-and-swap",
    "write lost in a crash",
    "write survives a crash unanswered",
    "zone crashes",
];

fn run_all(seeds: Range<u64>) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds {
        match cluster::run(seed, STEPS) {
            Ok(run) => coverage.add(&run),
            Err(broken) => panic!("{broken}"),
        }
    }
    coverage
}

/// `ZONEKMS_SIM_SEED=n cargo test -p kms-replication clusters_keep_every_rule` replays the run of one seed.
#[test]
fn clusters_keep_every_rule() {
    if let Ok(seed) = std::env::var("ZONEKMS_SIM_SEED") {
        let seed = seed.parse().unwrap();
        run_all(seed..seed + 1);
        return;
    }
    let coverage = run_all(0..300);
    for event in EVENTS {
        assert!(coverage.of(event) >= 5, "only {} times: {event}\n{coverage}", coverage.of(event));
    }
}

#[test]
#[ignore = "takes a minute: cargo test -p kms-replication -- --ignored --nocapture ten_thousand_clusters"]
fn ten_thousand_clusters_keep_every_rule() {
    let coverage = run_all(0..10_000);
    println!("{coverage}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(cluster::run(7, STEPS).unwrap(), cluster::run(7, STEPS).unwrap());
    assert_ne!(cluster::run(7, STEPS).unwrap(), cluster::run(8, STEPS).unwrap());
}
