//! The store as the service sees it, whatever engine lies beneath.

use crate::change_feed::ChangeFeed;
use crate::commit::{Commit, CommitError, Durable, Fence, Role};
use crate::record_key::RecordKey;
use crate::stored::{StoreRevision, Stored};
use async_trait::async_trait;

/// The most entries on one page of a scan; a larger limit is taken as this.
pub const MAX_PAGE: usize = 1000;

/// A store of opaque records with versions, for one zone.
///
/// Every read is linearizable and shows durable state only: what a read has shown cannot be lost. There is no clock in it.
/// Any engine that honours this contract will do; the conformance tests say whether one does.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The record at `key`; [`Body::Absent`](crate::Body::Absent) at version 0 where nothing was ever written.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot tell.
    async fn get(&self, key: &RecordKey) -> Result<Stored, StoreError>;

    /// One page of the records whose path begins with `prefix`, in order, tombstones included: at most `limit` entries
    /// (1 to [`MAX_PAGE`]; other values are taken as the nearest) after the record `after`.
    ///
    /// The first page is asked for without `at`. To have all pages as of one revision, the following ones are asked for
    /// with the first page's `at`.
    ///
    /// # Errors
    /// [`ScanError::Superseded`] when the state at `at` is no longer kept: begin again with the first page.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&RecordKey>,
        at: Option<StoreRevision>,
        limit: usize,
    ) -> Result<Page, ScanError>;

    /// Makes all writes of `commit` or none. Once begun it is carried out even if the caller no longer waits.
    ///
    /// # Errors
    /// See [`CommitError`]; only [`CommitError::Unknown`] leaves open whether the writes took place.
    async fn commit(&self, commit: Commit) -> Result<Durable, CommitError>;

    /// Every change after the revision `from` (a page's `at`, or the last change seen), in order, without gaps.
    ///
    /// # Errors
    /// [`WatchError`] when those changes cannot be told one by one.
    fn watch(&self, from: StoreRevision) -> Result<ChangeFeed, WatchError>;

    /// Takes over `role`. Once this has answered, no commit under an older fence of that role takes place any more.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot tell.
    async fn acquire(&self, role: Role) -> Result<Fence, StoreError>;

    /// Its user has read what it needs to start: what the store kept in memory to make that quick may go.
    fn started(&self) {}

    /// Whether the store takes changes.
    fn health(&self) -> Health;

    /// What a [`Durable`] of this store promises.
    fn durability(&self) -> Durability;

    /// Ends all work and releases the engine: when this has answered, the store can be opened again at once.
    /// Commits begun before are finished; later ones are refused.
    ///
    /// # Errors
    /// [`StoreError`] when the engine did not stop in good order. What was answered as durable is not in doubt.
    async fn close(&self) -> Result<(), StoreError>;
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records in order of their paths; none of them is absent.
    pub entries: Vec<(RecordKey, Stored)>,
    /// The revision as of which all entries stand.
    pub at: StoreRevision,
    /// The last record of this page when more follow: the next page's `after`.
    pub next: Option<RecordKey>,
}

/// Whether a store takes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and changes.
    Ready,
    /// Reads only.
    ReadOnly {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// What outlives what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A durable commit lasts as long as the process: for tests.
    Memory,
    /// A durable commit outlives the process, the operating system and the power supply.
    PowerSafe,
}

/// Why a store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// The engine failed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// Why a scan could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The state at the revision asked for is no longer kept.
    #[error("the state at the revision asked for is no longer kept; begin the scan again")]
    Superseded,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why changes cannot be watched from a revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Changes that far back are no longer kept: read everything, then watch from the revision of that reading.
    #[error("changes are kept from revision {} only; read all records again", oldest.get())]
    Compacted {
        /// The oldest revision that can be watched from.
        oldest: StoreRevision,
    },
    /// The store has not come to that revision: it is another store, or it was set back.
    #[error("the store is at revision {} only", current.get())]
    Ahead {
        /// The store's revision.
        current: StoreRevision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
