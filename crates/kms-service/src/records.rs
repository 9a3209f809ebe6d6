//! Between live keys and sealed records: the one place where material leaves its snapshot, for its record only.

use kms_crypto::{CheckValue, KeyMaterial, RecordError, SecretBytes};
use kms_lifecycle::{
    InconsistentKey, Key, KeyParts, Kind, Made, ManualCount, OriginState, Place, Rejection, RevisionStamp, Rotation,
    Schedule, Status, Tombstone, Usage, VersionInfo,
};
use kms_storage::record::{
    self, AutomaticRecord, KeyRecord, KindRecord, MadeRecord, Materials, NameRecord, PlaceRecord, Record,
    RecordFormatError, RotationRecord, StatusRecord, TombstoneRecord, Transfer, UsageRecord, VersionRecord,
};
use kms_storage::{RecordKey, RecordKind, RecordVersion};
use kms_types::{KeyId, KeyName, OrganisationName};
use std::collections::BTreeSet;
use std::sync::Arc;
use zeroize::Zeroizing;

use crate::epochs::{Epochs, Sealing};
use crate::error::KmsError;
use crate::shared_names::SharedNames;
use crate::snapshot::{Snapshot, VersionMaterial};

/// What the use of keys is sealed as: no record of the store has this place. It has no versions: a lost or older one is
/// nothing to refuse.
const USAGE_PLACE: &str = "usage";
const USAGE_VERSION: u64 = 1;

/// Seals and opens the records of one store.
#[derive(Clone)]
pub(crate) struct Records {
    epochs: Arc<Epochs>,
    names: Arc<SharedNames>,
}

/// What a key's record turned out to be.
pub(crate) enum Opened {
    Key(Snapshot),
    /// The key was deleted.
    Tombstone(TombstoneRecord),
}

/// What a record says, whatever its kind.
pub(crate) enum Content {
    /// A key, with the material of each version.
    Key(Box<Key>, Box<[VersionMaterial]>),
    /// A key that was deleted.
    Tombstone(TombstoneRecord),
    /// The key that has a name.
    Name(KeyId),
}

/// What another zone sent.
pub(crate) enum Arrived {
    /// The state of a key there, with the material of each version.
    Key(Box<OriginState>, Box<[VersionMaterial]>),
    /// The key was deleted there.
    Tombstone(TombstoneRecord),
}

