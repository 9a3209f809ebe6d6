//! Changing a key: decide, make material, seal, commit, publish, answer. In this order, one change of a key at a time.

use kms_crypto::KeyMaterial;
use kms_lifecycle::{
    Change, Command, Decision, DueWork, FinalDeletion, Key, Kind, Rejection, VersionInfo, decide, decide_due,
};
use kms_storage::record::TombstoneRecord;
use kms_storage::{Body, Commit, CommitError, Fence, RecordKey, StoreRevision, Write};
use kms_types::{KeyId, ZoneName};
use std::sync::Arc;

use crate::audit::Actor;
use crate::caller::Caller;
use crate::create::{not_committed, unreadable};
use crate::directory::{Unsettled, UnsettledAttempt};
use crate::error::KmsError;
use crate::kms::{Kms, Replicated, Zone};
use crate::recording::{Recorded, operation_of};
use crate::records::{Opened, tombstone_record};
use crate::sight::Deleted;
use crate::snapshot::{Snapshot, VersionMaterial};

impl Kms {
    /// Carries out `command` on key `id`. Answers with the key after it, which is the key as it was when there was nothing
    /// to do.
    ///
    /// # Errors
    ///
    /// [`KmsError::KeyNotFound`], [`KmsError::Rejected`] with the reason, [`KmsError::ReadOnly`] and others that say that
    /// nothing was changed, and [`KmsError::OutcomeUnknown`].
    pub async fn change_key(&self, caller: &Caller, id: KeyId, command: Command) -> Result<Arc<Key>, KmsError> {
        self.zone().directory.with_key(caller.organisation(), id, |_| Ok(()))?;
        let zone = Arc::clone(self.zone());
        let caller = caller.clone();
        self.zone().run_owned(async move { zone.carry_out(id, &command, &caller).await }).await
    }

    /// Registers `target` as a replica of key `id`.
    ///
    /// # Errors
    ///
    /// The key's own rules first; then [`KmsError::InvalidTargetZone`] for a zone that is not known here; and
    /// [`KmsError::ReplicationUnavailable`] when there is no link to that zone, because the promise could not be kept.
    pub async fn replicate_key(&self, caller: &Caller, id: KeyId, target: ZoneName) -> Result<Replicated, KmsError> {
        let key = self.get_key(caller, id)?;
        let zone = self.zone();
        let linked = zone.replication.as_ref().is_some_and(|replication| replication.knows(&target));
        let known = zone.known_zones.contains(&target);
        let command = Command::Replicate { target };
        match decide(&key, &command, zone.clock.now())? {
            Decision::Change(_) | Decision::AlreadyApplied if !known => Err(KmsError::InvalidTargetZone),
            Decision::Change(_) | Decision::AlreadyApplied if !linked => Err(KmsError::ReplicationUnavailable),
            Decision::Change(_) | Decision::AlreadyApplied => {
                Ok(Replicated { key: self.change_key(caller, id, command).await? })
            }
        }
    }
}

/// How a commit of one key's change ended.
pub(crate) enum Attempt {
    Done(Arc<Key>, StoreRevision),
    /// The record had moved on since it was read; it was read again.
    Stale,
}

impl Zone {
    async fn carry_out(&self, id: KeyId, command: &Command, caller: &Caller) -> Result<Arc<Key>, KmsError> {
        let _turn = self.directory.turn(id).await;
        self.settled(id).await?;
        let undertaking = self.begin_change()?;
        loop {
            let current = self.directory.snapshot(id)?;
            match decide(current.key(), command, self.clock.now())? {
                Decision::AlreadyApplied => return Ok(current.to_key()),
                Decision::Change(change) => match self.commit_change(&current, &change, None).await? {
                    Attempt::Done(key, commit) => {
                        log(&key, &change, caller.credential());
                        if matches!(command, Command::ScheduleDeletion { .. }) {
                            self.warn_of_recent_use(&current, caller.credential());
                        }
                        let made = Recorded::of(operation_of(change.kind()), Actor::Caller(caller), &key, commit);
                        self.record(&undertaking, made).await.map_err(|_| KmsError::OutcomeUnknown)?;
                        return Ok(key);
                    }
                    Attempt::Stale => {}
                },
            }
        }
    }

