//! A front door within the process: a zone in memory whose clock stands still.

use std::io::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use kms_crypto::{Keyring, OsEntropy, SecretBytes};
use kms_http::{FrontDoor, RequestLimits};
use kms_load::{Exo2Signer, Secret};
use kms_service::{
    CredentialConfig, Kms, KmsConfig, NoAuditLog, NoKeyringVault, OrganisationConfig, Parts, Running, SHRED_AFTER,
    ServiceClock, TimeSource,
};
use kms_storage::MemoryStore;
use kms_types::Timestamp;

/// The time that signatures are made and checked at, in seconds since 1970.
pub const NOW: u64 = 1_893_455_900;

/// The id of the one API key.
const API_KEY: &str = "EXObench";

/// The secret of the one API key.
const API_SECRET: &str = "a secret that is long enough";

/// Time is not what is measured, and valgrind cannot run what reads the system's clocks.
struct NoClock;

impl TimeSource for NoClock {
    fn wall(&self) -> Timestamp {
        Timestamp::EPOCH.plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(NOW)
    }
}

/// A zone without keys, and its front door.
///
/// # Errors
///
/// When the zone does not start.
pub async fn front_door() -> Result<(FrontDoor, Running)> {
    let credential =
        CredentialConfig::new(API_KEY, SecretBytes::copy_from(API_SECRET.as_bytes()), None).map_err(Error::other)?;
    let organisation = OrganisationConfig {
        name: "bench".parse().map_err(Error::other)?,
        default_key: None,
        credentials: vec![credential],
    };
    let config = KmsConfig {
        zone: "ch-gva-2".parse().map_err(Error::other)?,
        zones: Vec::new(),
        organisations: vec![organisation],
        keys_per_organisation: 10,
        replication: None,
    };
    let parts = Parts {
        store: Arc::new(MemoryStore::new()),
        keyring: Keyring::generate(&OsEntropy).map_err(Error::other)?,
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::new(Box::new(NoClock))),
        audit: Arc::new(NoAuditLog),
        keyring_vault: Arc::new(NoKeyringVault),
        shred_after: SHRED_AFTER,
    };
    let (kms, running) = Kms::start(config, parts).await.map_err(Error::other)?;
    Ok((FrontDoor::new(kms, Arc::new([]), RequestLimits::default(), Arc::new(|| NOW.cast_signed())), running))
}

/// The one API key, as a client signs with it.
#[must_use]
pub fn signer() -> Exo2Signer {
    Exo2Signer::new(API_KEY.to_owned(), Secret::new(API_SECRET.to_owned()))
}

/// The path to encrypt at with a new key.
///
/// # Errors
///
/// When the key is not made.
pub async fn encrypt_path(front_door: &FrontDoor, signer: &Exo2Signer) -> Result<String> {
    let answer = front_door.respond(signed(signer, "/v2/kms-key", r#"{"name":"k1"}"#.to_owned())?, None).await;
    let created = String::from_utf8(answer.into_body().to_vec().await).map_err(Error::other)?;
    // {"id":"…
    let id = created.split('"').nth(3).ok_or_else(|| Error::other(created.clone()))?;
    Ok(format!("/v2/kms-key/{id}/encrypt"))
}

/// The body that asks for `bytes` bytes to be encrypted.
#[must_use]
pub fn encrypt_body(bytes: usize) -> String {
    format!(r#"{{"plaintext":"{}"}}"#, BASE64_STANDARD.encode(vec![0x5a; bytes]))
}

/// A signed POST of `body` to `path` as the bytes of a connection.
#[must_use]
pub fn wire(signer: &Exo2Signer, path: &str, body: &str) -> Vec<u8> {
    let authorization = signer.authorization("POST", path, body.as_bytes(), NOW + 600);
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         authorization: {authorization}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A signed POST of `body` to `path`.
///
/// # Errors
///
/// When `path` is none.
pub fn signed(signer: &Exo2Signer, path: &str, body: String) -> Result<Request<Full<Bytes>>> {
    let authorization = signer.authorization("POST", path, body.as_bytes(), NOW + 600);
    let request = Request::post(path).header("authorization", authorization).header("host", "localhost");
    request.body(Full::from(body)).map_err(Error::other)
}
