//! What must be kept beside a wrapped keyring to get its root key again (envelope 7.1). Nothing in it is secret.

use kms_types::ZoneName;
use serde::{Deserialize, Serialize};

use crate::provider::ProviderKind;

/// What the provider of a root key needs to give it again. The bytes are those of postcard 1, so variants and fields keep their
/// order for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Descriptor {
    /// Nothing: the root key is there to be read.
    Given,
    /// How to derive it from the passphrase.
    Passphrase(PassphraseDescriptor),
    /// The root key, sealed by the token.
    Pkcs11(TokenDescriptor),
    /// The root key, encrypted by another service.
    OtherKms(OtherKmsDescriptor),
}

/// How a root key is derived from a passphrase: Argon2id version 1.3 (RFC 9106).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassphraseDescriptor {
    pub(crate) salt: [u8; 16],
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

/// A root key sealed by a PKCS#11 token with `CKM_AES_GCM`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDescriptor {
    pub(crate) key_label: String,
    pub(crate) nonce: [u8; 12],
    pub(crate) sealed: Vec<u8>,
    pub(crate) binding: Binding,
}

/// A root key encrypted by another key management service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherKmsDescriptor {
    pub(crate) key_id: String,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) binding: Binding,
}

/// What a wrapped root key is for: it is authenticated by whoever wraps it, so that a root key wrapped for one store opens for
/// no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    zone: String,
    store_id: [u8; 16],
}

/// Bytes that are no descriptor this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its descriptor of the root key is damaged, or was written by a newer version")]
pub struct BadDescriptor;

impl Descriptor {
    /// The kind of provider that can use it.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Given => ProviderKind::Given,
            Self::Passphrase(_) => ProviderKind::Passphrase,
            Self::Pkcs11(_) => ProviderKind::Pkcs11,
            Self::OtherKms(_) => ProviderKind::OtherKms,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain fields and a growing vector")
    }

    /// The descriptor in `bytes`, all of them.
    ///
    /// # Errors
    /// When they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadDescriptor> {
        match postcard::take_from_bytes(bytes) {
            Ok((descriptor, [])) => Ok(descriptor),
            Ok(_) | Err(_) => Err(BadDescriptor),
        }
    }

    /// What the root key was wrapped for, where somebody wrapped it.
    #[must_use]
    pub const fn binding(&self) -> Option<&Binding> {
        match self {
            Self::Given | Self::Passphrase(_) => None,
            Self::Pkcs11(token) => Some(&token.binding),
            Self::OtherKms(other) => Some(&other.binding),
        }
    }
}

impl Binding {
    /// For the store with this id, of this zone.
    #[must_use]
    pub fn new(zone: &ZoneName, store_id: [u8; 16]) -> Self {
        Self { zone: zone.as_str().to_owned(), store_id }
    }

    /// The zone and the store in one unambiguous byte string: the associated data, or the encryption context.
    #[must_use]
    pub fn to_context(&self) -> Vec<u8> {
        let mut context = LABEL.to_vec();
        context.extend_from_slice(&self.store_id);
        context.extend_from_slice(self.zone.as_bytes());
        context
    }
}

/// Ends with a byte that is in no text.
const LABEL: &[u8] = b"zonekms root key v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding::new(&"a".parse().unwrap(), [0xbb; 16])
    }

    /// Each kind with the bytes that lie on disks. They never change.
    fn golden() -> [(Descriptor, String); 4] {
        let passphrase = PassphraseDescriptor { salt: [0xaa; 16], memory_kib: 65_536, passes: 3, lanes: 4 };
        let token = TokenDescriptor {
            key_label: "root".to_owned(),
            nonce: [0xcc; 12],
            sealed: vec![0xdd; 48],
            binding: binding(),
        };
        let other = OtherKmsDescriptor { key_id: "k1".to_owned(), ciphertext: vec![0xee; 3], binding: binding() };
        let tail = format!("0161{}", "bb".repeat(16));
        [
            (Descriptor::Given, "00".to_owned()),
            (Descriptor::Passphrase(passphrase), format!("01{}8080040304", "aa".repeat(16))),
            (Descriptor::Pkcs11(token), format!("0204726f6f74{}30{}{tail}", "cc".repeat(12), "dd".repeat(48))),
            (Descriptor::OtherKms(other), format!("03026b3103eeeeee{tail}")),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        for (descriptor, expected) in golden() {
            assert_eq!(hex::encode(descriptor.to_bytes()), expected);
            assert_eq!(Descriptor::from_bytes(&hex::decode(expected).unwrap()), Ok(descriptor));
        }
    }

    #[test]
    fn what_is_cut_short_longer_or_unknown_is_no_descriptor() {
        for (descriptor, _) in golden() {
            let bytes = descriptor.to_bytes();
            for len in 0..bytes.len() {
                assert_eq!(Descriptor::from_bytes(&bytes[..len]), Err(BadDescriptor));
            }
            assert_eq!(Descriptor::from_bytes(&[&bytes[..], &[0]].concat()), Err(BadDescriptor));
        }
        assert_eq!(Descriptor::from_bytes(&[4]), Err(BadDescriptor));
    }

    #[test]
    fn no_two_bindings_share_a_context() {
        let other_zone = Binding::new(&"b".parse().unwrap(), [0xbb; 16]);
        let other_store = Binding::new(&"a".parse().unwrap(), [0xbc; 16]);
        assert_ne!(binding().to_context(), other_zone.to_context());
        assert_ne!(binding().to_context(), other_store.to_context());
    }
}
