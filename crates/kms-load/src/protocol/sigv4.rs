//! AWS Signature Version 4, as far as requests with a body and without a query need it.

use crate::clock::UnixSeconds;
use crate::secret::Secret;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a signature is made for.
pub(super) struct Scope<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a Secret,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// What a signature covers.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// The path, normalised and encoded as it is on the wire.
    pub(super) path: &'a str,
    /// Names in lower case, sorted.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl Scope<'_> {
    /// The value of the `Authorization` header. `date` is that of `x-amz-date`, which must be among the headers.
    pub(super) fn authorization(&self, signed: &Signed<'_>, date: &AmzDate) -> String {
        let names: Vec<&str> = signed.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String =
            signed.headers.iter().map(|(name, value)| format!("{name}:{}\n", trimmed(value))).collect();
        let hash = hex::encode(Sha256::digest(signed.body));
        let canonical = format!("{}\n{}\n\n{headers}\n{names}\n{hash}", signed.method, signed.path);
        let scope = format!("{}/{}/{}/aws4_request", date.day(), self.region, self.service);
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", date.0);

        let first = Zeroizing::new(format!("AWS4{}", self.secret_key.expose()));
        let key = [date.day(), self.region, self.service, "aws4_request"]
            .iter()
            .fold(Zeroizing::new(first.as_bytes().to_vec()), |key, part| Zeroizing::new(hmac(&key, part.as_bytes())));
        let signature = hex::encode(hmac(&key, to_sign.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.access_key)
    }
}

/// A moment as `YYYYMMDDTHHMMSSZ`.
pub(super) struct AmzDate(String);

impl AmzDate {
    pub(super) fn new(now: UnixSeconds) -> Self {
        let seconds = i64::try_from(now.get()).unwrap_or(i64::MAX);
        Self(
            DateTime::from_timestamp(seconds, 0)
                .unwrap_or(DateTime::<Utc>::MAX_UTC)
                .format("%Y%m%dT%H%M%SZ")
                .to_string(),
        )
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn day(&self) -> &str {
        &self.0[..8]
    }
}

/// Without blanks at both ends, and with runs of them inside as one.
fn trimmed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, the date of AWS's published test suite.
    const SUITE_DATE: UnixSeconds = UnixSeconds::new(1_440_938_160);

    fn suite(signed: &Signed<'_>) -> String {
        let secret_key = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let scope =
            Scope { access_key: "AKIDEXAMPLE", secret_key: &secret_key, region: "us-east-1", service: "service" };
        let header = scope.authorization(signed, &AmzDate::new(SUITE_DATE));
        header.split_once("Signature=").unwrap().1.to_owned()
    }

    /// From AWS's published SigV4 test suite (aws-sig-v4-test-suite).
    #[test]
    fn vectors_of_the_published_suite() {
        let plain = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let vanilla = |method| suite(&Signed { method, path: "/", headers: &plain, body: b"" });
        assert_eq!(vanilla("GET"), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        assert_eq!(vanilla("POST"), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        let form = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let form = Signed { method: "POST", path: "/", headers: &form, body: b"Param1=value1" };
        assert_eq!(suite(&form), "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
        let trim = [
            ("host", "example.amazonaws.com"),
            ("my-header1", " value1"),
            ("my-header2", " \"a   b   c\""),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let trim = Signed { method: "GET", path: "/", headers: &trim, body: b"" };
        assert_eq!(suite(&trim), "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(AmzDate::new(UnixSeconds::new(seconds)).as_str(), text);
        }
    }
}
