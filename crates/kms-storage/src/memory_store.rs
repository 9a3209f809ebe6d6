//! A store that lasts as long as the process.

use crate::change_feed::ChangeFeed;
use crate::commit::{Commit, CommitError, Durable, Fence, Role};
use crate::published::Published;
use crate::reader::{RecordReader, Walk};
use crate::record_key::RecordKey;
use crate::store::{Durability, Health, Page, ScanError, Store, StoreError, WatchError};
use crate::stored::{StoreRevision, Stored};
use crate::view::{Entry, Group, History, View};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

/// A store in memory, for tests of everything above the store.
pub struct MemoryStore {
    published: Arc<Published>,
    records: Records,
}

/// The records themselves. They change only while the view is held for writing, so readers never meet a change.
#[derive(Clone, Default)]
struct Records(Arc<RwLock<BTreeMap<RecordKey, Entry>>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(History::default())
    }

    /// An empty store that keeps that much of the past.
    #[must_use]
    pub fn with_history(history: History) -> Self {
        let records = Records::default();
        let view = View::new(Box::new(records.clone()), StoreRevision::ZERO, history);
        Self { published: Published::new(view), records }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Records {
    fn put(&self, entries: impl Iterator<Item = (RecordKey, Entry)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(entries);
    }
}

impl RecordReader for Records {
    fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn walk(&self, start: Bound<&str>, visit: &mut Walk<'_>) -> Result<(), StoreError> {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (key, entry) in records.range::<str, _>((start, Bound::Unbounded)) {
            if visit(key.clone(), entry.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &RecordKey) -> Result<Stored, StoreError> {
        self.published.open()?.get(key)
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&RecordKey>,
        at: Option<StoreRevision>,
        limit: usize,
    ) -> Result<Page, ScanError> {
        self.published.open()?.scan(prefix, after, at, limit)
    }

    async fn commit(&self, commit: Commit) -> Result<Durable, CommitError> {
        drop(self.published.open().map_err(|closed| CommitError::ReadOnly(closed.to_string()))?);
        let mut view = self.published.write();
        let decided = Group::new(&view).decide(commit)?;
        let revision = decided.revision;
        self.records.put(decided.writes.iter().map(|write| (write.key.clone(), write.entry.clone())));
        view.publish(vec![decided]);
        self.published.ring(&view);
        Ok(Durable { revision })
    }

    fn watch(&self, from: StoreRevision) -> Result<ChangeFeed, WatchError> {
        self.published.watch(from)
    }

    async fn acquire(&self, role: Role) -> Result<Fence, StoreError> {
        drop(self.published.open()?);
        Ok(self.published.acquire(role))
    }

    fn health(&self) -> Health {
        match self.published.open() {
            Ok(_) => Health::Ready,
            Err(closed) => Health::ReadOnly { reason: closed.to_string() },
        }
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.published.close();
        Ok(())
    }
}
