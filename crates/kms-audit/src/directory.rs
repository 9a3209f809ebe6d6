//! The directory of a log: one server at a time has it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::segment::private_file;

/// The file that is locked. It stays for ever: whoever removed it could let two servers lock two files of one name.
const LOCK: &str = "lock";

/// Another log is open in the directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "another server has it open, and two would break it for good: stop that one, or name a directory of its own under \
     [audit] for this one"
)]
struct InUse;

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