    /// Does the work that is due on one key, if any.
    pub(crate) async fn carry_out_due(&self, id: KeyId) -> Result<(), KmsError> {
        let _turn = self.directory.turn(id).await;
        self.settled(id).await?;
        let undertaking = self.begin_change()?;
        loop {
            let Some(current) = self.directory.shown(id) else { return Ok(()) };
            let attempt = match decide_due(current.key(), self.clock.now()) {
                None => return Ok(()),
                Some(DueWork::Rotate(change)) => {
                    let attempt = self.commit_change(&current, &change, Some(&self.fence)).await?;
                    if let Attempt::Done(key, commit) = &attempt {
                        log(key, &change, "scheduler");
                        let made = Recorded::of(operation_of(change.kind()), Actor::Scheduler, key, *commit);
                        self.record(&undertaking, made).await?;
                    }
                    attempt
                }
                Some(DueWork::Delete(deletion)) => {
                    let attempt = self.commit_deletion(&current, &deletion).await?;
                    if let Attempt::Done(key, commit) = &attempt {
                        let revision = deletion.tombstone().revision.seq;
                        let made = Recorded::of("final-deletion", Actor::Scheduler, key, *commit);
                        self.record(&undertaking, Recorded { version: None, revision, ..made }).await?;
                    }
                    attempt
                }
            };
            match attempt {
                Attempt::Done(..) => return Ok(()),
                Attempt::Stale => {}
            }
        }
    }

    async fn commit_change(
        &self,
        current: &Snapshot,
        change: &Change,
        fence: Option<&Fence>,
    ) -> Result<Attempt, KmsError> {
        let key = current.key().apply(change).map_err(|_| KmsError::Rejected(Rejection::Exhausted))?;
        let mut material = current.all_material().to_vec();
        if change.new_version().is_some() {
            material.push(VersionMaterial::new(KeyMaterial::generate(self.entropy.as_ref())?));
        }
        self.commit_key(current, key, material.into(), fence).await
    }

    /// Stores `key` with `material` in the place of `current` and shows it. To be called in the key's turn.
    pub(crate) async fn commit_key(
        &self,
        current: &Snapshot,
        key: Key,
        material: Box<[VersionMaterial]>,
        fence: Option<&Fence>,
    ) -> Result<Attempt, KmsError> {
        let version = current.record().next().ok_or(KmsError::Rejected(Rejection::Exhausted))?;
        let sealing = self.records.sealing().await;
        let record = sealing.seal_key(&key, &material, version)?;
        let place = RecordKey::key(key.organisation(), key.id());
        let commit = Commit { writes: vec![Write::live(place, current.record(), record)], fence: fence.cloned() };
        kms_crashpoint::passed("change:sealed");
        match sealing.commit(self.store.as_ref(), commit).await {
            Ok(durable) => {
                kms_crashpoint::passed("change:durable");
                let snapshot = Snapshot::new(key, material, version);
                let key = snapshot.to_key();
                self.directory.publish(snapshot, &durable);
                kms_crashpoint::passed("change:published");
                self.announce(&key);
                self.due_changed.notify_one();
                Ok(Attempt::Done(key, durable.revision()))
            }
            Err(refused) => self.after_refusal(current, &refused).await,
        }
    }

    async fn commit_deletion(&self, current: &Snapshot, deletion: &FinalDeletion) -> Result<Attempt, KmsError> {
        let tombstone = tombstone_record(deletion.tombstone());
        self.commit_tombstone(current, &tombstone, Some(&self.fence)).await
    }

