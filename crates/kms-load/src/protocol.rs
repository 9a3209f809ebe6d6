//! How a key management service is spoken to: requests for each operation, signatures, and what answers say.

mod aws;
mod cosmian;
mod exo2;
mod exoscale;
mod fixed;
mod sigv4;
mod vault;

pub use aws::{AwsCredentials, AwsKms};
pub use cosmian::CosmianJose;
pub use exo2::Exo2Signer;
pub use exoscale::Exoscale;
pub use fixed::Fixed;
pub use vault::VaultTransit;

use crate::call::Call;
use crate::clock::UnixSeconds;
use crate::endpoint::Endpoint;
use std::time::Duration;

/// A key as its service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHandle(pub(crate) String);

impl KeyHandle {
    /// A key that is there already.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The service's name for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A ciphertext as text: base64, or what the service makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext(pub(crate) String);

/// An answer with status 2xx that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer has no member {member}: {excerpt}")]
pub struct UnexpectedAnswer {
    member: &'static str,
    excerpt: String,
}

/// What making a key takes.
#[derive(Clone, Debug)]
pub enum NewKey {
    /// This request; [`Protocol::key_of`] reads its answer.
    Ask(Call),
    /// Nothing: this service has no keys.
    None(KeyHandle),
}

/// One kind of key management service.
pub trait Protocol: Send + Sync {
    /// As on the command line, such as `exoscale`.
    fn name(&self) -> &'static str;

    /// Makes a key with this name, if the service lets its clients name keys.
    fn new_key(&self, name: &str) -> NewKey;

    /// The key that the answer to [`Protocol::new_key`] speaks of.
    ///
    /// # Errors
    /// When the answer names no key.
    fn key_of(&self, name: &str, answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer>;

    /// Encrypts `plaintext`.
    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call;

    /// The ciphertext in an answer to [`Protocol::encrypt`].
    ///
    /// # Errors
    /// When there is none.
    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer>;

    /// Decrypts `ciphertext`.
    fn decrypt(&self, key: &KeyHandle, ciphertext: &Ciphertext) -> Call;

    /// Generates a data key of 32 bytes; none if the service has no such call.
    fn data_key(&self, key: &KeyHandle) -> Option<Call>;

    /// A text that an answer to [`Protocol::decrypt`] of `plaintext` holds; none if answers are not to be looked at.
    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String>;

    /// A text that every answer to [`Protocol::encrypt`] and [`Protocol::data_key`] holds, if one is known.
    fn ciphertext_mark(&self) -> Option<&'static str>;

    /// What takes a key out of use again, in this order. Empty if nothing can.
    fn removal(&self, key: &KeyHandle) -> Vec<Call>;

    /// Completes `call` with what proves who sends it at `now`.
    fn sign(&self, call: &mut Call, endpoint: &Endpoint, now: UnixSeconds);

    /// How long a signature may be used for; none if it does not age.
    fn signature_life(&self) -> Option<Duration>;
}

/// The text of one member of a JSON object, found along `path`.
pub(crate) fn member(answer: &[u8], path: &[&'static str]) -> Result<String, UnexpectedAnswer> {
    let value: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let found = path.iter().try_fold(&value, |value, name| value.get(name)).and_then(|value| value.as_str());
    found.map(str::to_owned).ok_or_else(|| UnexpectedAnswer {
        member: path.last().copied().unwrap_or_default(),
        excerpt: String::from_utf8_lossy(answer).chars().take(200).collect(),
    })
}
