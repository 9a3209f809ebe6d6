//! Whether a key may be used.

use kms_types::Timestamp;

/// Whether a key may be used, since when, and for a key about to go, until when it can be kept.
///
/// A key whose deletion is due is gone: no status stands for that, see [`Key::is_gone`](crate::Key::is_gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every use is allowed.
    Enabled {
        /// When it was last enabled, or created.
        since: Timestamp,
    },
    /// No use is allowed.
    Disabled {
        /// When it was disabled, or its deletion cancelled.
        since: Timestamp,
    },
    /// No use is allowed, and the key goes unless the deletion is cancelled before.
    PendingDeletion {
        /// When the deletion was first asked for; asking again does not move it.
        since: Timestamp,
        /// From this instant on the key is gone.
        delete_at: Timestamp,
    },
}

impl Status {
    /// When the key took on this status.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::Enabled { since } | Self::Disabled { since } | Self::PendingDeletion { since, .. } => *since,
        }
    }
}
