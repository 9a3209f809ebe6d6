//! Requests that must be signed: threats S1 to S16 as far as a front door sees them.

use crate::client::Answer;
use crate::zone::{ACME, ACME_SECOND, ELSEWHERE, NOW, OTHER, Zone};
use axum::body::Body;
use http::Request;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;

const FORBIDDEN: &str = "{\"type\":\"urn:zonekms:problem:forbidden\",\"title\":\"Forbidden\",\"status\":403,\
    \"detail\":\"Invalid request signature\",\"message\":\"Invalid request signature\"}";

async fn with_header(zone: &Zone, method: &str, target: &str, authorization: &str, body: &[u8]) -> Answer {
    let request = Request::builder().method(method).uri(target).header("authorization", authorization);
    zone.send(request.body(Body::from(body.to_vec())).unwrap()).await
}

fn assert_forbidden(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (403, FORBIDDEN), "{what}");
    let names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["content-type", "cache-control", "x-request-id", "content-length"], "{what}");
}

#[tokio::test]
async fn the_clients_vectors_are_let_in_and_queries_are_not() {
    let zone = Zone::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/exo2");
    let mut seen = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let set: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        zone.wall.store(set["expires"].as_i64().unwrap() - 600, Ordering::Relaxed);
        for case in set.get("vectors").or(set.get("cases")).unwrap().as_array().unwrap() {
            let path = case["path"].as_str().unwrap();
            let query = case["url"].as_str().and_then(|url| url.split_once('?')).map(|(_, query)| query);
            let query = query.or(case["query"].as_str()).filter(|query| !query.is_empty());
            let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
            let body = case["body_hex"].as_str().map_or_else(
                || case["body"].as_str().unwrap().as_bytes().to_vec(),
                |digits| hex::decode(digits).unwrap(),
            );
            let method = case["method"].as_str().unwrap();
            let authorization = case["authorization"].as_str().unwrap();
            let answer = with_header(&zone, method, &target, authorization, &body).await;
            assert_ne!(answer.status, 403, "{}", case["name"]);
            if query.is_some() {
                assert_eq!(answer.status, 400, "{}", case["name"]);
                assert_eq!(answer.json()["detail"], "this operation takes no query string", "{}", case["name"]);
                seen.1 += 1;
            } else {
                let altered = [&body[..], b" "].concat();
                assert_forbidden(&with_header(&zone, method, &target, authorization, &altered).await, "a longer body");
                assert_forbidden(&with_header(&zone, "PUT", &target, authorization, &body).await, "another method");
                let longer = format!("{target}/enable");
                assert_forbidden(&with_header(&zone, method, &longer, authorization, &body).await, "another path");
                seen.0 += 1;
            }
        }
    }
    assert_eq!(seen, (14, 8), "vectors without and with a query");
}

#[tokio::test]
async fn every_signature_fault_has_one_answer() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    let before = zone.visible_state().await;
    let target = format!("/v2/kms-key/{id}/encrypt");
    let body = r#"{"plaintext":"aGVsbG8="}"#;
    let good = ACME.authorization("POST", &target, body.as_bytes(), NOW + 600);
    assert_eq!(with_header(&zone, "POST", &target, &good, body.as_bytes()).await.status, 200);

    let tag = good.split("signature=").nth(1).unwrap();
    let stranger = crate::client::Credential { id: "EXOstranger", secret: ACME.secret };
    let wrong_secret = crate::client::Credential { id: ACME.id, secret: OTHER.secret };
    let other_zone = ELSEWHERE.authorization("POST", &target, body.as_bytes(), NOW + 600);
    for (what, header) in [
        ("unknown credential", stranger.authorization("POST", &target, body.as_bytes(), NOW + 600)),
        ("wrong secret", wrong_secret.authorization("POST", &target, body.as_bytes(), NOW + 600)),
        ("credential of another zone", other_zone),
        ("expired", ACME.authorization("POST", &target, body.as_bytes(), NOW - 61)),
        ("too far ahead", ACME.authorization("POST", &target, body.as_bytes(), NOW + 661)),
        ("ten years ahead", ACME.authorization("POST", &target, body.as_bytes(), NOW + 315_360_000)),
        ("altered expires", good.replace(&(NOW + 600).to_string(), &(NOW + 601).to_string())),
        ("signed empty query", good.replace(",expires", ",signed-query-args=,expires")),
        ("signed query without query", good.replace(",expires", ",signed-query-args=a,expires")),
        ("lower-case scheme", good.to_lowercase()),
        ("version 1", good.replace("EXO2-HMAC", "Exoscale-HMAC")),
        ("short tag", good.replace(tag, "qUr7mtRW")),
        ("no tag", good.replace(tag, "")),
        ("unpadded tag", good.replace('=', "").replace("credential", "credential=")),
        ("blank", good.replace(',', ", ")),
        ("empty", String::new()),
    ] {
        assert_forbidden(&with_header(&zone, "POST", &target, &header, body.as_bytes()).await, what);
    }
    for position in 0..body.len() {
        let mut altered = body.as_bytes().to_vec();
        altered[position] ^= 1;
        assert_forbidden(&with_header(&zone, "POST", &target, &good, &altered).await, "one byte");
    }
    let unsigned = Request::post(&target).body(Body::from(body)).unwrap();
    assert_forbidden(&zone.send(unsigned).await, "unsigned");
    let twice = Request::post(&target).header("authorization", &good).header("authorization", &good);
    assert_forbidden(&zone.send(twice.body(Body::from(body)).unwrap()).await, "two headers");
    for path in ["/v2/nothing", "/v2/zone/", "/v2/kms-key/x", "/"] {
        assert_forbidden(&zone.send(Request::get(path).body(Body::empty()).unwrap()).await, path);
    }
    // Nothing is parsed before the signature is verified.
    let broken = Request::post("/v2/kms-key").header("content-encoding", "gzip").body(Body::from("{")).unwrap();
    assert_forbidden(&zone.send(broken).await, "broken body");
    assert_eq!(zone.visible_state().await, before);
}

