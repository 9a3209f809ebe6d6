//! A backup of a zone: every record, opened, as of one revision of the store.
//!
//! The records are read page by page while changes go on, and then those again that were changed meanwhile, until there is
//! none: the backup then stands exactly as of the store's revision at that moment. What is kept in memory is a page, and the
//! places of the records that changed.

use kms_backup::{BackupWriter, Header, Lock, WriteError};
use kms_crypto::{Keyring, OsEntropy, SecretBytes};
use kms_storage::{
    Body, ChangeFeed, FeedError, KEY_PREFIX, NAME_PREFIX, RecordKey, ScanError, Store, StoreError, StoreRevision,
    Stored, WatchError,
};
use kms_types::{Timestamp, ZoneName};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::audit::Actor;
use crate::epochs::{Epochs, NoKeyringVault};
use crate::kms::Kms;
use crate::records::Records;

/// Records read at a time: little enough that other work of the processor's waits for no more than moments.
const PAGE: usize = 200;

/// How often what changed meanwhile is read before a backup gives up.
const MOST_ROUNDS: usize = 1_000;

/// The next part of a backup's file.
pub struct BackupPart {
    /// Encrypted bytes, to be put behind those before.
    pub sealed: Vec<u8>,
    /// Records in the backup so far.
    pub records: u64,
}

/// What a finished backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// Records, those included that replace others.
    pub records: u64,
    /// The store's revision as of which it stands.
    pub as_of: StoreRevision,
    /// SHA-256 of its content, as its trailer has it.
    pub digest: [u8; 32],
}

/// Why there is no backup. What was handed out of it is good for nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    /// A record does not open.
    #[error("record {record} is damaged: {cause}. Restore it from an earlier backup; a backup without it is not made")]
    Damaged {
        /// The record.
        record: RecordKey,
        /// What is wrong with it.
        cause: String,
    },
    /// Records change faster than they can be read.
    #[error("the zone changes faster than it can be read: try again at a quieter hour")]
    NeverStill,
    /// The changes made meanwhile could not be followed.
    #[error("the changes made meanwhile could not be followed: {0}; try again")]
    Lagged(FeedError),
    /// The file could not be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Nobody takes the parts any more.
    #[error("the backup was given up by its receiver")]
    Abandoned,
}

impl BackupError {
    /// The reason as the audit log has it.
    const fn in_few_words(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Damaged { .. } => "damaged-record",
            Self::NeverStill => "never-still",
            Self::Lagged(_) => "lagged",
            Self::Write(_) => "not-written",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A zone that no process serves, to be backed up from its store.
pub struct StoppedZone<'a> {
    /// Its name.
    pub zone: &'a ZoneName,
    /// Its store, held by nobody else.
    pub store: &'a dyn Store,
    /// The store's keyring.
    pub keyring: Keyring,
    /// The time.
    pub now: Timestamp,
}

impl Kms {
    /// Hands a backup of this zone to `out`, encrypted to `lock`. Every change that was answered before the call is in it.
    /// Changes and crypto calls go on meanwhile; a key deleted for good before the backup ends is in it as deleted, although
    /// its material may stand in an earlier part of the file. The audit log tells that it began, and how it ended.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn backup(&self, lock: Lock, out: mpsc::Sender<BackupPart>) -> Result<BackupSummary, BackupError> {
        let zone = self.zone();
        let (store, now) = (zone.store.as_ref(), zone.clock.now());
        // Also while the log cannot be written, and then has this when it can: of a disk that fails, a backup may be all that
        // will be left.
        zone.record_begun("begin-backup", Actor::Operator).await;
        let written = write(&zone.name, store, &zone.records, now, lock, out).await;
        match &written {
            Ok(summary) => zone.record_done("backup", Actor::Operator, summary.records).await,
            Err(cause) => zone.record_failed("backup", Actor::Operator, cause.in_few_words()).await,
        }
        let summary = written?;
        tracing::info!(
            event = "backup",
            zone = %zone.name,
            records = summary.records,
            revision = summary.as_of.get(),
            "the zone was backed up"
        );
        Ok(summary)
    }
}

impl StoppedZone<'_> {
    /// As [`Kms::backup`].
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn backup(self, lock: Lock, out: mpsc::Sender<BackupPart>) -> Result<BackupSummary, BackupError> {
        let epochs = Epochs::new(self.keyring, Arc::new(NoKeyringVault), Arc::new(OsEntropy));
        let records = Records::new(epochs);
        write(self.zone, self.store, &records, self.now, lock, out).await
    }
}

async fn write(
    zone: &ZoneName,
    store: &dyn Store,
    records: &Records,
    now: Timestamp,
    lock: Lock,
    out: mpsc::Sender<BackupPart>,
) -> Result<BackupSummary, BackupError> {
    let begun_at = revision_of(store).await?;
    let changes = Changes::since(store.watch(begun_at).map_err(watch_failed)?, begun_at);
    let header = Header {
        zone: zone.clone(),
        store_id: records.store_id(),
        begun_at: begun_at.get(),
        taken_at: now,
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let buffer = Buffer::default();
    let into = buffer.clone();
    // A passphrase is made expensive to try, and so to use.
    let begun = tokio::task::spawn_blocking(move || BackupWriter::begin(&lock, &header, into)).await;
    let writer = begun.map_err(|_panic| StoreError::Unavailable("a backup could not be begun".into()))??;
    let mut backup = Backup { store, records, writer, buffer, out };
    backup.pages().await?;
    let as_of = backup.catch_up(&changes).await?;
    backup.finish(as_of).await
}

struct Backup<'a> {
    store: &'a dyn Store,
    records: &'a Records,
    writer: BackupWriter<Buffer>,
    buffer: Buffer,
    out: mpsc::Sender<BackupPart>,
}

