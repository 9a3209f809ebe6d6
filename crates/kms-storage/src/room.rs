//! Room on the disk, looked at before anything is written.
//!
//! An engine that runs out of room half-way leaves an unknown write and a read-only store. So a little room is kept free:
//! below it changes are refused beforehand, and taken again as soon as there is room.

use std::path::PathBuf;

/// Bytes kept free.
const RESERVE: u64 = 24 << 20;

pub(crate) struct Room {
    directory: PathBuf,
}

impl Room {
    /// The room on the file system of `directory`.
    pub(crate) const fn of(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Whether there is enough, or why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let room = rustix::fs::statvfs(&self.directory).map_err(|error| error.to_string())?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < RESERVE {
            return Err(format!("the disk is nearly full ({free} bytes free, {RESERVE} needed): make room"));
        }
        Ok(())
    }
}
