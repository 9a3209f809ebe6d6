//! The view that a store's threads and its readers share, and the bell that wakes watchers.

use crate::change_feed::ChangeFeed;
use crate::commit::{Fence, Role};
use crate::record_key::RecordKey;
use crate::store::{StoreError, WatchError};
use crate::stored::StoreRevision;
use crate::view::{Decided, Staged, View};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// Tokens are unique within the process, so a fence of a store that was closed is worth nothing to its successor.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Published {
    view: RwLock<View>,
    /// Gone once the store is closed: that is how watchers and readers learn it.
    bell: Mutex<Option<watch::Sender<StoreRevision>>>,
    listener: watch::Receiver<StoreRevision>,
}

impl Published {
    pub(crate) fn new(view: View) -> Arc<Self> {
        let (bell, listener) = watch::channel(view.revision());
        Arc::new(Self { view: RwLock::new(view), bell: Mutex::new(Some(bell)), listener })
    }

    /// The view; no store publishes while it is held.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        // A view is changed by code that does not panic half-way, so a poisoned lock guards a whole view.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view for a reader, unless the store is closed.
    pub(crate) fn open(&self) -> Result<RwLockReadGuard<'_, View>, StoreError> {
        if self.listener.has_changed().is_err() {
            return Err(StoreError::Closed);
        }
        Ok(self.read())
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group is about to be written: readers are shown what it replaces until it is published.
    pub(crate) fn begin(&self, staged: &HashMap<RecordKey, Staged>) {
        // A reader keeps the view until it has read from the engine, so none that began before reads what comes now.
        self.write().begin(staged);
    }

    /// Shows durable commits to readers, all at once, and wakes watchers.
    pub(crate) fn publish(&self, group: Vec<Decided>) {
        let mut view = self.write();
        view.publish(group);
        self.ring(&view);
    }

    /// Wakes watchers after the view was changed in place.
    pub(crate) fn ring(&self, view: &View) {
        if let Some(bell) = self.bell.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            bell.send_replace(view.revision());
        }
    }

    pub(crate) fn acquire(&self, role: Role) -> Fence {
        self.write().acquire(role, NEXT_TOKEN.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn watch(self: &Arc<Self>, from: StoreRevision) -> Result<ChangeFeed, WatchError> {
        self.open().map_err(|_closed| WatchError::Closed)?.change_after(from)?;
        Ok(ChangeFeed::new(Arc::clone(self), self.listener.clone(), from))
    }

    /// Refuses reads from now on and ends every feed. No reader is at the engine any more when this returns.
    pub(crate) fn close(&self) {
        self.write().close();
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