impl Backup<'_> {
    /// Every record once, each as it is when its page is read.
    async fn pages(&mut self) -> Result<(), BackupError> {
        for prefix in [KEY_PREFIX, NAME_PREFIX] {
            let mut after: Option<RecordKey> = None;
            loop {
                let page = self.store.scan(prefix, after.as_ref(), None, PAGE).await.map_err(scan_failed)?;
                for (place, stored) in &page.entries {
                    self.put(place, stored).await?;
                }
                self.hand_over().await?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What changed meanwhile, until nothing did. Answers with the revision as of which the backup then stands.
    async fn catch_up(&mut self, changes: &Changes) -> Result<StoreRevision, BackupError> {
        self.writer.catch_up()?;
        for _ in 0..MOST_ROUNDS {
            // Later than everything read so far.
            let now = revision_of(self.store).await?;
            let changed = changes.until(now).await?;
            if changed.is_empty() {
                return Ok(now);
            }
            for (place, number) in changed.into_iter().zip(1..) {
                let stored = self.store.get(&place).await?;
                match stored.body {
                    Body::Live(_) => self.put(&place, &stored).await?,
                    Body::Absent | Body::Tombstone => self.writer.removed(place.as_str())?,
                }
                if number % PAGE == 0 {
                    self.hand_over().await?;
                }
            }
            self.hand_over().await?;
        }
        Err(BackupError::NeverStill)
    }

    async fn finish(self, as_of: StoreRevision) -> Result<BackupSummary, BackupError> {
        let Self { writer, buffer, out, .. } = self;
        let (_, trailer) = writer.finish(as_of.get())?;
        let part = BackupPart { sealed: buffer.take(), records: trailer.records };
        out.send(part).await.map_err(|_| BackupError::Abandoned)?;
        Ok(BackupSummary { records: trailer.records, as_of, digest: trailer.digest })
    }

    /// Puts a record into the backup; a place without one is left out.
    async fn put(&mut self, place: &RecordKey, stored: &Stored) -> Result<(), BackupError> {
        let content = match self.content(place, stored) {
            // Between its reading and now it may have been written again, and the keys it was sealed under given up.
            Err(damaged) => {
                let again = self.store.get(place).await?;
                if again.version == stored.version {
                    return Err(damaged);
                }
                self.content(place, &again)?
            }
            Ok(content) => content,
        };
        match content {
            Some(content) => Ok(self.writer.record(place.as_str(), content.expose())?),
            None => Ok(()),
        }
    }

    fn content(&self, place: &RecordKey, stored: &Stored) -> Result<Option<SecretBytes>, BackupError> {
        let sealed = match &stored.body {
            Body::Live(sealed) => sealed,
            Body::Absent | Body::Tombstone => return Ok(None),
        };
        let content = self.records.open_content(place, stored.version, sealed);
        content.map(Some).map_err(|cause| BackupError::Damaged { record: place.clone(), cause: cause.to_string() })
    }

    async fn hand_over(&self) -> Result<(), BackupError> {
        let part = BackupPart { sealed: self.buffer.take(), records: self.writer.records() };
        self.out.send(part).await.map_err(|_| BackupError::Abandoned)
    }
}

/// The places that changed since a revision, followed from the first moment: a slow receiver must not make the store forget
/// changes that are still to be read.
struct Changes {
    places: Arc<Mutex<BTreeSet<RecordKey>>>,
    seen: watch::Receiver<Result<StoreRevision, FeedError>>,
    follower: JoinHandle<()>,
}

impl Changes {
    fn since(mut feed: ChangeFeed, from: StoreRevision) -> Self {
        let places: Arc<Mutex<BTreeSet<RecordKey>>> = Arc::default();
        let (told, seen) = watch::channel(Ok(from));
        let into = Arc::clone(&places);
        let follower = tokio::spawn(async move {
            loop {
                let next = match feed.next().await {
                    Ok(change) => {
                        let places = change.keys.into_iter().map(|(place, _)| place);
                        into.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
                        Ok(change.revision)
                    }
                    Err(fault) => Err(fault),
                };
                let ended = next.is_err();
                if told.send(next).is_err() || ended {
                    return;
                }
            }
        });
        Self { places, seen, follower }
    }

    /// The places that changed up to `revision` and were not told before; perhaps some that changed later.
    async fn until(&self, revision: StoreRevision) -> Result<BTreeSet<RecordKey>, BackupError> {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|seen| seen.as_ref().map_or(true, |seen| *seen >= revision)).await;
        match reached.as_deref() {
            Ok(Ok(_)) => Ok(std::mem::take(&mut *self.places.lock().unwrap_or_else(PoisonError::into_inner))),
            Ok(Err(fault)) => Err(BackupError::Lagged(fault.clone())),
            Err(_) => Err(BackupError::Lagged(FeedError::Closed)),
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Where the encrypted bytes wait to be handed over.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn revision_of(store: &dyn Store) -> Result<StoreRevision, BackupError> {
    Ok(store.scan(KEY_PREFIX, None, None, 1).await.map_err(scan_failed)?.at)
}

fn scan_failed(cause: ScanError) -> BackupError {
    match cause {
        ScanError::Store(cause) => cause.into(),
        ScanError::Superseded => BackupError::NeverStill,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn watch_failed(cause: WatchError) -> BackupError {
    StoreError::Unavailable(cause.to_string()).into()
}
