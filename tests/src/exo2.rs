//! EXO2-HMAC-SHA256 as a client makes it, written from the specification and not from the product.

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use std::time::{SystemTime, UNIX_EPOCH};

/// An API key: its id and its secret, which is used as the text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The id, sent with every request.
    pub id: String,
    /// The secret, never sent.
    pub secret: String,
}

/// What a signature covers. `expires` is a text so that odd spellings can be signed too.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The path as on the wire, without the query.
    pub path: &'a str,
    /// The raw body.
    pub body: &'a [u8],
    /// The values of the signed query arguments, in the order of their sorted names, without a separator.
    pub query_values: &'a str,
    /// The second after which the request is void, decimal.
    pub expires: &'a str,
}

impl Signed<'_> {
    /// The 32 bytes of the signature under `secret`.
    #[must_use]
    pub fn signature(&self, secret: &str) -> [u8; 32] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(format!("{} {}\n", self.method, self.path).as_bytes());
        mac.update(self.body);
        mac.update(format!("\n{}\n\n{}", self.query_values, self.expires).as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self, credential: &Credential) -> String {
        let signature = BASE64_STANDARD.encode(self.signature(&credential.secret));
        format!("EXO2-HMAC-SHA256 credential={},expires={},signature={signature}", credential.id, self.expires)
    }
}

/// The wall clock in whole seconds since 1970: what `expires` is compared with.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_secs()).expect("seconds fit")
}

/// The `expires` that Go and Python clients send: ten minutes from now.
#[must_use]
pub fn usual_expires() -> String {
    (unix_now() + 600).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the `exoscale_auth` package of the official Python client.
    #[test]
    fn vectors_of_the_official_client() {
        let credential = Credential {
            id: "EXOb03c1e7fd2a8f5d0c1d2e3f4".into(),
            secret: "kmsTestSecret_0123456789abcdefghijklmnopq".into(),
        };
        let key = "/v2/kms-key/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";
        let cases: [(&str, String, &str, &str, &str); 5] = [
            ("GET", "/v2/kms-key".into(), "", "", "qUr7mtRWz5R48V5HdU1rfSGKYy+ew+Dv2bGObA3m6OQ="),
            (
                "POST",
                "/v2/kms-key".into(),
                r#"{"description":"","multi-zone":false,"name":"k1","usage":"encrypt-decrypt"}"#,
                "",
                "nPVJjGF48dWE5zhvDSFonJZZHU76EiPW/4XXDnkri5s=",
            ),
            ("GET", format!("{key}/list-key-rotations"), "", "a b+c2", "MU5EYAZ4KIPDtRuaVSZhDSWsBOrGDNR0KWE6IgRcUPw="),
            ("POST", format!("{key}/enable"), "", "", "0Lro21nYGFZcirL06Uaz91wjVltXm6z9hhb+1wdSWXQ="),
            (
                "POST",
                "/v2/kms-key".into(),
                "{\"name\":\"clé-ключ\"}",
                "",
                "pugBzSXzCivqohNyelO8fCccbmADZ1EQlX6YyQxnCVs=",
            ),
        ];
        for (method, path, body, query_values, signature) in cases {
            let signed = Signed { method, path: &path, body: body.as_bytes(), query_values, expires: "1893456000" };
            assert!(signed.header(&credential).ends_with(&format!("signature={signature}")), "{method} {path}");
        }
    }
}
