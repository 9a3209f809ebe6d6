//! The directory of a log: its owner's alone, and one server at a time has it.

use crate::segment::{Segment, private_file};
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The file that is locked. It stays for ever: whoever removed it could let two servers lock two files of one name.
const LOCK: &str = "lock";

/// A directory that others use, too.
#[derive(Debug, thiserror::Error)]
#[error(
    "it has mode {mode:04o} and holds other files: an audit log needs a directory that only its owner can enter; name \
     another under [audit], or chmod 0700 this one if nobody else needs it"
)]
struct Shared {
    mode: u32,
}

/// Another log is open in the directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "another server has it open, and two would break it for good: stop that one, or name a directory of its own under \
     [audit] for this one"
)]
struct InUse;

/// Makes a directory that only the owner can enter. One that is there is made so if it is empty or holds a log.
///
/// Any other that others can enter is refused with [`io::ErrorKind::PermissionDenied`]: who uses it is not locked out.
pub(crate) fn private_directory(directory: &Path) -> io::Result<()> {
    let private = || fs::set_permissions(directory, Permissions::from_mode(0o700));
    let mode = match fs::metadata(directory) {
        Ok(found) => found.permissions().mode() & 0o7777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            return private();
        }
        Err(error) => return Err(error),
    };
    let is_empty = fs::read_dir(directory)?.next().is_none();
    if mode & 0o077 == 0 {
        Ok(())
    } else if is_empty || !Segment::list(directory)?.is_empty() {
        private()
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, Shared { mode }))
    }
}

/// Keeps every other log away from a directory; released when dropped, and by the system when the process ends in any way.
pub(crate) struct DirectoryLock(File);

impl DirectoryLock {
    /// Takes the lock of `directory`, which has to be there. [`io::ErrorKind::ResourceBusy`] when another holds it.
    pub(crate) fn take(directory: &Path) -> io::Result<Self> {
        let file = private_file(&directory.join(LOCK), false)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(io::ErrorKind::ResourceBusy, InUse)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for DirectoryLock {
    /// Unlocks by name: closing alone would leave the lock to a child process that was forked a moment ago.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the audit log's directory could not be released");
        }
    }
}
