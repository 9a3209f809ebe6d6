//! The file that a backup goes to: there as a whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::private_files::sync_directory_of;

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
    /// Begins the file `path`, of mode 0600, as `path.part`. What an earlier process left under that name is removed.
    pub(super) fn begin(path: &Path, replace: Replace) -> io::Result<Self> {
        if replace == Replace::Never && path.try_exists()? {
            return Err(exists());
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        match fs::remove_file(&part) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Self { path: path.to_owned(), part, file, replace, bytes: 0, kept: false })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
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
        match self.replace {
            // Unlike a rename, a link never takes the place of what came there meanwhile.
            Replace::Never => {
                fs::hard_link(&self.part, &self.path)
                    .map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { exists() } else { error })?;
                fs::remove_file(&self.part)?;
            }
            Replace::Whatever => fs::rename(&self.part, &self.path)?,
        }
        self.kept = true;
        sync_directory_of(&self.path)
    }
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_there_as_a_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("backup");
        fs::write(scratch.path().join("backup.part"), b"of a process that was killed").unwrap();
        let mut file = TargetFile::begin(&path, Replace::Never).unwrap();
        file.append(b"one").unwrap();
        assert!(!path.exists());
        assert_eq!(file.bytes(), 3);
        file.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        assert!(TargetFile::begin(&path, Replace::Never).is_err());
        let mut file = TargetFile::begin(&path, Replace::Whatever).unwrap();
        file.append(b"two").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"one", "given up");
        TargetFile::begin(&path, Replace::Whatever).unwrap().keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

        let other = scratch.path().join("other");
        let late = TargetFile::begin(&other, Replace::Never).unwrap();
        fs::write(&other, b"came meanwhile").unwrap();
        assert!(late.keep().is_err());
        assert_eq!(fs::read(&other).unwrap(), b"came meanwhile");
    }
}
