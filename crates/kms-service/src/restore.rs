//! Out of a backup: proving that it is whole, and a zone made of it.
//!
//! A backup is read twice. The first reading verifies all of it and writes nothing; the second makes the records of the new
//! store. What was replaced in the backup itself, such as a key that was deleted while it was made, is left out there.

use kms_backup::{BackupReader, Event, Header, ReadError, Trailer, Unlock};
use kms_crypto::{Entropy, EntropyError, KeyMaterial, Keyring};
use kms_lifecycle::{RestoredKey, Status};
use kms_storage::{Commit, CommitError, RecordKey, RecordVersion, Store, Write};
use kms_types::{KeyId, Timestamp, ZoneName};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use crate::epochs::{Epochs, NoKeyringVault, Sealing};
use crate::error::KmsError;
use crate::records::{Content, Records, Unusable, read_content};
use crate::shared_names::SharedNames;
use crate::snapshot::VersionMaterial;

/// Writes in one commit of a restore, and about how many bytes.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 1 << 19;

/// What a backup holds, once it was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupContent {
    /// What it says of itself at its beginning.
    pub header: Header,
    /// What it says of itself at its end.
    pub trailer: Trailer,
    /// Keys.
    pub keys: u64,
    /// Material versions of those keys, every one of which matched its check value.
    pub versions: u64,
    /// Keys of which only a tombstone is left.
    pub deleted: u64,
}

/// What a restore made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Keys whose deletion would have come sooner than seven days from the restore, and was moved to then.
    pub deletions_held: u64,
    /// Keys of several zones, which go on with a new material version.
    pub rotated: u64,
}

/// Where a backup is restored to.
pub struct RestoreTarget<'a> {
    /// The zone, which must be the backup's.
    pub zone: &'a ZoneName,
    /// A store without a record.
    pub store: &'a dyn Store,
    /// The store's keyring.
    pub keyring: Keyring,
    /// For seals, and for new material.
    pub entropy: Arc<dyn Entropy>,
    /// The time. It must be right: the numbers that follow come from it.
    pub now: Timestamp,
}

