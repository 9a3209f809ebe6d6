//! A root key that is there to be read, as a provider: a file, an environment variable or a systemd credential.
//!
//! Only a file can be renewed, in place: the new root key is first written beside the old one, as the hidden file
//! `.FILE.renewal`, and takes its place once the keyring lies on disk under it. So the file that the configuration names is
//! right before and after, and in between both root keys are there. Nothing else is ever renamed or removed: a file that
//! somebody calls `FILE.next`, as earlier versions called a renewal, is read when the keyring needs it, and left alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kms_crypto::{Entropy, RootKey, RootKeyFingerprint};
use kms_root_key::{Binding, Descriptor, NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};

use super::{Environment, NewRootKeyError, RootKeyFault, RootKeySource, create_root_key_file};
use crate::private_files::{beside, directory_of, rename_durably, sync_directory_of};

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
    #[error("{path} holds another root key than a moment ago, or none: nothing was changed", path = path.display())]
    Changed { path: PathBuf },
    #[error("{path}: {fault}", path = path.display())]
    Unfit { path: PathBuf, fault: RootKeyFault },
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
        {
            if let Some(renewal) = load_if_there(&renewal_of(path)?)?
                && renewal.fingerprint() == wanted
            {
                return Ok(renewal);
            }
            // It may be anybody's: one that cannot be read is no fault of ours.
            if let Ok(Some(earlier)) = load_if_there(&renewal_of_earlier_versions(path)?)
                && earlier.fingerprint() == wanted
            {
                return Ok(earlier);
            }
        }
        copy(&self.key)
    }

    async fn create(&self, _: &Binding, _: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        // What is wrapped under it next can be opened only with what is on disk now.
        if let RootKeySource::File(path) = &self.source {
            require(path, self.key.fingerprint())?;
        }
        Ok(NewRootKey { key: copy(&self.key)?, descriptor: Descriptor::Given })
    }

    async fn renew(&self, _: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let path = match &self.source {
            RootKeySource::File(path) => path,
            RootKeySource::Environment(_) | RootKeySource::Credential(_) => {
                return Err(ProviderFault::refused(GivenKeyFault::Fixed(self.source.clone())));
            }
        };
        let renewal = renewal_of(path)?;
        let key = create_root_key_file(&renewal, entropy).map_err(refused)?;
        require(&renewal, key.fingerprint())?;
        Ok(NewRootKey { key, descriptor: Descriptor::Given })
    }

    fn settle(&self, in_use: RootKeyFingerprint) -> Result<(), ProviderFault> {
        let RootKeySource::File(path) = &self.source else { return Ok(()) };
        let renewal = renewal_of(path)?;
        let io_fault = |source| refused(GivenKeyFault::Io { path: renewal.clone(), source });
        match load_if_there(&renewal) {
            Ok(None) => Ok(()),
            // The old root key is gone with its name, and opens nothing any more.
            Ok(Some(key)) if key.fingerprint() == in_use => rename_durably(&renewal, &real(path)?).map_err(io_fault),
            // A rotation that did not come to the keyring, or a file that a crash left half written. It goes only while the
            // root key in use is seen elsewhere.
            Ok(Some(_)) | Err(_) => {
                let holds_it = |path: &Path| {
                    load_if_there(path).is_ok_and(|key| key.is_some_and(|key| key.fingerprint() == in_use))
                };
                if holds_it(path) || holds_it(&renewal_of_earlier_versions(path)?) {
                    fs::remove_file(&renewal).and_then(|()| sync_directory_of(&renewal)).map_err(io_fault)?;
                }
                Ok(())
            }
        }
    }
}

/// Whether the file `path` is the one that a renewal of the root key in `file` would write, and then rename or remove: no
/// place for a root key of its own.
pub(crate) fn is_renewal_of(path: &Path, file: &Path) -> bool {
    let Ok(renewal) = renewal_of(file) else { return false };
    let in_real_directory = |path: &Path| {
        let name = path.file_name()?;
        Some(fs::canonicalize(directory_of(path)).ok()?.join(name))
    };
    in_real_directory(path).is_some_and(|path| path == renewal) || real(path).is_ok_and(|path| path == renewal)
}

/// The file that a renewal writes first: `.FILE.renewal`, a name that nobody gives to a root key by accident.
fn renewal_of(path: &Path) -> Result<PathBuf, ProviderFault> {
    let real = real(path)?;
    let mut name = OsString::from(".");
    name.push(real.file_name().unwrap_or_default());
    name.push(".renewal");
    Ok(real.with_file_name(name))
}

/// The same of earlier versions. A crash of such a one may have left the root key in use there; but somebody may also have
/// put another root key there, so it is only ever read.
fn renewal_of_earlier_versions(path: &Path) -> Result<PathBuf, ProviderFault> {
    Ok(beside(&real(path)?, ".next"))
}

/// The file itself, where the configuration names a link to it.
fn real(path: &Path) -> Result<PathBuf, ProviderFault> {
    fs::canonicalize(path).map_err(|source| refused(GivenKeyFault::Io { path: path.to_owned(), source }))
}

/// That the file holds the root key with this fingerprint now.
fn require(path: &Path, fingerprint: RootKeyFingerprint) -> Result<(), ProviderFault> {
    match load_if_there(path)? {
        Some(key) if key.fingerprint() == fingerprint => Ok(()),
        Some(_) | None => Err(refused(GivenKeyFault::Changed { path: path.to_owned() })),
    }
}

fn load_if_there(path: &Path) -> Result<Option<RootKey>, ProviderFault> {
    match RootKeySource::File(path.to_owned()).load(&|_| None) {
        Ok(key) => Ok(Some(key)),
        Err(RootKeyFault::NotOpened(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(refused(GivenKeyFault::Unfit { path: path.to_owned(), fault })),
    }
}

fn copy(key: &RootKey) -> Result<RootKey, ProviderFault> {
    RootKey::from_bytes(key.expose()).map_err(ProviderFault::refused)
}

fn refused(fault: impl Into<GivenKeyFault>) -> ProviderFault {
    ProviderFault::refused(fault.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_files::write_new_private_file;

    #[test]
    fn the_place_of_a_renewal_is_known_under_every_name() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        for name in ["root.key", ".root.key.renewal", "root.key.next"] {
            write_new_private_file(&path(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink(path("root.key"), path("link.key")).unwrap();
        std::os::unix::fs::symlink(path(".root.key.renewal"), path("link.renewal")).unwrap();
        for file in ["root.key", "link.key"] {
            for (other, is) in [
                (".root.key.renewal", true),
                ("link.renewal", true),
                ("./.root.key.renewal", true),
                ("root.key.next", false),
                ("root.key", false),
                ("absent", false),
            ] {
                assert_eq!(is_renewal_of(&path(other), &path(file)), is, "{other} of {file}");
            }
        }
    }
}
