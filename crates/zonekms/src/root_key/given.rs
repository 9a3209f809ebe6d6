//! A root key that is there to be read, as a provider: a file, an environment variable or a systemd credential.
//!
//! Only a file can be renewed, in place: the new root key is first written beside the old one, with `.next` at the end of its
//! name, and takes its place once the keyring lies on disk under it. So the file that the configuration names is right before
//! and after, and in between both root keys are there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kms_crypto::{Entropy, RootKey, RootKeyFingerprint};
use kms_root_key::{Binding, Descriptor, NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};

use super::{Environment, NewRootKeyError, RootKeyFault, RootKeySource, create_root_key_file};
use crate::private_files::{beside, rename_durably, sync_directory_of};

/// A root key that was read.
pub(crate) struct GivenKey {
    source: RootKeySource,
    key: RootKey,
}

/// Why a given root key cannot be used, or not be renewed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenKeyFault {
    #[error("the keyring's root key is not in a file, variable or credential, but under: {0}")]
    OtherKind(ProviderKind),
    #[error(
        "{0} cannot be changed from here: give the new root key in [root-key-next], and run: zonekms root-key rotate --to-next"
    )]
    Fixed(RootKeySource),
    #[error("{path}: {fault}", path = path.display())]
    Next { path: PathBuf, fault: RootKeyFault },
    #[error("the new root key could not be made: {0}")]
    New(#[from] NewRootKeyError),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl GivenKey {
    /// Reads the root key.
    pub(crate) fn load(source: RootKeySource, environment: Environment<'_>) -> Result<Self, RootKeyFault> {
        let key = source.load(environment)?;
        Ok(Self { source, key })
    }
}

#[async_trait]
impl RootKeyProvider for GivenKey {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Given
    }

    fn place(&self) -> String {
        match &self.source {
            RootKeySource::File(path) => format!("file {}", path.display()),
            RootKeySource::Environment(_) | RootKeySource::Credential(_) => self.source.to_string(),
        }
    }

    fn fingerprint(&self) -> Option<RootKeyFingerprint> {
        Some(self.key.fingerprint())
    }

    async fn obtain(&self, descriptor: &Descriptor, wanted: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        match descriptor {
            Descriptor::Given => {}
            Descriptor::Passphrase(_) | Descriptor::Pkcs11(_) | Descriptor::OtherKms(_) => {
                return Err(ProviderFault::refused(GivenKeyFault::OtherKind(descriptor.kind())));
            }
        }
        if self.key.fingerprint() != wanted
            && let RootKeySource::File(path) = &self.source
            && let Some(next) = load_if_there(&next_name(path)?)?
            && next.fingerprint() == wanted
        {
            return Ok(next);
        }
        copy(&self.key)
    }

    async fn create(&self, _: &Binding, _: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        Ok(NewRootKey { key: copy(&self.key)?, descriptor: Descriptor::Given })
    }

    async fn renew(&self, _: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let path = match &self.source {
            RootKeySource::File(path) => path,
            RootKeySource::Environment(_) | RootKeySource::Credential(_) => {
                return Err(ProviderFault::refused(GivenKeyFault::Fixed(self.source.clone())));
            }
        };
        let key = create_root_key_file(&next_name(path)?, entropy).map_err(refused)?;
        Ok(NewRootKey { key, descriptor: Descriptor::Given })
    }

    fn settle(&self, in_use: RootKeyFingerprint) -> Result<(), ProviderFault> {
        let RootKeySource::File(path) = &self.source else { return Ok(()) };
        let next = next_name(path)?;
        let io_fault = |source| refused(GivenKeyFault::Io { path: next.clone(), source });
        match load_if_there(&next) {
            Ok(None) => Ok(()),
            // The old root key is gone with its name, and opens nothing any more.
            Ok(Some(key)) if key.fingerprint() == in_use => rename_durably(&next, &real(path)?).map_err(io_fault),
            // A rotation that did not come to the keyring, or a file that a crash left half written.
            Ok(Some(_)) | Err(_) => {
                let fingerprint = RootKeySource::File(path.clone()).load(&|_| None).map(|key| key.fingerprint());
                if fingerprint.is_ok_and(|fingerprint| fingerprint == in_use) {
                    fs::remove_file(&next).and_then(|()| sync_directory_of(&next)).map_err(io_fault)?;
                }
                Ok(())
            }
        }
    }
}

/// The file that a renewal writes first.
fn next_name(path: &Path) -> Result<PathBuf, ProviderFault> {
    Ok(beside(&real(path)?, ".next"))
}

/// The file itself, where the configuration names a link to it.
fn real(path: &Path) -> Result<PathBuf, ProviderFault> {
    fs::canonicalize(path).map_err(|source| refused(GivenKeyFault::Io { path: path.to_owned(), source }))
}

fn load_if_there(path: &Path) -> Result<Option<RootKey>, ProviderFault> {
    match RootKeySource::File(path.to_owned()).load(&|_| None) {
        Ok(key) => Ok(Some(key)),
        Err(RootKeyFault::NotOpened(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(refused(GivenKeyFault::Next { path: path.to_owned(), fault })),
    }
}

fn copy(key: &RootKey) -> Result<RootKey, ProviderFault> {
    RootKey::from_bytes(key.expose()).map_err(ProviderFault::refused)
}

fn refused(fault: impl Into<GivenKeyFault>) -> ProviderFault {
    ProviderFault::refused(fault.into())
}
