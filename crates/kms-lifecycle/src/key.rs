//! One key in one zone: everything but its material.

use crate::place::{Place, Reach};
use crate::rotation::Rotation;
use crate::status::Status;
use crate::versions::{VersionInfo, Versions};
use kms_types::{Description, KeyId, KeyName, MaterialVersion, OrganisationName, Revision, Timestamp, ZoneName};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Symmetric encryption and decryption.
    EncryptDecrypt,
}

/// Whether a key is one of many or the one that an organisation is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key like any other.
    Ordinary,
    /// The organisation's default key: always enabled, always rotating, never deleted.
    Default,
}

/// A revision and when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionStamp {
    /// One more with every change.
    pub seq: Revision,
    /// When the last change was made. Never earlier than the change before it, even if the clock was set back.
    pub at: Timestamp,
}

/// What is chosen when a key is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its identity, the same in every zone.
    pub id: KeyId,
    /// Who owns it.
    pub organisation: OrganisationName,
    /// Its name; that it is free is the caller's to check.
    pub name: KeyName,
    /// What the user says of it.
    pub description: Description,
    /// What it is for.
    pub usage: Usage,
    /// The zone in which it is created: its origin.
    pub zone: ZoneName,
    /// Whether it may be replicated.
    pub multi_zone: Reach,
    /// Whether it is the organisation's default key.
    pub kind: Kind,
}

/// One key in one zone: its metadata, its status and what is known of its material.
///
/// Never changed in place: [`Key::apply`] yields the key after a change.
///
/// A zone has as many of these in memory as it has keys, and most are in no cache when they are used. So what a use asks for stands
/// first, within one cache line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Key {
    pub(crate) id: KeyId,
    pub(crate) organisation: OrganisationName,
    pub(crate) status: Status,
    pub(crate) versions: Versions,
    pub(crate) name: KeyName,
    pub(crate) description: Description,
    pub(crate) usage: Usage,
    pub(crate) place: Place,
    pub(crate) origin_zone: ZoneName,
    pub(crate) created_at: Timestamp,
    pub(crate) rotation: Rotation,
    /// The origin's revision at which a deletion was cancelled last. Replicas that had not got that far are disabled by it.
    pub(crate) cancelled: Option<Revision>,
    /// Always leaves one revision for the tombstone.
    pub(crate) revision: RevisionStamp,
    pub(crate) kind: Kind,
}

impl Key {
    /// A key created at `now`: enabled, with material version 1, rotating every 365 days, at revision 1.
    #[must_use]
    pub fn create(new: NewKey, now: Timestamp) -> Self {
        Self {
            id: new.id,
            organisation: new.organisation,
            name: new.name,
            description: new.description,
            usage: new.usage,
            kind: new.kind,
            place: new.multi_zone.into(),
            origin_zone: new.zone,
            created_at: now,
            status: Status::Enabled { since: now },
            rotation: Rotation::of_new_key(now),
            versions: Versions::first(now),
            cancelled: None,
            revision: RevisionStamp { seq: Revision::FIRST, at: now },
        }
    }

    /// Its identity, the same in every zone.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Who owns it.
    #[must_use]
    pub const fn organisation(&self) -> &OrganisationName {
        &self.organisation
    }

    /// Its name, unique within the organisation and zone.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// What the user says of it.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// What it is for.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether it is the organisation's default key.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What this zone is to the key.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it may have replicas, or is one.
    #[must_use]
    pub const fn is_multi_zone(&self) -> bool {
        match self.place {
            Place::SingleZone => false,
            Place::Origin { .. } | Place::Replica { .. } => true,
        }
    }

    /// The zone where it was created.
    #[must_use]
    pub const fn origin_zone(&self) -> &ZoneName {
        &self.origin_zone
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Whether it may be used. A key that [`is_gone`](Self::is_gone) still shows its last status here.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Whether its deletion is due at `now`. Such a key is to be treated as if it did not exist, even before its record is
    /// removed.
    #[must_use]
    pub fn is_gone(&self, now: Timestamp) -> bool {
        match self.status {
            Status::Enabled { .. } | Status::Disabled { .. } => false,
            Status::PendingDeletion { delete_at, .. } => delete_at <= now,
        }
    }

    /// When its material is replaced.
    #[must_use]
    pub const fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// All versions of its material, oldest first, from 1; without a gap but where a restore left one.
    #[must_use]
    pub fn versions(&self) -> &[VersionInfo] {
        self.versions.as_slice()
    }

    /// Where that version stands in [`Key::versions`]; `None` when the key does not have it.
    #[must_use]
    pub fn place_of(&self, version: MaterialVersion) -> Option<usize> {
        self.versions.place_of(version)
    }

    /// The version that encrypts: the newest.
    #[must_use]
    pub fn current_version(&self) -> &VersionInfo {
        self.versions.current()
    }

    /// The revision, of the key's origin, at which its deletion was cancelled last, if it ever was.
    #[must_use]
    pub const fn cancelled(&self) -> Option<Revision> {
        self.cancelled
    }

    /// Its revision, and when it was reached. On a replica, both are of the replica's zone.
    #[must_use]
    pub const fn revision(&self) -> RevisionStamp {
        self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn a_key_is_small_and_what_a_use_asks_for_is_in_one_line() {
        assert_eq!(size_of::<Key>(), 176);
        assert_eq!(offset_of!(Key, versions) + size_of::<Versions>(), 64);
        for hot in [offset_of!(Key, id), offset_of!(Key, organisation), offset_of!(Key, status)] {
            assert!(hot < offset_of!(Key, versions));
        }
    }
}
