//! Strangers and floods at a zone's peer listener: refused with a line in the log, while front door and links go on.

use crate::{program, scratch_in_memory, venv};
use serde_json::json;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::server::{Process, wait_for};
use zonekms_tests::zones::{Site, ZonePlan, settled};

const ZONES: [&str; 2] = ["ch-gva-2", "ch-dk-2"];
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn who_is_not_a_known_zone_is_refused_and_logged() {
    let directory = scratch_in_memory();
    let sites = ZonePlan::new(program(), directory.path(), &ZONES).set_up();
    let [attacked, other] = [&sites[0], &sites[1]];
    let running: Vec<_> = sites.iter().map(Site::start).collect();
    let mut client = attacked.client();
    let key = attacked.create_replicated(&mut client, "orders", &[&other.zone]);
    settled(&mut client, &key);

    // Same zone name, another certificate: an identity that nobody lists.
    let stranger = directory.path().join("stranger");
    let arguments = ["zone-identity", "new", &stranger.display().to_string(), "--zone", &other.zone];
    let mut made = Process::start(program(), &arguments, &directory.path().join("stranger.log"));
    assert!(made.ends_within(LIMIT).is_some_and(|status| status.success()), "{}", made.log());
    let (known, hello) = (other.path("identity"), [other.zone.as_str(), attacked.zone.as_str()]);
    let as_someone_else = ["de-fra-1", attacked.zone.as_str()];

    for (attack, identity, names, ends, logged) in [
        ("garbage", None, None, "refused", "reason=\"TLS: "),
        ("no-certificate", None, None, "refused", "peer sent no certificates"),
        ("oversized", Some(&stranger), Some(hello), "refused", "is not one of those listed"),
        ("tls-1.2", Some(&known), Some(hello), "refused", "reason=\"TLS: "),
        // A stolen identity: it is let in as that zone, greeted, and can still not hurt.
        ("oversized", Some(&known), Some(hello), "hello", "a frame of 262145 bytes was announced"),
        ("oversized-hello", Some(&known), None, "hello", "a frame of 4294967295 bytes was announced"),
        ("nonsense", Some(&known), Some(hello), "hello", "a zone sent what cannot be taken"),
        ("nonsense", Some(&known), Some(as_someone_else), "hello", "says it is zone de-fra-1"),
    ] {
        let before = attacked.log().len();
        let mut script = venv(Sdk::V0_16_4).script("peer_attacks.py");
        script.args(["127.0.0.1", &attacked.peer_listener.port().to_string(), attack]);
        add_identity(&mut script, identity);
        script.args(names.into_iter().flatten());
        assert_eq!(run(&mut script, "python3").trim(), ends, "{attack} with {identity:?} as {names:?}");
        let refusal = wait_for(LIMIT, || {
            let log = attacked.log()[before..].to_owned();
            let line = log.lines().find(|line| line.contains("peer-refused") && line.contains("WARN"));
            line.map(str::to_owned)
        });
        let refusal = refusal.unwrap_or_else(|| panic!("{attack} with {identity:?} left no line in the log"));
        println!("{attack}: {ends}: {refusal}");
        assert!(refusal.contains(logged), "{attack}: {refusal}");
    }

    client.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
    settled(&mut client, &key);
    running.into_iter().for_each(zonekms_tests::server::Serve::stop);
}

fn add_identity(script: &mut Command, identity: Option<&PathBuf>) {
    if let Some(identity) = identity {
        script.arg(identity.join("certificate.pem")).arg(identity.join("certificate.key"));
    }
}

const FLOOD: usize = 300;

/// Connections that say nothing: the front door answers as before, replication goes on, a link that has to be made anew gets
/// in, and the log is not flooded.
#[test]
fn a_flood_keeps_nobody_out() {
    let directory = scratch_in_memory();
    let sites = ZonePlan::new(program(), directory.path(), &ZONES).set_up();
    let [attacked, other] = [&sites[0], &sites[1]];
    let attacked_runs = attacked.start();
    let other_runs = other.start();
    let mut client = attacked.client();
    let mut theirs = other.client();
    let key = other.create_replicated(&mut theirs, "orders", &[&attacked.zone]);
    settled(&mut theirs, &key);

    let began = Instant::now();
    let before = attacked.log().len();
    let mut flood: Vec<TcpStream> = (0..FLOOD)
        .map(|_| TcpStream::connect(attacked.peer_listener).expect("the listener takes connections"))
        .collect();
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let asked = Instant::now();
        client.post("/v2/kms-key", json!({ "name": format!("k{number}") })).ok();
        slowest = slowest.max(asked.elapsed());
    }
    theirs.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
    settled(&mut theirs, &key);
    // Not until the time of the silent is over, which is 10 seconds.
    assert!(slowest < Duration::from_secs(9), "the front door took {slowest:?}");

    // The other zone comes back in the middle of it.
    other_runs.stop();
    let more: Vec<TcpStream> = (0..FLOOD).filter_map(|_| TcpStream::connect(attacked.peer_listener).ok()).collect();
    let other_runs = other.start();
    let mut theirs = other.client();
    theirs.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
    settled(&mut theirs, &key);
    println!(
        "{FLOOD} and {} silent connections: front door at most {slowest:?}, at rest after {:?}",
        more.len(),
        began.elapsed()
    );

    // All of them are closed, the newest when their time to say something is over.
    for stream in &mut flood {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let ended = stream.read(&mut [0; 64]);
        assert!(
            !ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "a silent connection stays open: {ended:?}"
        );
    }
    let log = attacked.log()[before..].to_owned();
    let refusals = log.lines().filter(|line| line.contains("peer-refused")).count() as u64;
    // Twenty in each span of ten seconds at most, in however many this took, the first and the last in part.
    let most = 20 * (began.elapsed().as_secs() / 10 + 2);
    assert!((1..=most).contains(&refusals), "{refusals} lines about {FLOOD} and more connections:\n{log}");
    attacked_runs.stop();
    other_runs.stop();
}