/// Why a record could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is sealed wrongly: {0}")]
    Sealed(#[from] RecordError),
    #[error("{0}")]
    Format(#[from] RecordFormatError),
    #[error("{0}")]
    Inconsistent(#[from] InconsistentKey),
    #[error("it holds another key than its place says")]
    Misplaced,
    #[error("the check value of material version {0} does not match")]
    CheckValue(u32),
}

impl Unusable {
    /// The record's format when a newer ZoneKMS wrote it.
    pub(crate) fn newer_format(&self) -> Option<u8> {
        match self {
            Self::Sealed(RecordError::NewerFormat { found }) | Self::Format(RecordFormatError::Newer { found }) => {
                Some(*found)
            }
            Self::Sealed(RecordError::Damaged | RecordError::UnknownEpoch(_))
            | Self::Format(RecordFormatError::Malformed | RecordFormatError::OtherKind)
            | Self::Inconsistent(_)
            | Self::Misplaced
            | Self::CheckValue(_) => None,
        }
    }
}

impl Sealing {
    /// The sealed record of `key` with `material`, oldest first, as version `version` of its place.
    pub(crate) fn seal_key(
        &self,
        key: &Key,
        material: &[VersionMaterial],
        version: RecordVersion,
    ) -> Result<Vec<u8>, KmsError> {
        let secrets: Vec<&[u8; 32]> = material.iter().map(|one| one.expose_secret()).collect();
        let plain = encoded(record::encode_key(&to_record(key.to_parts(), material), &secrets))?;
        Ok(self.seal(&RecordKey::key(key.organisation(), key.id()), version, &plain)?)
    }

    /// The sealed record that takes the place of a deleted key.
    pub(crate) fn seal_tombstone(
        &self,
        tombstone: &TombstoneRecord,
        version: RecordVersion,
    ) -> Result<Vec<u8>, KmsError> {
        let plain = encoded(record::encode_tombstone(tombstone))?;
        Ok(self.seal(&RecordKey::key(&tombstone.organisation, tombstone.id), version, &plain)?)
    }

    /// The sealed record that says which key has a name.
    pub(crate) fn seal_name(
        &self,
        organisation: &OrganisationName,
        name: &KeyName,
        key_id: KeyId,
        version: RecordVersion,
    ) -> Result<Vec<u8>, KmsError> {
        self.seal_name_at(&RecordKey::name(organisation, name), key_id, version)
    }

    /// As [`Sealing::seal_name`], where the name itself is not known.
    pub(crate) fn seal_name_at(
        &self,
        place: &RecordKey,
        key_id: KeyId,
        version: RecordVersion,
    ) -> Result<Vec<u8>, KmsError> {
        let plain = encoded(record::encode_name(NameRecord { key_id }))?;
        Ok(self.seal(place, version, &plain)?)
    }
}

impl Records {
    pub(crate) fn new(epochs: Epochs) -> Self {
        Self { epochs: Arc::new(epochs), names: Arc::default() }
    }

    /// What the records are sealed under.
    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// To seal records with, and to commit them.
    pub(crate) async fn sealing(&self) -> Sealing {
        self.epochs.sealing().await
    }

    /// Opens the record found at `place`, which is a key's, and verifies every check value in it.
    pub(crate) fn open_key(
        &self,
        place: &RecordKey,
        version: RecordVersion,
        sealed: &[u8],
    ) -> Result<Opened, Unusable> {
        let plain = self.epochs.open(place, version, sealed)?;
        match read_content(&self.names, place, plain.expose())? {
            Content::Key(key, material) => Ok(Opened::Key(Snapshot::new(*key, material, version))),
            Content::Tombstone(tombstone) => Ok(Opened::Tombstone(tombstone)),
            Content::Name(_) => Err(Unusable::Misplaced),
        }
    }

    /// The content of the record found at `place`, for a backup: opened, and found to be one of that place.
    pub(crate) fn open_content(
        &self,
        place: &RecordKey,
        version: RecordVersion,
        sealed: &[u8],
    ) -> Result<SecretBytes, Unusable> {
        let plain = self.epochs.open(place, version, sealed)?;
        read_content(&self.names, place, plain.expose())?;
        Ok(plain)
    }

    /// Seals what is saved of the use of keys, under the current epoch.
    pub(crate) fn seal_usage(&self, plain: &[u8]) -> Result<Vec<u8>, KmsError> {
        Ok(self.epochs.seal_text(USAGE_PLACE, USAGE_VERSION, plain)?)
    }

    /// Opens what [`Records::seal_usage`] made.
    pub(crate) fn open_usage(&self, sealed: &[u8]) -> Result<SecretBytes, RecordError> {
        self.epochs.open_text(USAGE_PLACE, USAGE_VERSION, sealed)
    }

    /// The id of the store that the records are sealed for.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.epochs.store_id()
    }

    /// What other zones are told of the key, to be sealed to each of them.
    pub(crate) fn transfer_of(&self, snapshot: &Snapshot) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let state = snapshot.key().origin_state().ok_or(KmsError::Rejected(Rejection::NotOnReplica))?;
        let material = snapshot.all_material();
        let secrets: Vec<&[u8; 32]> = material.iter().map(|one| one.expose_secret()).collect();
        encoded(record::encode_transfer(&to_record(state.to_parts(), material), &secrets))
    }

    /// What other zones are told of a deletion.
    pub(crate) fn transfer_of_tombstone(&self, tombstone: &TombstoneRecord) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let told = TombstoneRecord { replicas: BTreeSet::new(), ..tombstone.clone() };
        encoded(record::encode_tombstone_transfer(&told)).map(Zeroizing::new)
    }

    /// Reads what another zone sent, and verifies every check value in it.
    pub(crate) fn read_transfer(&self, plain: &[u8]) -> Result<Arrived, Unusable> {
        match record::decode_transfer(plain)? {
            Transfer::Key(key, secrets) => {
                let material = verified_material(&key, secrets)?;
                Ok(Arrived::Key(Box::new(OriginState::restore(to_parts(&self.names, key)?)?), material))
            }
            Transfer::Tombstone(tombstone) => Ok(Arrived::Tombstone(tombstone)),
        }
    }
}

/// Reads the content of a record of `place`, and verifies every check value in it.
pub(crate) fn read_content(names: &SharedNames, place: &RecordKey, plain: &[u8]) -> Result<Content, Unusable> {
    match (record::decode(plain)?, place.kind()) {
        (Record::Key(key, secrets), RecordKind::Key { organisation, id })
            if key.id == *id && key.organisation == *organisation =>
        {
            let material = verified_material(&key, secrets)?;
            Ok(Content::Key(Box::new(Key::restore(to_parts(names, key)?)?), material))
        }
        (Record::Tombstone(tombstone), RecordKind::Key { organisation, id })
            if tombstone.id == *id && tombstone.organisation == *organisation =>
        {
            Ok(Content::Tombstone(tombstone))
        }
        (Record::Name(name), RecordKind::Name { .. }) => Ok(Content::Name(name.key_id)),
        (
            Record::Key(..) | Record::Tombstone(_) | Record::Name(_),
            RecordKind::Key { .. } | RecordKind::Name { .. },
        ) => Err(Unusable::Misplaced),
    }
}