/// Why a backup is not good, or could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record in it says something that cannot be.
    #[error("record {record} of the backup cannot be used: {cause}; take an earlier backup")]
    Record {
        /// Its place.
        record: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Keys and names do not belong together.
    #[error("the names in the backup are not those of its keys; take an earlier backup")]
    Names,
    /// It is another zone's.
    #[error("the backup is of zone {found}, not of {zone}: a zone's keys belong into that zone")]
    OtherZone {
        /// The zone of the backup.
        found: ZoneName,
        /// The zone to restore.
        zone: ZoneName,
    },
    /// The clock says that the backup is yet to be made.
    #[error("the backup was taken at {taken_at}, and the clock says it is {now}: set the clock right first")]
    ClockBehind {
        /// When it was taken.
        taken_at: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// The file was another when it was read again.
    #[error("the backup changed while it was read: restore from a file that nobody writes")]
    Changed,
    /// A key cannot go on.
    #[error("key {0} has no number left to go on with")]
    Exhausted(KeyId),
    /// The new store did not take it.
    #[error("the new store could not be written: {0}")]
    Store(#[from] CommitError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A record could not be made.
    #[error("a record of the new store could not be made: {0}")]
    Seal(KmsError),
}

/// A backup that was proven to be whole and good, and can be restored.
pub struct VerifiedBackup {
    content: BackupContent,
    replaced: HashMap<Box<str>, Last>,
}

/// Proves that the backup `input` is whole: that nothing was altered or is missing, that every key version matches its check
/// value, that every key is one that could be, and that names and keys agree. `progress` is told how many records were read.
///
/// Keys and names are held in memory, without material: some 300 bytes a key.
///
/// # Errors
///
/// [`RestoreError`].
pub fn verify_backup(
    unlock: &Unlock,
    input: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<VerifiedBackup, RestoreError> {
    let (content, replaced) = survey(unlock, input, progress)?;
    Ok(VerifiedBackup { content, replaced })
}

impl VerifiedBackup {
    /// What it holds.
    #[must_use]
    pub const fn content(&self) -> &BackupContent {
        &self.content
    }

    /// Whether it can be restored as `zone` at `now`: to be asked before anything is made for it.
    ///
    /// # Errors
    ///
    /// [`RestoreError::OtherZone`] and [`RestoreError::ClockBehind`].
    pub fn check_target(&self, zone: &ZoneName, now: Timestamp) -> Result<(), RestoreError> {
        let Header { zone: found, taken_at, .. } = &self.content.header;
        if found != zone {
            return Err(RestoreError::OtherZone { found: found.clone(), zone: zone.clone() });
        }
        if now < *taken_at {
            return Err(RestoreError::ClockBehind { taken_at: *taken_at, now });
        }
        Ok(())
    }

    /// Makes the records of the backup, read again from `input`, those of an empty store. `progress` is told how many records
    /// were read. The numbers of the restored keys go on above everything that may have been used since the backup.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the store is then to be thrown away.
    pub async fn restore(
        &self,
        unlock: &Unlock,
        input: impl Read,
        target: RestoreTarget<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Restored, RestoreError> {
        let RestoreTarget { zone, store, keyring, entropy, now } = target;
        self.check_target(zone, now)?;
        let records = Records::new(Epochs::new(keyring, Arc::new(NoKeyringVault), Arc::clone(&entropy)));
        // Nobody else seals anything in this store, so its epoch stays the same to the end.
        let sealing = records.sealing().await;
        let names = SharedNames::default();
        let mut restore = Restore { sealing, names, entropy, now, deletions_held: 0, rotated: 0 };
        let mut reader = BackupReader::open(unlock, input)?;
        let mut batch = Batch { store, writes: Vec::new(), bytes: 0 };
        let mut number = 0;
        let trailer = loop {
            match reader.next_event()? {
                Event::Record { path, content } => {
                    number += 1;
                    if self.replaced.get(path.as_str()).is_some_and(|last| *last != Last::Record(number)) {
                        continue;
                    }
                    batch.put(restore.write(place_of(&path)?, content.expose())?).await?;
                    progress(number);
                }
                Event::Removed { .. } | Event::CatchUp => {}
                Event::End(trailer) => break trailer,
            }
        };
        if trailer != self.content.trailer {
            return Err(RestoreError::Changed);
        }
        batch.flush().await?;
        let Restore { deletions_held, rotated, .. } = restore;
        Ok(Restored { deletions_held, rotated })
    }
}

/// What of a place stands at the end, where the backup says more than one thing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// The record of that number.
    Record(u64),
    Nothing,
}

/// What there is in the end, to see that names and keys agree.
#[derive(Default)]
struct Holdings {
    /// Of each key, the place of its name and the number of its versions.
    keys: HashMap<KeyId, (Box<str>, u64)>,
    names: HashMap<Box<str>, KeyId>,
    deleted: HashSet<KeyId>,
    /// Only places that the backup speaks of more than once.
    replaced: HashMap<Box<str>, Last>,
}

impl Holdings {
    fn take(&mut self, place: &RecordKey, content: &Content) {
        match content {
            Content::Key(key, material) => {
                let name = RecordKey::name(key.organisation(), key.name());
                let versions = u64::try_from(material.len()).unwrap_or(u64::MAX);
                self.keys.insert(key.id(), (name.as_str().into(), versions));
            }
            Content::Tombstone(tombstone) => {
                self.keys.remove(&tombstone.id);
                self.deleted.insert(tombstone.id);
            }
            Content::Name(key) => {
                self.names.insert(place.as_str().into(), *key);
            }
        }
    }

    fn agree(&self) -> bool {
        self.names.len() == self.keys.len()
            && self.keys.iter().all(|(id, (name, _))| self.names.get(name) == Some(id) && !self.deleted.contains(id))
    }
}

fn survey(
    unlock: &Unlock,
    input: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<(BackupContent, HashMap<Box<str>, Last>), RestoreError> {
    let mut reader = BackupReader::open(unlock, input)?;
    let (mut holdings, names) = (Holdings::default(), SharedNames::default());
    let (mut number, mut catching_up) = (0, false);
    let trailer = loop {
        match reader.next_event()? {
            Event::Record { path, content } => {
                number += 1;
                let place = place_of(&path)?;
                let read = read_content(&names, &place, content.expose()).map_err(|cause| unusable(&path, &cause))?;
                holdings.take(&place, &read);
                if catching_up {
                    holdings.replaced.insert(path.into(), Last::Record(number));
                }
                progress(number);
            }
            Event::Removed { path } => {
                holdings.names.remove(path.as_str());
                holdings.replaced.insert(path.into(), Last::Nothing);
            }
            Event::CatchUp => catching_up = true,
            Event::End(trailer) => break trailer,
        }
    };
    if !holdings.agree() {
        return Err(RestoreError::Names);
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let content = BackupContent {
        header: reader.header().clone(),
        trailer,
        keys: count(holdings.keys.len()),
        versions: holdings.keys.values().map(|(_, versions)| versions).sum(),
        deleted: count(holdings.deleted.len()),
    };
    Ok((content, holdings.replaced))
}

struct Restore {
    sealing: Sealing,
    names: SharedNames,
    entropy: Arc<dyn Entropy>,
    now: Timestamp,
    deletions_held: u64,
    rotated: u64,
}

impl Restore {
    /// The first record of the new store at `place`.
    fn write(&mut self, place: RecordKey, content: &[u8]) -> Result<Write, RestoreError> {
        let version = RecordVersion::NEVER.next().ok_or(RestoreError::Seal(KmsError::ReadOnly))?;
        let sealed =
            match read_content(&self.names, &place, content).map_err(|cause| unusable(place.as_str(), &cause))? {
                Content::Key(key, material) => {
                    let RestoredKey { key: restored, new_version } =
                        key.restored(self.now).map_err(|_| RestoreError::Exhausted(key.id()))?;
                    let mut material = material.into_vec();
                    if new_version.is_some() {
                        material.push(VersionMaterial::new(KeyMaterial::generate(self.entropy.as_ref())?));
                        self.rotated += 1;
                    }
                    self.deletions_held += u64::from(deletion(key.status()) != deletion(restored.status()));
                    self.sealing.seal_key(&restored, &material, version)
                }
                Content::Tombstone(tombstone) => self.sealing.seal_tombstone(&tombstone, version),
                Content::Name(key) => self.sealing.seal_name_at(&place, key, version),
            };
        Ok(Write::live(place, RecordVersion::NEVER, sealed.map_err(RestoreError::Seal)?))
    }
}

fn deletion(status: &Status) -> Option<Timestamp> {
    match status {
        Status::PendingDeletion { delete_at, .. } => Some(*delete_at),
        Status::Enabled { .. } | Status::Disabled { .. } => None,
    }
}

/// Writes on their way into the new store.
struct Batch<'a> {
    store: &'a dyn Store,
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch<'_> {
    async fn put(&mut self, write: Write) -> Result<(), RestoreError> {
        self.bytes += match &write.body {
            kms_storage::NewBody::Live(bytes) => bytes.len(),
            kms_storage::NewBody::Tombstone => 0,
        };
        self.writes.push(write);
        if self.writes.len() >= BATCH || self.bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), RestoreError> {
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        if !writes.is_empty() {
            let _durable = self.store.commit(Commit::new(writes)).await?;
        }
        Ok(())
    }
}

fn place_of(path: &str) -> Result<RecordKey, RestoreError> {
    RecordKey::parse(path)
        .ok_or_else(|| RestoreError::Record { record: path.to_owned(), cause: "its place is none of a record".into() })
}

fn unusable(path: &str, cause: &Unusable) -> RestoreError {
    RestoreError::Record { record: path.to_owned(), cause: cause.to_string() }
}
