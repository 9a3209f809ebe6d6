//! The keyring's file, and the question whether a zone starts for the first time.
//!
//! A new keyring is only ever made when nothing of the zone is there: no keyring, no store, no manifest. It is written
//! under a provisional name, and gets its own name once the store stands. So a first start that a crash cut short goes on
//! where it was, while a store that lost its keyring, or a keyring that lost its store, is refused.
//!
//! All of it happens under the zone's lock, a file beside the keyring that is held as long as the zone is served: of two
//! processes that start at once, the second must see what the first one made, or it would seal records under a keyring that
//! gets lost.

mod current;

pub(crate) use current::{KeyringFile, RotateTo};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::{
    DescriptorTooLong, Entropy, EntropyError, Keyring, KeyringDescription, RootKey, RootKeyFingerprint, SecretBytes,
    UnwrapError, WrappedKeyring,
};
use kms_root_key::{BadDescriptor, Binding, Descriptor, NewRootKey, ProviderFault, ProviderKind};
use kms_types::ZoneName;

use crate::config::StoreLocation;
use crate::file_lock::{FileLock, LockFault};
use crate::private_files::{
    Guard, UnreadableSecret, beside, check_directory_of, create_private_directory, place_private_file, read_secret,
    remove_left_over_parts, rename_durably,
};
use crate::root_key::{NoRootKey, Patience, Pause, RootKeys};
use current::InUse;

/// Why a zone's keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringFileError {
    /// Another process serves the zone, or starts to.
    #[error(
        "the zone of keyring {keyring} is in use by another process: stop that one, or give this one a store and a keyring \
         of its own"
    )]
    InUse {
        /// The keyring.
        keyring: PathBuf,
    },
    /// There is no keyring, and none is to be made.
    #[error("the keyring {keyring} is missing, so there is no store to work on")]
    NothingToAdopt {
        /// Where the keyring should be.
        keyring: PathBuf,
    },
    /// A restore into this place was cut short.
    #[error(
        "a restore of this zone was not finished: delete {unfinished}, {store} and {manifest}, where they are there, and run \
         zonekms restore again"
    )]
    RestoreUnfinished {
        /// The keyring of the restore.
        unfinished: PathBuf,
        /// Where the store is.
        store: PathBuf,
        /// Where its manifest is.
        manifest: PathBuf,
    },
    /// A restore is for a place without a zone.
    #[error("{remains} is there, and a restore is for an empty place: move it away, or restore somewhere else")]
    NotEmpty {
        /// What there is.
        remains: PathBuf,
    },
    /// The keyring is gone, but what it opens is there.
    #[error(
        "the keyring {keyring} is missing, but {remains} is there: put the keyring back from your backup. Without it the \
         store cannot be opened. To begin anew and lose every key, move {remains} away too"
    )]
    Missing {
        /// Where the keyring should be.
        keyring: PathBuf,
        /// What shows that this is no first start.
        remains: PathBuf,
    },
    /// The store and its manifest are gone, but the keyring is there.
    #[error(
        "the store {store} and its manifest are missing, but the keyring {keyring} is there: put the store back from your \
         backup. To begin anew and lose every key, move the keyring away too"
    )]
    StoreMissing {
        /// Where the store should be.
        store: PathBuf,
        /// The keyring.
        keyring: PathBuf,
    },
    /// It was wrapped under another root key.
    #[error(
        "wrong root key: {keyring} was wrapped under the root key with fingerprint {expected}, but the one given has \
         fingerprint {given}. Start with the right root key; nothing was changed"
    )]
    WrongRootKey {
        /// The keyring.
        keyring: PathBuf,
        /// The fingerprint the file names.
        expected: String,
        /// The fingerprint of the root key given.
        given: String,
    },
    /// It does not open.
    #[error("the keyring {keyring} is damaged: put it back from your backup")]
    Damaged {
        /// The keyring.
        keyring: PathBuf,
    },
    /// A newer ZoneKMS wrote it.
    #[error("the keyring {keyring} has format {found}, which this version does not know: use a newer zonekms")]
    NewerFormat {
        /// The keyring.
        keyring: PathBuf,
        /// Its format.
        found: u8,
    },
    /// It is not a file of this process's user, or others can replace it.
    #[error("{0}")]
    Unreadable(String),
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// None of the configured providers gives the root key.
    #[error("{0}")]
    NoRootKey(NoRootKey),
    /// What stands beside it in the clear cannot be read.
    #[error("the keyring {keyring} cannot be opened: {fault}")]
    BadDescriptor {
        /// The keyring.
        keyring: PathBuf,
        /// What is wrong.
        fault: BadDescriptor,
    },
    /// The root key's provider gives more to keep than there is room for.
    #[error(transparent)]
    Descriptor(DescriptorTooLong),
    /// A rotation to the next provider, and there is none.
    #[error("the configuration has no section [root-key-next] with the root key to change to")]
    NoNextRootKey,
    /// A rotation to the root key that is in use.
    #[error("the root key of {place} is the one that is in use: nothing was changed")]
    SameRootKey {
        /// Where it is.
        place: String,
    },
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The largest keyring file, in bytes: room for 2,000 storage epochs beside the longest descriptor.
const SIZE_LIMIT: usize = 98_304;

