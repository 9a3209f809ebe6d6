//! The signature of Exoscale's API, EXO2-HMAC-SHA256.

use crate::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// An API key that signs. kms-root-key signs by code of its own: this crate shares none with the server (ADR 0025).
pub struct Exo2Signer {
    api_key: String,
    api_secret: Secret,
}

impl Exo2Signer {
    /// The API key with that name and secret.
    #[must_use]
    pub fn new(api_key: String, api_secret: Secret) -> Self {
        Self { api_key, api_secret }
    }

    /// The value of the `Authorization` header for a request with this method, such as `POST`, path and body, good until
    /// `expires`, in seconds since 1970. A query in `path` stays unsigned.
    #[must_use]
    pub fn authorization(&self, method: &str, path: &str, body: &[u8], expires: u64) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.api_secret.expose().as_bytes()).expect("HMAC takes any key");
        for part in [method, " ", path, "\n"] {
            mac.update(part.as_bytes());
        }
        mac.update(body);
        // Two empty lines: no signed query arguments, no signed headers.
        mac.update(format!("\n\n\n{expires}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        format!("EXO2-HMAC-SHA256 credential={},expires={expires},signature={signature}", self.api_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every case of the vector file that has neither query arguments nor another method than this client uses.
    #[test]
    fn signatures_of_the_official_client() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../kms-http/vectors/exo2/exo2_hmac_cases.json");
        let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let signer = Exo2Signer::new(text(&vectors["credential"]), Secret::new(text(&vectors["secret"])));
        let expires = vectors["expires"].as_u64().unwrap();
        let mut checked = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let url = text(&case["url"]);
            if case["method"] != "POST" || url.contains('?') {
                continue;
            }
            let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
            let body = hex::decode(text(&case["body_hex"])).unwrap();
            let authorization = signer.authorization("POST", &path, &body, expires);
            assert_eq!(authorization, text(&case["authorization"]), "{}", case["name"]);
            checked += 1;
        }
        assert!(checked >= 4, "{checked} cases");
    }
}
