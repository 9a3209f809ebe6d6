//! The place of a live key in memory.

use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;

use crate::snapshot::Snapshot;

/// What is shown of a key. The snapshot in it is replaced with every change, and taken out when the key goes.
///
/// The map in which cells lie frees what was removed only after some more removals. A cell that was emptied holds no material
/// meanwhile: that is wiped as soon as the last call with it ends.
pub(crate) struct KeyCell {
    current: ArcSwapOption<Snapshot>,
}

impl KeyCell {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { current: ArcSwapOption::new(Some(snapshot)) }
    }

    /// The snapshot of this moment: what is decided from it and what is done with its material belong together. `None` once
    /// the key is gone.
    pub(crate) fn look(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.current.load()
    }

    /// As [`KeyCell::look`], to be kept.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Shows `next` from now on, unless what is shown is no longer `before`: then the key has gone.
    pub(crate) fn replace(&self, before: &Arc<Snapshot>, next: Snapshot) {
        self.current.compare_and_swap(before, Some(Arc::new(next)));
    }

    /// Shows nothing from now on; answers with what was shown.
    pub(crate) fn take(&self) -> Option<Arc<Snapshot>> {
        self.current.swap(None)
    }
}
