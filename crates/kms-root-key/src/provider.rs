//! What every provider of root keys does.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use kms_crypto::{Entropy, EntropyError, RootKey, RootKeyFingerprint};

use crate::descriptor::{Binding, Descriptor};

/// The kinds of providers. A keyring's descriptor says which kind its root key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// The root key itself is there to be read: file, environment, credential.
    Given,
    /// Derived from a passphrase.
    Passphrase,
    /// Wrapped by a key in a PKCS#11 token.
    Pkcs11,
    /// Encrypted by another key management service.
    OtherKms,
}

/// A root key that has just been made or found, and what is needed to get it again.
pub struct NewRootKey {
    /// The root key.
    pub key: RootKey,
    /// To be kept beside what the root key wraps.
    pub descriptor: Descriptor,
}

/// Why a provider gives no root key.
#[derive(Debug, thiserror::Error)]
pub enum ProviderFault {
    /// It may do so later: to try again is right.
    #[error("{0}")]
    Unavailable(Box<dyn Error + Send + Sync>),
    /// It will not, until somebody changes something: to try again is of no use, and may lock a token.
    #[error("{0}")]
    Refused(Box<dyn Error + Send + Sync>),
    /// There is no randomness for a new root key.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl ProviderFault {
    /// A fault that stays until somebody changes something.
    pub fn refused(fault: impl Error + Send + Sync + 'static) -> Self {
        Self::Refused(Box::new(fault))
    }
}

/// Something that gives root keys. Its secrets are its own, and it can be described without them.
#[async_trait]
pub trait RootKeyProvider: Send + Sync {
    /// Its kind.
    fn kind(&self) -> ProviderKind;

    /// What and where it is, for logs and messages: a path or an address, never a secret.
    fn place(&self) -> String;

    /// The fingerprint of the root key, where it is known without asking anyone.
    fn fingerprint(&self) -> Option<RootKeyFingerprint> {
        None
    }

    /// The root key that `descriptor` was made with. A provider that holds two gives the one with the fingerprint `wanted`; one
    /// that holds or derives another than that gives what it has: the caller compares.
    ///
    /// # Errors
    /// When it is out of reach or refused.
    async fn obtain(&self, descriptor: &Descriptor, wanted: RootKeyFingerprint) -> Result<RootKey, ProviderFault>;

    /// A root key for something that was not under this provider before.
    ///
    /// # Errors
    /// When the provider is out of reach or refuses, or there is no randomness.
    async fn create(&self, binding: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault>;

    /// Another root key in place of one of this provider. The one before must still be to be had after a crash, until
    /// [`RootKeyProvider::settle`].
    ///
    /// # Errors
    /// As for [`RootKeyProvider::create`], or when the provider cannot hold two.
    async fn renew(&self, binding: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        self.create(binding, entropy).await
    }

    /// What is wrapped lies on disk under the root key with this fingerprint: whatever else the provider kept for safety can
    /// go. To be called after each renewal, and at each start, because the process may have been killed in between.
    ///
    /// # Errors
    /// When it cannot be removed. The root key in use is safe.
    fn settle(&self, in_use: RootKeyFingerprint) -> Result<(), ProviderFault> {
        let _ = in_use;
        Ok(())
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "file, environment or credential",
            Self::Passphrase => "passphrase",
            Self::Pkcs11 => "PKCS#11 token",
            Self::OtherKms => "other KMS",
        })
    }
}