/// A zone's files, held by this process: nobody else looks for them, makes them or changes them.
pub(crate) struct ZoneLock {
    location: StoreLocation,
    _lock: FileLock,
}

/// A zone's keyring, found or made.
pub(crate) struct OpenKeyring<'lock> {
    /// For the service.
    pub(crate) keyring: Keyring,
    /// The same keyring, for the tags of the store's manifest: the store and the service each own what they use.
    pub(crate) for_manifest: Keyring,
    /// The file, to be written anew when keyring or root key change.
    pub(crate) file: Arc<KeyringFile>,
    /// What is left to do when this is the zone's first start.
    pub(crate) first_start: Option<FirstStart<'lock>>,
}

/// A zone whose store has yet to be made.
#[must_use = "a first start ends with `settle`, once the store stands"]
pub(crate) struct FirstStart<'lock> {
    provisional: PathBuf,
    /// Borrowed from the lock: what lies under the provisional name is still what this process found or made there.
    settled: &'lock Path,
}

impl ZoneLock {
    /// Takes the zone at `location` for this process. The keyring's directory is made where it is missing, and what a killed
    /// process left half written of the keyring is removed.
    pub(crate) fn take(location: &StoreLocation) -> Result<Self, KeyringFileError> {
        let keyring = &location.keyring;
        if let Some(parent) = keyring.parent()
            && !parent.as_os_str().is_empty()
            && !parent.exists()
        {
            create_private_directory(parent)
                .map_err(|source| KeyringFileError::Io { path: parent.to_owned(), source })?;
        }
        check_directory_of(keyring).map_err(|unfit| KeyringFileError::Unreadable(unfit.to_string()))?;
        let path = beside(keyring, ".lock");
        let lock = FileLock::take(&path).map_err(|fault| match fault {
            LockFault::InUse => KeyringFileError::InUse { keyring: keyring.clone() },
            LockFault::Io(source) => KeyringFileError::Io { path, source },
        })?;
        // A keyring that a process wrote before it was killed would open for ever under the root key of that time.
        remove_left_over_parts(&[keyring, &provisional_name(keyring), &unfinished_name(keyring)])
            .map_err(|source| KeyringFileError::Io { path: keyring.clone(), source })?;
        Ok(Self { location: location.clone(), _lock: lock })
    }
}

impl<'lock> OpenKeyring<'lock> {
    /// Reads the zone's keyring, or makes one when nothing of the zone is there. The time is in seconds since 1970.
    ///
    /// While the provider of the root key is out of reach, it waits.
    pub(crate) async fn open(
        zone: &'lock ZoneLock,
        name: &ZoneName,
        root_keys: &RootKeys,
        entropy: &Arc<dyn Entropy>,
        now: i64,
    ) -> Result<Self, KeyringFileError> {
        let settled = &zone.location.keyring;
        let found = find(&zone.location)?;
        let (path, bytes, made, first_start) = match found {
            Found::Settled(bytes) => (settled.clone(), bytes, None, None),
            Found::Provisional(bytes) => (provisional_name(settled), bytes, None, Some(FirstStart::of(settled))),
            Found::Nothing => {
                let (bytes, key) = make(name, root_keys, entropy.as_ref(), now).await?;
                let path = provisional_name(settled);
                place_private_file(&path, &bytes)
                    .map_err(|source| KeyringFileError::Io { path: path.clone(), source })?;
                (path, SecretBytes::copy_from(&bytes), Some(key), Some(FirstStart::of(settled)))
            }
        };
        Self::unwrap(name, zone, root_keys, entropy, (&path, &bytes, Patience::Wait), made, first_start).await
    }

