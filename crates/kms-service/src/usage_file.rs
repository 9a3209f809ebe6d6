//! What is kept of the use of keys while the zone does not run: one sealed text, written now and then.
//!
//! Layout before sealing, big-endian: format (1 byte), the second that counting began (8), and for each version that was ever
//! used: key id (16), version (4), encrypts (8), decrypts (8), second of the last encrypt (4) and decrypt (4).

use kms_crypto::{EpochId, Keyring};
use kms_types::{KeyId, MaterialVersion, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::KmsError;
use crate::kms::Kms;
use crate::usage::{Use, seconds, time_of};

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 9;
const ENTRY_LEN: usize = 44;

/// What is saved, sealed under the zone's keyring: nobody else reads who uses what, or makes a key look unused.
pub struct UsageText(pub Vec<u8>);

/// The saved usage cannot be used. Counting begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageFault {
    /// Not sealed by this zone's keyring as it is now, or damaged.
    #[error("it is damaged, or sealed with a key that was retired")]
    Sealed,
    /// Of another version of ZoneKMS.
    #[error("this version does not know its format")]
    Format,
}

/// What tells one saved text from another: how many uses it counts, and under which epoch it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageMark {
    uses: u64,
    epoch: EpochId,
}

/// Since when uses are counted, and what was saved of it.
pub(crate) struct Counting {
    since: AtomicI64,
    saved: Mutex<Option<UsageMark>>,
}

impl Counting {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { since: AtomicI64::new(now.as_seconds()), saved: Mutex::default() }
    }

    fn is_saved(&self, mark: UsageMark) -> bool {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) == Some(mark)
    }

    fn set_saved(&self, mark: UsageMark) {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    pub(crate) fn since(&self) -> Timestamp {
        Timestamp::from_nanos(self.since.load(Ordering::Relaxed).saturating_mul(1_000_000_000))
    }
}

impl Kms {
    /// What is to be saved of the use of keys, and what to tell [`Kms::usage_saved`] once it is; `None` when that says the same,
    /// or when nothing was ever used. What is sealed under an earlier epoch is to be saved anew, before that is given up. Takes
    /// 44 bytes a used version.
    ///
    /// # Errors
    ///
    /// [`KmsError::NoEntropy`].
    pub fn usage_to_save(&self) -> Result<Option<(UsageText, UsageMark)>, KmsError> {
        let zone = self.zone();
        let mut text = vec![FORMAT];
        text.extend_from_slice(&zone.counting.since.load(Ordering::Relaxed).to_be_bytes());
        let mut uses = 0_u64;
        for snapshot in zone.directory.all_shown() {
            for (info, material) in snapshot.key().versions().iter().zip(snapshot.all_material()) {
                let used = material.usage().read();
                if used == Use::default() {
                    continue;
                }
                uses = uses.wrapping_add(used.encrypts).wrapping_add(used.decrypts);
                text.extend_from_slice(snapshot.key().id().as_bytes());
                text.extend_from_slice(&info.version.get().to_be_bytes());
                text.extend_from_slice(&used.encrypts.to_be_bytes());
                text.extend_from_slice(&used.decrypts.to_be_bytes());
                text.extend_from_slice(&used.encrypted_at.map_or(0, seconds).to_be_bytes());
                text.extend_from_slice(&used.decrypted_at.map_or(0, seconds).to_be_bytes());
            }
        }
        let mark = UsageMark { uses, epoch: zone.records.epochs().current() };
        if uses == 0 || zone.counting.is_saved(mark) {
            return Ok(None);
        }
        Ok(Some((UsageText(zone.records.seal_usage(&text)?), mark)))
    }

    /// The text that was given with `mark` is saved.
    pub fn usage_saved(&self, mark: UsageMark) {
        self.zone().counting.set_saved(mark);
    }

    /// Goes on counting from what was saved. To be called before the first crypto call. What is said there of keys and
    /// versions that are gone is forgotten.
    ///
    /// # Errors
    ///
    /// [`UsageFault`]; nothing was taken over then.
    pub fn go_on_from_usage(&self, saved: &UsageText) -> Result<(), UsageFault> {
        let zone = self.zone();
        let epoch = Keyring::epoch_of(&saved.0).map_err(|_| UsageFault::Sealed)?;
        let text = zone.records.open_usage(&saved.0).map_err(|_| UsageFault::Sealed)?;
        let text = text.expose();
        let (head, entries) = text.split_first_chunk::<HEAD_LEN>().ok_or(UsageFault::Format)?;
        let (entries, []) = entries.as_chunks::<ENTRY_LEN>() else { return Err(UsageFault::Format) };
        let [FORMAT, since @ ..] = head else { return Err(UsageFault::Format) };
        let mut uses = 0_u64;
        for entry in entries {
            let (id, version, used) = read_entry(entry).ok_or(UsageFault::Format)?;
            let Some(snapshot) = zone.directory.shown(id) else { continue };
            let place = snapshot.key().place_of(version);
            if let Some(material) = place.and_then(|place| snapshot.all_material().get(place)) {
                material.usage().set(used);
                uses = uses.wrapping_add(used.encrypts).wrapping_add(used.decrypts);
            }
        }
        zone.counting.since.store(i64::from_be_bytes(*since), Ordering::Relaxed);
        zone.counting.set_saved(UsageMark { uses, epoch });
        Ok(())
    }
}

fn read_entry(entry: &[u8; ENTRY_LEN]) -> Option<(KeyId, MaterialVersion, Use)> {
    let (id, rest) = entry.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (encrypts, rest) = rest.split_first_chunk()?;
    let (decrypts, rest) = rest.split_first_chunk()?;
    let (encrypted_at, rest) = rest.split_first_chunk()?;
    let (decrypted_at, _) = rest.split_first_chunk()?;
    let used = Use {
        encrypts: u64::from_be_bytes(*encrypts),
        decrypts: u64::from_be_bytes(*decrypts),
        encrypted_at: time_of(u32::from_be_bytes(*encrypted_at)),
        decrypted_at: time_of(u32::from_be_bytes(*decrypted_at)),
    };
    Some((KeyId::from_bytes(*id), MaterialVersion::new(u32::from_be_bytes(*version))?, used))
}