    /// Stores `tombstone` in the place of `current`, whose name it frees. To be called in the key's turn.
    pub(crate) async fn commit_tombstone(
        &self,
        current: &Snapshot,
        tombstone: &TombstoneRecord,
        fence: Option<&Fence>,
    ) -> Result<Attempt, KmsError> {
        let version = current.record().next().ok_or(KmsError::Rejected(Rejection::Exhausted))?;
        let place = RecordKey::key(&tombstone.organisation, tombstone.id);
        self.make_shreddable(&place).await?;
        let name_place = RecordKey::name(&tombstone.organisation, &tombstone.name);
        let name_found = self.store.get(&name_place).await.map_err(unreadable)?.version;
        let sealing = self.records.sealing().await;
        let record = sealing.seal_tombstone(tombstone, version)?;
        let writes = vec![Write::live(place, current.record(), record), Write::tombstone(name_place, name_found)];
        kms_crashpoint::passed("deletion:sealed");
        match sealing.commit(self.store.as_ref(), Commit { writes, fence: fence.cloned() }).await {
            Ok(durable) => {
                kms_crashpoint::passed("deletion:durable");
                self.directory.bury(tombstone.id, Deleted::from(tombstone), &durable);
                kms_crashpoint::passed("deletion:published");
                self.shredder.note_deletion(self.clock.now());
                self.announce_tombstone(tombstone.id, tombstone.revision, &tombstone.replicas);
                tracing::info!(key = %tombstone.id, organisation = %tombstone.organisation, "key deleted for good");
                Ok(Attempt::Done(current.to_key(), durable.revision()))
            }
            Err(refused) => self.after_refusal(current, &refused).await,
        }
    }

    /// What to do when a commit was not durable: start over from what the store says, or tell the caller.
    async fn after_refusal(&self, current: &Snapshot, refused: &CommitError) -> Result<Attempt, KmsError> {
        match refused {
            CommitError::Conflict { .. } => {
                self.read_again(current).await?;
                Ok(Attempt::Stale)
            }
            CommitError::Unknown(cause) => {
                let key = current.key();
                tracing::error!(key = %key.id(), cause, "it is not known whether a change was stored");
                let organisation = key.organisation().clone();
                self.directory.unsettle(key.id(), Unsettled { organisation, attempt: UnsettledAttempt::Change });
                self.accounts.note_unknown(self.clock.now());
                self.due_changed.notify_one();
                Err(KmsError::OutcomeUnknown)
            }
            CommitError::Fenced | CommitError::ReadOnly(_) | CommitError::TooLarge(_) | CommitError::Malformed(_) => {
                Err(not_committed(refused))
            }
        }
    }

    /// Takes the key's record from the store, which has moved past the snapshot.
    async fn read_again(&self, current: &Snapshot) -> Result<(), KmsError> {
        let id = current.key().id();
        self.refresh_from_store(id).await?;
        if self.directory.snapshot(id)?.record() == current.record() { Err(KmsError::ReadOnly) } else { Ok(()) }
    }

    /// Shows the key as the store has it at this moment.
    pub(crate) async fn refresh_from_store(&self, id: KeyId) -> Result<(), KmsError> {
        let shown = self.directory.snapshot(id)?;
        let key = shown.key();
        let place = RecordKey::key(key.organisation(), key.id());
        let stored = self.store.get(&place).await.map_err(unreadable)?;
        let opened = match &stored.body {
            Body::Live(sealed) => self.records.open_key(&place, stored.version, sealed),
            Body::Absent | Body::Tombstone => return Err(KmsError::KeyNotFound),
        };
        match opened {
            Ok(Opened::Key(snapshot)) => {
                let snapshot = if key.kind() == Kind::Default { snapshot.into_default_key() } else { Ok(snapshot) };
                let snapshot = snapshot.map_err(|_| KmsError::RecordDamaged)?;
                let key = snapshot.to_key();
                self.directory.refresh(snapshot);
                self.announce(&key);
                Ok(())
            }
            Ok(Opened::Tombstone(tombstone)) => {
                self.directory.bury_found(id, Deleted::from(&tombstone));
                self.announce_tombstone(tombstone.id, tombstone.revision, &tombstone.replicas);
                Err(KmsError::KeyNotFound)
            }
            Err(cause) => {
                tracing::error!(record = %place, %cause, "a record is damaged");
                Err(KmsError::RecordDamaged)
            }
        }
    }
}

fn log(key: &Key, change: &Change, by: &str) {
    let VersionInfo { version, .. } = key.current_version();
    tracing::info!(
        key = %key.id(),
        organisation = %key.organisation(),
        by,
        change = ?change.kind(),
        revision = key.revision().seq.get(),
        version = version.get(),
        "key changed"
    );
}
