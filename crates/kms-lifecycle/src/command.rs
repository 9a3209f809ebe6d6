//! What a user can ask of a key.

use kms_types::{DeletionDelay, RotationPeriod, ZoneName};

/// What a user can ask of a key, apart from using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Allow its use again.
    Enable,
    /// Refuse every use until it is enabled again.
    Disable,
    /// Make a new version of its material now.
    Rotate,
    /// Make a new version by itself after every `period`, the first one `period` from now.
    EnableRotation {
        /// Days between two rotations.
        period: RotationPeriod,
    },
    /// Make no new version by itself.
    DisableRotation,
    /// Refuse every use from now on, and delete the key after `delay`. Asked again, the new date replaces the old.
    ScheduleDeletion {
        /// Days until the key is gone.
        delay: DeletionDelay,
    },
    /// Keep the key after all; it is disabled then.
    CancelDeletion,
    /// Register a zone for a replica.
    Replicate {
        /// The zone; that there is such a zone is the caller's to check.
        target: ZoneName,
    },
}