fn to_parts(names: &SharedNames, record: KeyRecord) -> Result<KeyParts, InconsistentKey> {
    let manual_count =
        u8::try_from(record.rotation.manual_count).ok().and_then(|count| ManualCount::try_from(count).ok());
    let manual_count = manual_count.ok_or(InconsistentKey::ManualCount)?;
    Ok(KeyParts {
        id: record.id,
        organisation: names.organisation(record.organisation),
        name: record.name,
        description: record.description,
        usage: match record.usage {
            UsageRecord::EncryptDecrypt => Usage::EncryptDecrypt,
        },
        // Which key is an organisation's default is said by the configuration, not by the record.
        kind: Kind::Ordinary,
        place: match record.place {
            PlaceRecord::SingleZone => Place::SingleZone,
            PlaceRecord::Origin { replicas } => Place::Origin { replicas: replicas.into() },
            PlaceRecord::Replica { applied } => Place::Replica { applied },
        },
        origin_zone: names.zone(record.origin_zone),
        created_at: record.created_at,
        status: match record.status {
            StatusRecord::Enabled { since } => Status::Enabled { since },
            StatusRecord::Disabled { since } => Status::Disabled { since },
            StatusRecord::PendingDeletion { since, delete_at } => Status::PendingDeletion { since, delete_at },
        },
        rotation: Rotation::new(
            match record.rotation.automatic {
                AutomaticRecord::On => Schedule::On,
                AutomaticRecord::Off => Schedule::Off,
            },
            record.rotation.period,
            record.rotation.next_at,
            manual_count,
        ),
        versions: record
            .versions
            .iter()
            .map(|version| VersionInfo {
                version: version.version,
                created_at: version.created_at,
                made: match version.made {
                    MadeRecord::Created => Made::Created,
                    MadeRecord::Manually => Made::Manually,
                    MadeRecord::Automatically => Made::Automatically,
                },
            })
            .collect(),
        cancelled: record.cancelled,
        revision: RevisionStamp { seq: record.revision, at: record.revised_at },
    })
}

/// The record of a deleted key.
pub(crate) fn tombstone_record(tombstone: &Tombstone) -> TombstoneRecord {
    TombstoneRecord {
        id: tombstone.id,
        organisation: tombstone.organisation.clone(),
        name: tombstone.name.clone(),
        origin_zone: tombstone.origin_zone.clone(),
        deleted_at: tombstone.deleted_at,
        revision: tombstone.revision.seq,
        replicas: tombstone.replicas.clone(),
    }
}

fn encoded<T>(bytes: Result<T, RecordFormatError>) -> Result<T, KmsError> {
    bytes.map_err(|cause| {
        tracing::error!(%cause, "a record could not be written");
        KmsError::RecordDamaged
    })
}

fn verified_material(key: &KeyRecord, secrets: Materials<'_>) -> Result<Box<[VersionMaterial]>, Unusable> {
    let versions = key.versions.iter().zip(secrets.iter());
    versions
        .map(|(version, secret)| {
            let material = KeyMaterial::from_bytes(secret);
            let stored = CheckValue::from_bytes(version.check_value);
            if material.check_value(key.id, version.version) == stored {
                Ok(VersionMaterial::new(material))
            } else {
                Err(Unusable::CheckValue(version.version.get()))
            }
        })
        .collect()
}

fn to_record(parts: KeyParts, material: &[VersionMaterial]) -> KeyRecord {
    let check_value =
        |version: &VersionInfo, material: &KeyMaterial| *material.check_value(parts.id, version.version).as_bytes();
    KeyRecord {
        id: parts.id,
        versions: parts
            .versions
            .iter()
            .zip(material)
            .map(|(version, material)| VersionRecord {
                version: version.version,
                created_at: version.created_at,
                made: match version.made {
                    Made::Created => MadeRecord::Created,
                    Made::Manually => MadeRecord::Manually,
                    Made::Automatically => MadeRecord::Automatically,
                },
                check_value: check_value(version, material),
            })
            .collect(),
        organisation: parts.organisation,
        name: parts.name,
        description: parts.description,
        usage: match parts.usage {
            Usage::EncryptDecrypt => UsageRecord::EncryptDecrypt,
        },
        kind: match parts.kind {
            Kind::Ordinary => KindRecord::Ordinary,
            Kind::Default => KindRecord::Default,
        },
        place: match parts.place {
            Place::SingleZone => PlaceRecord::SingleZone,
            Place::Origin { replicas } => PlaceRecord::Origin { replicas: replicas.into() },
            Place::Replica { applied } => PlaceRecord::Replica { applied },
        },
        origin_zone: parts.origin_zone,
        created_at: parts.created_at,
        status: match parts.status {
            Status::Enabled { since } => StatusRecord::Enabled { since },
            Status::Disabled { since } => StatusRecord::Disabled { since },
            Status::PendingDeletion { since, delete_at } => StatusRecord::PendingDeletion { since, delete_at },
        },
        rotation: RotationRecord {
            automatic: match parts.rotation.schedule() {
                Schedule::On => AutomaticRecord::On,
                Schedule::Off => AutomaticRecord::Off,
            },
            period: parts.rotation.period(),
            next_at: parts.rotation.next_at(),
            manual_count: parts.rotation.manual_count().get().into(),
        },
        revision: parts.revision.seq,
        revised_at: parts.revision.at,
        cancelled: parts.cancelled,
    }
}
