//! How fast a zone that was away catches up, over real links and stores, and that a key costs the same however many there are.

use crate::{program, scratch_in_memory};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::client::Client;
use zonekms_tests::server::{Serve, wait_for};
use zonekms_tests::zones::{Site, ZonePlan, settled};

const ZONES: [&str; 3] = ["ch-gva-2", "ch-dk-2", "de-fra-1"];
/// A build without optimisation on a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(120);

/// What one partition cost.
struct CaughtUp {
    keys: usize,
    /// From the first key that is seen in a zone that was away until both have every key.
    took: Duration,
    /// The largest resident size of the origin meanwhile, in bytes.
    origin_memory: u64,
}

impl CaughtUp {
    fn per_key(&self) -> Duration {
        self.took / u32::try_from(self.keys).unwrap()
    }
}

/// In every run, for the sake of the test itself: a few keys, no bound on the time.
#[test]
fn zones_that_were_away_catch_up() {
    println!("{}", report(&catch_up(200)));
}

/// `cargo test --release -p zonekms-tests -- --ignored --nocapture cost_of_a_key`
#[test]
#[ignore = "makes thousands of keys, and its figures mean something only when nothing else runs"]
fn cost_of_a_key_does_not_grow_with_their_number() {
    let [few, many] = [1_000, 4_000].map(catch_up);
    for figures in [&few, &many] {
        println!("{}", report(figures));
    }
    let ratio = many.per_key().as_secs_f64() / few.per_key().as_secs_f64();
    println!("a key among {} costs {ratio:.2} times one among {}", many.keys, few.keys);
    assert!(ratio < 1.5, "the cost of a key grows with their number: {ratio:.2}");
}

/// `cargo test --release -p zonekms-tests -- --ignored --nocapture ten_thousand`
#[test]
#[ignore = "makes ten thousand keys"]
fn ten_thousand_keys_reach_two_zones_after_a_partition() {
    println!("{}", report(&catch_up(10_000)));
}

fn report(figures: &CaughtUp) -> String {
    let CaughtUp { keys, took, origin_memory } = figures;
    let rate = f64::from(u32::try_from(*keys).unwrap()) / took.as_secs_f64();
    let mut text = format!("{keys} keys in both zones {took:.2?} after the first: {rate:.0} keys/s to each target, ");
    write!(text, "{:.0?} per key, origin at most {} MiB", figures.per_key(), origin_memory >> 20).unwrap();
    text
}

/// Makes `count` keys while both other zones are down, starts these, and waits until they have all keys.
fn catch_up(count: usize) -> CaughtUp {
    let directory = scratch_in_memory();
    let limits = format!("keys-per-organisation = {}", count + 10);
    let sites = ZonePlan::new(program(), directory.path(), &ZONES).limits(&limits).set_up();
    let (origin, others) = sites.split_first().unwrap();
    let origin_runs = origin.start();
    let targets: Vec<&str> = others.iter().map(|site| site.zone.as_str()).collect();
    let made: Vec<String> = thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|maker| {
                let targets = &targets;
                scope.spawn(move || {
                    let mut client = origin.client();
                    let numbers = (maker..count).step_by(4);
                    numbers
                        .map(|number| origin.create_replicated(&mut client, &format!("k{number}"), targets))
                        .collect()
                })
            })
            .collect();
        makers.into_iter().flat_map(|maker: thread::ScopedJoinHandle<'_, Vec<String>>| maker.join().unwrap()).collect()
    });
    assert_eq!(made.len(), count);
    let mut client = origin.client();
    let seen = client.get(&format!("/v2/kms-key/{}", made[0])).ok();
    for replica in seen["replicas-status"].as_array().unwrap() {
        assert_eq!(replica["last-applied-watermark"], json!(0), "a zone that is down has applied nothing: {seen}");
    }

    let others_run: Vec<Serve> = others.iter().map(Site::start).collect();
    let mut theirs: Vec<Client> = others.iter().map(Site::client).collect();
    let (mut began, mut origin_memory, mut counts) = (None, 0, Vec::new());
    let all = wait_for(LIMIT, || {
        thread::sleep(Duration::from_millis(50));
        origin_memory = origin_memory.max(resident(&origin_runs));
        counts = theirs.iter_mut().map(key_count).collect();
        // How long the links take to come up depends on their back-off and not on the number of keys.
        if began.is_none() && counts.iter().any(|had| *had > 0) {
            began = Some(Instant::now());
        }
        counts.iter().all(|had| *had == count).then_some(())
    });
    assert!(all.is_some(), "the zones have {counts:?} keys of {count}");
    let took = began.expect("some key was seen first").elapsed();
    for key in &made {
        settled(&mut client, key);
    }
    others_run.into_iter().for_each(Serve::stop);
    origin_runs.stop();
    CaughtUp { keys: count, took, origin_memory }
}

/// How many keys a zone has, without a JSON reader that would compete with the zones for the processor.
fn key_count(client: &mut Client) -> usize {
    let answer = client.get("/v2/kms-key");
    answer.text().matches("\"origin-zone\"").count()
}

/// The process's resident size in bytes; 0 where the system does not tell.
fn resident(server: &Serve) -> u64 {
    let pid = server.process.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}
