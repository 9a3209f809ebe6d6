//! What an operator can choose.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where its files lie; made when it is not there.
    pub directory: PathBuf,
    /// Which crypto calls have entries.
    pub crypto_calls: CryptoCalls,
    /// Whether a crypto call waits until its entry is durable.
    pub synchronous: bool,
    /// What becomes of crypto calls when there is no room for their entries.
    pub when_full: WhenFull,
    /// A new file is begun when one has this many bytes.
    pub file_bytes: u64,
    /// A new file is begun when one is that old.
    pub file_age: Duration,
    /// The longest time between two checkpoints while there are entries.
    pub checkpoint_interval: Duration,
}

/// Which crypto calls have entries. Refused ones always have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoCalls {
    /// All.
    On,
    /// One in so many.
    Sampled(NonZeroU32),
    /// None.
    Off,
}

/// What becomes of crypto calls when there is no room for their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// They are refused.
    Refuse,
    /// They are served, and counted; the number is in the log as soon as it can be written again.
    Count,
}

impl AuditSettings {
    /// The defaults, for a log in that directory.
    #[must_use]
    pub const fn in_directory(directory: PathBuf) -> Self {
        Self {
            directory,
            crypto_calls: CryptoCalls::On,
            synchronous: false,
            when_full: WhenFull::Refuse,
            file_bytes: 64 * 1024 * 1024,
            file_age: Duration::from_secs(86_400),
            checkpoint_interval: Duration::from_secs(10),
        }
    }
}
