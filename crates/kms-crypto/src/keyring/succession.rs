//! Keyrings that follow one another while the old one is still in use: by tasks that hold it, and by the file it is kept in.

use super::{Epoch, Keyring, Manifest};
use crate::entropy::{Entropy, EntropyError};
use crate::keyring::RetireError;
use crate::record::EpochId;
use crate::secret::Secret;

impl Keyring {
    /// This keyring with one more epoch, which is its current one. Keep it before anything is sealed under it; this one
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn with_new_epoch(&self, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut next = self.copy();
        next.add_epoch(entropy)?;
        Ok(next)
    }

    /// This keyring without `epoch`; see [`Keyring::retire_epoch`]. This one stays as it is.
    ///
    /// # Errors
    ///
    /// When `epoch` is the current one or not in the keyring.
    pub fn without_epoch(&self, epoch: EpochId) -> Result<Self, RetireError> {
        let mut next = self.copy();
        next.retire_epoch(epoch)?;
        Ok(next)
    }

    fn copy(&self) -> Self {
        let epoch = |epoch: &Epoch| Epoch::new(epoch.id, Secret::copy_from(epoch.secret.expose()));
        Self {
            store_id: self.store_id,
            manifest: Manifest::new(Secret::copy_from(self.manifest.secret.expose())),
            older: self.older.iter().map(epoch).collect(),
            current: epoch(&self.current),
        }
    }
}
