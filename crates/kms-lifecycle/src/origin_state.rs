//! What a key's origin tells its replicas, and what a replica makes of it.
//!
//! A replica takes over the whole state or nothing. Only whether the key may be used is its own: enabled or disabled is kept
//! as it is there, unless the origin schedules or cancels the key's deletion. The outcome does not depend on which states
//! in between reached the replica.

use crate::key::{Key, Kind, RevisionStamp};
use crate::place::{Place, Replicas};
use crate::restore::{InconsistentKey, KeyParts};
use crate::status::Status;
use kms_types::{KeyId, OrganisationName, Revision, Timestamp, ZoneName};

/// A key as its origin tells it at one revision: everything but the zones that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginState(Key);

/// What a replica makes of a state of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a state is nothing until it is stored"]
pub enum OriginUpdate {
    /// The key changes to this.
    Newer(Box<Key>),
    /// The replica has this revision or a later one already.
    AlreadyHeld,
}

/// A state that cannot be one of the key it is offered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignState {
    /// The key is not a replica: no zone tells it anything.
    #[error("the key is not a replica")]
    NotReplica,
    /// Another id, organisation, name, origin or creation date.
    #[error("the state is that of another key")]
    OtherKey,
    /// The material versions are no continuation of those that the replica has, and no restore of the origin explains it.
    #[error("the state rewrites the history of the key's material")]
    OtherHistory,
    /// The replica's own revisions have come to an end.
    #[error("the replica cannot be changed any more")]
    Exhausted,
}

impl OriginState {
    /// The state made of these parts, which are those of a key at its origin.
    ///
    /// # Errors
    /// [`InconsistentKey`] as [`Key::restore`]; [`InconsistentKey::NotOrigin`] when they are of another place.
    pub fn restore(parts: KeyParts) -> Result<Self, InconsistentKey> {
        Key::restore(parts)?.origin_state().ok_or(InconsistentKey::NotOrigin)
    }

    /// The parts of the state, as [`OriginState::restore`] takes them.
    #[must_use]
    pub fn to_parts(&self) -> KeyParts {
        self.0.to_parts()
    }

    /// The key.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.0.id
    }

    /// Who owns the key.
    #[must_use]
    pub const fn organisation(&self) -> &OrganisationName {
        &self.0.organisation
    }

    /// The zone whose state it is.
    #[must_use]
    pub const fn origin_zone(&self) -> &ZoneName {
        &self.0.origin_zone
    }

    /// The origin's revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.0.revision.seq
    }
}

impl Key {
    /// The revision, of the key's origin, that this zone has: on a replica the one applied last.
    #[must_use]
    pub const fn origin_revision(&self) -> Revision {
        match self.place {
            Place::SingleZone | Place::Origin { .. } => self.revision.seq,
            Place::Replica { applied } => applied,
        }
    }

    /// Whether this is a replica of a key of that zone.
    #[must_use]
    pub fn is_replica_from(&self, zone: &ZoneName) -> bool {
        match self.place {
            Place::SingleZone | Place::Origin { .. } => false,
            Place::Replica { .. } => self.origin_zone == *zone,
        }
    }

    /// What a key's origin tells its replicas; `None` elsewhere than at the origin of a multi-zone key.
    #[must_use]
    pub fn origin_state(&self) -> Option<OriginState> {
        match self.place {
            // Which other zones have the key is nothing that a replica needs to know.
            Place::Origin { .. } => Some(OriginState(Self {
                place: Place::Origin { replicas: Replicas::default() },
                kind: Kind::Ordinary,
                ..self.clone()
            })),
            Place::SingleZone | Place::Replica { .. } => None,
        }
    }

    /// The first copy of a key in this zone, taken over at `now`: enabled, disabled or pending deletion as at the origin, at
    /// revision 1 of this zone's own.
    #[must_use]
    pub fn replica_of(state: &OriginState, now: Timestamp) -> Self {
        let origin = &state.0;
        Self {
            place: Place::Replica { applied: origin.revision.seq },
            status: match origin.status {
                Status::Enabled { .. } => Status::Enabled { since: now },
                Status::Disabled { .. } => Status::Disabled { since: now },
                Status::PendingDeletion { .. } => origin.status,
            },
            revision: RevisionStamp { seq: Revision::FIRST, at: now },
            ..origin.clone()
        }
    }

    /// What this replica makes of `state` at `now`. A pending deletion is taken over with its date; a deletion cancelled
    /// since the revision applied last leaves the replica disabled, whether or not it ever saw the deletion pending.
    /// Material versions that the origin lost with a restore from a backup stay: what they encrypted opens here.
    ///
    /// # Errors
    /// [`ForeignState`]; nothing of the state is to be used.
    pub fn apply_origin(&self, state: &OriginState, now: Timestamp) -> Result<OriginUpdate, ForeignState> {
        let origin = &state.0;
        let applied = match self.place {
            Place::Replica { applied } => applied,
            Place::SingleZone | Place::Origin { .. } => return Err(ForeignState::NotReplica),
        };
        if !self.is_same_key(origin) {
            return Err(ForeignState::OtherKey);
        }
        if origin.revision.seq <= applied {
            return Ok(OriginUpdate::AlreadyHeld);
        }
        let versions = origin.versions.joined_with(&self.versions, origin.revision.seq);
        let versions = versions.ok_or(ForeignState::OtherHistory)?;
        let seq = self.revision.seq.next().filter(|seq| seq.next().is_some()).ok_or(ForeignState::Exhausted)?;
        let at = self.revision.at.max(now);
        let cancelled_since = origin.cancelled.is_some_and(|cancelled| cancelled > applied);
        let status = match (origin.status, self.status) {
            (Status::PendingDeletion { .. }, _) => origin.status,
            (Status::Enabled { .. } | Status::Disabled { .. }, Status::PendingDeletion { .. }) => {
                Status::Disabled { since: at }
            }
            (Status::Enabled { .. } | Status::Disabled { .. }, Status::Enabled { .. }) if cancelled_since => {
                Status::Disabled { since: at }
            }
            (Status::Enabled { .. } | Status::Disabled { .. }, own) => own,
        };
        Ok(OriginUpdate::Newer(Box::new(Self {
            place: Place::Replica { applied: origin.revision.seq },
            status,
            versions,
            revision: RevisionStamp { seq, at },
            ..origin.clone()
        })))
    }

    fn is_same_key(&self, other: &Self) -> bool {
        self.id == other.id
            && self.organisation == other.organisation
            && self.name == other.name
            && self.origin_zone == other.origin_zone
            && self.created_at == other.created_at
            && self.usage == other.usage
    }
}
