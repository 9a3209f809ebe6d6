//! Exoscale's KMS API: JSON over `POST /v2/kms-key/{id}/...`, signed with EXO2-HMAC-SHA256.

use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer, member};
use crate::call::Call;
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;

/// How far ahead a signature expires, in seconds: what the official clients use.
const EXPIRES_AHEAD: u64 = 600;

/// A service that speaks Exoscale's KMS API.
pub struct Exoscale {
    api_key: String,
    api_secret: Secret,
    base: String,
}

impl Exoscale {
    /// A service whose API begins at the endpoint's path, `/v2` if it has none.
    #[must_use]
    pub fn new(endpoint: &Endpoint, api_key: String, api_secret: Secret) -> Self {
        let base = if endpoint.path().is_empty() { "/v2" } else { endpoint.path() };
        Self { api_key, api_secret, base: base.to_owned() }
    }

    fn on_key(&self, key: &KeyHandle, operation: &str, body: String) -> Call {
        Call::post(format!("{}/kms-key/{}/{operation}", self.base, key.0), "application/json", body.into_bytes())
    }

    /// The value of the `Authorization` header for a call without signed query arguments.
    pub(super) fn authorization(api_key: &str, api_secret: &Secret, call: &Call, expires: u64) -> String {
        let path = call.path.split('?').next().unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(api_secret.expose().as_bytes()).expect("HMAC takes any key");
        for part in [call.method.name(), " ", path, "\n"] {
            mac.update(part.as_bytes());
        }
        mac.update(&call.body);
        // Two empty lines: no signed query arguments, no signed headers.
        mac.update(format!("\n\n\n{expires}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        format!("EXO2-HMAC-SHA256 credential={api_key},expires={expires},signature={signature}")
    }
}

/// The body of an encrypt call.
pub(super) fn encrypt_body(plaintext: &[u8]) -> String {
    format!("{{\"plaintext\":\"{}\"}}", BASE64_STANDARD.encode(plaintext))
}

impl Protocol for Exoscale {
    fn name(&self) -> &'static str {
        "exoscale"
    }

    fn new_key(&self, name: &str) -> NewKey {
        let body =
            format!("{{\"name\":\"{name}\",\"description\":\"\",\"usage\":\"encrypt-decrypt\",\"multi-zone\":false}}");
        NewKey::Ask(Call::post(format!("{}/kms-key", self.base), "application/json", body.into_bytes()))
    }

    fn key_of(&self, _name: &str, answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        member(answer, &["id"]).map(KeyHandle)
    }

    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call {
        self.on_key(key, "encrypt", encrypt_body(plaintext))
    }

    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        member(answer, &["ciphertext"]).map(Ciphertext)
    }

    fn decrypt(&self, key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        self.on_key(key, "decrypt", format!("{{\"ciphertext\":\"{}\"}}", ciphertext.0))
    }

    fn data_key(&self, key: &KeyHandle) -> Option<Call> {
        Some(self.on_key(key, "generate-data-key", "{\"bytes-count\":32}".to_owned()))
    }

    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String> {
        Some(format!("\"{}\"", BASE64_STANDARD.encode(plaintext)))
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        Some("\"ciphertext\"")
    }

    fn removal(&self, key: &KeyHandle) -> Vec<Call> {
        vec![self.on_key(key, "schedule-deletion", "{\"delay-days\":7}".to_owned())]
    }

    fn sign(&self, call: &mut Call, _endpoint: &Endpoint, now: UnixSeconds) {
        let expires = now.get() + EXPIRES_AHEAD;
        let value = Self::authorization(&self.api_key, &self.api_secret, call, expires);
        call.headers.push(("authorization", value));
    }

    fn signature_life(&self) -> Option<Duration> {
        Some(Duration::from_secs(EXPIRES_AHEAD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Method;

    /// Every case of the vector file that has neither query arguments nor another method than this client uses.
    #[test]
    fn signatures_of_the_official_client() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kms-http/vectors/exo2/exo2_hmac_cases.json");
        let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let (api_key, secret) = (text(&vectors["credential"]), Secret::new(text(&vectors["secret"])));
        let mut checked = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let url = text(&case["url"]);
            if case["method"] != "POST" || url.contains('?') {
                continue;
            }
            let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
            let body = hex::decode(text(&case["body_hex"])).unwrap();
            let call = Call { method: Method::Post, path, headers: Vec::new(), body };
            let expires = vectors["expires"].as_u64().unwrap();
            assert_eq!(
                Exoscale::authorization(&api_key, &secret, &call, expires),
                text(&case["authorization"]),
                "{}",
                case["name"]
            );
            checked += 1;
        }
        assert!(checked >= 4, "{checked} cases");
    }

    #[test]
    fn calls() {
        let service = Exoscale::new(&"http://h/v2".parse().unwrap(), "EXOa".to_owned(), Secret::new("s".to_owned()));
        let call = service.encrypt(&KeyHandle::new("k"), b"hello");
        assert_eq!(
            (call.path.as_str(), &call.body[..]),
            ("/v2/kms-key/k/encrypt", &b"{\"plaintext\":\"aGVsbG8=\"}"[..])
        );
        assert_eq!(service.ciphertext_of(b"{\"ciphertext\":\"eA==\"}"), Ok(Ciphertext("eA==".to_owned())));
        assert!(service.ciphertext_of(b"{\"title\":\"x\"}").is_err());
    }
}
