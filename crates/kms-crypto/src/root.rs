//! The root key, which wraps the keyring and nothing else (envelope 7.2).

use crate::entropy::{Entropy, EntropyError};
use crate::mac::MacKey;
use crate::xaes::XaesKey;
use std::fmt;

/// The root key of a zone: 32 secret bytes from outside the store.
pub struct RootKey {
    xaes: XaesKey,
    fingerprint: RootKeyFingerprint,
}

/// Bytes that cannot be a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyError {
    /// Too few or too many bytes.
    #[error("a root key has exactly 32 bytes, this has {len}")]
    WrongLength {
        /// How many bytes there are.
        len: usize,
    },
    /// One byte 32 times over, such as a file of zeros.
    #[error("all bytes of the root key are equal; a root key is 32 random bytes")]
    NotRandom,
}

impl RootKey {
    /// The root key made of a copy of `bytes`, which are the caller's to wipe.
    ///
    /// # Errors
    ///
    /// When there are not exactly 32 bytes, or all are equal.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RootKeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| RootKeyError::WrongLength { len: bytes.len() })?;
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(RootKeyError::NotRandom);
        }
        Ok(Self::from_xaes(XaesKey::new(bytes)))
    }

    /// A new random root key.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        XaesKey::fill_with(|bytes| entropy.fill(bytes)).map(Self::from_xaes)
    }

    fn from_xaes(xaes: XaesKey) -> Self {
        let tag = MacKey::new(xaes.expose_key()).tag(&[FINGERPRINT_LABEL]);
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&tag[..8]);
        Self { xaes, fingerprint: RootKeyFingerprint(fingerprint) }
    }

    /// The short name by which people tell root keys apart.
    #[must_use]
    pub const fn fingerprint(&self) -> RootKeyFingerprint {
        self.fingerprint
    }

    /// The secret bytes, for writing a new key file and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.xaes.expose_key()
    }

    pub(crate) const fn xaes(&self) -> &XaesKey {
        &self.xaes
    }
}

const FINGERPRINT_LABEL: &[u8] = b"zonekms root key fingerprint v1";

/// Names a root key without saying anything about its bytes: 8 bytes of an HMAC under it. Text is 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKeyFingerprint([u8; 8]);

impl RootKeyFingerprint {
    /// The fingerprint of these bytes, as they were stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for RootKeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_thirty_two_bytes_that_differ_are_a_root_key() {
        for len in (0..=128).filter(|len| *len != 32) {
            let bytes: Vec<u8> = (0..len).collect();
            let expected = RootKeyError::WrongLength { len: bytes.len() };
            assert_eq!(RootKey::from_bytes(&bytes).err(), Some(expected));
        }
        for byte in 0..=u8::MAX {
            assert_eq!(RootKey::from_bytes(&[byte; 32]).err(), Some(RootKeyError::NotRandom));
        }
        let mut nearly_zero = [0; 32];
        nearly_zero[31] = 1;
        assert_eq!(RootKey::from_bytes(&nearly_zero).map(|key| *key.expose()).ok(), Some(nearly_zero));
    }

    #[test]
    fn fingerprints_tell_keys_apart() {
        let fingerprint = |last| {
            let mut bytes = [1; 32];
            bytes[31] = last;
            RootKey::from_bytes(&bytes).unwrap().fingerprint()
        };
        assert_eq!(fingerprint(2), fingerprint(2));
        assert_ne!(fingerprint(2), fingerprint(3));
        assert_eq!(fingerprint(2).to_string(), "0ab0ef2f21d38318");
    }
}
