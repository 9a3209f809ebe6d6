//! The transit engine of Vault and OpenBao.

use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer, member};
use crate::call::{Call, Method};
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::time::Duration;

/// A service with Vault's transit API.
pub struct VaultTransit {
    token: Secret,
    base: String,
}

impl VaultTransit {
    /// A service whose transit engine is at the endpoint's path, `/v1/transit` if it has none.
    #[must_use]
    pub fn new(endpoint: &Endpoint, token: Secret) -> Self {
        let base = if endpoint.path().is_empty() { "/v1/transit" } else { endpoint.path() };
        Self { token, base: base.to_owned() }
    }

    fn post(&self, place: &str, key: &str, body: String) -> Call {
        Call::post(format!("{}/{place}/{key}", self.base), "application/json", body.into_bytes())
    }
}

impl Protocol for VaultTransit {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn new_key(&self, name: &str) -> NewKey {
        NewKey::Ask(self.post("keys", name, "{\"type\":\"aes256-gcm96\"}".to_owned()))
    }

    /// The name is the key's; the answer is empty before Vault 1.14.
    fn key_of(&self, name: &str, _answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        Ok(KeyHandle::new(name))
    }

    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call {
        self.post("encrypt", &key.0, format!("{{\"plaintext\":\"{}\"}}", BASE64_STANDARD.encode(plaintext)))
    }

    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        member(answer, &["data", "ciphertext"]).map(Ciphertext)
    }

    fn decrypt(&self, key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        self.post("decrypt", &key.0, format!("{{\"ciphertext\":\"{}\"}}", ciphertext.0))
    }

    fn data_key(&self, key: &KeyHandle) -> Option<Call> {
        Some(self.post("datakey/plaintext", &key.0, "{\"bits\":256}".to_owned()))
    }

    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String> {
        Some(format!("\"{}\"", BASE64_STANDARD.encode(plaintext)))
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        Some("\"vault:v")
    }

    fn removal(&self, key: &KeyHandle) -> Vec<Call> {
        let path = format!("{}/keys/{}", self.base, key.0);
        let allow = Call::post(format!("{path}/config"), "application/json", b"{\"deletion_allowed\":true}".to_vec());
        vec![allow, Call { method: Method::Delete, path, headers: Vec::new(), body: Vec::new() }]
    }

    fn sign(&self, call: &mut Call, _endpoint: &Endpoint, _now: UnixSeconds) {
        call.headers.push(("x-vault-token", self.token.expose().to_owned()));
    }

    fn signature_life(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_as_the_api_documents_them() {
        let endpoint: Endpoint = "http://h:8200".parse().unwrap();
        let service = VaultTransit::new(&endpoint, Secret::new("token".to_owned()));
        let key = KeyHandle::new("k");
        let seen = |mut call: Call| {
            service.sign(&mut call, &endpoint, UnixSeconds::new(0));
            let token = call.headers.iter().any(|(name, value)| *name == "x-vault-token" && value == "token");
            assert!(token, "{call:?}");
            format!("{} {} {}", call.method.name(), call.path, String::from_utf8(call.body).unwrap())
        };
        assert_eq!(seen(service.encrypt(&key, b"hello")), r#"POST /v1/transit/encrypt/k {"plaintext":"aGVsbG8="}"#);
        let ciphertext = service.ciphertext_of(br#"{"data":{"ciphertext":"vault:v1:eA==","key_version":1}}"#).unwrap();
        assert_eq!(
            seen(service.decrypt(&key, &ciphertext)),
            r#"POST /v1/transit/decrypt/k {"ciphertext":"vault:v1:eA=="}"#
        );
        assert_eq!(seen(service.data_key(&key).unwrap()), r#"POST /v1/transit/datakey/plaintext/k {"bits":256}"#);
        let removal: Vec<String> = service.removal(&key).into_iter().map(seen).collect();
        assert_eq!(
            removal,
            [r#"POST /v1/transit/keys/k/config {"deletion_allowed":true}"#, "DELETE /v1/transit/keys/k "]
        );
    }
}
