//! Storing what another zone says of its key: compare and swap, then show it, then answer.

use kms_lifecycle::{ForeignState, Key, OriginState, OriginUpdate};
use kms_replication::RefusalReason;
use kms_storage::record::TombstoneRecord;
use kms_storage::{Body, Commit, CommitError, RecordKey, RecordVersion, StoreRevision, Write};
use std::collections::BTreeSet;

use crate::accounts::Undertaking;
use crate::audit::Actor;
use crate::change::Attempt;
use crate::error::KmsError;
use crate::kms::Zone;
use crate::recording::Recorded;
use crate::records::Opened;
use crate::replication::fault;
use crate::sight::{Deleted, Sight};
use crate::snapshot::{Snapshot, VersionMaterial};

type Material = Box<[VersionMaterial]>;

/// What to do after a step.
enum Next {
    /// It is durable here.
    Done,
    /// What is known of the store was out of date and is not any more.
    Again,
}

impl Zone {
    /// Brings the replica to `state`; done when it has it, or a later one, durably.
    pub(super) async fn apply_state(&self, state: &OriginState, material: Material) -> Result<(), RefusalReason> {
        let change = self.begin_change().map_err(failed)?;
        loop {
            let next = match self.directory.sight(state.id()) {
                Sight::Live(_) => self.update_replica(state, &material, &change).await?,
                Sight::Nothing => self.first_copy(state, &material, &change).await?,
                Sight::Deleted(_) => return Err(RefusalReason::Deleted),
                Sight::Damaged => return Err(failed("the stored record of this key is damaged")),
            };
            match next {
                Next::Done => return Ok(()),
                Next::Again => {}
            }
        }
    }

    /// Puts the tombstone in the place of the replica, or where the replica would have been.
    pub(super) async fn apply_tombstone(&self, tombstone: TombstoneRecord) -> Result<(), RefusalReason> {
        // Which zones hold the key is for its origin to know.
        let tombstone = TombstoneRecord { replicas: BTreeSet::new(), ..tombstone };
        let change = self.begin_change().map_err(failed)?;
        loop {
            let next = match self.directory.sight(tombstone.id) {
                Sight::Live(_) => self.delete_replica(&tombstone, &change).await?,
                Sight::Nothing => self.bury_unseen(&tombstone, &change).await?,
                Sight::Deleted(deleted) if deleted.revision >= tombstone.revision => return Ok(()),
                Sight::Deleted(_) => return Err(RefusalReason::Deleted),
                Sight::Damaged => return Err(failed("the stored record of this key is damaged")),
            };
            match next {
                Next::Done => return Ok(()),
                Next::Again => {}
            }
        }
    }

    async fn update_replica(
        &self,
        state: &OriginState,
        material: &Material,
        change: &Undertaking<'_>,
    ) -> Result<Next, RefusalReason> {
        let _turn = self.directory.turn(state.id()).await;
        self.settled(state.id()).await.map_err(failed)?;
        let Some(current) = self.directory.shown(state.id()) else { return Ok(Next::Again) };
        let key = match current.key().apply_origin(state, self.clock.now()) {
            Ok(OriginUpdate::AlreadyHeld) => return Ok(Next::Done),
            Ok(OriginUpdate::Newer(key)) => *key,
            Err(ForeignState::NotReplica | ForeignState::OtherKey) => return Err(RefusalReason::NotOrigin),
            Err(ForeignState::OtherHistory) => return Err(RefusalReason::Malformed),
            Err(cause @ ForeignState::Exhausted) => return Err(failed(cause)),
        };
        let material = joined_material(&key, state, material, &current)?;
        match self.commit_key(&current, key, material, None).await.map_err(failed)? {
            Attempt::Done(key, commit) => {
                tell(&key, "replica updated by its origin");
                let made = Recorded::of("apply-replica", Actor::Peer(key.origin_zone()), &key, commit);
                self.record(change, made).await.map_err(failed)?;
                Ok(Next::Done)
            }
            Attempt::Stale => Ok(Next::Again),
        }
    }