    /// Reads the zone's keyring, and makes none: for work on a store that must be there.
    pub(crate) async fn open_existing(
        zone: &'lock ZoneLock,
        name: &ZoneName,
        root_keys: &RootKeys,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, KeyringFileError> {
        refuse_unfinished_restore(&zone.location)?;
        let path = &zone.location.keyring;
        let bytes = read_if_there(path)?.ok_or_else(|| KeyringFileError::NothingToAdopt { keyring: path.clone() })?;
        Self::unwrap(name, zone, root_keys, entropy, (path, &bytes, Patience::Once), None, None).await
    }

    /// Reads the keyring at `location` without taking the zone, which may be served meanwhile: for what is derived from it.
    pub(crate) async fn read(location: &StoreLocation, root_keys: &RootKeys) -> Result<Keyring, KeyringFileError> {
        let path = &location.keyring;
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let bytes = read_if_there(path)?;
        let bytes = bytes.ok_or_else(|| KeyringFileError::Io { path: path.clone(), source: missing() })?;
        let wrapped = WrappedKeyring::parse(bytes.expose()).map_err(|error| refused(path, error))?;
        let wanted = wrapped.fingerprint();
        let (descriptor, _, _) = described(path, &wrapped)?;
        let obtained = root_keys.obtain(&descriptor, wanted, Patience::Once).await;
        let (key, _) = obtained.map_err(|fault| not_obtained(path, wanted, fault))?;
        wrapped.open(&key).map_err(|error| refused(path, error))
    }

    /// A new keyring for a zone that is restored where nothing of a zone is. Until its `first_start` is settled, the zone
    /// cannot be served.
    pub(crate) async fn make_for_restore(
        zone: &'lock ZoneLock,
        name: &ZoneName,
        root_keys: &RootKeys,
        entropy: &Arc<dyn Entropy>,
        now: i64,
    ) -> Result<Self, KeyringFileError> {
        require_empty(&zone.location)?;
        let path = unfinished_name(&zone.location.keyring);
        let (bytes, key) = make(name, root_keys, entropy.as_ref(), now).await?;
        place_private_file(&path, &bytes).map_err(|source| KeyringFileError::Io { path: path.clone(), source })?;
        let bytes = SecretBytes::copy_from(&bytes);
        let first_start = FirstStart { provisional: path.clone(), settled: &zone.location.keyring };
        Self::unwrap(name, zone, root_keys, entropy, (&path, &bytes, Patience::Once), Some(key), Some(first_start))
            .await
    }

    async fn unwrap(
        name: &ZoneName,
        zone: &ZoneLock,
        root_keys: &RootKeys,
        entropy: &Arc<dyn Entropy>,
        (path, bytes, patience): (&Path, &SecretBytes, Patience),
        made: Option<RootKey>,
        first_start: Option<FirstStart<'lock>>,
    ) -> Result<Self, KeyringFileError> {
        let wrapped = WrappedKeyring::parse(bytes.expose()).map_err(|error| refused(path, error))?;
        let wanted = wrapped.fingerprint();
        let (descriptor, since, generation) = described(path, &wrapped)?;
        let (key, by) = match made {
            // Nobody is asked for a passphrase that was typed a moment ago.
            Some(key) => (key, &root_keys.current),
            None => {
                let obtained = root_keys.obtain(&descriptor, wanted, patience).await;
                obtained.map_err(|fault| not_obtained(path, wanted, fault))?
            }
        };
        let keyring = wrapped.open(&key).map_err(|error| refused(path, error))?;
        let for_manifest = wrapped.open(&key).map_err(|error| refused(path, error))?;
        // Of a rotation that was cut short, what is not needed goes.
        root_keys.settle(wanted);
        let by = by.clone();
        let in_use = InUse { key, by, descriptor, since, generation: generation.unwrap_or(0) };
        let settled = zone.location.keyring.clone();
        let file = Arc::new(KeyringFile::new(settled, name, &keyring, in_use, Arc::clone(entropy)));
        Ok(Self { keyring, for_manifest, file, first_start })
    }
}

impl<'lock> FirstStart<'lock> {
    fn of(settled: &'lock Path) -> Self {
        Self { provisional: provisional_name(settled), settled }
    }

