//! The key pair to which other zones seal what they send to this zone.
//!
//! X-Wing (draft-connolly-cfrg-xwing-kem: X25519 and ML-KEM-768 together), as HPKE registers it under 0x647a: traffic recorded
//! today stays closed as long as either of the two holds.

use crate::entropy::{Entropy, EntropyError};
use crate::secret::Secret;
use crate::stack::with_wiped_deep_stack;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, Serializable};
use sha2::{Digest, Sha256};
use std::fmt;

/// The private key of a zone: 32 secret bytes, from which both halves are derived anew for each use.
pub struct ZonePrivateKey {
    secret: Secret<{ Self::LEN }>,
    fingerprint: ZoneKeyFingerprint,
}

/// The public key of a zone, 1216 bytes. Who has it can seal to that zone, and nothing more.
#[derive(Clone)]
pub struct ZonePublicKey {
    key: Box<<XWing as Kem>::PublicKey>,
    fingerprint: ZoneKeyFingerprint,
}

/// Names a zone key pair: the first 8 bytes of a SHA-256 of its public key.
///
/// It finds the right key among a few and helps people compare; it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneKeyFingerprint([u8; Self::LEN]);

/// These bytes are not the public key of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key for X-Wing, which has {} bytes", ZonePublicKey::LEN)]
pub struct InvalidZoneKey;

impl ZonePrivateKey {
    /// The length of the secret in bytes.
    pub const LEN: usize = 32;

    /// A new random key.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Secret::random(entropy).map(Self::from_secret)
    }

    /// The key made of these secret bytes; any bytes are a key.
    #[must_use]
    pub fn from_secret(secret: Secret<{ Self::LEN }>) -> Self {
        let fingerprint = with_wiped_deep_stack(|| ZoneKeyFingerprint::of(&XWing::sk_to_pk(&expanded(&secret))));
        Self { secret, fingerprint }
    }

    /// The key made of a copy of `bytes`, which are the caller's to wipe.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self::from_secret(Secret::copy_from(bytes))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> ZonePublicKey {
        let key = with_wiped_deep_stack(|| Box::new(XWing::sk_to_pk(&expanded(&self.secret))));
        ZonePublicKey { key, fingerprint: self.fingerprint }
    }

    /// The fingerprint of the public half.
    #[must_use]
    pub const fn fingerprint(&self) -> ZoneKeyFingerprint {
        self.fingerprint
    }

    /// The secret bytes, for the file they are kept in and for nothing else.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; Self::LEN] {
        self.secret.expose()
    }

    /// Runs `work` with the expanded key, and wipes the key and the stack afterwards. What `work` returns must not hold secrets
    /// outside a box.
    pub(crate) fn with_expanded<T>(&self, work: impl FnOnce(&<XWing as Kem>::PrivateKey) -> T) -> T {
        with_wiped_deep_stack(|| work(&expanded(&self.secret)))
    }
}

/// Boxed: it is wiped when dropped, but a move would leave a copy behind.
fn expanded(secret: &Secret<{ ZonePrivateKey::LEN }>) -> Box<<XWing as Kem>::PrivateKey> {
    let key = <XWing as Kem>::PrivateKey::from_bytes(secret.expose());
    Box::new(key.expect("the library checks the length alone, and the type has that length"))
}

impl ZonePublicKey {
    /// The length of the encoded key in bytes: 1184 of ML-KEM-768, then 32 of X25519.
    pub const LEN: usize = 1216;

    /// The key of these bytes.
    ///
    /// # Errors
    ///
    /// When the length is wrong or the ML-KEM part is not reduced (FIPS 203 section 7.2).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidZoneKey> {
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| InvalidZoneKey)?;
        let fingerprint = ZoneKeyFingerprint::of(&key);
        Ok(Self { key: Box::new(key), fingerprint })
    }

    /// The bytes of the key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    /// The fingerprint of the key.
    #[must_use]
    pub const fn fingerprint(&self) -> ZoneKeyFingerprint {
        self.fingerprint
    }

    pub(crate) fn key(&self) -> &<XWing as Kem>::PublicKey {
        &self.key
    }
}

impl PartialEq for ZonePublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for ZonePublicKey {}

impl fmt::Debug for ZonePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZonePublicKey({})", self.fingerprint)
    }
}

impl ZoneKeyFingerprint {
    /// The length in bytes.
    pub const LEN: usize = 8;

    /// The fingerprint whose bytes are given.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn of(key: &<XWing as Kem>::PublicKey) -> Self {
        let digest = Sha256::new().chain_update(FINGERPRINT_LABEL).chain_update(key.to_bytes()).finalize();
        let mut fingerprint = [0; Self::LEN];
        fingerprint.copy_from_slice(&digest[..Self::LEN]);
        Self(fingerprint)
    }
}

const FINGERPRINT_LABEL: &[u8] = b"zonekms zone key v1";

impl fmt::Display for ZoneKeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ZoneKeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneKeyFingerprint({self})")
    }
}
