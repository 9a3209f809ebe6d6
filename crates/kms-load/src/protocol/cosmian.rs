//! Cosmian KMS over its REST API: keys made as JWK, ciphertexts as flattened JWE (RFC 7516, section 7.2.2) with `alg` `dir`.

use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer, member};
use crate::call::{Call, Method};
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use std::time::Duration;

/// The members of a flattened JWE that decrypting takes. `encrypted_key` is empty with `dir` and may be left out.
const JWE_MEMBERS: [&str; 4] = ["protected", "iv", "ciphertext", "tag"];

/// A service with Cosmian's REST API. It gives keys names of its own, and has no call that makes a data key.
pub struct CosmianJose {
    access_token: Option<Secret>,
    base: String,
}

impl CosmianJose {
    /// A service whose REST API is at the endpoint's path, `/v1/crypto` if it has none. A server that was told of no way
    /// to know its users takes requests without a token.
    #[must_use]
    pub fn new(endpoint: &Endpoint, access_token: Option<Secret>) -> Self {
        let base = if endpoint.path().is_empty() { "/v1/crypto" } else { endpoint.path() };
        Self { access_token, base: base.to_owned() }
    }

    fn post(&self, place: &str, body: String) -> Call {
        Call::post(format!("{}/{place}", self.base), "application/json", body.into_bytes())
    }
}

impl Protocol for CosmianJose {
    fn name(&self) -> &'static str {
        "cosmian"
    }

    fn new_key(&self, _name: &str) -> NewKey {
        NewKey::Ask(self.post("keys", "{\"kty\":\"oct\",\"alg\":\"A256GCM\"}".to_owned()))
    }

    fn key_of(&self, _name: &str, answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        member(answer, &["kid"]).map(KeyHandle)
    }

    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call {
        let data = BASE64_URL_SAFE_NO_PAD.encode(plaintext);
        self.post(
            "encrypt",
            format!("{{\"kid\":\"{}\",\"alg\":\"dir\",\"enc\":\"A256GCM\",\"data\":\"{data}\"}}", key.0),
        )
    }

    /// The JWE as text, ready to be a request's body. It names its key.
    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        let members = JWE_MEMBERS.map(|name| member(answer, &[name]).map(|value| format!("\"{name}\":\"{value}\"")));
        let members: Vec<String> = members.into_iter().collect::<Result<_, _>>()?;
        Ok(Ciphertext(format!("{{{}}}", members.join(","))))
    }

    fn decrypt(&self, _key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        self.post("decrypt", ciphertext.0.clone())
    }

    fn data_key(&self, _key: &KeyHandle) -> Option<Call> {
        None
    }

    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String> {
        Some(format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(plaintext)))
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        Some("\"ciphertext\"")
    }

    /// Revoked and destroyed in one call.
    fn removal(&self, key: &KeyHandle) -> Vec<Call> {
        let path = format!("{}/keys/{}", self.base, key.0);
        vec![Call { method: Method::Delete, path, headers: Vec::new(), body: Vec::new() }]
    }

    fn sign(&self, call: &mut Call, _endpoint: &Endpoint, _now: UnixSeconds) {
        if let Some(token) = &self.access_token {
            call.headers.push(("authorization", format!("Bearer {}", token.expose())));
        }
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
        let endpoint: Endpoint = "http://h:9998".parse().unwrap();
        let service = CosmianJose::new(&endpoint, None);
        let seen = |mut call: Call| {
            service.sign(&mut call, &endpoint, UnixSeconds::new(0));
            assert!(!call.headers.iter().any(|(name, _)| *name == "authorization"), "there is no token");
            format!("{} {} {}", call.method.name(), call.path, String::from_utf8(call.body).unwrap())
        };
        let NewKey::Ask(call) = service.new_key("name") else { panic!("keys are made by a request") };
        assert_eq!(seen(call), r#"POST /v1/crypto/keys {"kty":"oct","alg":"A256GCM"}"#);
        let key = service.key_of("name", br#"{"kid":"k-1","kty":"oct","alg":"A256GCM","key_ops":[]}"#).unwrap();
        // 0xfbff is +/8= in base64 and -_8 in base64url.
        assert_eq!(
            seen(service.encrypt(&key, &[0xfb, 0xff])),
            r#"POST /v1/crypto/encrypt {"kid":"k-1","alg":"dir","enc":"A256GCM","data":"-_8"}"#
        );
        let answer = br#"{"protected":"cA","encrypted_key":"","iv":"aQ","ciphertext":"Yw","tag":"dA"}"#;
        let ciphertext = service.ciphertext_of(answer).unwrap();
        assert_eq!(
            seen(service.decrypt(&key, &ciphertext)),
            r#"POST /v1/crypto/decrypt {"protected":"cA","iv":"aQ","ciphertext":"Yw","tag":"dA"}"#
        );
        assert_eq!(service.decrypted_mark(&[0xfb, 0xff]).as_deref(), Some("\"-_8\""));
        assert_eq!(service.data_key(&key), None);
        let removal: Vec<String> = service.removal(&key).into_iter().map(seen).collect();
        assert_eq!(removal, ["DELETE /v1/crypto/keys/k-1 "]);
    }

    #[test]
    fn a_jwe_without_its_tag_is_no_ciphertext() {
        let service = CosmianJose::new(&"http://h".parse().unwrap(), None);
        let fault = service.ciphertext_of(br#"{"protected":"cA","iv":"aQ","ciphertext":"Yw"}"#).unwrap_err();
        assert!(fault.to_string().contains("no member tag"), "{fault}");
    }

    #[test]
    fn a_token_and_a_path_of_its_own() {
        let endpoint: Endpoint = "https://h/kms/v1/crypto".parse().unwrap();
        let service = CosmianJose::new(&endpoint, Some(Secret::new("token".to_owned())));
        let mut call = service.encrypt(&KeyHandle::new("k"), b"");
        service.sign(&mut call, &endpoint, UnixSeconds::new(0));
        assert_eq!(call.path, "/kms/v1/crypto/encrypt");
        assert!(call.headers.contains(&("authorization", "Bearer token".to_owned())), "{call:?}");
    }
}
