//! Proof that a use of a key was checked.
//!
//! Only these functions make permits, and a permit can be neither copied nor stored: what yields key material takes one, and
//! so cannot be reached without the check. Nothing here allocates.

use crate::guard;
use crate::key::Key;
use crate::rejection::Rejection;
use kms_types::{KeyId, MaterialVersion, Timestamp};

/// Proof that a key may encrypt with its current version.
///
/// It cannot be made without a check:
/// ```compile_fail,E0451
/// fn forge(key_id: kms_types::KeyId) -> kms_lifecycle::EncryptPermit {
///     kms_lifecycle::EncryptPermit { key_id, version: kms_types::MaterialVersion::FIRST }
/// }
/// ```
/// nor used twice:
/// ```compile_fail,E0382
/// fn twice(permit: kms_lifecycle::EncryptPermit) {
///     drop(permit);
///     drop(permit);
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct EncryptPermit {
    key_id: KeyId,
    version: MaterialVersion,
}

/// Proof that a key may decrypt with one of its versions.
///
/// Like [`EncryptPermit`], it comes from a check only:
/// ```compile_fail,E0451
/// fn forge(key_id: kms_types::KeyId) -> kms_lifecycle::DecryptPermit {
///     kms_lifecycle::DecryptPermit { key_id, version: kms_types::MaterialVersion::FIRST }
/// }
/// ```
/// and is used once:
/// ```compile_fail,E0382
/// fn twice(permit: kms_lifecycle::DecryptPermit) {
///     drop(permit);
///     drop(permit);
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct DecryptPermit {
    key_id: KeyId,
    version: MaterialVersion,
}

/// Why a key may not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptRefusal {
    /// The key may not be used; the user may know why.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The key never had that version: the ciphertext is not one of its own. The user is told what every failed decryption
    /// tells, and no more.
    #[error("the key has no such version")]
    UnknownVersion,
}

impl EncryptPermit {
    /// The key that may encrypt.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The version to encrypt with: the newest.
    #[must_use]
    pub const fn version(&self) -> MaterialVersion {
        self.version
    }
}

impl DecryptPermit {
    /// The key that may decrypt.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The version to decrypt with.
    #[must_use]
    pub const fn version(&self) -> MaterialVersion {
        self.version
    }
}

/// Permits `key` to encrypt, or to make a data key, at `now`.
///
/// # Errors
/// The [`Rejection`] of a key that is gone, pending deletion or disabled, in this order.
pub fn permit_encrypt(key: &Key, now: Timestamp) -> Result<EncryptPermit, Rejection> {
    guard::still_there(key, now)?;
    guard::enabled(key)?;
    Ok(EncryptPermit { key_id: key.id, version: key.current_version().version })
}

/// Permits `key` to decrypt at `now` what its version `version` encrypted.
///
/// # Errors
/// The [`Rejection`] of a key that is gone, pending deletion or disabled, in this order; then
/// [`DecryptRefusal::UnknownVersion`].
pub fn permit_decrypt(key: &Key, version: MaterialVersion, now: Timestamp) -> Result<DecryptPermit, DecryptRefusal> {
    guard::still_there(key, now)?;
    guard::enabled(key)?;
    if key.versions.place_of(version).is_none() {
        return Err(DecryptRefusal::UnknownVersion);
    }
    Ok(DecryptPermit { key_id: key.id, version })
}

/// Permits `key` to decrypt at `now` as the source of a re-encryption.
///
/// # Errors
/// As [`permit_decrypt`]; and [`Rejection::NotOnDefault`], which comes second, after [`Rejection::KeyGone`].
pub fn permit_reencrypt_source(
    key: &Key,
    version: MaterialVersion,
    now: Timestamp,
) -> Result<DecryptPermit, DecryptRefusal> {
    guard::still_there(key, now)?;
    guard::not_on_default(key)?;
    permit_decrypt(key, version, now)
}

/// Permits `key` to encrypt at `now` as the destination of a re-encryption.
///
/// # Errors
/// As [`permit_encrypt`]; and [`Rejection::NotOnDefault`], which comes second, after [`Rejection::KeyGone`].
pub fn permit_reencrypt_destination(key: &Key, now: Timestamp) -> Result<EncryptPermit, Rejection> {
    guard::still_there(key, now)?;
    guard::not_on_default(key)?;
    permit_encrypt(key, now)
}
