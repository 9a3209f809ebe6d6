//! The keyring's file, and the question whether a zone starts for the first time.
//!
//! A new keyring is only ever made when nothing of the zone is there: no keyring, no store, no manifest. It is written
//! under a provisional name, and gets its own name once the store stands. So a first start that a crash cut short goes on
//! where it was, while a store that lost its keyring, or a keyring that lost its store, is refused.
//!
//! All of it happens under the zone's lock, a file beside the keyring that is held as long as the zone is served: of two
//! processes that start at once, the second must see what the first one made, or it would seal records under a keyring that
//! gets lost.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use kms_crypto::{Entropy, EntropyError, Keyring, RootKey, SecretBytes, UnwrapError};

use crate::config::StoreLocation;
use crate::file_lock::{FileLock, LockFault};
use crate::private_files::{
    Guard, UnreadableSecret, check_directory_of, create_private_directory, place_private_file, read_secret,
    rename_durably,
};

/// Why a zone's keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringFileError {
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
    #[error("the keyring {keyring} is missing, so there is no store to adopt")]
    NothingToAdopt {
        /// Where the keyring should be.
        keyring: PathBuf,
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
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The largest keyring file, in bytes: room for 1,600 storage epochs.
const SIZE_LIMIT: usize = 65_536;

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
    /// Takes the zone at `location` for this process. The keyring's directory is made where it is missing.
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
        Ok(Self { location: location.clone(), _lock: lock })
    }
}

impl<'lock> OpenKeyring<'lock> {
    /// Reads the zone's keyring, or makes one when nothing of the zone is there.
    pub(crate) fn open(zone: &'lock ZoneLock, root: &RootKey, entropy: &dyn Entropy) -> Result<Self, KeyringFileError> {
        let (path, bytes, first_start) = find_or_make(&zone.location, root, entropy)?;
        Self::unwrap(root, &path, bytes.expose(), first_start)
    }

    /// Reads the zone's keyring, and makes none: for work on a store that must be there.
    pub(crate) fn open_existing(zone: &'lock ZoneLock, root: &RootKey) -> Result<Self, KeyringFileError> {
        let path = &zone.location.keyring;
        let bytes = read_if_there(path)?.ok_or_else(|| KeyringFileError::NothingToAdopt { keyring: path.clone() })?;
        Self::unwrap(root, path, bytes.expose(), None)
    }

    /// Reads the keyring at `location` without taking the zone, which may be served meanwhile: for what is derived from it.
    pub(crate) fn read(location: &StoreLocation, root: &RootKey) -> Result<Keyring, KeyringFileError> {
        let path = &location.keyring;
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let bytes = read_if_there(path)?;
        let bytes = bytes.ok_or_else(|| KeyringFileError::Io { path: path.clone(), source: missing() })?;
        unwrap(root, path, bytes.expose())
    }

    fn unwrap(
        root: &RootKey,
        path: &Path,
        bytes: &[u8],
        first_start: Option<FirstStart<'lock>>,
    ) -> Result<Self, KeyringFileError> {
        Ok(Self { keyring: unwrap(root, path, bytes)?, for_manifest: unwrap(root, path, bytes)?, first_start })
    }
}

impl FirstStart<'_> {
    /// Gives the keyring its own name: the store stands. To be called before the zone answers anyone.
    pub(crate) fn settle(self) -> Result<(), KeyringFileError> {
        let io_error = |source| KeyringFileError::Io { path: self.settled.to_owned(), source };
        if self.settled.try_exists().map_err(io_error)? {
            return Err(io_error(io::ErrorKind::AlreadyExists.into()));
        }
        rename_durably(&self.provisional, self.settled).map_err(io_error)
    }
}

fn find_or_make<'lock>(
    location: &'lock StoreLocation,
    root: &RootKey,
    entropy: &dyn Entropy,
) -> Result<(PathBuf, SecretBytes, Option<FirstStart<'lock>>), KeyringFileError> {
    let settled = &location.keyring;
    let provisional = provisional_name(settled);
    let first_start = FirstStart { provisional: provisional.clone(), settled };
    let store_remains = store_remains(location)?;
    if let Some(bytes) = read_if_there(settled)? {
        if store_remains.is_none() {
            let (store, keyring) = (location.directory.clone(), settled.clone());
            return Err(KeyringFileError::StoreMissing { store, keyring });
        }
        return Ok((settled.clone(), bytes, None));
    }
    if let Some(bytes) = read_if_there(&provisional)? {
        return Ok((provisional, bytes, Some(first_start)));
    }
    if let Some(remains) = store_remains {
        return Err(KeyringFileError::Missing { keyring: settled.clone(), remains });
    }
    let bytes = Keyring::generate(entropy)?.wrap(root, entropy)?;
    place_private_file(&provisional, &bytes)
        .map_err(|source| KeyringFileError::Io { path: provisional.clone(), source })?;
    Ok((provisional, SecretBytes::copy_from(&bytes), Some(first_start)))
}

fn unwrap(root: &RootKey, path: &Path, bytes: &[u8]) -> Result<Keyring, KeyringFileError> {
    let keyring = path.to_owned();
    Keyring::unwrap(root, bytes).map_err(|error| match error {
        UnwrapError::WrongRootKey { expected, given } => {
            KeyringFileError::WrongRootKey { keyring, expected: expected.to_string(), given: given.to_string() }
        }
        UnwrapError::Damaged => KeyringFileError::Damaged { keyring },
        UnwrapError::NewerFormat { found } => KeyringFileError::NewerFormat { keyring, found },
    })
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

fn provisional_name(keyring: &Path) -> PathBuf {
    beside(keyring, ".first-start")
}

fn beside(keyring: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(keyring);
    name.push(ending);
    PathBuf::from(name)
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
