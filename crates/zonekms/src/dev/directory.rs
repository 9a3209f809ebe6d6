//! The lab's data directory: one process at a time, and private to its owner.

use std::io;
use std::path::{Path, PathBuf};

use kms_crypto::Entropy;
use kms_types::ZoneName;

use crate::config::StoreLocation;
use crate::control::socket_in;
use crate::file_lock::{FileLock, LockFault};
use crate::private_files::{create_private_directory, replace_private_file};
use crate::root_key::{GivenKey, NewRootKeyError, RootKeyFault, RootKeySource, create_root_key_file};
use crate::zone_identity::{ZoneIdentity, ZoneIdentityFault};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryFault {
    #[error("{0} is in use by another `zonekms dev`: stop that one, or give this one its own --data-dir")]
    InUse(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{root_key} is missing, but {remains} was made with it: put it back, or move {directory} away to begin anew"
    )]
    RootKeyMissing { root_key: PathBuf, remains: PathBuf, directory: PathBuf },
    #[error("root key of {directory}: {fault}")]
    RootKey { directory: PathBuf, fault: RootKeyFault },
    #[error(transparent)]
    NewRootKey(#[from] NewRootKeyError),
    #[error(transparent)]
    Identity(#[from] ZoneIdentityFault),
}

/// The directory, held until the process ends.
pub(super) struct DataDirectory {
    path: PathBuf,
    _lock: FileLock,
}

/// One zone's part of the directory.
pub(super) struct ZoneDirectory {
    path: PathBuf,
    pub(super) location: StoreLocation,
}

impl DataDirectory {
    /// Makes the directory if it is not there, and takes it for this process. The env file of an earlier process is
    /// removed: its addresses may no longer be right.
    pub(super) fn lock(path: &Path) -> Result<Self, DirectoryFault> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| DirectoryFault::Io { path, source }
        };
        // One that is there may be anything, such as /tmp, and keeps its mode: the files in it are guarded themselves.
        if !path.is_dir() {
            create_private_directory(path).map_err(io_error(path))?;
        }
        let lock_path = path.join("lock");
        let lock = FileLock::take(&lock_path).map_err(|fault| match fault {
            LockFault::InUse => DirectoryFault::InUse(path.to_owned()),
            LockFault::Io(error) => io_error(&lock_path)(error),
        })?;
        let directory = Self { path: path.to_owned(), _lock: lock };
        match std::fs::remove_file(directory.env_file()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&directory.env_file())(error)),
        }
        Ok(directory)
    }

    /// The API key's file.
    pub(super) fn credentials(&self) -> PathBuf {
        self.path.join("credentials.toml")
    }

    /// The file that keeps how far the lab's clock was moved.
    pub(super) fn lab_clock(&self) -> PathBuf {
        lab_clock_in(&self.path)
    }

    /// Where operators' commands reach the lab.
    pub(super) fn control_socket(&self) -> PathBuf {
        socket_in(&self.path)
    }

    /// Writes what a shell sources to reach this lab. It is there as a whole or not at all.
    pub(super) fn write_env_file(&self, content: &str) -> Result<(), DirectoryFault> {
        let path = self.env_file();
        replace_private_file(&path, content.as_bytes()).map_err(|source| DirectoryFault::Io { path, source })
    }

    /// The part of `zone`.
    pub(super) fn zone(&self, zone: &ZoneName) -> ZoneDirectory {
        let path = self.path.join(zone.as_str());
        ZoneDirectory { location: location_in(&path), path }
    }

    fn env_file(&self) -> PathBuf {
        self.path.join("dev.env")
    }
}

impl ZoneDirectory {
    /// The zone's root key, made when nothing of the zone is there yet.
    pub(super) fn find_or_make_root_key(&self, entropy: &dyn Entropy) -> Result<GivenKey, DirectoryFault> {
        create_private_directory(&self.path)
            .map_err(|source| DirectoryFault::Io { path: self.path.clone(), source })?;
        let root_key = self.root_key_file();
        if root_key.exists() {
            return self.load_root_key();
        }
        let mut entries =
            std::fs::read_dir(&self.path).map_err(|source| DirectoryFault::Io { path: self.path.clone(), source })?;
        if let Some(entry) = entries.next() {
            let remains = entry.map_err(|source| DirectoryFault::Io { path: self.path.clone(), source })?.path();
            return Err(DirectoryFault::RootKeyMissing { root_key, remains, directory: self.path.clone() });
        }
        create_root_key_file(&root_key, entropy)?;
        self.load_root_key()
    }

    /// The file of the zone's root key.
    pub(super) fn root_key_file(&self) -> PathBuf {
        root_key_file_of(&self.path)
    }

    fn load_root_key(&self) -> Result<GivenKey, DirectoryFault> {
        GivenKey::load(RootKeySource::File(self.root_key_file()), &|_| None)
            .map_err(|fault| DirectoryFault::RootKey { directory: self.path.clone(), fault })
    }

    /// What the zone proves itself with to the others, made when it is not there.
    pub(super) fn find_or_make_identity(
        &self,
        zone: &ZoneName,
        entropy: &dyn Entropy,
    ) -> Result<ZoneIdentity, DirectoryFault> {
        let directory = self.path.join("identity");
        let identity = if directory.exists() {
            ZoneIdentity::load(&directory, None)
        } else {
            ZoneIdentity::create(&directory, zone, entropy)
        };
        Ok(identity?)
    }
}

/// Where a zone's root key and data are, for commands that work on them while no lab runs.
pub(crate) fn zone_files(data_dir: &Path, zone: &ZoneName) -> (PathBuf, StoreLocation) {
    let path = data_dir.join(zone.as_str());
    (root_key_file_of(&path), location_in(&path))
}

/// The file that keeps how far the clock of the lab in `data_dir` was moved.
pub(super) fn lab_clock_in(data_dir: &Path) -> PathBuf {
    data_dir.join("lab.json")
}

fn root_key_file_of(zone: &Path) -> PathBuf {
    zone.join("root.key")
}

fn location_in(zone: &Path) -> StoreLocation {
    StoreLocation { directory: zone.join("store"), manifest: zone.join("manifest"), keyring: zone.join("keyring") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use kms_root_key::RootKeyProvider;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_process_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        let held = DataDirectory::lock(&path).unwrap();
        assert!(matches!(DataDirectory::lock(&path), Err(DirectoryFault::InUse(_))));
        held.write_env_file("export A=b\n").unwrap();
        drop(held);
        let again = DataDirectory::lock(&path).unwrap();
        assert!(!again.env_file().exists(), "the env file of the process before");
    }

    #[test]
    fn a_root_key_is_made_once_and_only_for_an_empty_zone() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = DataDirectory::lock(&scratch.path().join("data")).unwrap();
        let zone = directory.zone(&"ch-gva-2".parse().unwrap());
        let made = zone.find_or_make_root_key(&OsEntropy).unwrap();
        assert_eq!(zone.find_or_make_root_key(&OsEntropy).unwrap().fingerprint(), made.fingerprint());
        for private in [zone.path.clone(), zone.path.join("root.key")] {
            assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o077, 0, "{private:?}");
        }

        fs::rename(zone.path.join("root.key"), zone.path.join("keyring")).unwrap();
        let refused = zone.find_or_make_root_key(&OsEntropy);
        assert!(matches!(refused, Err(DirectoryFault::RootKeyMissing { .. })));
        assert!(!zone.path.join("root.key").exists());
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_mode() {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let directory = DataDirectory::lock(scratch.path()).unwrap();
        directory.write_env_file("x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(scratch.path()), mode(&directory.env_file())), (0o755, 0o600));
    }
}
