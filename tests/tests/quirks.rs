//! What the official clients really send, beyond the clean request.

use crate::bad_requests::wrong_headers;
use crate::damage::listing;
use crate::{program, scratch_in_memory};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use zonekms_tests::client::{Answer, Connection, Request};
use zonekms_tests::exo2::unix_now;
use zonekms_tests::problem::document;
use zonekms_tests::server::{Dev, Server, wait_for};

pub(crate) fn lab() -> (tempfile::TempDir, Server) {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).default_key("default-key");
    let server = dev.start();
    (directory, server)
}

pub(crate) fn call(address: SocketAddr, request: &Request) -> Answer {
    Connection::open(address).and_then(|mut connection| connection.call(request)).unwrap()
}

/// Bodies that stand for "no body".
#[test]
fn an_absent_body_has_many_spellings() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let path = format!("/v2/kms-key/{key}");
    let credential = client.credential().clone();
    let post = |operation: &str, body: &str| Request::new("POST", &format!("{path}/{operation}"), body.as_bytes());
    let chunked = |operation: &str| {
        let request = post(operation, "").signed(&credential).with("Transfer-Encoding", "chunked");
        let mut bytes = request.bytes();
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut connection = Connection::open(server.environment.endpoint).unwrap();
        connection.send(&bytes).unwrap();
        connection.receive("POST").unwrap()
    };
    for operation in ["enable", "disable", "enable", "rotate", "disable-key-rotation", "enable-key-rotation"] {
        chunked(operation).ok();
    }
    chunked("generate-data-key").ok();
    chunked("schedule-deletion").ok();
    chunked("cancel-deletion").ok();
    chunked("enable").ok();

    // `exo api` with a body for an operation that has none: an empty Content-Type; seed-era bodies name the key again.
    let with_id = json!({ "id": key }).to_string();
    for (operation, body) in [
        ("disable-key-rotation", with_id.as_str()),
        ("enable-key-rotation", with_id.as_str()),
        ("disable-key-rotation", "{}"),
        ("rotate", "{}"),
        ("enable", with_id.as_str()),
    ] {
        let request = post(operation, body).with("Content-Type", "").signed(&credential);
        call(server.environment.endpoint, &request).ok();
    }
    let seed_era = json!({ "id": key, "rotation-period": 90 }).to_string();
    let rotation = call(server.environment.endpoint, &post("enable-key-rotation", &seed_era).signed(&credential)).ok();
    assert_eq!(rotation["rotation"]["rotation-period"], 90);

    // No Content-Length at all: a GET-like POST.
    let mut connection = Connection::open(server.environment.endpoint).unwrap();
    let request = post("enable", "").signed(&credential);
    let authorization = request.headers[0].1.clone();
    let bytes = format!("POST {path}/enable HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
    connection.send(bytes.as_bytes()).unwrap();
    connection.receive("POST").unwrap().ok();
    server.stop();
}

#[test]
fn null_empty_and_absent_are_the_same() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let created =
        client.post("/v2/kms-key", json!({ "name": "k", "description": null, "usage": null, "multi-zone": null }));
    let key = created.ok()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["description"], "");
    assert_eq!(created.json()["multi-zone"], false);
    let path = format!("/v2/kms-key/{key}");
    let spellings = [
        json!({ "plaintext": "YQ==" }),
        json!({ "plaintext": "YQ==", "encryption-context": null }),
        json!({ "plaintext": "YQ==", "encryption-context": "" }),
    ];
    for made in &spellings {
        let ciphertext = client.post(&format!("{path}/encrypt"), made.clone()).ok()["ciphertext"].clone();
        for opened in &spellings {
            let mut body = opened.clone();
            let members = body.as_object_mut().unwrap();
            members.remove("plaintext");
            members.insert("ciphertext".into(), ciphertext.clone());
            assert_eq!(client.post(&format!("{path}/decrypt"), body).ok()["plaintext"], "YQ==");
        }
    }
    for body in [json!({ "key-spec": null, "bytes-count": null, "encryption-context": null }), json!({})] {
        let data_key = client.post(&format!("{path}/generate-data-key"), body).ok();
        assert_eq!(data_key["plaintext"].as_str().unwrap().len(), 44, "32 bytes");
    }
    client.post(&format!("{path}/schedule-deletion"), json!({ "delay-days": null })).ok();
    client.post_empty(&format!("{path}/cancel-deletion")).ok();
    server.stop();
}

