//! The keyring's file while its zone is served: written anew when the keyring changes, and when its root key does.
//!
//! The root key stays in this process's memory as long as the file can be written (ADR 0031).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kms_crypto::{Entropy, Keyring, KeyringDescription, RootKey, RootKeyFingerprint, WrappedKeyring};
use kms_root_key::{Binding, Descriptor, NewRootKey, ProviderKind};
use kms_service::{KeyringNotStored, KeyringVault};
use kms_types::ZoneName;

use super::{KeyringFileError, not_obtained, read_keyring, refused};
use crate::private_files::replace_private_file;
use crate::root_key::{ConfiguredKey, Patience, RootKeys, Section};

/// The file, and what it is wrapped under at this moment.
pub(crate) struct KeyringFile {
    path: PathBuf,
    binding: Binding,
    entropy: Arc<dyn Entropy>,
    in_use: Mutex<InUse>,
    /// One rotation at a time, from the making of the root key to the end.
    rotating: tokio::sync::Mutex<()>,
}

/// The root key that wraps the keyring. It cannot be printed or copied.
pub(super) struct InUse {
    pub(super) key: RootKey,
    pub(super) by: ConfiguredKey,
    pub(super) descriptor: Descriptor,
    /// Seconds since 1970; not known of a keyring of format 1.
    pub(super) since: Option<i64>,
    pub(super) generation: u64,
}

/// To which root key a rotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RotateTo {
    /// Another root key of the provider in use.
    SameProvider,
    /// The root key of `[root-key-next]`.
    NextProvider,
}

/// What there is to know about a zone's root key.
#[derive(Debug)]
pub(crate) struct RootKeyStatus {
    pub(crate) provider: ProviderKind,
    pub(crate) place: String,
    pub(crate) section: Section,
    pub(crate) fingerprint: RootKeyFingerprint,
    pub(crate) since: Option<i64>,
    pub(crate) generation: u64,
    /// The storage epochs in the keyring, oldest first.
    pub(crate) epochs: Vec<u64>,
}

/// The points of a rotation after which everything done so far lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    RootKeyMade,
    KeyringWritten,
    Settled,
}

impl KeyringFile {
    pub(super) fn new(
        path: PathBuf,
        zone: &ZoneName,
        keyring: &Keyring,
        in_use: InUse,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let binding = Binding::new(zone, *keyring.store_id());
        Self { path, binding, entropy, in_use: Mutex::new(in_use), rotating: tokio::sync::Mutex::default() }
    }

    /// Writes `keyring` in place of the one in the file, under the same root key. It is on disk when this returns; after a crash
    /// at any instant the old keyring or the new one is there. To be called after the zone's first start has settled.
    ///
    /// # Errors
    /// When the file cannot be written, or there is no randomness. The old keyring is then there, or after a failure to flush
    /// the directory, perhaps the new one.
    fn replace(&self, keyring: &Keyring) -> Result<(), KeyringFileError> {
        let mut in_use = self.in_use();
        let generation = in_use.generation.saturating_add(1);
        self.write(keyring, &in_use.key, &in_use.descriptor, in_use.since, generation)?;
        in_use.generation = generation;
        Ok(())
    }

    /// Wraps the keyring under another root key, which comes into use at `now`, in seconds since 1970. `keys` are those of the
    /// configuration as it is now. After a crash at any instant the file opens under the old root key or under the new one, and
    /// `keys` give both; afterwards the old one opens nothing.
    ///
    /// # Errors
    /// When `keys` do not give the root key in use, when there is no other root key to be had, or when the file cannot be
    /// written. The old root key is then in use.
    pub(crate) async fn rotate(&self, keys: &RootKeys, to: RotateTo, now: i64) -> Result<(), KeyringFileError> {
        let reached = |step| {
            kms_crashpoint::passed(match step {
                Step::RootKeyMade => "root-key:made",
                Step::KeyringWritten => "root-key:keyring-written",
                Step::Settled => "root-key:settled",
            });
            Ok(())
        };
        self.rotate_stepwise(keys, to, now, &reached).await
    }

