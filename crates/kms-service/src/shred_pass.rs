//! One pass: every record comes under the current epoch, and the earlier ones are given up.
//!
//! The pass goes through the whole store in small batches and lets other work go on between them. A record is sealed anew as
//! it is, whatever it holds. Only when a sweep through the whole store has found nothing under an earlier epoch are those
//! given up: changes made meanwhile are under the current epoch, since what was sealed before it came was committed before.

use kms_crypto::{EpochId, Keyring};
use kms_storage::record;
use kms_storage::{Body, Commit, CommitError, RecordKey, RecordKind, ScanError, Stored, Write};
use kms_types::KeyId;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

use crate::audit::Actor;
use crate::error::KmsError;
use crate::kms::Zone;
use crate::shredding::{Due, ShredError, ShredProgress, ShredReport, as_count};
use crate::snapshot::Snapshot;

/// Records read at a time.
const PAGE: usize = 128;

/// The most records sealed anew at a time; their commits share the store's flushes.
const BATCH: usize = 32;

/// The most bytes of records sealed anew at a time, give or take one record.
const BATCH_BYTES: usize = 1 << 20;

/// What other work is given after a batch.
const PAUSE: Duration = Duration::from_millis(2);

/// Sweeps through the store, the last of which must find nothing to do.
const SWEEPS: usize = 4;

/// How often a record is looked at that others change at the same moment.
const TRIES: usize = 8;

/// What became of one record.
enum Resealed {
    Done,
    /// It is under a late enough epoch, or gone.
    NotNeeded,
    /// Its seal is broken.
    Unreadable,
}

impl Zone {
    /// Makes one pass for `actor`, after the one under way, if any.
    pub(crate) async fn shred(self: &Arc<Self>, actor: Actor<'_>) -> Result<ShredReport, ShredError> {
        let _pass = self.shredder.pass.lock().await;
        self.begin_act("begin-shred", actor).await?;
        self.shredder.began();
        let outcome = self.shred_in_turn().await;
        match &outcome {
            Ok(report) => {
                if report.unreadable > 0 {
                    self.record_done("shred-unreadable", Actor::Server, report.unreadable).await;
                }
                self.record_done("shred", actor, report.resealed).await;
            }
            Err(cause) => self.record_failed("shred", actor, cause.in_few_words()).await,
        }
        let due = if self.records.epochs().count() > 1 { Due::APass } else { Due::Nothing };
        self.shredder.ended(&outcome, due);
        match &outcome {
            Ok(ShredReport { resealed, unreadable, retired, .. }) => {
                tracing::info!(zone = %self.name, resealed, unreadable, retired, "deleted material was shredded");
            }
            Err(cause) => tracing::warn!(zone = %self.name, %cause, "a shredding pass was not completed"),
        }
        outcome
    }

    async fn shred_in_turn(self: &Arc<Self>) -> Result<ShredReport, ShredError> {
        let epochs = self.records.epochs();
        if epochs.count() == 1 {
            self.succeed_epoch(epochs.current()).await?;
        }
        let first = epochs.current();
        let mut progress = ShredProgress::default();
        let mut left = 0;
        for _ in 0..SWEEPS {
            let resealed_before = progress.resealed;
            progress.unreadable = 0;
            self.sweep(first, &mut progress).await?;
            left = progress.resealed - resealed_before;
            if left == 0 {
                if !self.directory.all_unsettled().is_empty() {
                    return Err(ShredError::Unsettled);
                }
                kms_crashpoint::passed("shred:all-resealed");
                let retired = epochs.retire_before(first).await?;
                self.record_done("retire-epochs", Actor::Server, as_count(retired)).await;
                let ShredProgress { resealed, unreadable, .. } = progress;
                return Ok(ShredReport { at: self.clock.now(), resealed, unreadable, retired });
            }
        }
        Err(ShredError::NotAllResealed { left })
    }

