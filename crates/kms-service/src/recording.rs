//! What the service tells the audit log, and when: a change after its commit and before its answer, a crypto call before its
//! result is given.

use kms_crypto::EncryptionContext;
use kms_lifecycle::{ChangeKind, Key};
use kms_storage::{KEY_PREFIX, ScanError, Store, StoreError, StoreRevision};
use kms_types::{KeyId, MaterialVersion, OrganisationName, Revision, Timestamp};
use std::net::IpAddr;

use crate::accounts::Undertaking;
use crate::audit::{Actor, AuditEntry, AuditLog, Destination, NotRecorded, Outcome, Settled};
use crate::caller::Caller;
use crate::error::{KmsError, StartError};
use crate::kms::{Kms, Zone};
use crate::set_back::refuse_set_back;

/// A change that was committed, as the log tells it.
pub(crate) struct Recorded<'a> {
    pub(crate) operation: &'static str,
    pub(crate) actor: Actor<'a>,
    pub(crate) organisation: &'a OrganisationName,
    pub(crate) key: KeyId,
    pub(crate) version: Option<MaterialVersion>,
    pub(crate) revision: Revision,
    pub(crate) commit: StoreRevision,
}

impl<'a> Recorded<'a> {
    /// The change that led to `key`.
    pub(crate) fn of(operation: &'static str, actor: Actor<'a>, key: &'a Key, commit: StoreRevision) -> Self {
        Self {
            operation,
            actor,
            organisation: key.organisation(),
            key: key.id(),
            version: Some(key.current_version().version),
            revision: key.revision().seq,
            commit,
        }
    }
}

impl Kms {
    /// The zone's audit log, for front doors to tell what they refuse.
    #[must_use]
    pub fn audit(&self) -> &dyn AuditLog {
        self.zone().audit.as_ref()
    }

    /// Tells the audit log of an act that is about no single key, such as a backup; `count` of something, if it is about a
    /// number. Answers once the entry is durable.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Broken`]; the log writes it when it can.
    pub async fn record_act(
        &self,
        operation: &'static str,
        actor: Actor<'_>,
        count: Option<u64>,
    ) -> Result<(), NotRecorded> {
        self.zone().record_act(operation, actor, count).await
    }

    /// Tells the audit log of such an act that was tried and failed; `reason` is a few words. Answers once the entry is durable.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Broken`]; the log writes it when it can.
    pub async fn record_failed_act(
        &self,
        operation: &'static str,
        actor: Actor<'_>,
        reason: &str,
    ) -> Result<(), NotRecorded> {
        self.zone().record_act_as(operation, actor, Outcome::Refused { status: None, reason }, None).await
    }

    /// Tells the log that a key was used. To be called before the result is given.
    pub(crate) fn used(
        &self,
        time: Timestamp,
        operation: &'static str,
        caller: &Caller,
        (key, version): (KeyId, MaterialVersion),
        context: EncryptionContext<'_>,
        destination: Option<Destination<'_>>,
    ) -> Result<(), KmsError> {
        let entry = AuditEntry {
            key: Some(key),
            version: Some(version),
            context,
            destination,
            ..AuditEntry::new(time, operation, Actor::Caller(caller), Outcome::Done)
        };
        Ok(self.zone().audit.record_use(&entry)?)
    }
}

