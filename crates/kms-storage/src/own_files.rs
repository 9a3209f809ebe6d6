//! Files and directories that belong to this process's user alone, whatever the umask says.

use crate::open_error::OpenError;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const MODE_BITS: u32 = 0o7777;

/// The lock that keeps a second process away; released when dropped.
pub(crate) struct StoreLock {
    file: File,
}

impl StoreLock {
    /// Takes the lock in the file `<store>.lock` beside the directory `store`.
    pub(crate) fn take(store: &Path) -> Result<Self, OpenError> {
        let mut name = store.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = store.with_file_name(name);
        let file = options().create(true).open(&path).map_err(|error| failed(&path, error))?;
        close_to_others(&file, FILE_MODE).map_err(|error| failed(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
            Err(fs::TryLockError::Error(error)) => Err(failed(&path, error)),
        }
    }
}

impl Drop for StoreLock {
    /// Unlocks by name: closing alone would leave the lock to a child process that was forked a moment ago and has not
    /// yet closed its copies of our files.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the store's lock file could not be unlocked");
        }
    }
}

/// Makes the directory where it is missing, and closes it to other users.
pub(crate) fn directory(path: &Path) -> Result<(), OpenError> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => sync_directory(parent(path)).map_err(|error| failed(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(path, error)),
    }
    let directory = File::open(path).map_err(|error| failed(path, error))?;
    let metadata = directory.metadata().map_err(|error| failed(path, error))?;
    if !metadata.is_dir() {
        return Err(OpenError::Permissions { path: path.to_owned(), what: "it is not a directory".to_owned() });
    }
    check_owner(path, metadata.uid())?;
    close_to_others(&directory, DIRECTORY_MODE).map_err(|error| failed(path, error))
}

/// Whether a directory has no entries.
pub(crate) fn is_empty(path: &Path) -> Result<bool, OpenError> {
    Ok(fs::read_dir(path).map_err(|error| failed(path, error))?.next().is_none())
}

/// Opens a file for reading and writing and closes it to other users; `None` when there is none.
pub(crate) fn open_existing(path: &Path) -> Result<Option<File>, OpenError> {
    let file = match options().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let owner = file.metadata().map_err(|error| failed(path, error))?.uid();
    check_owner(path, owner)?;
    close_to_others(&file, FILE_MODE).map_err(|error| failed(path, error))?;
    Ok(Some(file))
}

/// Makes or replaces a file: after a crash it has its old content or all of the new one.
pub(crate) fn create_whole(path: &Path, content: &[u8]) -> Result<File, OpenError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || {
        let mut file = options().create(true).truncate(true).open(&new)?;
        close_to_others(&file, FILE_MODE)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory(parent(path))?;
        Ok(file)
    };
    write().map_err(|error| failed(path, error))
}

/// Takes away every right of group and others, and sets the owner's. Needs no more than the file's ownership.
pub(crate) fn close_to_others(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.mode() & MODE_BITS == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Closes a file of the engine to others.
pub(crate) fn close_file(file: &File) -> io::Result<()> {
    close_to_others(file, FILE_MODE)
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(path: impl AsRef<Path>) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) fn failed(path: &Path, source: io::Error) -> OpenError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return OpenError::Permissions { path: path.to_owned(), what: "permission denied".to_owned() };
    }
    OpenError::Io { path: path.to_owned(), source }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn check_owner(path: &Path, owner: u32) -> Result<(), OpenError> {
    match rustix::process::geteuid().as_raw() {
        user if user == owner => Ok(()),
        user => Err(OpenError::Permissions {
            path: path.to_owned(),
            what: format!("it belongs to user {owner}, this process runs as user {user}"),
        }),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}
