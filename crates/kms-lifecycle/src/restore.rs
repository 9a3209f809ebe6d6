//! A key to and from the fields that a store keeps.

use crate::key::{Key, Kind, RevisionStamp, Usage};
use crate::place::Place;
use crate::rotation::{Rotation, Schedule};
use crate::status::Status;
use crate::versions::{VersionInfo, Versions};
use kms_types::{Description, KeyId, KeyName, OrganisationName, Revision, Timestamp, ZoneName};

/// The fields of a [`Key`], free to be stored in any form; [`Key::restore`] checks that they belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is described at the method of `Key` with its name")]
pub struct KeyParts {
    pub id: KeyId,
    pub organisation: OrganisationName,
    pub name: KeyName,
    pub description: Description,
    pub usage: Usage,
    pub kind: Kind,
    pub place: Place,
    pub origin_zone: ZoneName,
    pub created_at: Timestamp,
    pub status: Status,
    pub rotation: Rotation,
    pub versions: Vec<VersionInfo>,
    pub cancelled: Option<Revision>,
    pub revision: RevisionStamp,
}

/// Fields that no sequence of changes could have led to: the record is damaged or from another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InconsistentKey {
    /// The versions are not 1 to n, or have a gap that no restore left; the first was made with the key, the others by
    /// rotation, in the order of time.
    #[error("the material versions are not a complete history")]
    Versions,
    /// The count of manual rotations differs from the versions made so.
    #[error("the count of manual rotations differs from the number of versions made manually")]
    ManualCount,
    /// The deletion is not later than the request for it.
    #[error("the deletion is not later than the request for it")]
    DeletionDate,
    /// The zone of origin is listed among the replicas.
    #[error("the zone of origin is listed among the replicas")]
    OriginAmongReplicas,
    /// The default key is not enabled, or does not rotate by itself.
    #[error("a default key must be enabled and rotate automatically")]
    DefaultKey,
    /// A time of the key is earlier than its creation or later than its last change.
    #[error("a time lies before the creation of the key or after its last change")]
    Times,
    /// The revision is the last one there is, which is kept for the tombstone.
    #[error("the revision is at the end of its range")]
    Revision,
    /// The deletion was cancelled at a revision that the key has not reached.
    #[error("the deletion was cancelled at a revision that the key has not reached")]
    Cancellation,
    /// The key is not one at its origin, as a state to be told to replicas must be.
    #[error("the key is not one at its origin")]
    NotOrigin,
}

impl Key {
    /// The key of those fields.
    ///
    /// # Errors
    /// [`InconsistentKey`] when no sequence of changes leads to them. On a replica, times that two zones' clocks gave are
    /// not compared.
    pub fn restore(parts: KeyParts) -> Result<Self, InconsistentKey> {
        let origin_revision = match parts.place {
            Place::SingleZone | Place::Origin { .. } => parts.revision.seq,
            Place::Replica { applied } => applied,
        };
        let versions = Versions::from_list(parts.versions, origin_revision).ok_or(InconsistentKey::Versions)?;
        let key = Self {
            id: parts.id,
            organisation: parts.organisation,
            name: parts.name,
            description: parts.description,
            usage: parts.usage,
            kind: parts.kind,
            place: parts.place,
            origin_zone: parts.origin_zone,
            created_at: parts.created_at,
            status: parts.status,
            rotation: parts.rotation,
            versions,
            cancelled: parts.cancelled,
            revision: parts.revision,
        };
        check_manual_count(&key)?;
        check_deletion_date(&key)?;
        check_place(&key)?;
        check_default(&key)?;
        check_times(&key)?;
        check_revision(&key)?;
        check_cancellation(&key)?;
        Ok(key)
    }

    /// The fields of the key: what [`Key::restore`] takes.
    #[must_use]
    pub fn to_parts(&self) -> KeyParts {
        KeyParts {
            id: self.id,
            organisation: self.organisation.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            usage: self.usage,
            kind: self.kind,
            place: self.place.clone(),
            origin_zone: self.origin_zone.clone(),
            created_at: self.created_at,
            status: self.status,
            rotation: self.rotation,
            versions: self.versions.as_slice().to_vec(),
            cancelled: self.cancelled,
            revision: self.revision,
        }
    }
}

fn check_manual_count(key: &Key) -> Result<(), InconsistentKey> {
    let counted = usize::from(key.rotation.manual_count().get());
    let made = key.versions.made_manually();
    let agree = match key.place {
        Place::SingleZone | Place::Origin { .. } => counted == made,
        // A replica keeps versions that its origin lost with a restore, and the origin counts.
        Place::Replica { .. } => counted <= made,
    };
    if agree { Ok(()) } else { Err(InconsistentKey::ManualCount) }
}

fn check_deletion_date(key: &Key) -> Result<(), InconsistentKey> {
    match key.status {
        Status::PendingDeletion { since, delete_at } if delete_at <= since => Err(InconsistentKey::DeletionDate),
        Status::PendingDeletion { .. } | Status::Enabled { .. } | Status::Disabled { .. } => Ok(()),
    }
}

fn check_place(key: &Key) -> Result<(), InconsistentKey> {
    match &key.place {
        Place::Origin { replicas } if replicas.contains(&key.origin_zone) => Err(InconsistentKey::OriginAmongReplicas),
        Place::Origin { .. } | Place::SingleZone | Place::Replica { .. } => Ok(()),
    }
}

fn check_default(key: &Key) -> Result<(), InconsistentKey> {
    match (key.kind, key.status, key.rotation.schedule()) {
        (Kind::Ordinary, _, _) | (Kind::Default, Status::Enabled { .. }, Schedule::On) => Ok(()),
        (Kind::Default, _, _) => Err(InconsistentKey::DefaultKey),
    }
}

fn check_times(key: &Key) -> Result<(), InconsistentKey> {
    match key.place {
        Place::SingleZone | Place::Origin { .. } => {
            let life = key.created_at..=key.revision.at;
            let first_version = key.versions.first_created_at();
            let current_version = key.versions.current().created_at;
            let all_within =
                [first_version, current_version, key.status.since()].iter().all(|time| life.contains(time));
            if all_within { Ok(()) } else { Err(InconsistentKey::Times) }
        }
        Place::Replica { .. } => Ok(()),
    }
}

fn check_cancellation(key: &Key) -> Result<(), InconsistentKey> {
    match key.cancelled {
        Some(cancelled) if cancelled > key.origin_revision() => Err(InconsistentKey::Cancellation),
        Some(_) | None => Ok(()),
    }
}

fn check_revision(key: &Key) -> Result<(), InconsistentKey> {
    if key.revision.seq.next().is_some() { Ok(()) } else { Err(InconsistentKey::Revision) }
}
