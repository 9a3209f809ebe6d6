//! A store that lasts as long as the process.

use crate::change_feed::ChangeFeed;
use crate::commit::{Commit, CommitError, Durable, Fence, Role};
use crate::published::Published;
use crate::record_key::RecordKey;
use crate::store::{Durability, Health, Page, ScanError, Store, StoreError, WatchError};
use crate::stored::{StoreRevision, Stored};
use crate::view::{Group, History, View};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store in memory, for tests of everything above the store.
pub struct MemoryStore {
    published: Arc<Published>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(History::default())
    }

    /// An empty store that keeps that much of the past.
    #[must_use]
    pub fn with_history(history: History) -> Self {
        Self { published: Published::new(View::new(BTreeMap::new(), StoreRevision::ZERO, history)) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &RecordKey) -> Result<Stored, StoreError> {
        Ok(self.published.open()?.get(key))
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
        view.publish(decided);
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
