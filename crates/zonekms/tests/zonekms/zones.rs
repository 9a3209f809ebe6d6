//! Three zones of a lab, which replicate over their real links.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::api::Zone;
use crate::dev::{env_file, lab, stop};
use crate::program::{Server, http, zonekms};

const GENEVA: &str = "ch-gva-2";
const ZURICH: &str = "ch-dk-2";
const FRANKFURT: &str = "de-fra-1";

struct Lab {
    server: Server,
    lab: SocketAddr,
    zones: BTreeMap<String, Zone>,
}

impl Lab {
    fn start(directory: &Path) -> Self {
        let mut command = zonekms(&["dev", "--listen", "127.0.0.1:0", "--data-dir", directory.to_str().unwrap()]);
        let server = Server::start(&mut command);
        let env = env_file(directory);
        let lab = lab(&env);
        let shown = shown(lab);
        let zone = |(name, endpoint): (&String, &Value)| {
            let address = endpoint.as_str().unwrap().strip_prefix("http://").unwrap().strip_suffix("/v2").unwrap();
            let (id, secret) = (env["EXOSCALE_API_KEY"].clone(), env["EXOSCALE_API_SECRET"].clone());
            (name.clone(), Zone { address: address.parse().unwrap(), id, secret })
        };
        let zones = shown["zones"].as_object().unwrap().iter().map(zone).collect();
        Self { server, lab, zones }
    }

    fn zone(&self, name: &str) -> &Zone {
        &self.zones[name]
    }

