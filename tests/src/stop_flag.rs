//! A flag that tells helper threads to end, raised also when the test that owns it fails: nobody waits for ever.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised when the threads that look at it are to end.
#[derive(Debug, Default)]
pub struct StopFlag(AtomicBool);

impl StopFlag {
    /// Whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Raises it at the end of the scope that holds what is returned, however that scope ends.
    #[must_use = "the flag is raised when this is dropped"]
    pub fn raise_at_end(&self) -> RaiseAtEnd<'_> {
        RaiseAtEnd(self)
    }
}

/// See [`StopFlag::raise_at_end`].
#[derive(Debug)]
pub struct RaiseAtEnd<'a>(&'a StopFlag);

impl Drop for RaiseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}
