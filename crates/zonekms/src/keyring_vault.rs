//! Where a running zone keeps its keyring: the keyring file, replaced as a whole.

use kms_crypto::{Keyring, OsEntropy, RootKey};
use kms_service::{KeyringNotStored, KeyringVault};
use std::path::{Path, PathBuf};

use crate::private_files::replace_private_file;

/// The keyring file of a zone that this process holds.
///
/// The file before is gone from the directory when a store has returned. Its blocks may stay on the disk, outside of every
/// file, until the file system uses them again.
pub(crate) struct KeyringFile {
    path: PathBuf,
    root: RootKey,
}

impl KeyringFile {
    /// The file at `path`, wrapped under `root`.
    pub(crate) fn new(path: &Path, root: RootKey) -> Self {
        Self { path: path.to_owned(), root }
    }
}

impl KeyringVault for KeyringFile {
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored> {
        let failed = |cause: &dyn std::fmt::Display| KeyringNotStored::new(format!("{}: {cause}", self.path.display()));
        let wrapped = keyring.wrap(&self.root, &OsEntropy).map_err(|cause| failed(&cause))?;
        replace_private_file(&self.path, &wrapped).map_err(|cause| failed(&cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_last_keyring_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let root = RootKey::generate(&OsEntropy).unwrap();
        let first = Keyring::generate(&OsEntropy).unwrap();
        let second = first.with_new_epoch(&OsEntropy).unwrap();
        let third = second.without_epoch(first.current_epoch()).unwrap();
        let vault = KeyringFile::new(&path, RootKey::from_bytes(root.expose()).unwrap());
        for keyring in [first, second, third] {
            vault.store(&keyring).unwrap();
            let found = Keyring::unwrap(&root, &std::fs::read(&path).unwrap()).unwrap();
            assert!(found.epochs().eq(keyring.epochs()));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
        }
        let nowhere = KeyringFile::new(&folder.path().join("none/keyring"), root);
        assert!(
            nowhere.store(&Keyring::generate(&OsEntropy).unwrap()).unwrap_err().to_string().contains("none/keyring")
        );
    }
}