/// Java: HTTP/2 upgrade offers on every request, `Content-Length: 0` on GET, and `expires` = now.
#[test]
fn java_is_served() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let mut connection = Connection::open(server.environment.endpoint).unwrap();
    let mut java = |method: &str, path: &str, body: &[u8]| {
        let mut request = Request::new(method, path, body)
            .with("Connection", "Upgrade, HTTP2-Settings")
            .with("Upgrade", "h2c")
            .with("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
            .with("Accept", "application/json")
            .with("User-Agent", "Java-http-client/17.0.15");
        if body.is_empty() {
            request = request.with("Content-Length", "0");
        } else {
            request = request.with("Content-Type", "application/json");
        }
        let request = request.signed_until(client.credential(), &unix_now().to_string());
        connection.call(&request).unwrap()
    };
    java("GET", "/v2/kms-key", b"").ok();
    java("GET", &format!("/v2/kms-key/{key}"), b"").ok();
    java("POST", &format!("/v2/kms-key/{key}/disable"), b"").ok();
    java("POST", &format!("/v2/kms-key/{key}/enable"), b"").ok();
    java("POST", &format!("/v2/kms-key/{key}/encrypt"), br#"{"plaintext":"YQ=="}"#).ok();
    server.stop();
}

#[test]
fn the_zone_list_and_the_paths_around_it() {
    let (_directory, server) = lab();
    let address = server.environment.endpoint;
    let signed = |path: &str| call(address, &Request::new("GET", path, b"").signed(&server.environment.credential));
    let unsigned = |path: &str| call(address, &Request::new("GET", path, b""));
    let list = unsigned("/v2/zone");
    for path in ["/v2/zone", "/zone", "/v2//zone", "//zone", "//v2///zone"] {
        assert_eq!(unsigned(path).ok(), list.ok(), "unsigned {path}");
        assert_eq!(signed(path).ok(), list.ok(), "signed {path}");
    }
    assert!(wrong_headers(&list).is_none(), "{:?}", list.headers);
    let zones = list.ok();
    let entries = zones["zones"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let endpoint = entry["api-endpoint"].as_str().unwrap();
        assert!(endpoint.starts_with("http://127.0.0.1:") && endpoint.ends_with("/v2"), "{endpoint}");
    }
    for zone_address in server.zones.values() {
        let there = call(*zone_address, &Request::new("GET", "/v2/zone", b""));
        assert_eq!(there.ok(), list.ok(), "every zone lists all zones");
    }
    let mut client = server.client();
    let key = client.create("k");
    let usual = client.get(&format!("/v2/kms-key/{key}"));
    for path in ["/v2//kms-key/", "/kms-key/", "//kms-key//"] {
        let answer = client.get(&format!("{path}{key}"));
        assert_eq!(answer.body, usual.body, "{path}");
    }
    client.post_empty(&format!("/v2//kms-key//{key}//rotate")).ok();
    assert_eq!(unsigned("/zone?").status, 400);
    server.stop();
}

/// What clients put into headers that the server does not look at.
#[test]
fn content_types_that_are_accepted() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let path = format!("/v2/kms-key/{}/encrypt", client.create("k"));
    let kinds = [
        "",
        "text/plain",
        "application/json",
        "application/json; charset=utf-8",
        "x",
        "application/json;charset=UTF-8",
    ];
    for kind in kinds.into_iter().chain(["application/json; charset=\"utf-8\"", "application/problem+json; v=1; q"]) {
        let request = Request::new("POST", &path, br#"{"plaintext":"YQ=="}"#)
            .with("Content-Type", kind)
            .with("Content-Encoding", "identity")
            .with("Accept", "text/xml;q=0.1")
            .with("Accept-Encoding", "gzip, br")
            .with("Expect", "100-continue");
        call(client.address(), &request.signed(client.credential())).ok();
    }
    server.stop();
}

/// Promise 8: no file of the store changes, however much is encrypted and decrypted.
#[test]
fn crypto_calls_write_nothing() {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let mut client = server.client();
    let key = client.create("k");
    let files = || {
        let mut files = listing(dev.data());
        // Of use tell the audit log and the counts; neither is the store, and no call waits for either.
        files.retain(|path, _| {
            let is_audit = path.components().any(|part| part.as_os_str() == "audit");
            !is_audit && path.extension().is_none_or(|extension| extension != "usage")
        });
        files
    };
    // After the last change the store keeps house, and comes to rest some time: every round of calls would still write.
    let untouched = wait_for(Duration::from_secs(60), || {
        let before = files();
        assert!(!before.is_empty());
        for _ in 0..300 {
            let (ciphertext, _) = client.encrypt(&key, b"x");
            client.decrypt(&key, &ciphertext).ok();
            client.post_empty(&format!("/v2/kms-key/{key}/generate-data-key")).ok();
            client.get(&format!("/v2/kms-key/{key}")).ok();
        }
        (files() == before).then_some(())
    });
    assert!(untouched.is_some(), "every time a file of the zone changes");
    server.stop();
}

/// Go repeats a request with the same signature after a 5xx or a lost connection.
#[test]
fn a_retry_with_the_same_signature_is_served() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let body = br#"{"plaintext":"YQ=="}"#;
    let request = Request::new("POST", &format!("/v2/kms-key/{key}/encrypt"), body).signed(client.credential());
    let mut connection = Connection::open(client.address()).unwrap();
    let first = connection.call(&request).unwrap().ok();
    let second = call(client.address(), &request).ok();
    assert_ne!(first["ciphertext"], second["ciphertext"], "each has a nonce of its own");
    server.stop();
}

