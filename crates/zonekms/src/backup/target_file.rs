//! The file that a backup goes to: there as a whole, or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kms_crypto::Entropy;

use crate::private_files::{beside, directory_of, sync_directory_of};

/// How the name of a file ends as long as it is written.
const PART: &str = ".part";

/// How many names are tried, should others remove what is not yet locked.
const TRIES: u32 = 8;

/// A file that is being written beside the place where it will be.
pub(super) struct TargetFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    replace: Replace,
    bytes: u64,
    kept: bool,
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    Never,
    Whatever,
}

impl TargetFile {
    /// Begins the file `path`, of mode 0600, under a name of its own beside it: `path.<process>-<random>.part`. What killed
    /// processes left of the same file is removed; what a live one writes stays.
    pub(super) fn begin(path: &Path, replace: Replace, entropy: &dyn Entropy) -> io::Result<Self> {
        if replace == Replace::Never && path.try_exists()? {
            return Err(exists());
        }
        remove_left_over_parts(path)?;
        let (part, file) = begin_part(path, entropy)?;
        Ok(Self { path: path.to_owned(), part, file, replace, bytes: 0, kept: false })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        kms_crashpoint::passed("backup:part-written");
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Bytes so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        kms_crashpoint::passed("backup:synced");
        match self.replace {
            // Unlike a rename, a link never takes the place of what came there meanwhile.
            Replace::Never => {
                fs::hard_link(&self.part, &self.path)
                    .map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { exists() } else { error })?;
                kms_crashpoint::passed("backup:linked");
                fs::remove_file(&self.part)?;
            }
            Replace::Whatever => fs::rename(&self.part, &self.path)?,
        }
        self.kept = true;
        let (written, found) = (self.file.metadata()?, fs::symlink_metadata(&self.path)?);
        if (written.dev(), written.ino()) != (found.dev(), found.ino()) {
            return Err(io::Error::other("another file took the place of this backup a moment after it was written"));
        }
        sync_directory_of(&self.path)
    }
}

/// A new part, locked as long as it is open, so that no other process takes it for left over.
fn begin_part(path: &Path, entropy: &dyn Entropy) -> io::Result<(PathBuf, File)> {
    for _ in 0..TRIES {
        let mut random = [0_u8; 8];
        entropy.fill(&mut random).map_err(io::Error::other)?;
        let part = beside(path, &format!(".{}-{}{PART}", std::process::id(), hex::encode(random)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        match file.try_lock() {
            // Another process may have taken it for left over before it was locked.
            Ok(()) if file.metadata()?.nlink() > 0 => return Ok((part, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // A file system without locks: then nobody else removes it either.
            Err(TryLockError::Error(_)) => return Ok((part, file)),
        }
    }
    Err(io::Error::other("other processes remove the parts of this backup; try again"))
}

/// Removes the parts of `path` that nobody writes any more.
fn remove_left_over_parts(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        if !entry.file_type()?.is_file() || !is_part_of(entry.file_name().as_encoded_bytes(), name.as_encoded_bytes()) {
            continue;
        }
        let part = entry.path();
        let Ok(file) = OpenOptions::new().write(true).open(&part) else { continue };
        match file.try_lock() {
            Ok(()) => match fs::remove_file(&part) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

/// Whether `candidate` is `name.<process>-<16 hexadecimal digits>.part`.
fn is_part_of(candidate: &[u8], name: &[u8]) -> bool {
    let middle = candidate.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"."));
    let Some(middle) = middle.and_then(|rest| rest.strip_suffix(PART.as_bytes())) else { return false };
    let Some(dash) = middle.iter().position(|&byte| byte == b'-') else { return false };
    let (process, random) = (&middle[..dash], &middle[dash + 1..]);
    !process.is_empty()
        && process.iter().all(u8::is_ascii_digit)
        && random.len() == 16
        && random.iter().all(u8::is_ascii_hexdigit)
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if !self.kept {
            // Half a backup is of no use to anyone.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the file exists; --force puts the new backup in its place")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_there_as_a_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("backup");
        fs::write(scratch.path().join("backup.17-0123456789abcdef.part"), b"of a process that was killed").unwrap();
        let mut file = TargetFile::begin(&path, Replace::Never, &OsEntropy).unwrap();
        file.append(b"one").unwrap();
        assert!(!path.exists());
        assert_eq!(file.bytes(), 3);
        file.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        assert!(TargetFile::begin(&path, Replace::Never, &OsEntropy).is_err());
        let mut file = TargetFile::begin(&path, Replace::Whatever, &OsEntropy).unwrap();
        file.append(b"two").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"one", "given up");
        TargetFile::begin(&path, Replace::Whatever, &OsEntropy).unwrap().keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

        let other = scratch.path().join("other");
        let late = TargetFile::begin(&other, Replace::Never, &OsEntropy).unwrap();
        fs::write(&other, b"came meanwhile").unwrap();
        assert!(late.keep().is_err());
        assert_eq!(fs::read(&other).unwrap(), b"came meanwhile");
    }

    #[test]
    fn of_two_backups_at_once_what_is_reported_is_what_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("backup");
        let others = ["backup.part", "backup.x-0123456789abcdef.part", "backup2.17-0123456789abcdef.part"];
        for other in others {
            fs::write(scratch.path().join(other), b"not ours").unwrap();
        }
        let begin = |replace| TargetFile::begin(&path, replace, &OsEntropy).unwrap();
        let (mut first, mut second) = (begin(Replace::Never), begin(Replace::Never));
        first.append(b"first").unwrap();
        second.append(b"second").unwrap();
        first.keep().unwrap();
        assert_eq!(second.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");

        let (mut first, mut second) = (begin(Replace::Whatever), begin(Replace::Whatever));
        first.append(b"third").unwrap();
        second.append(b"fourth").unwrap();
        second.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"fourth");
        first.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1 + others.len());
    }

    /// Another program put an empty file where the part was.
    #[test]
    fn a_backup_that_is_not_what_was_written_is_not_reported() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("backup");
        for replace in [Replace::Whatever, Replace::Never] {
            let file = TargetFile::begin(&path, replace, &OsEntropy).unwrap();
            fs::remove_file(&file.part).unwrap();
            fs::write(&file.part, b"").unwrap();
            let refused = file.keep().unwrap_err();
            assert!(refused.to_string().contains("another file took the place"), "{refused}");
            fs::remove_file(&path).unwrap();
        }
    }
}
