//! Keyrings that follow one another while the old one is still in use: by tasks that hold it, and by the file it is kept in.

use super::{Epoch, Keyring, Manifest};
use crate::entropy::{Entropy, EntropyError};
use crate::keyring::RetireError;
use crate::record::EpochId;
use crate::secret::Secret;
use crate::xaes::XaesKey;

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
        let epoch = |epoch: &Epoch| Epoch { id: epoch.id, key: XaesKey::new(epoch.key.expose_key()) };
        Self {
            store_id: self.store_id,
            manifest: Manifest::new(Secret::copy_from(self.manifest.secret.expose())),
            older: self.older.iter().map(epoch).collect(),
            current: epoch(&self.current),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::record::RecordError;

    #[test]
    fn a_successor_opens_what_came_before_and_the_old_one_stays_as_it_is() {
        let first = Keyring::generate(&OsEntropy).unwrap();
        let one = first.current_epoch();
        let sealed = first.seal_record("place", 1, b"plain", &OsEntropy).unwrap();
        let second = first.with_new_epoch(&OsEntropy).unwrap();
        assert!(second.epochs().eq([one, second.current_epoch()]) && first.epochs().eq([one]));
        assert_eq!(second.store_id(), first.store_id());
        assert_eq!(second.manifest_key().tag(&[b"x"]), first.manifest_key().tag(&[b"x"]));
        assert_eq!(second.open_record("place", 1, &sealed).unwrap().expose(), b"plain");

        let moved = second.seal_record("place", 2, b"plain", &OsEntropy).unwrap();
        assert_eq!(
            first.open_record("place", 2, &moved).err(),
            Some(RecordError::UnknownEpoch(second.current_epoch()))
        );
        let third = second.without_epoch(one).unwrap();
        assert_eq!(third.open_record("place", 2, &moved).unwrap().expose(), b"plain");
        assert_eq!(third.open_record("place", 1, &sealed).err(), Some(RecordError::UnknownEpoch(one)));
        assert_eq!(second.open_record("place", 1, &sealed).unwrap().expose(), b"plain");
        assert_eq!(third.without_epoch(third.current_epoch()).err(), Some(RetireError::Current(third.current_epoch())));
        assert_eq!(third.without_epoch(one).err(), Some(RetireError::Unknown(one)));
    }
}
