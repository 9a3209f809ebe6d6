//! Every row of the tables in `tests/bad-requests` gets exactly the answer it names, and nothing is changed by any.

use crate::request_table::{Expected, Row, parse};
use crate::{program, root, scratch_in_memory};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use zonekms_tests::client::{Answer, Client, Connection};
use zonekms_tests::server::{Dev, Server};

#[test]
fn every_bad_request_is_told_what_is_wrong_and_changes_nothing() {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).default_key("default-key");
    let server = dev.start();
    let mut client = server.client();
    let words = furnish(&server, &mut client);
    let before = everything(&mut client);
    assert!(before.len() > 6, "the keys are there");

    let (mut rows, mut wrong) = (0, Vec::new());
    let tables = tables();
    for table in &tables {
        let name = table.file_stem().unwrap().to_string_lossy();
        for row in parse(&fs::read_to_string(table).unwrap()) {
            rows += 1;
            if let Err(difference) = check(&row, &words, &client) {
                wrong.push(format!("{name}: {}\n{difference}", row.title));
            }
        }
        let after = everything(&mut client);
        assert_eq!(before, after, "a row of {name} changed something");
    }
    println!("{rows} bad requests in {} tables, {} answered wrongly", tables.len(), wrong.len());
    assert!(rows >= 150, "only {rows} rows were found");
    assert!(wrong.is_empty(), "{} rows are answered wrongly:\n{}", wrong.len(), wrong.join("\n"));
    server.stop();
}

fn tables() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("tests/bad-requests")).unwrap();
    let mut tables: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    tables.sort();
    tables
}

/// Keys in every state, and what the words of the tables stand for.
fn furnish(server: &Server, client: &mut Client) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let mut secret = |client: &mut Client, word: &str, key: &str| {
        words.insert(word.to_owned(), client.encrypt(key, b"attack at dawn, or a bit later").0);
    };
    let gone = client.create("gone");
    secret(client, "ciphertext-of-gone", &gone);
    client.post(&format!("/v2/kms-key/{gone}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    server.advance("7d");
    assert_eq!(client.get(&format!("/v2/kms-key/{gone}")).status, 404, "the deletion is due");

    let enabled = client.create("enabled");
    client.post_empty(&format!("/v2/kms-key/{enabled}/rotate")).ok();
    secret(client, "ciphertext", &enabled);
    let other = client.create("other");
    secret(client, "ciphertext-of-other", &other);
    let disabled = client.create("disabled");
    secret(client, "ciphertext-of-disabled", &disabled);
    client.post_empty(&format!("/v2/kms-key/{disabled}/disable")).ok();
    let pending = client.create("pending");
    secret(client, "ciphertext-of-pending", &pending);
    client.post_empty(&format!("/v2/kms-key/{pending}/schedule-deletion")).ok();
    let unrotated = client.create("unrotated");
    client.post_empty(&format!("/v2/kms-key/{unrotated}/disable-key-rotation")).ok();
    let worn = client.create("worn");
    for _ in 0..10 {
        client.post_empty(&format!("/v2/kms-key/{worn}/rotate")).ok();
    }
    let multi = client.post("/v2/kms-key", json!({ "name": "multi", "multi-zone": true })).ok();
    let keys = client.get("/v2/kms-key").ok();
    let default = keys["kms-keys"].as_array().unwrap().iter().find(|key| key["name"] == "default-key");
    let default = default.expect("the default key is listed")["id"].as_str().unwrap().to_owned();
    secret(client, "ciphertext-of-default", &default);
    let context = json!({ "plaintext": "YQ==", "encryption-context": "Y3R4" });
    let with_context = client.post(&format!("/v2/kms-key/{enabled}/encrypt"), context).ok();

    let mut word = |name: &str, value: &str| words.insert(name.to_owned(), value.to_owned());
    word("ciphertext-with-context", with_context["ciphertext"].as_str().unwrap());
    word("enabled-upper", &enabled.to_uppercase());
    word("enabled-simple", &enabled.replace('-', ""));
    word("multi", multi["id"].as_str().unwrap());
    word("unknown", "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d");
    for (name, id) in [
        ("enabled", &enabled),
        ("single", &enabled),
        ("other", &other),
        ("disabled", &disabled),
        ("pending", &pending),
        ("gone", &gone),
        ("default", &default),
        ("unrotated", &unrotated),
        ("worn", &worn),
    ] {
        word(name, id);
    }
    words
}

/// Every byte that shows the state of every key.
pub(crate) fn everything(client: &mut Client) -> Vec<String> {
    let list = client.get("/v2/kms-key");
    let mut all = vec![list.text().to_owned()];
    for key in list.ok()["kms-keys"].as_array().unwrap() {
        let path = format!("/v2/kms-key/{}", key["id"].as_str().unwrap());
        all.push(client.get(&path).text().to_owned());
        all.push(client.get(&format!("{path}/list-key-rotations")).text().to_owned());
    }
    all
}

fn check(row: &Row, words: &BTreeMap<String, String>, client: &Client) -> Result<(), String> {
    let prepared = row.prepare(words, client.credential());
    let mut connection = Connection::open(client.address()).map_err(|error| format!("  no connection: {error}"))?;
    // The server may refuse and close before it has read everything: what counts is its answer.
    let sent = connection.send(&prepared.bytes);
    let answer = connection.receive(&prepared.method).map_err(|error| lost(&error, &sent))?;
    match &prepared.expected {
        Expected::Status(status) if answer.status == *status => Ok(()),
        Expected::Status(status) => Err(format!("  wants {status}\n  gives {} {}", answer.status, short(&answer))),
        Expected::Problem { status, document, allow } => {
            let mut faults = Vec::new();
            if answer.status != *status || answer.body != document.as_bytes() {
                faults.push(format!("  wants {status} {document}\n  gives {} {}", answer.status, short(&answer)));
            }
            if answer.header("allow") != allow.as_deref() {
                faults.push(format!("  wants Allow {allow:?}\n  gives {:?}", answer.header("allow")));
            }
            faults.extend(wrong_headers(&answer));
            if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
        }
    }
}

/// The headers that every answer of the service has.
pub(crate) fn wrong_headers(answer: &Answer) -> Option<String> {
    let id = answer.header("x-request-id").unwrap_or_default();
    let right = answer.header("content-type") == Some("application/json")
        && answer.header("cache-control") == Some("no-store")
        && id.len() == 16
        && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (!right).then(|| format!("  wrong headers: {:?}", answer.headers))
}

fn lost(error: &io::Error, sent: &io::Result<()>) -> String {
    format!("  no answer: {error} (sending: {sent:?})")
}

fn short(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    text.chars().take(700).collect()
}
