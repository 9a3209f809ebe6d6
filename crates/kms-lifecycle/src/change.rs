//! A change that was decided, and the key after it.

use crate::key::{Key, RevisionStamp};
use crate::place::Place;
use crate::rotation::Rotation;
use crate::status::Status;
use crate::versions::VersionInfo;
use kms_types::{KeyId, MaterialVersion, Revision, Timestamp, ZoneName};
use std::collections::BTreeSet;
use std::fmt;

/// A change that was decided for one key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a change is nothing until it is stored and applied"]
pub struct Change {
    key_id: KeyId,
    made_for: Revision,
    stamp: RevisionStamp,
    effect: Effect,
}

/// What a change does, in a word, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The key was enabled.
    Enabled,
    /// The key was disabled.
    Disabled,
    /// A user had new material made.
    RotatedManually,
    /// The schedule had new material made.
    RotatedAutomatically,
    /// The schedule was switched on.
    RotationEnabled,
    /// The schedule was switched off.
    RotationDisabled,
    /// The deletion was asked for, or its date moved.
    DeletionScheduled,
    /// The deletion was called off.
    DeletionCancelled,
    /// A zone was registered for a replica.
    Replicated,
}

/// A change offered to a key it was not made for: another key, or the same key at another revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change was decided for revision {made_for} of key {key_id}")]
pub struct StaleChange {
    key_id: KeyId,
    made_for: Revision,
}

/// What differs in the key after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Enable,
    Disable,
    RotateManually { version: VersionInfo, rotation: Rotation },
    RotateAutomatically { version: VersionInfo, rotation: Rotation },
    EnableRotation { rotation: Rotation },
    DisableRotation { rotation: Rotation },
    ScheduleDeletion { since: Timestamp, delete_at: Timestamp },
    CancelDeletion,
    Replicate { replicas: BTreeSet<ZoneName> },
}

impl Change {
    /// The change of `key` by `effect` at `at`, which is not earlier than the key's revision. `None` when no revision is
    /// left but the one kept for the tombstone.
    pub(crate) fn new(key: &Key, effect: Effect, at: Timestamp) -> Option<Self> {
        let seq = next_revision(key)?;
        Some(Self { key_id: key.id, made_for: key.revision.seq, stamp: RevisionStamp { seq, at }, effect })
    }

    /// The key it was decided for.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The revision it was decided for.
    #[must_use]
    pub const fn made_for(&self) -> Revision {
        self.made_for
    }

    /// The revision that the key has afterwards, and its time.
    #[must_use]
    pub const fn stamp(&self) -> RevisionStamp {
        self.stamp
    }

    /// The version for which the caller must make new material, stored together with the change.
    #[must_use]
    pub const fn new_version(&self) -> Option<MaterialVersion> {
        match &self.effect {
            Effect::RotateManually { version, .. } | Effect::RotateAutomatically { version, .. } => {
                Some(version.version)
            }
            Effect::Enable
            | Effect::Disable
            | Effect::EnableRotation { .. }
            | Effect::DisableRotation { .. }
            | Effect::ScheduleDeletion { .. }
            | Effect::CancelDeletion
            | Effect::Replicate { .. } => None,
        }
    }

    /// What it does, in a word.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match &self.effect {
            Effect::Enable => ChangeKind::Enabled,
            Effect::Disable => ChangeKind::Disabled,
            Effect::RotateManually { .. } => ChangeKind::RotatedManually,
            Effect::RotateAutomatically { .. } => ChangeKind::RotatedAutomatically,
            Effect::EnableRotation { .. } => ChangeKind::RotationEnabled,
            Effect::DisableRotation { .. } => ChangeKind::RotationDisabled,
            Effect::ScheduleDeletion { .. } => ChangeKind::DeletionScheduled,
            Effect::CancelDeletion => ChangeKind::DeletionCancelled,
            Effect::Replicate { .. } => ChangeKind::Replicated,
        }
    }
}

impl Key {
    /// The key after `change`.
    ///
    /// # Errors
    /// [`StaleChange`] when the change was decided for another key or another revision. A change just decided for this very
    /// key always applies.
    pub fn apply(&self, change: &Change) -> Result<Self, StaleChange> {
        if change.key_id != self.id || change.made_for != self.revision.seq {
            return Err(StaleChange { key_id: change.key_id, made_for: change.made_for });
        }
        let at = change.stamp.at;
        let mut key = Self { revision: change.stamp, ..self.clone() };
        match &change.effect {
            Effect::Enable => key.status = Status::Enabled { since: at },
            Effect::Disable => key.status = Status::Disabled { since: at },
            Effect::CancelDeletion => {
                key.status = Status::Disabled { since: at };
                key.cancelled = Some(change.stamp.seq);
            }
            Effect::ScheduleDeletion { since, delete_at } => {
                key.status = Status::PendingDeletion { since: *since, delete_at: *delete_at };
            }
            Effect::RotateManually { version, rotation } | Effect::RotateAutomatically { version, rotation } => {
                key.versions = self.versions.with(*version);
                key.rotation = *rotation;
            }
            Effect::EnableRotation { rotation } | Effect::DisableRotation { rotation } => key.rotation = *rotation,
            Effect::Replicate { replicas } => key.place = Place::Origin { replicas: replicas.clone().into() },
        }
        Ok(key)
    }
}

/// The revision that a change of `key` leads to. The last of the range is kept for the tombstone, so that a key can always
/// be deleted.
pub(crate) fn next_revision(key: &Key) -> Option<Revision> {
    key.revision.seq.next().filter(|next| next.next().is_some())
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::RotatedManually => "rotated manually",
            Self::RotatedAutomatically => "rotated automatically",
            Self::RotationEnabled => "rotation enabled",
            Self::RotationDisabled => "rotation disabled",
            Self::DeletionScheduled => "deletion scheduled",
            Self::DeletionCancelled => "deletion cancelled",
            Self::Replicated => "replicated",
        })
    }
}
