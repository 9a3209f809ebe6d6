//! Errors as callers meet them; that they change nothing; and that the server keeps serving.

use crate::client::Credential;
use crate::zone::{ACME, NOW, OTHER, Zone};
use axum::body::Body;
use http::Request;
use kms_http::RequestLimits;
use kms_testkit::Fault;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ID: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

async fn signed_with(
    zone: &Zone,
    method: &str,
    target: &str,
    body: &[u8],
    header: (&str, &str),
) -> crate::client::Answer {
    let authorization = ACME.authorization(method, target, body, NOW + 600);
    let request = Request::builder().method(method).uri(target).header("authorization", authorization);
    zone.send(request.header(header.0, header.1).body(Body::from(body.to_vec())).unwrap()).await
}

#[tokio::test]
async fn paths_methods_queries_and_targets() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    for (method, target, status, title) in [
        ("GET", "/v2/nothing".to_owned(), 404, "Not Found"),
        ("GET", format!("/v2/kms-key/{id}/"), 404, "Not Found"),
        ("POST", format!("/v2/kms-key/{id}/explode"), 404, "Not Found"),
        ("GET", format!("/v2/operation/{ID}"), 404, "Operation Not Found"),
        ("GET", format!("/v2/kms-key/{ID}"), 404, "Key Not Found"),
        ("GET", format!("/v2/kms-key/{}", id.to_uppercase()), 404, "Key Not Found"),
        ("GET", format!("/v2/kms-key/{}", id.replacen('0', "%30", 1)), 404, "Key Not Found"),
        ("GET", format!("/v2/kms-key/{id}?"), 400, "Bad Request"),
        ("GET", "/v2/kms-key?zone=ch-gva-2".into(), 400, "Bad Request"),
        ("GET", format!("/v2/kms-key/{id}/enable"), 405, "Method Not Allowed"),
        ("PUT", "/v2/kms-key".into(), 405, "Method Not Allowed"),
        ("OPTIONS", "/v2/zone".into(), 405, "Method Not Allowed"),
        ("GET", "http://127.0.0.1/v2/kms-key".into(), 400, "Bad Request"),
    ] {
        let answer = zone.call(method, &target, "").await;
        assert_eq!(answer.told(), (status, title.to_owned()), "{method} {target}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
        assert_eq!(answer.json()["message"], answer.json()["detail"]);
        assert!(!answer.text().contains(&id), "{method} {target}");
    }
    assert_eq!(zone.call("DELETE", "/v2/kms-key", "").await.header("allow"), Some("GET, POST"));
    let head = zone.call("HEAD", "/v2/kms-key", "").await;
    assert_eq!((head.status, head.body.len()), (405, 0));
}

