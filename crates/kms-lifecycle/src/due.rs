//! What a key needs when time passes.

use crate::change::{Change, Effect, next_revision};
use crate::key::{Key, RevisionStamp};
use crate::place::Place;
use crate::status::Status;
use crate::versions::Made;
use kms_types::{KeyId, KeyName, OrganisationName, Revision, Timestamp, ZoneName};
use std::collections::BTreeSet;

/// Work whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "due work is nothing until it is stored"]
pub enum DueWork {
    /// New material is to be made, as the schedule asks.
    Rotate(Change),
    /// The key is to be deleted for good.
    Delete(FinalDeletion),
}

/// The end of a key: its record and all its material are to be replaced by the tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalDeletion {
    made_for: Revision,
    tombstone: Tombstone,
}

/// What remains of a deleted key, so that no late message brings it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The key that was.
    pub id: KeyId,
    /// Who owned it.
    pub organisation: OrganisationName,
    /// Its name, which is free again.
    pub name: KeyName,
    /// The zone where it was created.
    pub origin_zone: ZoneName,
    /// Since when it is gone: the date of its deletion, even if the work was done later.
    pub deleted_at: Timestamp,
    /// The last revision of the key, and when the work was done.
    pub revision: RevisionStamp,
    /// At the origin, the zones that may still hold the key; elsewhere empty.
    pub replicas: BTreeSet<ZoneName>,
}

impl FinalDeletion {
    /// The revision it was decided for. Any change after that makes it void.
    #[must_use]
    pub const fn made_for(&self) -> Revision {
        self.made_for
    }

    /// What is to be stored in the key's place.
    #[must_use]
    pub const fn tombstone(&self) -> &Tombstone {
        &self.tombstone
    }

    /// What is to be stored in the key's place.
    #[must_use]
    pub fn into_tombstone(self) -> Tombstone {
        self.tombstone
    }
}

/// When work on `key` is next due, if ever: the next automatic rotation of an enabled key or the deletion of a pending one.
/// Never on a replica, whose origin decides both.
///
/// [`decide_due`] gives work from that instant on and not a nanosecond earlier.
#[must_use]
pub fn next_due(key: &Key) -> Option<Timestamp> {
    upcoming(key).map(|(at, _)| at)
}

/// The work on `key` that is due at `now`, at most one piece. A rotation applied leaves none due at the same `now`, however
/// many of its dates were missed.
pub fn decide_due(key: &Key, now: Timestamp) -> Option<DueWork> {
    let (due_at, upcoming) = upcoming(key)?;
    if now < due_at {
        return None;
    }
    let at = key.revision.at.max(now);
    match upcoming {
        Upcoming::Rotation => {
            let version = key.versions.following(key.revision.seq, at, Made::Automatically)?;
            let rotation = key.rotation.turned_automatically(at);
            Change::new(key, Effect::RotateAutomatically { version, rotation }, at).map(DueWork::Rotate)
        }
        Upcoming::Deletion => {
            let tombstone = Tombstone {
                id: key.id,
                organisation: key.organisation.clone(),
                name: key.name.clone(),
                origin_zone: key.origin_zone.clone(),
                deleted_at: due_at,
                revision: RevisionStamp { seq: key.revision.seq.next()?, at },
                replicas: match &key.place {
                    Place::Origin { replicas } => BTreeSet::clone(replicas),
                    Place::SingleZone | Place::Replica { .. } => BTreeSet::new(),
                },
            };
            Some(DueWork::Delete(FinalDeletion { made_for: key.revision.seq, tombstone }))
        }
    }
}

enum Upcoming {
    Rotation,
    Deletion,
}

fn upcoming(key: &Key) -> Option<(Timestamp, Upcoming)> {
    match (&key.place, key.status) {
        (Place::Replica { .. }, _) | (_, Status::Disabled { .. }) => None,
        (Place::SingleZone | Place::Origin { .. }, Status::PendingDeletion { delete_at, .. }) => {
            Some((delete_at, Upcoming::Deletion))
        }
        (Place::SingleZone | Place::Origin { .. }, Status::Enabled { .. }) => {
            // A key without a version or revision left would be due for ever.
            key.current_version().version.next()?;
            next_revision(key)?;
            key.rotation.due_at().map(|at| (at, Upcoming::Rotation))
        }
    }
}