    fn fault(&self, fault: &Value) {
        let (status, answer) = http(self.lab, "POST", "/lab/faults", &fault.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    fn clear_faults(&self) {
        assert_eq!(http(self.lab, "DELETE", "/lab/faults", ""), (200, r#"{"faults":[]}"#.to_owned()));
    }

    /// A multi-zone key of the first zone, replicated to the others.
    fn replicated_key(&self, name: &str) -> String {
        let geneva = self.zone(GENEVA);
        let id = geneva.create_multi_zone(name);
        for target in [ZURICH, FRANKFURT] {
            geneva.on(&id, "replicate", &json!({"zone": target}));
        }
        self.wait_for_all(&id);
        id
    }

    /// Waits until both watermarks are the key's revision, and no failure is shown.
    fn wait_for_all(&self, key: &str) {
        for target in [ZURICH, FRANKFURT] {
            self.zone(GENEVA).wait_until_replicated(key, target);
        }
    }
}

/// What `GET /lab` shows.
fn shown(lab: SocketAddr) -> Value {
    let (status, shown) = http(lab, "GET", "/lab", "");
    assert_eq!(status, 200, "{shown}");
    serde_json::from_str(&shown).unwrap()
}

/// How many of Geneva's keys `target` has not confirmed, as `GET /metrics` shows.
fn keys_behind(lab: SocketAddr, target: &str) -> String {
    let (status, figures) = http(lab, "GET", "/metrics", "");
    assert_eq!(status, 200, "{figures}");
    let gauge = format!("zonekms_replication_keys_behind{{zone=\"{GENEVA}\",target=\"{target}\"}} ");
    figures.lines().find_map(|line| line.strip_prefix(&gauge)).unwrap_or_else(|| panic!("{figures}")).to_owned()
}

/// "plaintext" in base64.
const PLAINTEXT: &str = "cGxhaW50ZXh0";

#[test]
fn a_key_reaches_all_zones_and_a_cut_link_catches_up() {
    let scratch = tempfile::tempdir().unwrap();
    let lab = Lab::start(scratch.path());
    let [geneva, zurich, frankfurt] = [GENEVA, ZURICH, FRANKFURT].map(|zone| lab.zone(zone));
    let id = lab.replicated_key("orders");
    let before = geneva.on(&id, "encrypt", &json!({"plaintext": PLAINTEXT}))["ciphertext"].clone();
    for replica in [zurich, frankfurt] {
        assert_eq!(replica.on(&id, "decrypt", &json!({"ciphertext": before}))["plaintext"], PLAINTEXT);
        assert_eq!(replica.get(&id).unwrap()["origin-zone"], GENEVA);
    }

    // One direction of one link: the other zone goes on.
    lab.fault(&json!({"from": GENEVA, "to": FRANKFURT, "cut": true}));
    assert_eq!(shown(lab.lab)["faults"], json!([{"from": GENEVA, "to": FRANKFURT, "cut": true}]));
    let earlier = geneva.get(&id).unwrap()["revision"]["seq"].clone();
    geneva.on(&id, "rotate", &Value::Null);
    geneva.wait_for_replica(&id, ZURICH, |revision, status| status["last-applied-watermark"] == *revision);
    let behind = geneva.wait_for_replica(&id, FRANKFURT, |_, status| status.get("last-failure").is_some());
    assert_eq!(behind["last-applied-watermark"], earlier, "{behind}");
    let failure = &behind["last-failure"];
    assert_eq!(failure["attempted-watermark"], geneva.get(&id).unwrap()["revision"]["seq"], "{behind}");
    assert!(failure["error"].as_str().is_some_and(|error| !error.is_empty()), "{behind}");
    assert!(failure["failed-at"].as_str().is_some(), "{behind}");
    let after = geneva.on(&id, "encrypt", &json!({"plaintext": PLAINTEXT}))["ciphertext"].clone();
    let (status, _) =
        frankfurt.call("POST", &format!("/kms-key/{id}/decrypt"), &json!({"ciphertext": after}).to_string());
    assert_eq!(status, 400, "a version that the cut kept away");
    assert_eq!(zurich.on(&id, "decrypt", &json!({"ciphertext": after}))["plaintext"], PLAINTEXT);

    assert_eq!(keys_behind(lab.lab, FRANKFURT), "1");
    assert_eq!(keys_behind(lab.lab, ZURICH), "0");

    lab.clear_faults();
    lab.wait_for_all(&id);
    assert_eq!(keys_behind(lab.lab, FRANKFURT), "0");
    for ciphertext in [&before, &after] {
        assert_eq!(frankfurt.on(&id, "decrypt", &json!({"ciphertext": ciphertext}))["plaintext"], PLAINTEXT);
    }
    stop(lab.server);

    // After a restart the origin asks again what the others have.
    std::fs::remove_file(scratch.path().join("dev.env")).unwrap();
    let lab = Lab::start(scratch.path());
    lab.wait_for_all(&id);
    assert_eq!(
        lab.zone(FRANKFURT).on(&id, "decrypt", &json!({"ciphertext": after}))["plaintext"],
        PLAINTEXT,
        "the replica was durable"
    );
    stop(lab.server);
}

#[test]
fn a_bad_link_changes_nothing_but_the_time_it_takes() {
    let scratch = tempfile::tempdir().unwrap();
    let lab = Lab::start(scratch.path());
    for (from, to) in [(GENEVA, ZURICH), (ZURICH, GENEVA), (GENEVA, FRANKFURT), (FRANKFURT, GENEVA)] {
        lab.fault(&json!({"from": from, "to": to, "delay-ms": 5, "duplicate": 0.3, "reorder": 0.3}));
    }
    let id = lab.replicated_key("orders");
    for _ in 0..5 {
        lab.zone(GENEVA).on(&id, "rotate", &Value::Null);
    }
    lab.clear_faults();
    lab.wait_for_all(&id);
    let versions =
        [GENEVA, ZURICH, FRANKFURT].map(|zone| lab.zone(zone).get(&id).unwrap()["material"]["version"].clone());
    assert_eq!(versions, [json!(6), json!(6), json!(6)]);
    stop(lab.server);
}

#[test]
fn a_call_fault_fires_exactly_as_often_as_it_was_told() {
    let scratch = tempfile::tempdir().unwrap();
    let lab = Lab::start(scratch.path());
    let geneva = lab.zone(GENEVA);
    let id = geneva.call("POST", "/kms-key", r#"{"name":"k"}"#).1["id"].as_str().unwrap().to_owned();
    lab.fault(&json!({"key": id, "operation": "encrypt", "status": 503, "times": 3, "zone": GENEVA}));
    lab.fault(&json!({"key": id, "operation": "encrypt", "status": 418, "times": 3, "zone": ZURICH}));
    let encrypt =
        || geneva.call("POST", &format!("/kms-key/{id}/encrypt"), &json!({"plaintext": PLAINTEXT}).to_string());
    let (status, problem) = encrypt();
    assert_eq!((status, &problem["title"]), (503, &json!("Injected Fault")));
    let listed = shown(lab.lab)["faults"][0].clone();
    assert_eq!(listed, json!({"key": id, "operation": "encrypt", "status": 503, "times": 2, "zone": GENEVA}));
    assert_eq!([encrypt().0, encrypt().0, encrypt().0, encrypt().0], [503, 503, 200, 200]);
    assert_eq!(shown(lab.lab)["faults"].as_array().unwrap().len(), 1, "the other zone's");
    lab.clear_faults();

    for (fault, field) in [
        (json!({"from": GENEVA, "to": "x", "cut": true}), "to"),
        (json!({"from": GENEVA, "to": ZURICH, "drop": 1.5}), "drop"),
        (json!({"key": id, "operation": "explode", "status": 503}), "operation"),
        (json!({"key": id, "operation": "encrypt", "status": 200}), "status"),
    ] {
        let (status, refusal) = http(lab.lab, "POST", "/lab/faults", &fault.to_string());
        let refusal: Value = serde_json::from_str(&refusal).unwrap();
        assert_eq!((status, &refusal["field"]), (400, &json!(field)), "{refusal}");
    }
    assert_eq!(shown(lab.lab)["faults"], json!([]));
    stop(lab.server);
}
