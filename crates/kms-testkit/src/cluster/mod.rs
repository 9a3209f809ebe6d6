//! A cluster of three zones under faults, simulated: the real state machines of kms-replication over model disks, a model
//! network and model clocks.
//!
//! A seed decides everything: what users do, which messages are lost, repeated, delayed and overtaken, which directions are
//! cut, which writes fail or fail and are written all the same, when zones crash and start and what the crash leaves on the
//! disk, how clocks run and jump, what rogue zones claim. After every step all invariants are checked; at the end the faults
//! stop and every replica must equal its origin.

mod coverage;
mod dice;
mod disk;
mod envelope;
mod invariants;
mod network;
mod rest;
mod shell;
mod steps;
mod users;
mod zone;

pub use coverage::Coverage;

use dice::Dice;
use disk::Disk;
use invariants::{Broken, History};
use kms_types::{Timestamp, ZoneName};
use network::Network;
use shell::{Cluster, Faults};
use std::fmt;
use std::time::Duration;
use zone::Zone;

/// A run in which a rule was broken. Displayed, it is the seed, the rule and the event log.
#[derive(Debug)]
pub struct BrokenRun {
    seed: u64,
    steps: usize,
    rule: String,
    log: Vec<String>,
}

/// Runs the cluster of that seed for that many steps and then to rest. The same seed is the same run.
///
/// # Errors
/// [`BrokenRun`] at the first step after which an invariant does not hold.
pub fn run(seed: u64, steps: usize) -> Result<Coverage, BrokenRun> {
    let mut cluster = new_cluster(seed);
    match live(&mut cluster, steps) {
        Ok(()) => Ok(cluster.coverage),
        Err(Broken(rule)) => Err(BrokenRun { seed, steps, rule, log: cluster.log }),
    }
}

fn live(cluster: &mut Cluster, steps: usize) -> Result<(), Broken> {
    for _ in 0..steps {
        cluster.step()?;
        invariants::check(cluster)?;
        cluster.coverage.count("step");
    }
    cluster.come_to_rest()
}

fn new_cluster(seed: u64) -> Cluster {
    let mut dice = Dice::of_seed(seed);
    let names =
        ["zone-0", "zone-1", "zone-2"].map(|name| name.parse::<ZoneName>().expect("it keeps the rules of names"));
    let zones = names.into_iter().map(|name| Zone {
        name,
        disk: Disk::default(),
        clock_rate: 900 + u32::try_from(dice.below(200)).unwrap_or(100),
        wall_at_start: Timestamp::EPOCH.plus_days(20_000 + u32::try_from(dice.below(1_000)).unwrap_or(0)),
        process: None,
    });
    let zones: Vec<_> = zones.collect();
    let mut cluster = Cluster {
        dice,
        now: Duration::ZERO,
        zones,
        network: Network::default(),
        faults: Faults::On,
        keys: Vec::new(),
        history: History::default(),
        log: Vec::new(),
        coverage: Coverage::default(),
    };
    for at in 0..cluster.zones.len() {
        cluster.start(at);
    }
    cluster
}

impl fmt::Display for BrokenRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "broken: {}", self.rule)?;
        write!(f, "seed {} over {} steps; replay it with ZONEKMS_SIM_SEED={}", self.seed, self.steps, self.seed)
    }
}
