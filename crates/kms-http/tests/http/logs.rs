//! What the log says of requests, and what it must never say.

use crate::zone::{ACME, NOW, Zone};
use axum::body::Body;
use http::Request;
use serde_json::Value;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_line_per_request_without_anything_of_its_body() {
    let log = Log::default();
    // For all threads: a subscriber of one thread does not see what another thread's first use of a line has switched off.
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_thread_names(true)
        .with_writer(log.clone())
        .init();
    let zone = Zone::start().await;
    let create = r#"{"name":"private-name\"}","description":"private-description"}"#;
    let id = zone.call("POST", "/v2/kms-key", create).await.json()["id"].as_str().unwrap().to_owned();
    let encrypted =
        zone.on(&id, "encrypt", r#"{"plaintext":"cHJpdmF0ZQ==","encryption-context":"Y29udGV4dA=="}"#).await;
    let ciphertext = encrypted.json()["ciphertext"].as_str().unwrap().to_owned();
    zone.on(&id, "decrypt", &format!(r#"{{"ciphertext":"{ciphertext}","encryption-context":"Y29udGV4dA=="}}"#)).await;
    zone.call("GET", "/v2/kms-key/private-path\u{202e}", "").await;
    let header = ACME.authorization("GET", "/v2/zone", b"", NOW - 100);
    let signature = header.split("signature=").nth(1).unwrap().to_owned();
    let refused =
        Request::get("/v2/kms-key?private-query").header("authorization", header).body(Body::empty()).unwrap();
    zone.send(refused).await;
    let odd = Request::builder().method("PRIVATE").uri("/v2/private-path").body(Body::empty()).unwrap();
    zone.send(odd).await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for private in ["private", "PRIVATE", "cHJpdmF0ZQ", "Y29udGV4dA", &ciphertext, &signature, ACME.secret] {
        assert!(!text.contains(private), "{private} in:\n{text}");
    }
    // Every line is one JSON object. Tests on other threads log here too.
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let this_thread = std::thread::current().name().map(String::from);
    let told = |message: &str| {
        let own = lines.iter().filter(|line| line["threadName"].as_str() == this_thread.as_deref());
        own.filter(|line| line["fields"]["message"] == message).collect::<Vec<_>>()
    };
    let of = |message: &str| told(message).iter().map(|line| &line["fields"]).collect::<Vec<_>>();
    let levels: Vec<_> = told("request").iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["INFO", "DEBUG", "DEBUG", "INFO", "INFO", "INFO"]);
    let requests = of("request");
    let encrypt = requests[1];
    assert_eq!((encrypt["route"].as_str(), encrypt["status"].as_u64()), (Some("encrypt"), Some(200)));
    assert_eq!(encrypt["id"].as_str(), encrypted.header("x-request-id"));
    assert_eq!(encrypt["key"].as_str(), Some(id.as_str()));
    assert_eq!((encrypt["credential"].as_str(), encrypt["organisation"].as_str()), (Some(ACME.id), Some("acme")));
    let reasons: Vec<_> = of("signature refused").iter().map(|fields| fields["reason"].clone()).collect();
    assert_eq!(reasons, ["expired", "missing"]);
}
