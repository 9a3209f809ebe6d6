//! Making a key.

use kms_crypto::KeyMaterial;
use kms_lifecycle::{Key, Kind, NewKey, Reach, Usage};
use kms_storage::{Body, Commit, CommitError, Durable, RecordKey, RecordVersion, StoreError, Write};
use kms_types::{Description, KeyId, KeyName, OrganisationName};
use std::sync::Arc;

use crate::audit::Actor;
use crate::caller::Caller;
use crate::error::KmsError;
use crate::kms::{Kms, Zone};
use crate::recording::Recorded;
use crate::snapshot::{Snapshot, VersionMaterial};

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Its name, unique within the organisation and zone.
    pub name: KeyName,
    /// Its description.
    pub description: Description,
    /// Whether it may be replicated to other zones; that cannot be changed later.
    pub reach: Reach,
}

impl Kms {
    /// Makes a key: enabled, with a first version of material, rotating automatically every 365 days.
    ///
    /// # Errors
    ///
    /// [`KmsError::NameConflict`], [`KmsError::KeyQuota`], [`KmsError::NoEntropy`], [`KmsError::ReadOnly`] and
    /// [`KmsError::OutcomeUnknown`].
    pub async fn create_key(&self, caller: &Caller, request: CreateKey) -> Result<Arc<Key>, KmsError> {
        let zone = Arc::clone(self.zone());
        let (organisation, maker) = (caller.organisation().clone(), caller.clone());
        let creating = async move { zone.create(organisation, request, Kind::Ordinary, Actor::Caller(&maker)).await };
        let key = self.zone().run_owned(creating).await?;
        tracing::info!(key = %key.id(), organisation = %key.organisation(), credential = caller.credential(), "key created");
        Ok(key)
    }
}

impl Zone {
    pub(crate) async fn create(
        &self,
        organisation: OrganisationName,
        request: CreateKey,
        kind: Kind,
        actor: Actor<'_>,
    ) -> Result<Arc<Key>, KmsError> {
        let undertaking = self.begin_change()?;
        let limit = match kind {
            Kind::Ordinary => self.keys_per_organisation,
            // The configuration asks for it, and a full quota must not keep the zone from starting.
            Kind::Default => u32::MAX,
        };
        let reservation = self.directory.reserve(&organisation, &request.name, limit)?;
        let now = self.clock.now();
        let mut random = [0; 10];
        self.entropy.fill(&mut random)?;
        let new = NewKey {
            id: KeyId::from_time_and_random(now.as_millis(), &random),
            organisation: organisation.clone(),
            name: request.name,
            description: request.description,
            usage: Usage::EncryptDecrypt,
            zone: self.name.clone(),
            multi_zone: request.reach,
            kind,
        };
        let key = Key::create(new, now);
        let material: Box<[VersionMaterial]> =
            Box::new([VersionMaterial::new(KeyMaterial::generate(self.entropy.as_ref())?)]);

        let key_version = RecordVersion::NEVER.next().ok_or(KmsError::ReadOnly)?;
        match self.commit_new(&key, &material, key_version).await {
            Ok(durable) => {
                kms_crashpoint::passed("create:durable");
                let snapshot = Snapshot::new(key, material, key_version);
                let key = snapshot.to_key();
                reservation.fulfil(snapshot, &durable);
                kms_crashpoint::passed("create:published");
                self.due_changed.notify_one();
                let made = Recorded::of("create-kms-key", actor, &key, durable.revision());
                self.record(&undertaking, made).await.map_err(|_| KmsError::OutcomeUnknown)?;
                Ok(key)
            }
            Err(NotMade::NameTaken) => Err(KmsError::NameConflict),
            Err(NotMade::Refused(refused)) => Err(refused),
            Err(NotMade::Unknown(cause)) => {
                tracing::error!(key = %key.id(), cause, "it is not known whether a new key was stored");
                reservation.keep(key.id());
                self.accounts.note_unknown(self.clock.now());
                self.due_changed.notify_one();
                Err(KmsError::OutcomeUnknown)
            }
        }
    }

    /// Stores a new key's record, and the record that gives it its name.
    async fn commit_new(
        &self,
        key: &Key,
        material: &[VersionMaterial],
        version: RecordVersion,
    ) -> Result<Durable, NotMade> {
        let place = RecordKey::key(key.organisation(), key.id());
        let name_place = RecordKey::name(key.organisation(), key.name());
        // Few names were borne by another key before: only where the store says so is it asked.
        let mut name_found = RecordVersion::NEVER;
        loop {
            let name_version = name_found.next().ok_or(NotMade::Refused(KmsError::ReadOnly))?;
            let sealing = self.records.sealing().await;
            let record = sealing.seal_key(key, material, version).map_err(NotMade::Refused)?;
            let name = sealing.seal_name(key.organisation(), key.name(), key.id(), name_version);
            kms_crashpoint::passed("create:sealed");
            let commit = Commit::new(vec![
                Write::live(place.clone(), RecordVersion::NEVER, record),
                Write::live(name_place.clone(), name_found, name.map_err(NotMade::Refused)?),
            ]);
            match sealing.commit(self.store.as_ref(), commit).await {
                Ok(durable) => return Ok(durable),
                Err(CommitError::Conflict { key, .. }) if key == name_place && name_found == RecordVersion::NEVER => {
                    let found =
                        self.store.get(&name_place).await.map_err(|cause| NotMade::Refused(unreadable(cause)))?;
                    name_found = match found.body {
                        // Taken by a key that is not in memory: one whose record is damaged.
                        Body::Live(_) | Body::Absent => return Err(NotMade::NameTaken),
                        Body::Tombstone => found.version,
                    };
                }
                Err(CommitError::Conflict { .. }) => return Err(NotMade::NameTaken),
                Err(CommitError::Unknown(cause)) => return Err(NotMade::Unknown(cause)),
                Err(refused) => return Err(NotMade::Refused(not_committed(&refused))),
            }
        }
    }
}

/// Why a new key is not stored, as far as is known.
enum NotMade {
    NameTaken,
    Refused(KmsError),
    /// It may be stored all the same.
    Unknown(String),
}

/// A commit that certainly changed nothing.
pub(crate) fn not_committed(refused: &CommitError) -> KmsError {
    tracing::error!(cause = %refused, "a change was not stored");
    KmsError::ReadOnly
}

/// The store could not be read before a change.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn unreadable(cause: StoreError) -> KmsError {
    tracing::error!(%cause, "the store could not be read");
    KmsError::ReadOnly
}
