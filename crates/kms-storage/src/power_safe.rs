//! Making an engine's files outlive a power cut.
//!
//! An engine that only starts the write-out of its log (`sync_file_range`) leaves file sizes, extents, new files and the
//! disk's cache behind. So every durable point ends with an fsync of the log, of every file that appeared or changed, and of
//! the directories whose entries changed.

use crate::own_files;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of one engine.
pub(crate) struct SyncedFiles {
    directories: Vec<Directory>,
    /// The log: written in place at any time, so it is synced every time.
    log: PathBuf,
}

struct Directory {
    path: PathBuf,
    /// What was found and synced last time.
    seen: HashMap<OsString, Stamp>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl SyncedFiles {
    /// The files in the directory `root` and its subdirectories `below`, of which the file `log` is written in place and
    /// the others are written once and then replaced or removed.
    pub(crate) fn new(root: &Path, below: &[&str], log: &str) -> Self {
        let subdirectories = below.iter().map(|name| root.join(name));
        let directories = std::iter::once(root.to_owned())
            .chain(subdirectories)
            .map(|path| Directory { path, seen: HashMap::new() })
            .collect();
        Self { directories, log: root.join(log) }
    }

    /// Returns once everything written so far outlives a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        for directory in self.directories.iter_mut().rev() {
            directory.sync(&self.log)?;
        }
        Ok(())
    }
}

impl Directory {
    fn sync(&mut self, log: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut found = HashMap::with_capacity(self.seen.len());
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // A file that is gone by now was removed by the engine, which no longer needs it.
            let Some(metadata) = if_there(entry.metadata())? else { continue };
            if !metadata.is_file() {
                found.insert(entry.file_name(), Stamp { inode: metadata.ino(), length: 0, changed: (0, 0) });
                continue;
            }
            let stamp = Stamp {
                inode: metadata.ino(),
                length: metadata.len(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            };
            if path == log || self.seen.get(&entry.file_name()) != Some(&stamp) {
                let Some(file) = if_there(File::open(&path))? else { continue };
                own_files::close_file(&file)?;
                file.sync_all()?;
            }
            found.insert(entry.file_name(), stamp);
        }
        let same_entries = found.len() == self.seen.len()
            && found.iter().all(|(name, stamp)| self.seen.get(name).is_some_and(|seen| seen.inode == stamp.inode));
        if !same_entries {
            own_files::sync_directory(&self.path)?;
        }
        self.seen = found;
        Ok(())
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
