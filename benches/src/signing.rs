//! Requests as Exoscale's clients sign them.

use kms_crypto::MacKey;

/// An API key that signs.
pub struct Signer<'a> {
    /// Its id.
    pub credential: &'a str,
    /// Its secret, set up for HMAC-SHA-256.
    pub key: &'a MacKey,
}

impl Signer<'_> {
    /// The `Authorization` header (EXO2-HMAC-SHA256) of a request without query, good until `expires` in seconds since 1970.
    #[must_use]
    pub fn authorization(&self, method: &str, path: &str, body: &[u8], expires: i64) -> String {
        let head = format!("{method} {path}\n");
        let tail = format!("\n\n\n{expires}");
        let signature = base64(&self.key.tag(&[head.as_bytes(), body, tail.as_bytes()]));
        format!("EXO2-HMAC-SHA256 credential={},expires={expires},signature={signature}", self.credential)
    }
}

/// Standard base64 with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
