//! Records of format 1.
//!
//! The order of fields and variants is the format: it is never changed. A change of content makes a module `v2` with its own
//! types, a way from here to there, and its own golden bytes.

use kms_types::{
    Description, KeyId, KeyName, MaterialVersion, OrganisationName, Revision, RotationPeriod, Timestamp, ZoneName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a record holds; the variant's number is the second byte of the record.
#[derive(Serialize, Deserialize)]
pub(super) enum RecordV1 {
    Key(KeyRecord),
    Tombstone(TombstoneRecord),
    Name(NameRecord),
}

/// Everything about one key in one zone except the material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key.
    pub id: KeyId,
    /// Its owner.
    pub organisation: OrganisationName,
    /// Its name.
    pub name: KeyName,
    /// Its description.
    pub description: Description,
    /// What it is for.
    pub usage: UsageRecord,
    /// Whether it is the organisation's default key.
    pub kind: KindRecord,
    /// Where else it lives.
    pub place: PlaceRecord,
    /// The zone that created it.
    pub origin_zone: ZoneName,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it may be used.
    pub status: StatusRecord,
    /// When its material is renewed.
    pub rotation: RotationRecord,
    /// Its material versions, oldest first.
    pub versions: Vec<VersionRecord>,
    /// Its revision.
    pub revision: Revision,
    /// When it came to that revision.
    pub revised_at: Timestamp,
    /// The origin's revision at which its deletion was cancelled last.
    pub cancelled: Option<Revision>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsageRecord {
    /// Encryption and decryption.
    EncryptDecrypt,
}

/// Whether a key is the organisation's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KindRecord {
    /// Made by a user.
    Ordinary,
    /// The default key.
    Default,
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceRecord {
    /// In one zone only.
    SingleZone,
    /// In several zones; this is its origin.
    Origin {
        /// The other zones.
        replicas: BTreeSet<ZoneName>,
    },
    /// In several zones; this is not its origin.
    Replica {
        /// The origin's revision that was applied last.
        applied: Revision,
    },
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusRecord {
    /// It may.
    Enabled {
        /// Since when.
        since: Timestamp,
    },
    /// It may not.
    Disabled {
        /// Since when.
        since: Timestamp,
    },
    /// It may not and will be deleted.
    PendingDeletion {
        /// Since when.
        since: Timestamp,
        /// When it is gone.
        delete_at: Timestamp,
    },
}

/// When a key's material is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationRecord {
    /// Whether that happens by itself.
    pub automatic: AutomaticRecord,
    /// How often.
    pub period: RotationPeriod,
    /// When next.
    pub next_at: Timestamp,
    /// How often it was done by hand.
    pub manual_count: u32,
}

/// Whether a key rotates by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutomaticRecord {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// One material version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Its number.
    pub version: MaterialVersion,
    /// When it was made.
    pub created_at: Timestamp,
    /// What made it.
    pub made: MadeRecord,
    /// What the material must give when it is checked.
    pub check_value: [u8; 16],
}

/// What made a material version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MadeRecord {
    /// The creation of the key.
    Created,
    /// A user's rotation.
    Manually,
    /// A rotation that fell due.
    Automatically,
}

/// What remains of a deleted key: enough to keep a late message from reviving it. There is no material in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The key.
    pub id: KeyId,
    /// Its owner.
    pub organisation: OrganisationName,
    /// The name it had.
    pub name: KeyName,
    /// The zone that created it.
    pub origin_zone: ZoneName,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// Its last revision.
    pub revision: Revision,
    /// At the origin, the zones that may still hold the key.
    pub replicas: BTreeSet<ZoneName>,
}

/// Which key has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The key.
    pub key_id: KeyId,
}