    /// Gives the keyring its own name: the store stands. To be called before the zone answers anyone.
    pub(crate) fn settle(self) -> Result<(), KeyringFileError> {
        let io_error = |source| KeyringFileError::Io { path: self.settled.to_owned(), source };
        if self.settled.try_exists().map_err(io_error)? {
            return Err(io_error(io::ErrorKind::AlreadyExists.into()));
        }
        rename_durably(&self.provisional, self.settled).map_err(io_error)
    }
}

/// What there is of a keyring.
enum Found {
    Settled(SecretBytes),
    /// Of a first start that was cut short.
    Provisional(SecretBytes),
    /// Neither keyring nor store.
    Nothing,
}

fn find(location: &StoreLocation) -> Result<Found, KeyringFileError> {
    refuse_unfinished_restore(location)?;
    let settled = &location.keyring;
    let store_remains = store_remains(location)?;
    if let Some(bytes) = read_if_there(settled)? {
        if store_remains.is_none() {
            let (store, keyring) = (location.directory.clone(), settled.clone());
            return Err(KeyringFileError::StoreMissing { store, keyring });
        }
        return Ok(Found::Settled(bytes));
    }
    if let Some(bytes) = read_if_there(&provisional_name(settled))? {
        return Ok(Found::Provisional(bytes));
    }
    match store_remains {
        Some(remains) => Err(KeyringFileError::Missing { keyring: settled.clone(), remains }),
        None => Ok(Found::Nothing),
    }
}

/// Whether nothing of a zone is at `location`: no keyring, no store, no manifest.
pub(crate) fn require_empty(location: &StoreLocation) -> Result<(), KeyringFileError> {
    match find(location)? {
        Found::Nothing => Ok(()),
        Found::Settled(_) => Err(KeyringFileError::NotEmpty { remains: location.keyring.clone() }),
        Found::Provisional(_) => Err(KeyringFileError::NotEmpty { remains: provisional_name(&location.keyring) }),
    }
}

fn refuse_unfinished_restore(location: &StoreLocation) -> Result<(), KeyringFileError> {
    let unfinished = unfinished_name(&location.keyring);
    if !unfinished.try_exists().map_err(|source| KeyringFileError::Io { path: unfinished.clone(), source })? {
        return Ok(());
    }
    let (store, manifest) = (location.directory.clone(), location.manifest.clone());
    Err(KeyringFileError::RestoreUnfinished { unfinished, store, manifest })
}

/// A new keyring as its file's bytes, and the configured root key, which it is wrapped under.
async fn make(
    name: &ZoneName,
    root_keys: &RootKeys,
    entropy: &dyn Entropy,
    now: i64,
) -> Result<(Vec<u8>, RootKey), KeyringFileError> {
    let keyring = Keyring::generate(entropy)?;
    let binding = Binding::new(name, *keyring.store_id());
    let mut pause = Pause::first();
    let NewRootKey { key, descriptor } = loop {
        match root_keys.current.provider.create(&binding, entropy).await {
            Ok(made) => break made,
            Err(fault @ ProviderFault::Unavailable(_)) => pause.wait(&fault).await,
            Err(fault @ (ProviderFault::Refused(_) | ProviderFault::Entropy(_))) => {
                return Err(KeyringFileError::NoRootKey(root_keys.current.failed(fault)));
            }
        }
    };
    let description = KeyringDescription::new(1, now, descriptor.to_bytes()).map_err(KeyringFileError::Descriptor)?;
    Ok((keyring.wrap_described(&key, &description, entropy)?, key))
}

/// What a keyring file says of its root key to everybody: nothing of it is verified.
pub(crate) struct KeyringLabel {
    pub(crate) fingerprint: RootKeyFingerprint,
    pub(crate) provider: ProviderKind,
    pub(crate) since: Option<i64>,
    /// None in format 1.
    pub(crate) generation: Option<u64>,
}

impl KeyringLabel {
    /// Reads it without a root key.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyringFileError> {
        let bytes = read_keyring(path)?;
        let wrapped = WrappedKeyring::parse(bytes.expose()).map_err(|error| refused(path, error))?;
        let (descriptor, since, generation) = described(path, &wrapped)?;
        Ok(Self { fingerprint: wrapped.fingerprint(), provider: descriptor.kind(), since, generation })
    }
}

