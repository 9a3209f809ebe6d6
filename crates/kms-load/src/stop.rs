//! Ending a run before its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to end that all parts of a run share. Clones are the same wish.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Nothing is to be ended yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the visit under way, whose figures are dropped, and begins no other. What was measured before is kept, and keys
    /// are taken out of use as at the end.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end is wished for.
    #[must_use]
    pub fn is_wished(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
