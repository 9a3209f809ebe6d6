//! A lock that one process holds on a file, so that a second one stays away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockFault {
    #[error("it is in use by another process")]
    InUse,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The lock; released when dropped, and by the system when the process ends in any way.
pub(crate) struct FileLock(File);

impl FileLock {
    /// Takes the lock on the file `path`, made with mode 0600 when it is not there. Its directory must be there. The file
    /// stays for ever: whoever removed it could let two processes lock two files of one name.
    pub(crate) fn take(path: &Path) -> Result<Self, LockFault> {
        // A named pipe in its place must not make the start wait for a reader.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(nonblocking)
            .open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            // Who can open the file can hold the lock, and so keep the server from starting.
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
        }
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockFault::InUse),
            Err(TryLockError::Error(error)) => Err(LockFault::Io(error)),
        }
    }
}

impl Drop for FileLock {
    /// Unlocks by name: closing alone would leave the lock to a child process that was forked a moment ago and has not
    /// yet closed its copies of our files.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock file could not be unlocked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_holder_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        let held = FileLock::take(&path).unwrap();
        assert!(matches!(FileLock::take(&path), Err(LockFault::InUse)));
        drop(held);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let _again = FileLock::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
