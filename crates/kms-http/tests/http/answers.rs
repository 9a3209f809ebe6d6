//! The shapes of all answers against the ones that every official client is known to take.

use crate::zone::Zone;
use serde_json::{Value, json};
use std::path::Path;

fn golden() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exoscale-answers.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Same members, same kinds of values, all the way down. An empty list says nothing about its entries.
fn assert_same_shape(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(found), names(expected), "{place}");
            found
                .iter()
                .for_each(|(name, value)| assert_same_shape(value, &expected[name], &format!("{place}.{name}")));
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.iter().for_each(|entry| assert_same_shape(entry, &expected[0], &format!("{place}[]")));
        }
        (Value::String(found), Value::String(expected)) => {
            let is_time = |text: &str| text.len() == 30 && text.ends_with('Z');
            assert_eq!(is_time(found), is_time(expected), "{place}: {found} / {expected}");
        }
        _ => {
            assert_eq!(
                std::mem::discriminant(found),
                std::mem::discriminant(expected),
                "{place}: {found} / {expected}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_answers_in_the_known_shape() {
    let golden = golden();
    let zone = Zone::start().await;
    let check = |operation: &str, answer: &crate::client::Answer| {
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{operation}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{operation}");
        assert_eq!(answer.header("x-request-id").unwrap().len(), 16, "{operation}");
        assert_same_shape(&answer.json(), &golden[operation], operation);
    };
    let all = r#"{"name": "k1", "description": "", "usage": "encrypt-decrypt", "multi-zone": true}"#;
    let created = zone.call("POST", "/v2/kms-key", all).await;
    check("create-kms-key", &created);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let get = format!("/v2/kms-key/{id}");

    let encrypted = zone.on(&id, "encrypt", r#"{"plaintext":"aGVsbG8=","encryption-context":"Y3R4"}"#).await;
    check("encrypt", &encrypted);
    assert_eq!(encrypted.header("zonekms-key-version"), Some("1"));
    check("rotate-kms-key", &zone.on(&id, "rotate", "").await);
    let ciphertext = encrypted.json()["ciphertext"].as_str().unwrap().to_owned();
    let decrypted =
        zone.on(&id, "decrypt", &format!(r#"{{"ciphertext":"{ciphertext}","encryption-context":"Y3R4"}}"#)).await;
    check("decrypt", &decrypted);
    assert_eq!(
        (decrypted.text().as_str(), decrypted.header("zonekms-key-version")),
        (r#"{"plaintext":"aGVsbG8="}"#, Some("1"))
    );
    let body = format!(
        r#"{{"destination":{{"key":"{id}"}},"source":{{"ciphertext":"{ciphertext}","encryption-context":"Y3R4","key":"{id}"}}}}"#
    );
    let re_encrypted = zone.on(&id, "re-encrypt", &body).await;
    check("re-encrypt", &re_encrypted);
    assert_eq!(re_encrypted.header("zonekms-key-version"), Some("2"));
    let ciphertext = re_encrypted.json()["ciphertext"].as_str().unwrap().to_owned();
    let opened = zone.on(&id, "decrypt", &format!(r#"{{"ciphertext":"{ciphertext}","encryption-context":""}}"#)).await;
    assert_eq!(opened.text(), r#"{"plaintext":"aGVsbG8="}"#);
    let data_key = zone.on(&id, "generate-data-key", r#"{"bytes-count":1024}"#).await;
    check("generate-data-key", &data_key);
    let wrapped = data_key.json()["ciphertext"].as_str().unwrap().to_owned();
    let unwrapped = zone.on(&id, "decrypt", &format!(r#"{{"ciphertext":"{wrapped}"}}"#)).await;
    assert_eq!(unwrapped.json()["plaintext"], data_key.json()["plaintext"]);
    assert_eq!(unwrapped.json()["plaintext"].as_str().unwrap().len(), 1368);

    check("list-kms-key-rotations", &zone.call("GET", &format!("{get}/list-key-rotations"), "").await);
    check("disable-kms-key-rotation", &zone.on(&id, "disable-key-rotation", &format!(r#"{{"id":"{id}"}}"#)).await);
    check("enable-kms-key-rotation", &zone.on(&id, "enable-key-rotation", r#"{"rotation-period":90}"#).await);
    check("disable-kms-key", &zone.on(&id, "disable", "").await);
    check("enable-kms-key", &zone.on(&id, "enable", "{}").await);
    check("list-kms-keys", &zone.call("GET", "/v2/kms-key", "").await);
    let registered = zone.on(&id, "replicate", r#"{"zone":"ch-dk-2"}"#).await;
    check("replicate-kms-key", &registered);
    assert_eq!(registered.json()["status"], "target-registered");
    let scheduled = zone.on(&id, "schedule-deletion", r#"{"delay-days":7}"#).await;
    check("schedule-kms-key-deletion", &scheduled);
    let pending = zone.call("GET", &get, "").await;
    check("get-kms-key", &pending);
    assert_eq!(pending.json()["delete-at"], scheduled.json()["delete-at"]);
    check("cancel-kms-key-deletion", &zone.on(&id, "cancel-deletion", "").await);

    let kept = zone.call("GET", &get, "").await.json();
    assert_eq!((kept.get("delete-at"), kept["status"].as_str()), (None, Some("disabled")));
    assert_eq!(kept["rotation"]["rotation-period"], 90);
    assert_eq!(kept["zone"], "ch-gva-2");
}

#[tokio::test]
async fn a_replica_that_is_behind_is_told_with_the_reason() {
    let zone = Zone::start().await;
    let created = zone.call("POST", "/v2/kms-key", r#"{"name": "k1", "multi-zone": true}"#).await.json();
    assert_eq!((&created["replicas"], &created["replicas-status"]), (&json!([]), &json!([])));
    let id = created["id"].as_str().unwrap();
    let get = format!("/v2/kms-key/{id}");
    assert_eq!(zone.call("GET", &get, "").await.json()["replicas-status"], json!([]));
    assert_eq!(zone.on(id, "replicate", r#"{"zone":"ch-dk-2"}"#).await.status, 200);
    let again = zone.on(id, "replicate", r#"{"zone":"ch-dk-2"}"#).await;
    assert_eq!(again.told(), (400, "Conflict".into()));
    let key = zone.call("GET", &get, "").await.json();
    assert_eq!((&key["replicas"], &key["revision"]["seq"]), (&json!(["ch-dk-2"]), &json!(2)));
    let expected = json!([{
        "zone": "ch-dk-2",
        "last-applied-watermark": 0,
        "last-failure": {
            "attempted-watermark": 2,
            "error": "the target zone cannot be reached: connection refused",
            "failed-at": "2026-09-21T14:13:20.123456789Z",
        },
    }]);
    assert_eq!(key["replicas-status"], expected);
    let listed = zone.call("GET", "/v2/kms-key", "").await.json();
    assert_eq!(listed["kms-keys"][0].get("replicas-status"), None, "only where one key is asked for");
}

#[tokio::test]
async fn time_shows_in_rotations_and_deletions() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    zone.on(&id, "rotate", "").await;
    let rotations = zone.call("GET", &format!("/v2/kms-key/{id}/list-key-rotations"), "").await.json();
    assert_eq!(rotations["rotations"][0]["version"], 2);
    assert_eq!(rotations["rotations"].as_array().unwrap().len(), 1);
    zone.on(&id, "schedule-deletion", "").await;
    zone.days_pass(31);
    assert_eq!(zone.call("GET", &format!("/v2/kms-key/{id}"), "").await.told(), (404, "Key Not Found".into()));
}
