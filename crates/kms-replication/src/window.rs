//! How much may be under way at once.

use std::num::NonZeroUsize;

/// How many keys may be under way to one target, or being stored for one origin, at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(NonZeroUsize);

impl Window {
    /// 64 keys.
    pub const DEFAULT: Self = match Self::new(64) {
        Some(window) => window,
        None => Self(NonZeroUsize::MIN),
    };

    /// A window of that many keys, or `None` for zero.
    #[must_use]
    pub const fn new(keys: usize) -> Option<Self> {
        match NonZeroUsize::new(keys) {
            Some(keys) => Some(Self(keys)),
            None => None,
        }
    }

    /// The number of keys, from 1.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get()
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::DEFAULT
    }
}
