//! A client that signs, for the zones of a lab.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::program::{PATIENCE, http_with};

/// One zone, as the holder of an API key sees it.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Zone {
    /// Sends a signed request; `path` comes after `/v2`.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        #[expect(clippy::disallowed_methods, reason = "a client signs for the present")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (target, expires) = (format!("/v2{path}"), now + 300);
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("{method} {target}\n{body}\n\n\n{expires}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let id = &self.id;
        let header =
            format!("Authorization: EXO2-HMAC-SHA256 credential={id},expires={expires},signature={signature}\r\n");
        let (status, answer) = http_with(self.address, method, &target, body, &header);
        (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{status}: no JSON: {answer}")))
    }

    /// Calls an operation on a key that is to succeed.
    pub(crate) fn on(&self, key: &str, action: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.call("POST", &format!("/kms-key/{key}/{action}"), &body);
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// The key as this zone shows it, if it does.
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let (status, answer) = self.call("GET", &format!("/kms-key/{key}"), "");
        (status == 200).then_some(answer)
    }

    /// Makes a multi-zone key; its id.
    pub(crate) fn create_multi_zone(&self, name: &str) -> String {
        let (status, key) = self.call("POST", "/kms-key", &json!({"name": name, "multi-zone": true}).to_string());
        assert_eq!(status, 200, "{key}");
        key["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the key's watermark for a zone is its revision, and no failure is shown.
    pub(crate) fn wait_until_replicated(&self, key: &str, target: &str) {
        self.wait_for_replica(key, target, |revision, status| {
            status["last-applied-watermark"] == *revision && status.get("last-failure").is_none()
        });
    }

    /// Waits until what this zone, the key's origin, shows of one replica is as wished, given the key's revision; the
    /// replica's status.
    pub(crate) fn wait_for_replica(&self, key: &str, target: &str, wished: impl Fn(&Value, &Value) -> bool) -> Value {
        const PAUSE: Duration = Duration::from_millis(20);
        let mut shown = Value::Null;
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            shown = self.get(key).unwrap();
            let status = shown["replicas-status"].as_array().unwrap().iter().find(|status| status["zone"] == target);
            if let Some(status) = status
                && wished(&shown["revision"]["seq"], status)
            {
                return status.clone();
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{target} did not come so far: {shown}");
    }
}