    /// Goes once through the whole store, and seals anew what is under an epoch before `first`.
    async fn sweep(self: &Arc<Self>, first: EpochId, progress: &mut ShredProgress) -> Result<(), ShredError> {
        let mut after: Option<RecordKey> = None;
        loop {
            let page = self.store.scan("", after.as_ref(), None, PAGE).await.map_err(|cause| match cause {
                ScanError::Store(cause) => ShredError::from(cause),
                ScanError::Superseded => ShredError::Store(cause.to_string()),
            })?;
            progress.examined += u64::try_from(page.entries.len()).unwrap_or(u64::MAX);
            let mut batch = Vec::with_capacity(BATCH);
            let mut bytes = 0;
            for (place, stored) in page.entries {
                let Some(length) = length_if_before(first, &stored) else { continue };
                bytes += length;
                batch.push(place);
                if batch.len() == BATCH || bytes >= BATCH_BYTES {
                    self.reseal_all(std::mem::take(&mut batch), first, progress).await?;
                    bytes = 0;
                }
            }
            if !batch.is_empty() {
                self.reseal_all(batch, first, progress).await?;
            }
            self.shredder.came_to(*progress);
            if self.stopping.is_cancelled() {
                return Err(ShredError::Stopping);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn reseal_all(
        self: &Arc<Self>,
        batch: Vec<RecordKey>,
        first: EpochId,
        progress: &mut ShredProgress,
    ) -> Result<(), ShredError> {
        let mut work = JoinSet::new();
        for place in batch {
            let zone = Arc::clone(self);
            work.spawn(self.tasks.track_future(async move { zone.reseal(&place, first).await }));
        }
        let mut outcome = Ok(());
        while let Some(done) = work.join_next().await {
            match done {
                Ok(Ok(Resealed::Done)) => progress.resealed += 1,
                Ok(Ok(Resealed::NotNeeded)) => {}
                Ok(Ok(Resealed::Unreadable)) => progress.unreadable += 1,
                Ok(Err(cause)) => outcome = Err(cause),
                Err(fault) => outcome = Err(ShredError::Store(fault.to_string())),
            }
        }
        self.shredder.came_to(*progress);
        tokio::time::sleep(PAUSE).await;
        outcome
    }

    /// Seals the record at `place` anew if it is under an epoch before `first`, in the turn of the key it belongs to.
    async fn reseal(&self, place: &RecordKey, first: EpochId) -> Result<Resealed, ShredError> {
        for _ in 0..TRIES {
            let id = match place.kind() {
                RecordKind::Key { id, .. } => Some(*id),
                RecordKind::Name { .. } => self.named_by(place).await?,
            };
            let _turn = match id {
                Some(id) => Some(self.directory.turn(id).await),
                None => None,
            };
            let shown = match place.kind() {
                RecordKind::Key { id, .. } => self.shown(*id).await?,
                RecordKind::Name { .. } => None,
            };
            let stored = self.store.get(place).await?;
            let Body::Live(sealed) = &stored.body else { return Ok(Resealed::NotNeeded) };
            if length_if_before(first, &stored).is_none() {
                return Ok(Resealed::NotNeeded);
            }
            if let Some(snapshot) = &shown
                && snapshot.record() != stored.version
            {
                // What is shown is behind: it must not be shown as what the store has.
                self.refresh_from_store(snapshot.key().id())
                    .await
                    .map_err(|cause| ShredError::Store(cause.to_string()))?;
                continue;
            }
            let Ok(plain) = self.records.epochs().open(place, stored.version, sealed) else {
                tracing::error!(record = %place, "a damaged record cannot be sealed anew");
                return Ok(Resealed::Unreadable);
            };
            let exhausted = || ShredError::Store(format!("record {place} has no further version"));
            let version = stored.version.next().ok_or_else(exhausted)?;
            let sealing = self.records.sealing().await;
            let record = sealing.seal(place, version, plain.expose())?;
            let commit = Commit::new(vec![Write::live(place.clone(), stored.version, record)]);
            match sealing.commit(self.store.as_ref(), commit.fenced(self.fence.clone())).await {
                Ok(durable) => {
                    if let Some(snapshot) = shown {
                        self.directory.publish(snapshot.stored_as(version), &durable);
                    }
                    kms_crashpoint::passed("shred:resealed");
                    return Ok(Resealed::Done);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(refused) => return Err(ShredError::Store(refused.to_string())),
            }
        }
        Err(ShredError::Store(format!("record {place} is changed by others all the time")))
    }

    /// What is shown of key `id`, if anything, in the state that the store has; the caller holds the key's turn.
    async fn shown(&self, id: KeyId) -> Result<Option<Arc<Snapshot>>, ShredError> {
        if self.directory.shown(id).is_none() {
            return Ok(None);
        }
        match self.settled(id).await {
            Ok(()) => Ok(self.directory.shown(id)),
            Err(KmsError::KeyNotFound) => Ok(None),
            Err(_) => Err(ShredError::Unsettled),
        }
    }

    /// The key that the name record at `place` names; `None` when it cannot be read.
    async fn named_by(&self, place: &RecordKey) -> Result<Option<KeyId>, ShredError> {
        let stored = self.store.get(place).await?;
        let Body::Live(sealed) = &stored.body else { return Ok(None) };
        let Ok(plain) = self.records.epochs().open(place, stored.version, sealed) else { return Ok(None) };
        Ok(record::decode_name(plain.expose()).ok().map(|name| name.key_id))
    }
}

/// The length of a live record under an epoch before `first`, or under none that can be told.
fn length_if_before(first: EpochId, stored: &Stored) -> Option<usize> {
    match &stored.body {
        Body::Live(sealed) => match Keyring::epoch_of(sealed) {
            Ok(epoch) if epoch >= first => None,
            Ok(_) | Err(_) => Some(sealed.len()),
        },
        Body::Absent | Body::Tombstone => None,
    }
}
