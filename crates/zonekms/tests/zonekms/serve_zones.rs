//! Zones as processes of their own: `zonekms serve` with peers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api::Zone as Api;
use crate::program::{Server, address, run, text, zonekms};
use crate::relay::Relay;

const API_KEY: (&str, &str) = ("EXO0123456789abcdef01234567", "kmsTestSecret_0123456789abcdefghijklmnopq");

/// A zone with everything in a directory of its own, reached by others through a relay.
struct Zone {
    name: &'static str,
    directory: tempfile::TempDir,
    door: Relay,
}

/// A zone that runs.
struct Running {
    server: Server,
    api: Api,
}

impl Zone {
    fn new(name: &'static str) -> Self {
        let zone = Self { name, directory: tempfile::tempdir().unwrap(), door: Relay::open() };
        let made = run(&["root-key", "new", zone.path("root.key").to_str().unwrap()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        zone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn make_identity(&self, directory: &str) {
        let made = run(&["zone-identity", "new", self.path(directory).to_str().unwrap(), "--zone", self.name]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    /// What others are told: the certificates of some identities, and the HPKE key of one.
    fn as_peer(&self, certificates: &[&str], hpke_key: &str) -> String {
        let block = |directory: &str| -> toml::Table {
            fs::read_to_string(self.path(directory).join("peer.toml")).unwrap().parse().unwrap()
        };
        let pem = |directory: &&str| block(directory)["peer"][0]["certificates"][0].as_str().unwrap().to_owned();
        let certificates: Vec<String> = certificates.iter().map(pem).collect();
        let hpke_key = block(hpke_key)["peer"][0]["hpke-public-key"].as_str().unwrap().to_owned();
        let (zone, address) = (self.name, self.door.address);
        // The spelling of Rust's texts is that of TOML's as far as these go.
        format!(
            "[[peer]]\nzone = \"{zone}\"\naddress = \"{address}\"\ncertificates = {certificates:?}\nhpke-public-key = \
             {hpke_key:?}\n"
        )
    }

    /// Starts it with these lines about itself and its peers.
    fn start(&self, identity: &str, peers: &str) -> Running {
        let (name, (id, secret)) = (self.name, API_KEY);
        let zones = ["a", "b"].map(|zone| format!("{{ name = \"{zone}\", api-endpoint = \"http://{zone}/v2\" }}"));
        let config = format!(
            "zone = \"{name}\"\nzones = [{}]\nlisten.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\n\
             root-key.file = \"root.key\"\nlog.format = \"json\"\n[[organisation]]\nname = \"example\"\n\
             [[organisation.api-key]]\nid = \"{id}\"\nsecret = \"{secret}\"\n[peers]\nlisten = \"127.0.0.1:0\"\n\
             [identity]\n{identity}\n{peers}",
            zones.join(", ")
        );
        let file = self.path("zonekms.toml");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut server = Server::start(&mut zonekms(&["serve", "--config", file.to_str().unwrap()]));
        self.door.lead_to(address(&server.wait_for("peer listener open")));
        let address = address(&server.wait_for("serving"));
        Running { server, api: Api { address, id: id.to_owned(), secret: secret.to_owned() } }
    }
}

impl Running {
    fn stop(mut self) {
        self.server.signal(Signal::TERM);
        let (status, log) = self.server.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

const OLD: &str = "directory = \"old\"";
const BOTH: &str = "directory = \"new\"\nprevious-directory = \"old\"";

#[test]
fn an_identity_is_replaced_while_keys_go_on_being_replicated() {
    let (a, b) = (Zone::new("a"), Zone::new("b"));
    for (zone, identity) in [(&a, "old"), (&b, "old"), (&b, "new")] {
        zone.make_identity(identity);
    }
    let of_a = a.as_peer(&["old"], "old");
    let mut a_runs = a.start(OLD, &b.as_peer(&["old"], "old"));
    let b_runs = b.start(OLD, &of_a);
    let key = a_runs.api.create_multi_zone("orders");
    a_runs.api.on(&key, "replicate", &json!({"zone": "b"}));
    a_runs.api.wait_until_replicated(&key, "b");
    let from_b = b_runs.api.create_multi_zone("invoices");
    b_runs.api.on(&from_b, "replicate", &json!({"zone": "a"}));
    b_runs.api.wait_until_replicated(&from_b, "a");
    let changed = |a: &Running, b: &Running| {
        for (origin, key, target) in [(a, &key, "b"), (b, &from_b, "a")] {
            origin.api.on(key, "rotate", &Value::Null);
            origin.api.wait_until_replicated(key, target);
        }
    };
    changed(&a_runs, &b_runs);

    // First round: a knows both certificates of b. A change made while it was away reaches it too.
    a_runs.stop();
    b_runs.api.on(&from_b, "rotate", &Value::Null);
    a_runs = a.start(OLD, &b.as_peer(&["old", "new"], "old"));
    changed(&a_runs, &b_runs);

    // Second round: b shows the new certificate, and opens what is sealed to either key.
    b_runs.stop();
    a_runs.api.on(&key, "rotate", &Value::Null);
    let b_runs = b.start(BOTH, &of_a);
    changed(&a_runs, &b_runs);

    // Third round: a forgets the old identity, then so does b.
    a_runs.stop();
    a_runs = a.start(OLD, &b.as_peer(&["new"], "new"));
    changed(&a_runs, &b_runs);
    b_runs.stop();
    let b_runs = b.start("directory = \"new\"", &of_a);
    changed(&a_runs, &b_runs);
    let sealed = a_runs.api.on(&key, "encrypt", &json!({"plaintext": "b25l"}))["ciphertext"].clone();
    assert_eq!(b_runs.api.on(&key, "decrypt", &json!({"ciphertext": sealed}))["plaintext"], "b25l");

    // Who comes with the old identity is nobody.
    b_runs.stop();
    let stranger = b.start(OLD, &of_a);
    let refused = a_runs.server.wait_for_member("event", "peer-refused");
    assert_eq!(refused["level"], "WARN", "{refused}");
    a_runs.api.on(&key, "rotate", &Value::Null);
    let behind = a_runs.api.wait_for_replica(&key, "b", |_, status| status.get("last-failure").is_some());
    assert_ne!(behind["last-applied-watermark"], a_runs.api.get(&key).unwrap()["revision"]["seq"], "{behind}");
    stranger.stop();
    a_runs.stop();
    let log = a.path("state/audit");
    let told = |operation: &str| -> Vec<Value> {
        let tail = run(&["audit", "tail", log.to_str().unwrap(), "--all", "--operation", operation]);
        text(&tail.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let applied = told("apply-replica");
    let is_from_b = |entry: &Value| entry["peer"] == "b" && entry["key"] == from_b.as_str() && entry["result"] == "ok";
    assert!(applied.len() >= 6 && applied.iter().all(is_from_b), "{applied:?}");
    let strangers = told("peer-connection");
    assert!(!strangers.is_empty() && strangers.iter().all(|entry| entry["result"] == "refused"), "{strangers:?}");
    assert!(told("recover-commits").is_empty(), "every change of a run that ended well has its entry");
    let passed = [a.door.seen(), b.door.seen()].concat();
    for name in ["orders", "invoices", &key, &from_b] {
        assert!(!passed.windows(name.len()).any(|window| window == name.as_bytes()), "{name} passed in clear");
    }
    assert!(passed.len() > 10_000, "{} bytes passed the relays", passed.len());
}