#[test]
fn head_has_no_body_and_is_not_get() {
    let (_directory, server) = lab();
    let client = server.client();
    let mut connection = Connection::open(client.address()).unwrap();
    for path in ["/v2/kms-key", "/v2/zone"] {
        let head = connection.call(&Request::new("HEAD", path, b"").signed(client.credential())).unwrap();
        assert_eq!(head.status, 405, "{path}");
        // The connection is in step: the next answer is whole.
        let get = connection.call(&Request::new("GET", path, b"").signed(client.credential())).unwrap();
        get.ok();
    }
    server.stop();
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let request = |method: &str, path: &str, body: &str| {
        Request::new(method, path, body.as_bytes()).signed(client.credential()).bytes()
    };
    let path = format!("/v2/kms-key/{key}");
    let mut connection = Connection::open(client.address()).unwrap();
    let pipeline = [
        request("GET", &path, ""),
        request("POST", &format!("{path}/rotate"), ""),
        request("POST", "/v2/kms-key", r#"{"name":7}"#),
        request("GET", "/v2/nowhere", ""),
        request("POST", &format!("{path}/encrypt"), r#"{"plaintext":"YQ=="}"#),
        request("GET", &path, ""),
    ];
    connection.send(&pipeline.concat()).unwrap();
    let answers: Vec<Answer> =
        ["GET", "POST", "POST", "GET", "POST", "GET"].iter().map(|m| connection.receive(m).unwrap()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 400, 404, 200, 200]);
    assert_eq!(answers[0].json()["material"]["version"], 1);
    assert_eq!(answers[5].json()["material"]["version"], 2);
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|a| a.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 6, "every answer has an id of its own");
    server.stop();
}