#[tokio::test]
async fn the_last_good_second_is_a_minute_after_expires() {
    let zone = Zone::start().await;
    let header = ACME.authorization("GET", "/v2/kms-key", b"", NOW);
    for (now, status) in
        [(NOW, 200), (NOW + 1, 200), (NOW + 60, 200), (NOW + 61, 403), (NOW - 660, 200), (NOW - 661, 403)]
    {
        zone.wall.store(now, Ordering::Relaxed);
        assert_eq!(with_header(&zone, "GET", "/v2/kms-key", &header, b"").await.status, status, "{}", now - NOW);
    }
}

#[tokio::test]
async fn a_signature_may_be_used_again_but_not_for_another_path() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    let target = format!("/v2/kms-key/{id}/disable");
    let header = ACME.authorization("POST", &target, b"", NOW + 600);
    for _ in 0..2 {
        assert_eq!(with_header(&zone, "POST", &target, &header, b"").await.status, 200);
    }
    // What is signed is the raw path: routes that mean the same are still not what was signed.
    for other in [target.replace("disable", "enable"), target.replace("/v2", ""), target.replace("/v2/", "/v2//")] {
        assert_forbidden(&with_header(&zone, "POST", &other, &header, b"").await, &other);
    }
}

#[tokio::test]
async fn the_list_of_zones_needs_no_signature_but_a_wrong_one_is_refused() {
    let zone = Zone::start().await;
    let expected = r#"{"zones":[{"name":"ch-gva-2","api-endpoint":"http://127.0.0.1:8080/v2"},{"name":"de-fra-1","api-endpoint":"http://127.0.0.1:8081/v2"}]}"#;
    for path in ["/v2/zone", "/zone", "/v2//zone", "//v2/zone"] {
        let unsigned = zone.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((unsigned.status, unsigned.text().as_str()), (200, expected), "{path}");
        let signed = zone.call("GET", path, "").await;
        assert_eq!((signed.status, signed.text().as_str()), (200, expected), "{path}");
        let wrong = ACME.authorization("GET", "/v2/other", b"", NOW);
        assert_forbidden(&with_header(&zone, "GET", path, &wrong, b"").await, path);
    }
    for method in ["POST", "HEAD", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/v2/zone").body(Body::empty()).unwrap();
        assert_eq!(zone.send(request).await.status, 403, "{method}");
    }
    let query = zone.send(Request::get("/v2/zone?a").body(Body::empty()).unwrap()).await;
    assert_eq!(query.told(), (400, "Bad Request".into()));
}

#[tokio::test]
async fn keys_of_another_organisation_do_not_exist() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    let unknown = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";
    let source = |id: &str| format!(r#"{{"source":{{"key":"{id}","ciphertext":""}},"destination":{{"key":"{id}"}}}}"#);
    for (action, body) in [
        ("", String::new()),
        ("/list-key-rotations", String::new()),
        ("/enable", String::new()),
        ("/disable", String::new()),
        ("/rotate", String::new()),
        ("/enable-key-rotation", String::new()),
        ("/disable-key-rotation", String::new()),
        ("/schedule-deletion", String::new()),
        ("/cancel-deletion", String::new()),
        ("/replicate", r#"{"zone":"de-fra-1"}"#.into()),
        ("/encrypt", r#"{"plaintext":""}"#.into()),
        ("/decrypt", r#"{"ciphertext":""}"#.into()),
        ("/re-encrypt", String::new()),
        ("/generate-data-key", String::new()),
    ] {
        let method = if action.is_empty() || action == "/list-key-rotations" { "GET" } else { "POST" };
        let mut answers = Vec::new();
        for id in [&id, unknown] {
            let body = if action == "/re-encrypt" { source(id) } else { body.clone() };
            let answer = zone.call_as(OTHER, method, &format!("/v2/kms-key/{id}{action}"), &body).await;
            assert_eq!(answer.told(), (404, "Key Not Found".into()), "{action}");
            answers.push(answer.text());
        }
        assert_eq!(answers[0], answers[1], "{action}");
    }
    assert!(!zone.call_as(OTHER, "GET", "/v2/kms-key", "").await.text().contains(&id));
    assert_eq!(zone.call_as(ACME_SECOND, "GET", &format!("/v2/kms-key/{id}"), "").await.status, 200);
}
