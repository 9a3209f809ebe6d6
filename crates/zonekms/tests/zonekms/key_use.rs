//! What the program tells of the use of keys.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api::Zone;
use crate::program::{Server, address, http, run, text, zonekms};

fn config(directory: &Path) -> String {
    let (file, root_key) = (directory.join("zonekms.toml"), directory.join("root.key"));
    assert!(run(&["root-key", "new", root_key.to_str().unwrap()]).status.success());
    let config = "zone = \"ch-gva-2\"\nzones = [{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }]\n\
         listen.address = \"127.0.0.1:0\"\noperations.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\n\
         root-key.file = \"root.key\"\nlog.format = \"json\"\n[[organisation]]\nname = \"example\"\n[[organisation.api-key]]\n\
         id = \"EXO0123456789abcdef01234567\"\nsecret = \"kmsTestSecret_0123456789abcdefghijklmnopq\"\n";
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

struct Started {
    server: Server,
    operations: SocketAddr,
    zone: Zone,
}

fn start(config: &str) -> Started {
    let mut server = Server::start(&mut zonekms(&["serve", "--config", config]));
    let operations = address(&server.wait_for("operations listener open"));
    let (id, secret) = ("EXO0123456789abcdef01234567", "kmsTestSecret_0123456789abcdefghijklmnopq");
    let zone = Zone { address: address(&server.wait_for("serving")), id: id.to_owned(), secret: secret.to_owned() };
    Started { server, operations, zone }
}

fn told(words: &[&str]) -> Value {
    let shown = run(&[&["key"], words, &["--json"]].concat());
    assert!(shown.status.success(), "{shown:?}");
    serde_json::from_slice(&shown.stdout).unwrap()
}

/// What the commands of `docs/operations/usage.md` print for `key`, in the directory of `zonekms.toml`.
fn documented(directory: &Path, key: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/usage.md");
    let page = fs::read_to_string(page).unwrap();
    let scripts: Vec<&str> =
        page.split("\n```sh\n").skip(1).map(|block| block.split_once("\n```").unwrap().0).collect();
    assert_eq!(scripts.len(), 3, "one key, old versions, all keys");
    let program = Path::new(env!("CARGO_BIN_EXE_zonekms")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &scripts.join("\n")]).env("PATH", path).env("KEY", key);
    let output = shell.current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

#[test]
fn use_is_told_by_version_and_outlives_a_stop() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let at = ["--config", config.as_str()];
    let Started { mut server, operations, zone } = start(&config);
    let key = zone.create_multi_zone("to be rewrapped");
    let unused = zone.create_multi_zone("never used");
    let old = zone.on(&key, "encrypt", &json!({"plaintext": "AAAA"}))["ciphertext"].clone();
    zone.on(&key, "rotate", &Value::Null);

    let old_versions = [&["report", "--old-versions"], at.as_slice()].concat();
    assert_eq!(told(&old_versions)["keys"], json!([]));
    let empty = run(&[&["key"], old_versions.as_slice()].concat());
    assert!(text(&empty.stdout).ends_with("no older version of a key was decrypted with\n"), "{empty:?}");
    for _ in 0..3 {
        zone.on(&key, "decrypt", &json!({ "ciphertext": old }));
    }
    let report = told(&old_versions);
    let [only] = report["keys"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&only["key"], &only["versions"][0]["decrypts"]), (&json!(key), &json!(3)));
    assert_eq!(only["versions"].as_array().unwrap().len(), 1, "the current version is no matter for a rewrap");
    let all = told(&[&["report", "--organisation", "example"], at.as_slice()].concat());
    assert_eq!(all["keys"].as_array().unwrap().len(), 2);
    assert_eq!(told(&[&["report", "--organisation", "another"], at.as_slice()].concat())["keys"], json!([]));
    let (_, metrics) = http(operations, "GET", "/metrics", "");
    assert!(metrics.contains("zonekms_keys_used_last_day{zone=\"ch-gva-2\"} 1\n"), "{metrics}");
    assert!(metrics.contains("zonekms_keys_old_version_decrypted_last_day{zone=\"ch-gva-2\"} 1\n"), "{metrics}");
    assert!(!metrics.contains(&key), "a series a key");

    // A deletion is scheduled all the same, and told.
    zone.on(&unused, "schedule-deletion", &Value::Null);
    zone.on(&key, "schedule-deletion", &Value::Null);
    let warning = server.wait_for("a key that was used in the last day is to be deleted");
    assert_eq!((&warning["level"], &warning["key"]), (&json!("WARN"), &json!(key)), "and not of the unused one");
    assert_eq!((&warning["encrypts"], &warning["decrypts"]), (&json!(1), &json!(3)));
    let shown = run(&[&["key", "status", key.as_str()], at.as_slice()].concat());
    assert!(text(&shown.stdout).contains("\nwarning: it was used in the last day, and its deletion is"), "{shown:?}");
    let shown = run(&[&["key", "status", unused.as_str()], at.as_slice()].concat());
    assert!(shown.status.success() && !text(&shown.stdout).contains("warning"), "{shown:?}");
    let missing = run(&[&["key", "status", "01890000-0000-7000-8000-000000000001"], at.as_slice()].concat());
    assert_eq!(text(&missing.stderr), "zonekms: zone ch-gva-2 has no key 01890000-0000-7000-8000-000000000001\n");

    let shown = documented(scratch.path(), &key);
    assert!(shown.contains("warning: it was used in the last day") && shown.contains("\"counted-since\""), "{shown}");

    let status = [&["status", key.as_str()], at.as_slice()].concat();
    let before = told(&status);
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
    let saved = scratch.path().join("state/keyring.usage");
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
    let Started { mut server, .. } = start(&config);
    assert_eq!(told(&status), before);
    server.signal(Signal::TERM);
    server.end();

    // What cannot be used is told, and keeps nobody from serving.
    fs::write(&saved, b"not what was saved").unwrap();
    let mut server = Server::start(&mut zonekms(&["serve", "--config", &config]));
    server.wait_for("the use of keys is counted anew: what was saved cannot be used");
    server.wait_for("serving");
    assert_eq!(told(&status)["versions"][0]["decrypts"], 0);
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
}