/// C2 over the wire: no flipped bit and no prefix of a ciphertext opens, all with the same answer.
#[test]
fn no_damaged_ciphertext_opens() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let (ciphertext, _) = client.encrypt(&key, b"\x01");
    let whole = zonekms_tests::client::unbase64(&ciphertext);
    assert_eq!(whole.len(), 62, "61 bytes of overhead");
    let wanted = document(400, "Bad Request", "the ciphertext could not be decrypted", &[]);
    let mut refused = 0;
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(client.decrypt(&key, &zonekms_tests::client::base64(&damaged)).text(), wanted, "bit {bit}");
        refused += 1;
    }
    for length in 0..whole.len() {
        assert_eq!(client.decrypt(&key, &zonekms_tests::client::base64(&whole[..length])).text(), wanted, "{length}");
        refused += 1;
    }
    println!("{refused} damaged ciphertexts, one answer");
    client.decrypt(&key, &ciphertext).ok();
    server.stop();
}

/// C12: data keys are of the length asked for and never alike.
#[test]
fn data_keys_are_unique() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let made = client.post(&format!("/v2/kms-key/{key}/generate-data-key"), json!({ "bytes-count": 16 })).ok();
        assert!(seen.insert(made["plaintext"].as_str().unwrap().to_owned()), "a data key came twice");
        assert!(seen.insert(made["ciphertext"].as_str().unwrap().to_owned()), "a ciphertext came twice");
    }
    server.stop();
}

/// D14, P16: nothing that was sent or made in confidence is in the log.
#[test]
fn the_log_keeps_secrets() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).talkative().start();
    let mut client = server.client();
    let key = client.create("canary name");
    let plaintext = b"canary plaintext of 32 bytes....";
    let made = client.post(
        &format!("/v2/kms-key/{key}/encrypt"),
        json!({ "plaintext": zonekms_tests::client::base64(plaintext), "encryption-context": "Y2FuYXJ5IGNvbnRleHQ=" }),
    );
    let ciphertext = made.ok()["ciphertext"].as_str().unwrap().to_owned();
    client.decrypt(&key, &ciphertext);
    client.send("POST", &format!("/v2/kms-key/{key}/encrypt"), b"{\"plaintext\":\"canary body\"}");
    let data_key = client.post_empty(&format!("/v2/kms-key/{key}/generate-data-key")).ok();
    let forged = Request::new("GET", "/v2/kms-key", b"").with("Authorization", "EXO2-HMAC-SHA256 canary");
    assert_eq!(call(server.environment.endpoint, &forged).status, 403);
    let log_file = server.process.log();
    assert!(log_file.contains("TRACE") || log_file.contains("DEBUG"), "everything was logged");
    let secret = server.environment.credential.secret.clone();
    server.stop();
    let hex = hex::encode(plaintext);
    let base64 = zonekms_tests::client::base64(plaintext);
    let canaries = ["canary", &base64, &hex, "Y2FuYXJ5", &ciphertext, data_key["plaintext"].as_str().unwrap()];
    for canary in canaries {
        assert!(!log_file.contains(canary), "the log contains {canary}");
    }
    // The start-up text may show how to use the lab; the secret itself stays in dev.env.
    assert!(!log_file.contains(&secret), "the log contains the API secret");
}

#[test]
fn large_values_at_their_limits_are_served() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create(&"x".repeat(255));
    let path = format!("/v2/kms-key/{key}");
    let plaintext = zonekms_tests::client::base64(&vec![7; 65536]);
    let context = zonekms_tests::client::base64(&vec![9; 8192]);
    let body = json!({ "plaintext": plaintext, "encryption-context": context });
    let ciphertext = client.post(&format!("{path}/encrypt"), body).ok()["ciphertext"].clone();
    let body = json!({ "ciphertext": ciphertext, "encryption-context": context });
    assert_eq!(client.post(&format!("{path}/decrypt"), body).ok()["plaintext"], plaintext.as_str());
    let both = json!({
        "source": { "key": key, "ciphertext": ciphertext, "encryption-context": context },
        "destination": { "key": key, "encryption-context": context },
    });
    client.post(&format!("{path}/re-encrypt"), both).ok();
    server.stop();
}