impl Zone {
    /// Begins a change, if it can be recorded.
    pub(crate) fn begin_change(&self) -> Result<Undertaking<'_>, NotRecorded> {
        self.audit.takes_changes()?;
        Ok(self.accounts.begin(self.clock.now()))
    }

    /// Records the commit that `change` led to. To be called before anyone is told of it.
    pub(crate) async fn record(&self, change: &Undertaking<'_>, made: Recorded<'_>) -> Result<(), NotRecorded> {
        let Recorded { operation, actor, organisation, key, version, revision, commit } = made;
        let now = self.clock.now();
        let organisation = match actor {
            Actor::Caller(_) => None,
            Actor::Anonymous(_)
            | Actor::Stranger(_)
            | Actor::Scheduler
            | Actor::Peer(_)
            | Actor::Server
            | Actor::Operator => Some(organisation),
        };
        let entry = AuditEntry {
            organisation,
            key: Some(key),
            version,
            revision: Some(revision),
            commit: Some(commit),
            settled: Some(change.settled(commit, now)),
            ..AuditEntry::new(now, operation, actor, Outcome::Done)
        };
        let recorded = self.audit.record_change(&entry).await;
        if recorded.is_err() {
            tracing::error!(%key, "a change was made, but the audit log could not be written; it will have it when it can");
        }
        // Also then: the log writes it before anything that builds on it.
        change.recorded(commit);
        recorded
    }

    /// Tells the log of something about a key that was refused or failed.
    pub(crate) fn record_refusal(&self, operation: &'static str, actor: Actor<'_>, key: KeyId, reason: &str) {
        let outcome = Outcome::Refused { status: None, reason };
        let entry = AuditEntry { key: Some(key), ..AuditEntry::new(self.clock.now(), operation, actor, outcome) };
        self.audit.record_refusal(&entry);
    }

    /// Tells the log of a connection that was refused.
    pub(crate) fn record_stranger(&self, remote: IpAddr, why: &str) {
        let outcome = Outcome::Refused { status: None, reason: why };
        let entry =
            AuditEntry::new(self.clock.now(), "peer-connection", Actor::Stranger(remote.to_canonical()), outcome);
        self.audit.record_refusal(&entry);
    }

    /// Tells the log of an act of the server or its operator; `count` of something, if it is about a number.
    pub(crate) async fn record_act(
        &self,
        operation: &'static str,
        actor: Actor<'_>,
        count: Option<u64>,
    ) -> Result<(), NotRecorded> {
        self.record_act_as(operation, actor, Outcome::Done, count).await
    }

    /// Tells the log that a long act begins; one that could not be recorded does not.
    pub(crate) async fn begin_act(&self, operation: &'static str, actor: Actor<'_>) -> Result<(), NotRecorded> {
        // Without this, a log that is broken would keep the entry of something that never began, to write it later.
        self.audit.takes_changes()?;
        self.record_act(operation, actor, None).await
    }

    /// Tells the log of an act that begins all the same if the log cannot be written now; it will have it when it can.
    pub(crate) async fn record_begun(&self, operation: &'static str, actor: Actor<'_>) {
        self.record_outcome(operation, actor, Outcome::Done, None).await;
    }

    /// Tells the log of an act that cannot be taken back any more, in the same way.
    pub(crate) async fn record_done(&self, operation: &'static str, actor: Actor<'_>, count: u64) {
        self.record_outcome(operation, actor, Outcome::Done, Some(count)).await;
    }

    /// Tells the log of an act that was tried and failed, for that reason, in the same way.
    pub(crate) async fn record_failed(&self, operation: &'static str, actor: Actor<'_>, reason: &str) {
        self.record_outcome(operation, actor, Outcome::Refused { status: None, reason }, None).await;
    }

    async fn record_outcome(
        &self,
        operation: &'static str,
        actor: Actor<'_>,
        outcome: Outcome<'_>,
        count: Option<u64>,
    ) {
        if self.record_act_as(operation, actor, outcome, count).await.is_err() {
            tracing::error!(zone = %self.name, operation, "the audit log could not be written; it will have this when it can");
        }
    }

    async fn record_act_as(
        &self,
        operation: &'static str,
        actor: Actor<'_>,
        outcome: Outcome<'_>,
        count: Option<u64>,
    ) -> Result<(), NotRecorded> {
        let now = self.clock.now();
        let settled = Some(self.accounts.settled(now));
        let entry = AuditEntry { settled, count, ..AuditEntry::new(now, operation, actor, outcome) };
        self.audit.record_change(&entry).await
    }

    /// Records the changes that an earlier run stored and could not record any more, and that this one has started. A store
    /// that was put back is refused.
    pub(crate) async fn record_start(&self, stored: StoreRevision) -> Result<(), StartError> {
        let accounted = self.audit.accounted();
        refuse_set_back(self.audit.as_ref(), &accounted, stored, self.clock.now()).await?;
        if let Some(settled) = accounted.settled {
            let beyond = accounted.commits.iter().filter(|commit| **commit > settled.revision && **commit <= stored);
            let known = settled.revision.get() + beyond.count() as u64;
            for missing in self.recent_changes(settled) {
                if stored.get() > known && !accounted.keys.contains(&(missing.0, missing.2)) {
                    self.record_recovered(missing).await?;
                }
            }
            if stored.get() > known {
                self.record_act("recover-commits", Actor::Server, Some(stored.get() - known)).await?;
            }
        } else if stored.get() > 0 {
            // A restored zone, or a log that begins anew elsewhere; or someone removed the log.
            tracing::warn!(
                zone = %self.name,
                commits = stored.get(),
                "the audit log begins here, but the store has earlier commits: unless the zone was restored or the log was \
                 meant to begin anew, the log before this one was lost or removed"
            );
            self.record_act("earlier-commits", Actor::Server, Some(stored.get())).await?;
        }
        Ok(self.record_act("start", Actor::Server, None).await?)
    }

    async fn record_recovered(&self, (key, organisation, revision): Change) -> Result<(), NotRecorded> {
        let entry = AuditEntry {
            organisation: Some(&organisation),
            key: Some(key),
            revision: Some(revision),
            ..AuditEntry::new(self.clock.now(), "recover", Actor::Server, Outcome::Done)
        };
        self.audit.record_change(&entry).await
    }

    /// The keys that were changed or deleted since everything was settled. A deletion that another zone made has that zone's
    /// time: when it came here late, only the number of commits tells of it.
    fn recent_changes(&self, settled: Settled) -> Vec<Change> {
        let mut found = Vec::new();
        for snapshot in self.directory.all_shown() {
            let key = snapshot.key();
            if key.revision().at >= settled.at {
                found.push((key.id(), key.organisation().clone(), key.revision().seq));
            }
        }
        for (key, deleted) in self.directory.tombstones() {
            if deleted.deleted_at >= settled.at {
                found.push((key, deleted.organisation.clone(), deleted.revision));
            }
        }
        found
    }
}

type Change = (KeyId, OrganisationName, Revision);

/// Which revision `store` has come to.
pub(crate) async fn stored_revision(store: &dyn Store) -> Result<StoreRevision, StoreError> {
    match store.scan(KEY_PREFIX, None, None, 1).await {
        Ok(page) => Ok(page.at),
        Err(ScanError::Store(cause)) => Err(cause),
        Err(ScanError::Superseded) => Err(StoreError::Unavailable("another process changes the store".into())),
    }
}

/// The operation of the API, or the act of the scheduler, that makes such a change.
pub(crate) const fn operation_of(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Enabled => "enable-kms-key",
        ChangeKind::Disabled => "disable-kms-key",
        ChangeKind::RotatedManually => "rotate-kms-key",
        ChangeKind::RotatedAutomatically => "automatic-rotation",
        ChangeKind::RotationEnabled => "enable-kms-key-rotation",
        ChangeKind::RotationDisabled => "disable-kms-key-rotation",
        ChangeKind::DeletionScheduled => "schedule-kms-key-deletion",
        ChangeKind::DeletionCancelled => "cancel-kms-key-deletion",
        ChangeKind::Replicated => "replicate-kms-key",
    }
}
