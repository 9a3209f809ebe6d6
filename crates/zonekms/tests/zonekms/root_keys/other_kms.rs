//! A ZoneKMS whose root key is encrypted by another ZoneKMS.

use std::fs;

use kms_testkit::ReservedPort;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api;
use crate::program::{Server, address};

use super::zone::{Zone, is_ready, operations, stop};

/// The service that guards the other's root key, always on the same port.
struct Guardian {
    zone: Zone,
    port: ReservedPort,
}

const API_KEY: &str = "EXO0123456789abcdef01234567";
const API_SECRET: &str = "kmsTestSecret_0123456789abcdefghijklmnopq";

impl Guardian {
    fn new() -> Self {
        let zone = Zone::new("[root-key]\nfile = \"root.key\"");
        zone.make_root_key("root.key");
        let guardian = Self { zone, port: ReservedPort::reserve() };
        guardian.listen("");
        guardian
    }

    /// On its port, with these lines more in the configuration.
    fn listen(&self, more: &str) {
        self.zone.configure("[root-key]\nfile = \"root.key\"");
        let config = fs::read_to_string(self.zone.path("zonekms.toml")).unwrap();
        let listen = format!("listen.address = \"{}\"", self.port.address());
        let config = config.replacen("listen.address = \"127.0.0.1:0\"", &listen, 1) + more;
        self.zone.write("zonekms.toml", &config);
    }

    fn start(&self) -> (Server, api::Zone) {
        let mut server = Server::start(&mut self.zone.command(&["serve"]));
        let address = address(&server.wait_for("serving"));
        (server, api::Zone { address, id: API_KEY.to_owned(), secret: API_SECRET.to_owned() })
    }

    fn section(&self, scheme: &str, key: &str) -> String {
        let address = self.port.address();
        format!(
            "[root-key.kms]\nendpoint = \"{scheme}://{address}/v2\"\nkey = \"{key}\"\napi-key = \"{API_KEY}\"\n\
             api-secret-file = \"api-secret\"\n"
        )
    }
}

fn create_key(api: &api::Zone) -> String {
    let (status, key) = api.call("POST", "/kms-key", &json!({"name": "root keys"}).to_string());
    assert_eq!(status, 200, "{key}");
    key["id"].as_str().unwrap().to_owned()
}

#[test]
fn one_kms_unseals_another() {
    let guardian = Guardian::new();
    let (mut guarding, api) = guardian.start();
    let key = create_key(&api);
    let zone = Zone::new(&guardian.section("http", &key));
    zone.write("api-secret", API_SECRET);
    stop(zone.start());
    let server = zone.start();
    assert!(zone.status().contains("provider     other KMS\n"), "{}", zone.status());
    zone.run(&["root-key", "rotate"]);
    assert!(zone.status().contains("generation   2\n"), "{}", zone.status());
    stop(server);

    // The other KMS is down: the server waits, says for what, and starts once it is there.
    guarding.signal(Signal::TERM);
    assert_eq!(guarding.end().0.code(), Some(0));
    let before = zone.state();
    let mut waiting = Server::start(&mut zone.command(&["serve"]));
    let operations = operations(&mut waiting);
    let told = waiting.wait_for("waiting for the root key; no key is served until it is there");
    let fault = told["fault"].as_str().unwrap();
    let expected = format!("the other KMS at http://{}/v2 cannot be reached: ", guardian.port.address());
    assert!(fault.starts_with(&expected), "{fault}");
    assert!(!is_ready(operations));
    let (guarding, api) = guardian.start();
    waiting.wait_for("serving");
    assert!(is_ready(operations));
    stop(waiting);
    // A server that waits can be stopped in good order.
    stop(guarding);
    let mut waiting = Server::start(&mut zone.command(&["serve"]));
    waiting.wait_for("waiting for the root key; no key is served until it is there");
    stop(waiting);

    // Its key is disabled: that is no reason to wait.
    let (guarding, _) = guardian.start();
    api.on(&key, "disable", &Value::Null);
    let refused = zone.start_refused();
    assert!(refused.contains("Key is Disabled") && refused.contains("nothing was changed"), "{refused}");
    api.on(&key, "enable", &Value::Null);
    stop(zone.start());

    // Neither with a wrong secret, which nobody repeats.
    zone.write("api-secret", "kmsTestSecret_that_is_not_the_right_one_");
    let refused = zone.start_refused();
    assert!(refused.contains("refuses: 403 Forbidden"), "{refused}");
    assert!(!refused.contains("kmsTestSecret"), "{refused}");
    stop(guarding);
    assert!(keyring(&zone.state()) == keyring(&before), "starts and refusals changed the keyring");
}

fn keyring(state: &[(std::path::PathBuf, Vec<u8>)]) -> &[u8] {
    &state.iter().find(|(file, _)| file.ends_with("state/keyring")).unwrap().1
}

#[test]
fn the_other_kms_is_reached_over_tls_and_trusted_only_with_its_certificate() {
    let guardian = Guardian::new();
    let (guarding, api) = guardian.start();
    let key = create_key(&api);
    stop(guarding);
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    guardian.zone.write("cert.pem", &made.cert.pem());
    guardian.zone.write("key.pem", &made.signing_key.serialize_pem());
    guardian.listen("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    let (guarding, _) = guardian.start();

    let section = guardian.section("https", &key);
    let zone = Zone::new(&format!("{section}ca-file = \"ca.pem\"\n"));
    zone.write("api-secret", API_SECRET);
    zone.write("ca.pem", &made.cert.pem());
    stop(zone.start());

    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    zone.write("ca.pem", &stranger.cert.pem());
    let mut waiting = Server::start(&mut zone.command(&["serve"]));
    let told = waiting.wait_for("waiting for the root key; no key is served until it is there");
    assert!(told["fault"].as_str().unwrap().contains("certificate"), "{told}");
    stop(waiting);
    stop(guarding);
}
