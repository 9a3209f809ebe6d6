//! What a zone holds durably of a key.

use kms_types::{KeyId, Revision, ZoneName};

/// What a zone holds durably of a key. Writes still under way do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing: the key was never here.
    Nothing,
    /// The key, be it a replica or of this zone's own making.
    Key {
        /// The zone where it was created.
        origin: ZoneName,
        /// The origin's revision that is held.
        revision: Revision,
    },
    /// What remains of the deleted key.
    Tombstone {
        /// The zone where it was created.
        origin: ZoneName,
        /// The last revision of the key.
        revision: Revision,
    },
}

/// Answers what this zone holds durably. Implemented over the store by the shell.
pub trait DurableKeys {
    /// What is held of `key` now.
    fn held(&self, key: KeyId) -> Held;
}

impl<F: Fn(KeyId) -> Held> DurableKeys for F {
    fn held(&self, key: KeyId) -> Held {
        self(key)
    }
}