    /// As [`KeyringFile::rotate`]; an error of `reached` ends it as a crash would, without any more work.
    pub(super) async fn rotate_stepwise(
        &self,
        keys: &RootKeys,
        to: RotateTo,
        now: i64,
        reached: &(dyn Fn(Step) -> Result<(), KeyringFileError> + Sync),
    ) -> Result<(), KeyringFileError> {
        let _one_at_a_time = self.rotating.lock().await;
        let (old, descriptor) = {
            let in_use = self.in_use();
            (in_use.key.fingerprint(), in_use.descriptor.clone())
        };
        // If the configuration does not give the root key in use, the next start would fail whatever is done here.
        let in_use_by = keys.obtain(&descriptor, old, Patience::Once).await;
        let (_, in_use_by) = in_use_by.map_err(|fault| not_obtained(&self.path, old, fault))?;
        // What a rotation before could not clear away.
        in_use_by.provider.settle(old).map_err(|fault| KeyringFileError::NoRootKey(in_use_by.failed(fault)))?;
        let (by, made) = match to {
            RotateTo::SameProvider => (in_use_by, in_use_by.provider.renew(&self.binding, self.entropy.as_ref()).await),
            RotateTo::NextProvider => {
                let next = keys.next.as_ref().ok_or(KeyringFileError::NoNextRootKey)?;
                (next, next.provider.create(&self.binding, self.entropy.as_ref()).await)
            }
        };
        let NewRootKey { key, descriptor } = made.map_err(|fault| KeyringFileError::NoRootKey(by.failed(fault)))?;
        let new = key.fingerprint();
        if new == old {
            return Err(KeyringFileError::SameRootKey { place: by.provider.place() });
        }
        reached(Step::RootKeyMade)?;
        self.rewrap(key, by.clone(), descriptor, now)?;
        reached(Step::KeyringWritten)?;
        if let Err(fault) = by.provider.settle(new) {
            tracing::warn!(%fault, "the root key is rotated; what is left of the old one goes at the next start");
        }
        reached(Step::Settled)
    }

    /// What is in use.
    ///
    /// # Errors
    /// When the file cannot be read or opened.
    pub(crate) fn status(&self) -> Result<RootKeyStatus, KeyringFileError> {
        let in_use = self.in_use();
        let keyring = self.open(&in_use.key)?;
        Ok(RootKeyStatus {
            provider: in_use.by.provider.kind(),
            place: in_use.by.provider.place(),
            section: in_use.by.section,
            fingerprint: in_use.key.fingerprint(),
            since: in_use.since,
            generation: in_use.generation,
            epochs: keyring.epochs().map(|epoch| epoch.get()).collect(),
        })
    }

    fn rewrap(
        &self,
        key: RootKey,
        by: ConfiguredKey,
        descriptor: Descriptor,
        now: i64,
    ) -> Result<(), KeyringFileError> {
        let mut in_use = self.in_use();
        let keyring = self.open(&in_use.key)?;
        let generation = in_use.generation.saturating_add(1);
        let written = self.write(&keyring, &key, &descriptor, Some(now), generation);
        // A rename that could not be flushed may have taken place: what counts is what would be found at the next start.
        let found = read_keyring(&self.path)?;
        let there = WrappedKeyring::parse(found.expose()).is_ok_and(|found| found.fingerprint() == key.fingerprint());
        if written.is_ok() || there {
            *in_use = InUse { key, by, descriptor, since: Some(now), generation };
        }
        written
    }

    fn open(&self, key: &RootKey) -> Result<Keyring, KeyringFileError> {
        Keyring::unwrap(key, read_keyring(&self.path)?.expose()).map_err(|error| refused(&self.path, error))
    }

    fn write(
        &self,
        keyring: &Keyring,
        key: &RootKey,
        descriptor: &Descriptor,
        since: Option<i64>,
        generation: u64,
    ) -> Result<(), KeyringFileError> {
        // A keyring of format 1 does not say since when; the epoch of the calendar stands for that.
        let description = KeyringDescription::new(generation, since.unwrap_or(0), descriptor.to_bytes())
            .map_err(KeyringFileError::Descriptor)?;
        let bytes = keyring.wrap_described(key, &description, self.entropy.as_ref())?;
        // Nothing takes the place of a keyring that opens but one that opens.
        Keyring::unwrap(key, &bytes).map_err(|error| refused(&self.path, error))?;
        replace_private_file(&self.path, &bytes)
            .map_err(|source| KeyringFileError::Io { path: self.path.clone(), source })
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyringVault for KeyringFile {
    /// The file before is gone from the directory when this has returned. Its blocks may stay on the disk, outside of every
    /// file, until the file system uses them again.
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored> {
        self.replace(keyring).map_err(|fault| KeyringNotStored::new(fault.to_string()))
    }
}