/// Descriptor, time since when the root key is in use, and generation; of format 1, the first alone.
fn described(
    path: &Path,
    wrapped: &WrappedKeyring<'_>,
) -> Result<(Descriptor, Option<i64>, Option<u64>), KeyringFileError> {
    let Some(description) = wrapped.description() else { return Ok((Descriptor::Given, None, None)) };
    let descriptor = Descriptor::from_bytes(description.descriptor())
        .map_err(|fault| KeyringFileError::BadDescriptor { keyring: path.to_owned(), fault })?;
    let since = (description.root_key_since != 0).then_some(description.root_key_since);
    Ok((descriptor, since, Some(description.generation)))
}

fn not_obtained(path: &Path, wanted: RootKeyFingerprint, fault: NoRootKey) -> KeyringFileError {
    match fault {
        NoRootKey::Wrong { given } => refused(path, UnwrapError::WrongRootKey { expected: wanted, given }),
        NoRootKey::OtherProvider { .. } | NoRootKey::WrongPassphrase { .. } | NoRootKey::Provider { .. } => {
            KeyringFileError::NoRootKey(fault)
        }
    }
}

fn refused(path: &Path, error: UnwrapError) -> KeyringFileError {
    let keyring = path.to_owned();
    match error {
        UnwrapError::WrongRootKey { expected, given } => {
            KeyringFileError::WrongRootKey { keyring, expected: expected.to_string(), given: given.to_string() }
        }
        UnwrapError::Damaged => KeyringFileError::Damaged { keyring },
        UnwrapError::NewerFormat { found } => KeyringFileError::NewerFormat { keyring, found },
    }
}

/// What there is of the zone's store: its manifest, or a directory with something in it.
fn store_remains(location: &StoreLocation) -> Result<Option<PathBuf>, KeyringFileError> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyringFileError::Io { path, source }
    };
    if location.manifest.try_exists().map_err(io_error(&location.manifest))? {
        return Ok(Some(location.manifest.clone()));
    }
    match std::fs::read_dir(&location.directory) {
        Ok(mut entries) => Ok(entries.next().map(|_| location.directory.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&location.directory)(error)),
    }
}

/// The name of a keyring whose store is being restored.
fn unfinished_name(keyring: &Path) -> PathBuf {
    beside(keyring, ".restoring")
}

fn provisional_name(keyring: &Path) -> PathBuf {
    beside(keyring, ".first-start")
}

/// The keyring of a zone, as its file's bytes.
fn read_keyring(path: &Path) -> Result<SecretBytes, KeyringFileError> {
    read_if_there(path)?
        .ok_or_else(|| KeyringFileError::Io { path: path.to_owned(), source: io::ErrorKind::NotFound.into() })
}

fn read_if_there(path: &Path) -> Result<Option<SecretBytes>, KeyringFileError> {
    match read_secret(path, SIZE_LIMIT, Guard::Tightened) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(UnreadableSecret::NotOpened(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: UnreadableSecret) -> KeyringFileError {
    match error {
        UnreadableSecret::NotOpened(source) => KeyringFileError::Io { path: path.to_owned(), source },
        UnreadableSecret::Unfit(unfit) => KeyringFileError::Unreadable(unfit.to_string()),
    }
}

#[cfg(test)]
mod tests;