    async fn first_copy(
        &self,
        state: &OriginState,
        material: &Material,
        change: &Undertaking<'_>,
    ) -> Result<Next, RefusalReason> {
        let organisation = state.organisation();
        if !self.organisations.contains(organisation) {
            return Err(failed(format!("organisation {organisation} is not configured in the target zone")));
        }
        if self.directory.unsettled(state.id()).is_some() {
            return Err(failed("it is not known yet whether an earlier copy was stored"));
        }
        let place = RecordKey::key(organisation, state.id());
        if self.take_note(&place).await? {
            return Ok(Next::Again);
        }
        let key = Key::replica_of(state, self.clock.now());
        let reservation = match self.directory.reserve(organisation, key.name(), self.keys_per_organisation) {
            Ok(reservation) => reservation,
            Err(KmsError::NameConflict) => return Err(RefusalReason::NameTaken),
            Err(KmsError::KeyQuota { .. }) => return Err(RefusalReason::QuotaReached),
            Err(other) => return Err(failed(other)),
        };
        let name_place = RecordKey::name(organisation, key.name());
        let named = self.store.get(&name_place).await.map_err(failed)?;
        match named.body {
            Body::Live(_) => return Err(RefusalReason::NameTaken),
            Body::Absent | Body::Tombstone => {}
        }
        let name_version = named.version.next().ok_or_else(|| failed("the name has no further version"))?;
        let version = RecordVersion::NEVER.next().ok_or_else(|| failed("the key has no further version"))?;
        let sealing = self.records.sealing().await;
        let record = sealing.seal_key(&key, material, version).map_err(failed)?;
        let name = sealing.seal_name(organisation, key.name(), key.id(), name_version).map_err(failed)?;
        let writes = vec![
            Write::live(place.clone(), RecordVersion::NEVER, record),
            Write::live(name_place, named.version, name),
        ];
        match sealing.commit(self.store.as_ref(), Commit::new(writes)).await {
            Ok(durable) => {
                let snapshot = Snapshot::new(key, material.clone(), version);
                tell(snapshot.key(), "replica of another zone's key made");
                let key = snapshot.to_key();
                reservation.fulfil(snapshot, &durable);
                let made = Recorded::of("apply-replica", Actor::Peer(key.origin_zone()), &key, durable.revision());
                self.record(change, made).await.map_err(failed)?;
                Ok(Next::Done)
            }
            Err(CommitError::Conflict { .. }) => Ok(Next::Again),
            Err(CommitError::Unknown(cause)) => {
                reservation.keep(state.id());
                self.accounts.note_unknown(self.clock.now());
                self.due_changed.notify_one();
                Err(failed(cause))
            }
            Err(refused) => Err(failed(refused)),
        }
    }

    /// Shows what the store has at the place of a key that is not shown; false when there is nothing.
    async fn take_note(&self, place: &RecordKey) -> Result<bool, RefusalReason> {
        let stored = self.store.get(place).await.map_err(failed)?;
        let sealed = match stored.body {
            Body::Live(sealed) => sealed,
            Body::Absent | Body::Tombstone => return Ok(false),
        };
        match self.records.open_key(place, stored.version, &sealed).map_err(failed)? {
            Opened::Key(snapshot) => self.directory.load(snapshot),
            Opened::Tombstone(tombstone) => self.directory.load_tombstone(tombstone.id, Deleted::from(&tombstone)),
        };
        Ok(true)
    }

    async fn delete_replica(
        &self,
        tombstone: &TombstoneRecord,
        change: &Undertaking<'_>,
    ) -> Result<Next, RefusalReason> {
        let _turn = self.directory.turn(tombstone.id).await;
        self.settled(tombstone.id).await.map_err(failed)?;
        let Some(current) = self.directory.shown(tombstone.id) else { return Ok(Next::Again) };
        let key = current.key();
        let is_of = key.is_replica_from(&tombstone.origin_zone)
            && *key.organisation() == tombstone.organisation
            && *key.name() == tombstone.name;
        if !is_of {
            return Err(RefusalReason::NotOrigin);
        }
        if key.origin_revision() >= tombstone.revision {
            return Err(RefusalReason::Malformed);
        }
        match self.commit_tombstone(&current, tombstone, None).await.map_err(failed)? {
            Attempt::Done(key, commit) => {
                tell(&key, "replica deleted for good by its origin");
                self.record(change, buried(tombstone, commit)).await.map_err(failed)?;
                Ok(Next::Done)
            }
            Attempt::Stale => Ok(Next::Again),
        }
    }

