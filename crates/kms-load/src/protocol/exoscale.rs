//! Exoscale's KMS API: JSON over `POST /v2/kms-key/{id}/...`, signed with EXO2-HMAC-SHA256.

use super::exo2::Exo2Signer;
use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer, member};
use crate::call::Call;
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::time::Duration;

/// How far ahead a signature expires, in seconds: what the official clients use.
const EXPIRES_AHEAD: u64 = 600;

/// A service that speaks Exoscale's KMS API.
pub struct Exoscale {
    signer: Exo2Signer,
    base: String,
}

impl Exoscale {
    /// A service whose API begins at the endpoint's path, `/v2` if it has none.
    #[must_use]
    pub fn new(endpoint: &Endpoint, api_key: String, api_secret: Secret) -> Self {
        let base = if endpoint.path().is_empty() { "/v2" } else { endpoint.path() };
        Self { signer: Exo2Signer::new(api_key, api_secret), base: base.to_owned() }
    }

    fn on_key(&self, key: &KeyHandle, operation: &str, body: String) -> Call {
        Call::post(format!("{}/kms-key/{}/{operation}", self.base, key.0), "application/json", body.into_bytes())
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
        let value = self.signer.authorization(call.method.name(), &call.path, &call.body, expires);
        call.headers.push(("authorization", value));
    }

    fn signature_life(&self) -> Option<Duration> {
        Some(Duration::from_secs(EXPIRES_AHEAD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
