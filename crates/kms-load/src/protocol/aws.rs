//! AWS KMS: JSON 1.1 over `POST /`, signed with SigV4.

use super::sigv4::{AmzDate, Scope, Signed};
use super::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer, member};
use crate::call::Call;
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::time::Duration;

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// What AWS clients take from `AWS_ACCESS_KEY_ID` and its neighbours.
pub struct AwsCredentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: Secret,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
    /// `AWS_REGION`, such as `eu-central-1`.
    pub region: String,
}

/// A service that speaks the protocol of AWS KMS.
pub struct AwsKms {
    credentials: AwsCredentials,
    path: String,
}

impl AwsKms {
    /// A service at the endpoint's path, `/` if it has none.
    #[must_use]
    pub fn new(endpoint: &Endpoint, credentials: AwsCredentials) -> Self {
        let path = if endpoint.path().is_empty() { "/" } else { endpoint.path() };
        Self { credentials, path: path.to_owned() }
    }

    fn call(&self, operation: &str, body: String) -> Call {
        let mut call = Call::post(self.path.clone(), CONTENT_TYPE, body.into_bytes());
        call.headers.push(("x-amz-target", format!("TrentService.{operation}")));
        call
    }
}

impl Protocol for AwsKms {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn new_key(&self, name: &str) -> NewKey {
        NewKey::Ask(self.call("CreateKey", format!("{{\"Description\":\"{name}\"}}")))
    }

    fn key_of(&self, _name: &str, answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        member(answer, &["KeyMetadata", "KeyId"]).map(KeyHandle)
    }

    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call {
        let plaintext = BASE64_STANDARD.encode(plaintext);
        self.call("Encrypt", format!("{{\"KeyId\":\"{}\",\"Plaintext\":\"{plaintext}\"}}", key.0))
    }

    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        member(answer, &["CiphertextBlob"]).map(Ciphertext)
    }

    fn decrypt(&self, key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        self.call("Decrypt", format!("{{\"KeyId\":\"{}\",\"CiphertextBlob\":\"{}\"}}", key.0, ciphertext.0))
    }

    fn data_key(&self, key: &KeyHandle) -> Option<Call> {
        Some(self.call("GenerateDataKey", format!("{{\"KeyId\":\"{}\",\"NumberOfBytes\":32}}", key.0)))
    }

    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String> {
        Some(format!("\"{}\"", BASE64_STANDARD.encode(plaintext)))
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        Some("\"CiphertextBlob\"")
    }

    fn removal(&self, key: &KeyHandle) -> Vec<Call> {
        vec![self.call("ScheduleKeyDeletion", format!("{{\"KeyId\":\"{}\",\"PendingWindowInDays\":7}}", key.0))]
    }

    fn sign(&self, call: &mut Call, endpoint: &Endpoint, now: UnixSeconds) {
        let date = AmzDate::new(now);
        call.headers.push(("x-amz-date", date.as_str().to_owned()));
        if let Some(token) = &self.credentials.session_token {
            call.headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let host = endpoint.authority();
        let mut headers: Vec<(&str, &str)> = call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("host", &host));
        headers.sort_unstable();
        let signed = Signed { method: call.method.name(), path: &call.path, headers: &headers, body: &call.body };
        let scope = Scope {
            access_key: &self.credentials.access_key,
            secret_key: &self.credentials.secret_key,
            region: &self.credentials.region,
            service: "kms",
        };
        let value = scope.authorization(&signed, &date);
        call.headers.push(("authorization", value));
    }

    /// AWS refuses a date that is five minutes off.
    fn signature_life(&self) -> Option<Duration> {
        Some(Duration::from_secs(240))
    }
}