    /// The tombstone of a key that never came here, so that it never will.
    async fn bury_unseen(&self, tombstone: &TombstoneRecord, change: &Undertaking<'_>) -> Result<Next, RefusalReason> {
        let place = RecordKey::key(&tombstone.organisation, tombstone.id);
        let stored = self.store.get(&place).await.map_err(failed)?;
        if let Body::Live(sealed) = stored.body {
            let opened = self.records.open_key(&place, stored.version, &sealed);
            match opened.map_err(failed)? {
                Opened::Key(snapshot) => self.directory.load(snapshot),
                Opened::Tombstone(found) => self.directory.load_tombstone(found.id, Deleted::from(&found)),
            };
            return Ok(Next::Again);
        }
        let version = stored.version.next().ok_or_else(|| failed("the key has no further version"))?;
        let sealing = self.records.sealing().await;
        let record = sealing.seal_tombstone(tombstone, version).map_err(failed)?;
        match sealing.commit(self.store.as_ref(), Commit::new(vec![Write::live(place, stored.version, record)])).await {
            Ok(durable) => {
                self.directory.note_tombstone(tombstone.id, Deleted::from(tombstone), &durable);
                self.record(change, buried(tombstone, durable.revision())).await.map_err(failed)?;
                Ok(Next::Done)
            }
            Err(CommitError::Conflict { .. }) => Ok(Next::Again),
            Err(refused) => {
                self.accounts.note_unknown(self.clock.now());
                Err(failed(refused))
            }
        }
    }
}

fn buried(tombstone: &TombstoneRecord, commit: StoreRevision) -> Recorded<'_> {
    Recorded {
        operation: "delete-replica",
        actor: Actor::Peer(&tombstone.origin_zone),
        organisation: &tombstone.organisation,
        key: tombstone.id,
        version: None,
        revision: tombstone.revision,
        commit,
    }
}

/// The material of each version of `key`, which `state` made of the replica: the origin's, and of versions that it lost what
/// the replica has. Where both have a version, its material is the same or nothing of the state is to be used.
fn joined_material(
    key: &Key,
    state: &OriginState,
    origin: &Material,
    replica: &Snapshot,
) -> Result<Material, RefusalReason> {
    let versions = state.to_parts().versions;
    let of_origin = |version| versions.iter().position(|info| info.version == version).and_then(|at| origin.get(at));
    let of_replica = |version| replica.key().place_of(version).and_then(|at| replica.all_material().get(at));
    let joined = key.versions().iter().map(|info| {
        let check_value = |material: &VersionMaterial| material.check_value(key.id(), info.version);
        match (of_origin(info.version), of_replica(info.version)) {
            (Some(theirs), Some(ours)) if check_value(theirs) != check_value(ours) => None,
            // Of the same material the copy that is here, beside which its use is counted.
            (_, Some(material)) | (Some(material), None) => Some(material.clone()),
            (None, None) => None,
        }
    });
    joined.collect::<Option<_>>().ok_or_else(|| {
        tracing::error!(key = %key.id(), "the origin has other material of a version that is here: its number was used twice");
        RefusalReason::Malformed
    })
}

fn tell(key: &Key, what: &str) {
    let (id, organisation, origin) = (key.id(), key.organisation(), key.origin_zone());
    let revision = key.origin_revision().get();
    tracing::info!(key = %id, %organisation, %origin, revision, "{what}");
}

fn failed(cause: impl std::fmt::Display) -> RefusalReason {
    RefusalReason::Failed(fault(cause))
}
