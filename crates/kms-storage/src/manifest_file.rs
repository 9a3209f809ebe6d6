//! The manifest's copy outside the store: the memory of how far the store has come.
//!
//! The file has two slots of 4096 bytes, written in turn, so that a write torn by a power cut leaves the other slot whole.
//! The slot with the higher revision is the copy. Nothing is renamed once the file exists.

use crate::manifest::{Accountant, FORMAT, LEN, Manifest, ManifestFault, Statement};
use crate::open_error::OpenError;
use crate::own_files;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SLOT: usize = 4096;
const SLOTS: usize = 2;

pub(crate) struct ManifestFile {
    file: File,
    path: PathBuf,
    next_slot: usize,
}

impl ManifestFile {
    /// The file and the statement in it, or `None` when there is no such file.
    pub(crate) fn open(path: &Path, accountant: &Accountant) -> Result<Option<(Self, Statement)>, OpenError> {
        let Some(file) = own_files::open_existing(path)? else { return Ok(None) };
        let mut bytes = [0; SLOT * SLOTS];
        file.read_exact_at(&mut bytes, 0).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof { damaged(path) } else { own_files::failed(path, error) }
        })?;
        let mut newest: Option<(usize, Statement)> = None;
        // A torn slot counts for nothing; what a fault says matters only when no slot is whole.
        let mut fault = damaged(path);
        for (slot, bytes) in bytes.chunks(SLOT).enumerate() {
            match accountant.decode(&bytes[..LEN]) {
                Ok(statement) => {
                    if newest.as_ref().is_none_or(|(_, newest)| newest.revision < statement.revision) {
                        newest = Some((slot, statement));
                    }
                }
                Err(ManifestFault::OtherStore) => fault = OpenError::WrongStore { path: path.to_owned() },
                Err(ManifestFault::Newer { found }) => fault = OpenError::NewerFormat { found, known: FORMAT },
                Err(ManifestFault::Malformed) => {}
            }
        }
        let (slot, statement) = newest.ok_or(fault)?;
        Ok(Some((Self { file, path: path.to_owned(), next_slot: (slot + 1) % SLOTS }, statement)))
    }

    /// Makes the file, both slots holding `manifest`. It appears under its name whole, or not at all.
    pub(crate) fn create(path: &Path, accountant: &Accountant, manifest: &Manifest) -> Result<Self, OpenError> {
        let encoded = accountant.encode(manifest);
        let mut bytes = [0; SLOT * SLOTS];
        for slot in bytes.chunks_mut(SLOT) {
            slot[..LEN].copy_from_slice(&encoded);
        }
        let file = own_files::create_whole(path, &bytes)?;
        Ok(Self { file, path: path.to_owned(), next_slot: 0 })
    }

    /// Records `manifest`, durably.
    pub(crate) fn write(&mut self, accountant: &Accountant, manifest: &Manifest) -> io::Result<()> {
        let mut bytes = [0; SLOT];
        bytes[..LEN].copy_from_slice(&accountant.encode(manifest));
        let offset = if self.next_slot == 0 { 0 } else { SLOT as u64 };
        self.file.write_all_at(&bytes, offset)?;
        self.file.sync_data()?;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn damaged(path: &Path) -> OpenError {
    OpenError::Damaged {
        what: format!("the manifest file {} cannot be read, or was made under another key", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::accountant;
    use crate::stored::StoreRevision;

    fn at(revision: u64) -> Manifest {
        let mut manifest = Accountant::empty();
        manifest.revision = StoreRevision::new(revision);
        manifest
    }

    fn revision(path: &Path) -> Result<u64, OpenError> {
        Ok(ManifestFile::open(path, &accountant())?.unwrap().1.revision.get())
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest");
        assert!(ManifestFile::open(&path, &accountant()).unwrap().is_none());
        let mut file = ManifestFile::create(&path, &accountant(), &at(0)).unwrap();
        for number in 1..=4 {
            file.write(&accountant(), &at(number)).unwrap();
            assert_eq!(revision(&path).unwrap(), number);
        }
        let (mut file, _) = ManifestFile::open(&path, &accountant()).unwrap().unwrap();
        file.write(&accountant(), &at(5)).unwrap();
        // Number 5 went to the first slot; torn, it leaves number 4 in the second one.
        let bytes = std::fs::read(&path).unwrap();
        for torn in 0..LEN {
            let mut half = bytes.clone();
            half[torn..SLOT].fill(0xff);
            std::fs::write(&path, half).unwrap();
            assert_eq!(revision(&path).unwrap(), 4, "torn after {torn} bytes");
        }
        std::fs::write(&path, &bytes[..SLOT]).unwrap();
        assert!(matches!(revision(&path), Err(OpenError::Damaged { .. })));
        std::fs::write(&path, [0; SLOT * SLOTS]).unwrap();
        assert!(matches!(revision(&path), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn another_stores_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest");
        ManifestFile::create(&path, &accountant(), &at(0)).unwrap();
        let other = Accountant { store_id: [0; 16], ..accountant() };
        assert!(matches!(ManifestFile::open(&path, &other), Err(OpenError::WrongStore { .. })));
    }
}
