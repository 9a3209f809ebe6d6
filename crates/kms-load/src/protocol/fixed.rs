//! A server that answers without looking: the same requests to one path, with which servers' own limits are measured.

use super::exo2::Exo2Signer;
use super::exoscale::encrypt_body;
use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer};
use crate::call::Call;
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use std::time::Duration;

/// Sends what an encrypt call to Exoscale's API would be, signature included, to the endpoint's path. Answers count as
/// right whatever they hold, if their status is 2xx.
pub struct Fixed {
    path: String,
    signer: Exo2Signer,
}

impl Fixed {
    /// Requests to the endpoint's own path and query.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        let path = if endpoint.path().is_empty() { "/" } else { endpoint.path() };
        let secret = Secret::new("not a secret: nothing looks at it".to_owned());
        // As long as a real one: an API key is "EXO" and 24 digits.
        Self { path: path.to_owned(), signer: Exo2Signer::new("EXO000000000000000000000000".to_owned(), secret) }
    }
}

impl Protocol for Fixed {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn new_key(&self, name: &str) -> NewKey {
        NewKey::None(KeyHandle::new(name))
    }

    fn key_of(&self, name: &str, _answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        Ok(KeyHandle::new(name))
    }

    fn encrypt(&self, _key: &KeyHandle, plaintext: &[u8]) -> Call {
        Call::post(self.path.clone(), "application/json", encrypt_body(plaintext).into_bytes())
    }

    fn ciphertext_of(&self, _answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        Ok(Ciphertext(String::new()))
    }

    fn decrypt(&self, _key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        let body = format!("{{\"ciphertext\":\"{}\"}}", ciphertext.0);
        Call::post(self.path.clone(), "application/json", body.into_bytes())
    }

    fn data_key(&self, _key: &KeyHandle) -> Option<Call> {
        Some(Call::post(self.path.clone(), "application/json", b"{\"bytes-count\":32}".to_vec()))
    }

    fn decrypted_mark(&self, _plaintext: &[u8]) -> Option<String> {
        None
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        None
    }

    fn removal(&self, _key: &KeyHandle) -> Vec<Call> {
        Vec::new()
    }

    fn sign(&self, call: &mut Call, _endpoint: &Endpoint, now: UnixSeconds) {
        let value = self.signer.authorization(call.method.name(), &call.path, &call.body, now.get());
        call.headers.push(("authorization", value));
    }

    fn signature_life(&self) -> Option<Duration> {
        None
    }
}