#[tokio::test]
async fn encodings_are_refused_and_media_types_are_not_looked_at() {
    let zone = Zone::start().await;
    for (name, value, status) in [
        ("content-type", "", 400),
        ("content-type", "text/plain", 400),
        ("content-type", "application/json; charset=utf-16", 415),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity", 400),
    ] {
        let answer = signed_with(&zone, "POST", "/v2/kms-key", b"{}", (name, value)).await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_fault_document_is_exact() {
    let zone = Zone::start().await;
    let answer = zone.call("POST", "/v2/kms-key", r#"{"name":7,"x":1}"#).await;
    let expected = concat!(
        r#"{"type":"urn:zonekms:problem:bad-request","title":"Bad Request","status":400,"#,
        r#""detail":"the request body has 2 faults","errors":["#,
        r#"{"location":"$['x']","path":"x","pointer":"/x","detail":"is not known here"},"#,
        r#"{"location":"$['name']","path":"name","pointer":"/name","detail":"must be a string"}],"#,
        r#""message":"the request body has 2 faults"}"#
    );
    assert_eq!((answer.status, answer.text().as_str()), (400, expected));
    let id = zone.create("k1").await;
    let with_body = zone.call("GET", &format!("/v2/kms-key/{id}"), "{}").await;
    assert_eq!(with_body.json()["detail"], "this operation takes no body");
}

#[tokio::test]
async fn the_named_errors_come_from_the_key() {
    let zone = Zone::with(RequestLimits::default(), 2).await;
    let id = zone.create("k1").await;
    let told = async |action: &str, body: &str| {
        let answer = zone.on(&id, action, body).await;
        format!("{} {} {}", answer.status, answer.told().1, answer.json()["detail"].as_str().unwrap_or_default())
    };
    assert_eq!(told("cancel-deletion", "").await, "400 Not Pending Deletion the key is not pending deletion");
    assert_eq!(told("enable-key-rotation", "").await, "400 Conflict automatic rotation is already enabled");
    assert_eq!(told("replicate", r#"{"zone":"de-fra-1"}"#).await, "400 Not Multizone the key is not a multi-zone key");
    let undecryptable = "400 Bad Request the ciphertext could not be decrypted";
    assert_eq!(told("decrypt", r#"{"ciphertext":""}"#).await, undecryptable);
    assert_eq!(told("decrypt", r#"{"ciphertext":"AQID"}"#).await, undecryptable);
    for _ in 0..10 {
        assert_eq!(zone.on(&id, "rotate", "").await.status, 200);
    }
    assert_eq!(
        told("rotate", "").await,
        "400 Manual Rotation Limit a key can be rotated by hand 10 times, and this one was"
    );
    assert_eq!(zone.on(&id, "disable", "").await.status, 200);
    assert_eq!(told("encrypt", r#"{"plaintext":""}"#).await, "400 Key is Disabled the key is disabled");
    assert_eq!(zone.on(&id, "schedule-deletion", "").await.status, 200);
    assert_eq!(told("enable", "").await, "400 Key is Pending Deletion the key is pending deletion");
    assert_eq!(zone.call("POST", "/v2/kms-key", r#"{"name":"k1"}"#).await.told(), (409, "Name Conflict".into()));
    let multi = zone.call("POST", "/v2/kms-key", r#"{"name":"k2","multi-zone":true}"#).await.json();
    let multi = multi["id"].as_str().unwrap();
    let replicate =
        async |zone_name: &str| zone.on(multi, "replicate", &format!("{{\"zone\":\"{zone_name}\"}}")).await.told().1;
    assert_eq!(replicate("de-fra-1").await, "Replication Unavailable");
    assert_eq!(replicate("at-vie-1").await, "Invalid Argument");
    assert_eq!(replicate("ch-gva-2").await, "Invalid Argument");
    assert_eq!(replicate("../etc").await, "Bad Request");
    assert_eq!(zone.call("POST", "/v2/kms-key", r#"{"name":"k3"}"#).await.told(), (400, "Key Quota Exceeded".into()));
    let default = zone.call_as(OTHER, "GET", "/v2/kms-key", "").await.json()["kms-keys"][0]["id"].clone();
    let target = format!("/v2/kms-key/{}/disable", default.as_str().unwrap());
    assert_eq!(zone.call_as(OTHER, "POST", &target, "").await.told(), (400, "Not on Default".into()));
}

#[tokio::test]
async fn a_store_that_takes_no_changes_is_told_and_crypto_calls_go_on() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    zone.store.fail_next(Fault::ReadOnly);
    let refused = zone.on(&id, "disable", "").await;
    assert_eq!(refused.told(), (503, "Service Unavailable".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(zone.on(&id, "encrypt", r#"{"plaintext":""}"#).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_too_long_is_unknown_and_still_made() {
    let limits = RequestLimits { request_timeout: Duration::from_millis(100), ..RequestLimits::default() };
    let zone = Zone::with(limits, 10).await;
    let id = zone.create("k1").await;
    zone.store.fail_next(Fault::Delay(Duration::from_millis(400)));
    assert_eq!(zone.on(&id, "disable", "").await.told(), (500, "Outcome Unknown".into()));
    let mut status = String::new();
    for _ in 0..200 {
        status = zone.call("GET", &format!("/v2/kms-key/{id}"), "").await.json()["status"].to_string();
        if status == "\"disabled\"" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the change was lost: {status}");
}

#[tokio::test]
async fn without_randomness_nothing_is_encrypted_and_requests_still_have_ids() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    zone.entropy.run_dry();
    let first = zone.on(&id, "encrypt", r#"{"plaintext":""}"#).await;
    assert_eq!(first.told(), (500, "Internal Error".into()));
    let second = zone.call("GET", "/v2/kms-key", "").await;
    assert_eq!(second.status, 200);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let zone = Zone::start().await;
    zone.wall.store(i64::MIN, Ordering::Relaxed);
    assert_eq!(zone.call("GET", "/v2/kms-key", "").await.told(), (500, "Internal Error".into()));
    zone.wall.store(NOW, Ordering::Relaxed);
    assert_eq!(zone.call("GET", "/v2/kms-key", "").await.status, 200);
}

#[tokio::test]
async fn limits_are_settings_and_hold_to_the_byte() {
    let limits = RequestLimits { plaintext: 10, context: 4, request_timeout: Duration::from_secs(5) };
    let zone = Zone::with(limits, 10).await;
    let id = zone.create("k1").await;
    assert_eq!(
        zone.on(&id, "encrypt", r#"{"plaintext":"AAAAAAAAAAAAAA==","encryption-context":"AAAAAA=="}"#).await.status,
        200
    );
    let long =
        zone.on(&id, "encrypt", r#"{"plaintext":"AAAAAAAAAAAAAAA=","encryption-context":"AAAAAAA="}"#).await.json();
    assert_eq!(long["errors"][0]["detail"], "must be at most 10 bytes");
    assert_eq!(long["errors"][1]["detail"], "must be at most 4 bytes");
    let limit = limits.body_limit();
    let at_limit = zone.on(&id, "encrypt", &" ".repeat(limit)).await;
    assert_eq!(at_limit.json()["detail"], "the request body is not valid JSON");
    // Refused for its length before its signature is looked at.
    let nobody = Credential { id: "EXOnobody", secret: "" };
    let over = zone.call_as(nobody, "POST", "/v2/kms-key", &" ".repeat(limit + 1)).await;
    assert_eq!(over.told(), (413, "Payload Too Large".into()));
    assert_eq!(over.json()["detail"], format!("the request body is larger than {limit} bytes"));
}
