//! One signed call of Exoscale's API (EXO2-HMAC-SHA256), and what its outcome means for a start.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use kms_crypto::SecretBytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::endpoint::{Endpoint, Transport};
use crate::provider::{ProviderFault, ProviderKind};

/// The wall clock, in seconds since 1970.
pub type UnixSeconds = Box<dyn Fn() -> i64 + Send + Sync>;

/// How long a call may take, from the connection to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a signature is good, in seconds.
const SIGNED_FOR: i64 = 600;
/// The largest answer, in bytes.
const ANSWER_LIMIT: usize = 65_536;
/// The most of a refusal's words that is repeated, in characters.
const TOLD_LIMIT: usize = 200;

/// Why another key management service gives no root key.
#[derive(Debug, thiserror::Error)]
pub enum OtherKmsFault {
    /// The keyring is under another kind of provider.
    #[error("the keyring is not under another KMS, but under: {0}")]
    OtherKind(ProviderKind),
    /// The root key was encrypted by another key than the one configured.
    #[error("the keyring's root key was encrypted by key {encrypted_by}, and {configured} is configured")]
    OtherKey {
        /// The key in the keyring's descriptor.
        encrypted_by: String,
        /// The key in the configuration.
        configured: String,
    },
    /// It cannot be reached, or does not answer in time.
    #[error("the other KMS at {endpoint} cannot be reached: {cause}")]
    Unreachable {
        /// Its address.
        endpoint: String,
        /// What went wrong.
        cause: io::Error,
    },
    /// It answers that it cannot serve at the moment.
    #[error("the other KMS at {endpoint} does not serve at the moment: {status} {told}")]
    Busy {
        /// Its address.
        endpoint: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        told: String,
    },
    /// It refuses.
    #[error(
        "the other KMS at {endpoint} refuses: {status} {told}. The root key is out of reach until its key there can be used \
         again by this API key; nothing was changed"
    )]
    Refused {
        /// Its address.
        endpoint: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        told: String,
    },
    /// It does not speak the API.
    #[error("the other KMS at {endpoint} gives {what}: is this the address of a KMS?")]
    Unintelligible {
        /// Its address.
        endpoint: String,
        /// What it gave.
        what: String,
    },
}

impl From<OtherKmsFault> for ProviderFault {
    fn from(fault: OtherKmsFault) -> Self {
        match &fault {
            OtherKmsFault::Unreachable { .. } | OtherKmsFault::Busy { .. } => Self::Unavailable(Box::new(fault)),
            OtherKmsFault::OtherKind(_)
            | OtherKmsFault::OtherKey { .. }
            | OtherKmsFault::Refused { .. }
            | OtherKmsFault::Unintelligible { .. } => Self::Refused(Box::new(fault)),
        }
    }
}

/// Who calls whom.
pub(super) struct Caller {
    pub(super) endpoint: Endpoint,
    pub(super) api_key: String,
    pub(super) api_secret: SecretBytes,
    pub(super) now: UnixSeconds,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Caller {
    /// Posts `body` to `path` of the API; gives the member `output` of the answer.
    pub(super) async fn post(&self, path: &str, body: &str, output: &str) -> Result<Zeroizing<String>, OtherKmsFault> {
        let (status, answer) = match tokio::time::timeout(PATIENCE, self.exchange(path, body)).await {
            Ok(done) => done?,
            Err(_) => return Err(self.unreachable(io::ErrorKind::TimedOut.into())),
        };
        let value = serde_json::from_slice::<Value>(&answer);
        if status == StatusCode::OK {
            let Ok(Value::Object(mut members)) = value else {
                return Err(self.unintelligible("an answer that is no JSON object"));
            };
            return match members.remove(output) {
                Some(Value::String(text)) => Ok(Zeroizing::new(text)),
                Some(_) | None => Err(self.unintelligible(&format!("an answer without {output}"))),
            };
        }
        let told = value.ok().map(|value| words(&value)).unwrap_or_default();
        let endpoint = self.endpoint.to_string();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Err(OtherKmsFault::Busy { endpoint, status, told })
        } else if status.is_client_error() {
            Err(OtherKmsFault::Refused { endpoint, status, told })
        } else {
            Err(self.unintelligible(&format!("status {status}")))
        }
    }

