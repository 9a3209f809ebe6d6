//! The shape of answers, and that what was given is given back.

use crate::bad_requests::wrong_headers;
use crate::quirks::lab;
use serde_json::{Value, json};
use zonekms_tests::client::Answer;
use zonekms_tests::problem::{Fault, faults_document};

/// Every answer is compact JSON with the promised headers, and crypto answers name the version.
#[test]
fn every_success_has_its_exact_shape() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let id = client.create("shape");
    let path = format!("/v2/kms-key/{id}");
    let (ciphertext, _) = client.encrypt(&id, b"x");
    let re_encrypt = json!({ "source": { "key": id, "ciphertext": ciphertext }, "destination": { "key": id } });
    let steps: Vec<(&str, Answer)> = vec![
        ("create", client.post("/v2/kms-key", json!({ "name": "another" }))),
        ("list", client.get("/v2/kms-key")),
        ("get", client.get(&path)),
        ("encrypt", client.post(&format!("{path}/encrypt"), json!({ "plaintext": "" }))),
        ("decrypt", client.decrypt(&id, &ciphertext)),
        ("re-encrypt", client.post(&format!("{path}/re-encrypt"), re_encrypt)),
        ("generate-data-key", client.post_empty(&format!("{path}/generate-data-key"))),
        ("rotate", client.post_empty(&format!("{path}/rotate"))),
        ("rotations", client.get(&format!("{path}/list-key-rotations"))),
        ("disable-key-rotation", client.post_empty(&format!("{path}/disable-key-rotation"))),
        ("enable-key-rotation", client.post_empty(&format!("{path}/enable-key-rotation"))),
        ("disable", client.post_empty(&format!("{path}/disable"))),
        ("enable", client.post_empty(&format!("{path}/enable"))),
        ("schedule-deletion", client.post_empty(&format!("{path}/schedule-deletion"))),
        ("get pending", client.get(&path)),
        ("cancel-deletion", client.post_empty(&format!("{path}/cancel-deletion"))),
    ];
    let listed = "id name description usage source status status-since multi-zone origin-zone created-at \
                  revision{at seq} rotation{manual-count automatic rotation-period next-at} \
                  material{version created-at automatic} replicas[]";
    let key = "id name description usage source status status-since multi-zone origin-zone created-at revision{at seq} \
               policy rotation{manual-count automatic rotation-period next-at} material{version created-at automatic} \
               replicas[] replicas-status[]";
    let rotation = "rotation{manual-count automatic rotation-period next-at}";
    let shapes = [
        ("create", key.to_owned()),
        ("list", format!("kms-keys[{{{listed}}}]")),
        ("get", format!("{key} zone")),
        ("get pending", format!("{key} zone delete-at")),
        ("encrypt", "ciphertext".into()),
        ("decrypt", "plaintext".into()),
        ("re-encrypt", "ciphertext".into()),
        ("generate-data-key", "plaintext ciphertext".into()),
        ("rotate", rotation.into()),
        ("rotations", "rotations[{version rotated-at automatic}]".into()),
        ("disable-key-rotation", rotation.into()),
        ("enable-key-rotation", rotation.into()),
        ("disable", "status".into()),
        ("enable", "status".into()),
        ("schedule-deletion", "status delete-at".into()),
        ("cancel-deletion", "status".into()),
    ];
    for (step, answer) in &steps {
        assert_eq!(answer.status, 200, "{step}: {}", answer.text());
        assert!(wrong_headers(answer).is_none(), "{step}: {:?}", answer.headers);
        assert_eq!(answer.text(), answer.text().trim(), "{step} is compact");
        assert!(!answer.text().contains("\": ") && !answer.text().contains(", \""), "{step} is compact");
        let crypto = ["encrypt", "decrypt", "re-encrypt", "generate-data-key"].contains(step);
        assert_eq!(answer.header("zonekms-key-version").is_some(), crypto, "{step}");
        if let Some((_, shape)) = shapes.iter().find(|(name, _)| name == step) {
            assert_eq!(sorted(&shape_of(&answer.json())), sorted(&format!("{{{shape}}}")), "{step}");
        }
    }
    server.stop();
}

#[test]
fn the_list_begins_with_the_oldest_key() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let made: Vec<String> = ["c", "a", "b", "z", "y"].iter().map(|name| client.create(name)).collect();
    client.post_empty(&format!("/v2/kms-key/{}/rotate", made[0])).ok();
    let listed = client.get("/v2/kms-key").ok();
    let ids: Vec<&Value> = listed["kms-keys"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert_eq!(ids[1..], made.iter().map(|id| json!(id)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    server.stop();
}

/// P14, P17: odd but legal texts are kept as they are.
#[test]
fn texts_are_kept_as_given() {
    let (_directory, server) = lab();
    let mut client = server.client();
    for name in ["clé-ключ-鍵-🔑", "\"}],\\", "<script>", "%2e%2e/../'; --", "null", "{}", "a\u{301}"] {
        let description = format!("line\none\ttab\r\n{name}");
        let body = json!({ "name": name, "description": description });
        let id = client.post("/v2/kms-key", body).ok()["id"].as_str().unwrap().to_owned();
        let seen = client.get(&format!("/v2/kms-key/{id}")).ok();
        assert_eq!((&seen["name"], &seen["description"]), (&json!(name), &json!(description)));
    }
    let log = server.process.log();
    for line in log.lines() {
        assert!(!line.contains('\u{1b}') || line.is_ascii(), "the log stays readable: {line:?}");
    }
    server.stop();
}

/// Zones share nothing: neither keys, nor names, nor material.
#[test]
fn zones_are_apart() {
    let (_directory, server) = lab();
    let (mut here, mut there) = (server.client(), server.client_of("ch-dk-2"));
    let key = here.create("k");
    let (ciphertext, _) = here.encrypt(&key, b"x");
    assert_eq!(there.get(&format!("/v2/kms-key/{key}")).title(), "Key Not Found");
    let same_name = there.create("k");
    assert_eq!(there.decrypt(&key, &ciphertext).title(), "Key Not Found");
    assert_eq!(there.decrypt(&same_name, &ciphertext).title(), "Bad Request");
    assert_eq!(there.get(&format!("/v2/kms-key/{same_name}")).ok()["origin-zone"], "ch-dk-2");
    server.stop();
}

/// The server says what is wrong with a field even when the request names a key that is not there.
#[test]
fn field_faults_come_before_the_key() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let unknown = "/v2/kms-key/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d/encrypt";
    let answer = client.post(unknown, json!({ "plaintext": 1 }));
    let fault = Fault::at("plaintext", "must be a string");
    assert_eq!(answer.text(), faults_document(&[fault]));
    server.stop();
}

/// Member names of a JSON value: `{a b{c} d[]}`; of a list its first entry.
fn shape_of(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{name}{}", shape_of(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(" "))
        }
        Value::Array(entries) => format!("[{}]", entries.first().map(shape_of).unwrap_or_default()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => String::new(),
    }
}

/// A shape with the members of every object in order of their names.
fn sorted(shape: &str) -> String {
    let mut words: Vec<&str> = shape.split([' ', '{', '}', '[', ']']).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}
