//! Reading all keys at start: one page of records after the other, opened and verified by all processors.

use kms_storage::{Body, KEY_PREFIX, Page, RecordKey, RecordKind, ScanError, Store, StoreError, StoreRevision};
use kms_types::{KeyId, KeyName, OrganisationName, Timestamp, ZoneName};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::thread;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::directory::Directory;
use crate::error::StartError;
use crate::records::{Opened, Records, Unusable};
use crate::sight::Deleted;

/// Records read from the store at a time, and opened by one processor.
const PAGE: usize = 1_000;

/// What is needed to read all keys.
pub(crate) struct Loading<'a> {
    pub(crate) records: &'a Records,
    pub(crate) directory: &'a Directory,
    pub(crate) default_keys: &'a HashMap<OrganisationName, KeyName>,
    pub(crate) zone: &'a ZoneName,
}

/// What a record at a key's place turned out to be.
struct Found {
    place: RecordKey,
    organisation: OrganisationName,
    id: KeyId,
    outcome: Result<Opened, Unusable>,
}

impl Loading<'_> {
    /// Reads all keys into the directory; answers with the latest time found in them.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<Timestamp, StartError> {
        let at_once = 2 * thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut opening: VecDeque<JoinHandle<Vec<Found>>> = VecDeque::with_capacity(at_once);
        let mut latest = Timestamp::EPOCH;
        let mut after: Option<RecordKey> = None;
        let mut at = None;
        loop {
            let page = read(store, after.as_ref(), at).await?;
            at = Some(page.at);
            after = page.next.clone();
            let records = self.records.clone();
            opening.push_back(spawn_blocking(move || open_all(&records, page)));
            while opening.len() == at_once || after.is_none() {
                let Some(opened) = opening.pop_front() else { return Ok(latest) };
                let opened = opened.await.map_err(|fault| StoreError::Unavailable(fault.to_string()))?;
                for found in opened {
                    latest = latest.max(self.take_in(found)?);
                }
            }
        }
    }

    /// Takes in one record; answers with the latest time of this zone found in it.
    fn take_in(&self, found: Found) -> Result<Timestamp, StartError> {
        let Found { place, organisation, id, outcome } = found;
        match outcome {
            Ok(Opened::Key(snapshot)) => {
                let latest = snapshot.key().revision().at;
                let snapshot = if self.default_keys.get(&organisation) == Some(snapshot.key().name()) {
                    let fit = snapshot.into_default_key();
                    fit.map_err(|cause| StartError::UnfitDefaultKey { place: place.clone(), cause })?
                } else {
                    snapshot
                };
                if self.directory.load(snapshot) { Ok(latest) } else { Err(StartError::RepeatedKey { record: place }) }
            }
            Ok(Opened::Tombstone(tombstone)) => {
                if !self.directory.load_tombstone(id, Deleted::from(&tombstone)) {
                    return Err(StartError::RepeatedKey { record: place });
                }
                // Another zone's clock is no measure of this one's.
                Ok(if tombstone.origin_zone == *self.zone { tombstone.deleted_at } else { Timestamp::EPOCH })
            }
            Err(cause) => match cause.newer_format() {
                Some(found) => Err(StartError::NewerFormat { record: place, found }),
                None => {
                    tracing::error!(record = %place, %cause, "a record is damaged; its key is refused, all others are served");
                    self.directory.load_damaged(organisation, id);
                    Ok(Timestamp::EPOCH)
                }
            },
        }
    }
}

async fn read(store: &dyn Store, after: Option<&RecordKey>, at: Option<StoreRevision>) -> Result<Page, StoreError> {
    store.scan(KEY_PREFIX, after, at, PAGE).await.map_err(|cause| match cause {
        ScanError::Store(cause) => cause,
        ScanError::Superseded => StoreError::Unavailable("another process changes the store".into()),
    })
}

fn open_all(records: &Records, page: Page) -> Vec<Found> {
    let open = |(place, stored): (RecordKey, kms_storage::Stored)| {
        let Some((organisation, id)) = key_place(&place) else {
            tracing::error!(record = %place, "a record has no known place and is left alone");
            return None;
        };
        let outcome = match &stored.body {
            Body::Live(sealed) => records.open_key(&place, stored.version, sealed),
            Body::Absent | Body::Tombstone => return None,
        };
        Some(Found { place, organisation, id, outcome })
    };
    page.entries.into_iter().filter_map(open).collect()
}

fn key_place(place: &RecordKey) -> Option<(OrganisationName, KeyId)> {
    match place.kind() {
        RecordKind::Key { organisation, id } => Some((organisation.clone(), *id)),
        RecordKind::Name { .. } => None,
    }
}