    pub(super) fn unintelligible(&self, what: &str) -> OtherKmsFault {
        OtherKmsFault::Unintelligible { endpoint: self.endpoint.to_string(), what: what.to_owned() }
    }

    fn unreachable(&self, cause: io::Error) -> OtherKmsFault {
        OtherKmsFault::Unreachable { endpoint: self.endpoint.to_string(), cause }
    }

    async fn exchange(&self, path: &str, body: &str) -> Result<(StatusCode, Zeroizing<Vec<u8>>), OtherKmsFault> {
        let broken = |error: hyper::Error| self.unreachable(io::Error::other(error));
        let stream = self.connect().await.map_err(|error| self.unreachable(error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let target = format!("{}{path}", self.endpoint.base);
        let request = Request::post(&target)
            .header(header::HOST, self.endpoint.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, self.authorization(&target, body.as_bytes()))
            .body(Full::new(Bytes::from_owner(Zeroizing::new(body.to_owned()))))
            .map_err(|error| self.unintelligible(&error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let content = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let content = content.map_err(|error| self.unreachable(io::Error::other(error.to_string())))?;
        Ok((status, Zeroizing::new(content.to_bytes().to_vec())))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        match &self.endpoint.transport {
            Transport::Plain => Ok(Box::new(stream)),
            Transport::Tls { config, name } => {
                let connector = TlsConnector::from(config.clone());
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
        }
    }

    /// The `Authorization` header for a POST of `body` to `target`. kms-load signs by code of its own: it shares none with the
    /// server (ADR 0025).
    fn authorization(&self, target: &str, body: &[u8]) -> String {
        let expires = (self.now)().saturating_add(SIGNED_FOR);
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(self.api_secret.expose()).expect("HMAC takes any length");
        for part in [b"POST ", target.as_bytes(), b"\n", body, b"\n\n\n", expires.to_string().as_bytes()] {
            mac.update(part);
        }
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        format!("EXO2-HMAC-SHA256 credential={},expires={expires},signature={signature}", self.api_key)
    }
}

/// What a problem document says, in one line fit for a log.
fn words(problem: &Value) -> String {
    let told = ["title", "detail", "message"].iter().filter_map(|member| problem[*member].as_str());
    let told = told.collect::<Vec<_>>().join(": ");
    let printable = told.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(TOLD_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Made with the `exoscale_auth` package of the official Python client.
    #[test]
    fn signatures_are_those_of_the_official_client() {
        let caller = Caller {
            endpoint: Endpoint::new("http://127.0.0.1/v2", &[]).unwrap(),
            api_key: "EXOb03c1e7fd2a8f5d0c1d2e3f4".to_owned(),
            api_secret: SecretBytes::copy_from(b"kmsTestSecret_0123456789abcdefghijklmnopq"),
            now: Box::new(|| VECTOR_EXPIRES - SIGNED_FOR),
        };
        let header = caller.authorization("/v2/kms-key", VECTOR_BODY.as_bytes());
        assert_eq!(
            header,
            format!(
                "EXO2-HMAC-SHA256 credential=EXOb03c1e7fd2a8f5d0c1d2e3f4,expires={VECTOR_EXPIRES},signature={VECTOR_TAG}"
            )
        );
    }

    const VECTOR_BODY: &str = r#"{"description":"","multi-zone":false,"name":"k1","usage":"encrypt-decrypt"}"#;
    const VECTOR_EXPIRES: i64 = 1_893_456_000;
    const VECTOR_TAG: &str = "nPVJjGF48dWE5zhvDSFonJZZHU76EiPW/4XXDnkri5s=";

    #[test]
    fn a_refusal_is_repeated_within_bounds() {
        assert_eq!(words(&json!({"title": "Key is Disabled", "detail": "a\nb"})), "Key is Disabled: a b");
        assert_eq!(words(&json!({"message": "x".repeat(1_000)})).len(), TOLD_LIMIT);
        assert_eq!(words(&json!([])), "");
    }
}
