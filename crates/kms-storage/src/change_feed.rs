//! The stream of changes that watchers follow.

use crate::published::Published;
use crate::store::WatchError;
use crate::stored::StoreRevision;
use crate::view::Change;
use std::sync::Arc;
use tokio::sync::watch;

/// Every change after a revision, in order and without gaps.
pub struct ChangeFeed {
    published: Arc<Published>,
    listener: watch::Receiver<StoreRevision>,
    seen: StoreRevision,
}

/// Why a feed gives no further change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The watcher was so slow that the changes it needs are no longer kept: read everything again, then watch from there.
    #[error("changes are kept from revision {} only; read all records again", oldest.get())]
    Lagged {
        /// The oldest revision that can be watched from.
        oldest: StoreRevision,
    },
    /// The store was closed; every change before was handed out.
    #[error("the store is closed")]
    Closed,
}

impl ChangeFeed {
    pub(crate) const fn new(
        published: Arc<Published>,
        listener: watch::Receiver<StoreRevision>,
        seen: StoreRevision,
    ) -> Self {
        Self { published, listener, seen }
    }

    /// The next change; waits for one. A caller that stops waiting misses nothing.
    ///
    /// # Errors
    /// [`FeedError`]; the feed then stays at its end.
    pub async fn next(&mut self) -> Result<Change, FeedError> {
        loop {
            self.listener.mark_unchanged();
            let next = self.published.read().change_after(self.seen);
            match next {
                Ok(Some(change)) => {
                    self.seen = change.revision;
                    return Ok(change);
                }
                Ok(None) => self.listener.changed().await.map_err(|_bell_gone| FeedError::Closed)?,
                Err(WatchError::Compacted { oldest }) => return Err(FeedError::Lagged { oldest }),
                Err(WatchError::Ahead { .. } | WatchError::Closed) => return Err(FeedError::Closed),
            }
        }
    }

    /// The revision of the last change handed out: where another feed can take over.
    #[must_use]
    pub const fn seen(&self) -> StoreRevision {
        self.seen
    }
}
