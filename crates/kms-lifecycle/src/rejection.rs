//! Why a command or a use is refused.

use crate::rotation::Schedule;

/// Why a command or a use is refused. Nothing was changed.
///
/// Displayed, it is a sentence for the user; [`Rejection::title`] is the API's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The key's deletion is due: it is as if it never was.
    #[error("the key could not be found")]
    KeyGone,
    /// The key is a replica; the command belongs to its origin zone.
    #[error("the operation is not allowed on a replica; use the key's origin zone")]
    NotOnReplica,
    /// The key is the organisation's default key.
    #[error("the operation is not allowed on the default key")]
    NotOnDefault,
    /// The key is waiting for its deletion.
    #[error("the key is pending deletion")]
    KeyPendingDeletion,
    /// The key is disabled.
    #[error("the key is disabled")]
    KeyDisabled,
    /// There is no deletion to cancel.
    #[error("the key is not pending deletion")]
    NotPendingDeletion,
    /// The automatic rotation is already as asked for.
    #[error("automatic rotation is already {}", match already { Schedule::On => "enabled", Schedule::Off => "disabled" })]
    RotationConflict {
        /// What it is.
        already: Schedule,
    },
    /// The key was rotated by hand as often as it can be.
    #[error("the key has reached its limit of 10 manual rotations")]
    ManualRotationLimit,
    /// The key was created for one zone only.
    #[error("the key is not a multi-zone key")]
    NotMultiZone,
    /// The key is already registered for that zone.
    #[error("the key is already replicated in the target zone")]
    AlreadyReplicated,
    /// The key comes from that zone.
    #[error("the target zone is the key's origin zone")]
    InvalidTargetZone,
    /// A version or revision number, or the range of time, has come to its end.
    #[error("the key cannot be changed any more: a counter or date has come to the end of its range")]
    Exhausted,
}

impl Rejection {
    /// The name that the API gives the error, its problem document's `title`.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::KeyGone => "Key Not Found",
            Self::NotOnReplica => "Not on Replica",
            Self::NotOnDefault => "Not on Default",
            Self::KeyPendingDeletion => "Key is Pending Deletion",
            Self::KeyDisabled => "Key is Disabled",
            Self::NotPendingDeletion => "Not Pending Deletion",
            Self::RotationConflict { .. } | Self::AlreadyReplicated => "Conflict",
            Self::ManualRotationLimit => "Manual Rotation Limit",
            Self::NotMultiZone => "Not Multizone",
            Self::InvalidTargetZone => "Invalid Argument",
            Self::Exhausted => "Bad Request",
        }
    }
}
