//! The handle of one zone.

use kms_crypto::Entropy;
use kms_lifecycle::Key;
use kms_storage::{Fence, Health, Store};
use kms_types::{KeyId, OrganisationName, Timestamp, ZoneName};
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::audit::{Actor, AuditLog};
use crate::caller::{Caller, Credentials, Refused};
use crate::clock::ServiceClock;
use crate::directory::Directory;
use crate::error::KmsError;
use crate::records::Records;
use crate::replication::Replication;
use crate::shredding::Shredder;
use crate::usage_file::Counting;

/// The key management service of one zone. A cheap handle: clones share everything.
#[derive(Clone)]
pub struct Kms {
    zone: Arc<Zone>,
}

/// What the zone's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// The time that lifecycle decisions are made at.
    pub now: Timestamp,
    /// The machine's wall clock.
    pub wall: Timestamp,
    /// How far the wall clock has jumped ahead while it is not believed yet.
    pub held: Option<Duration>,
}

/// A replication that was registered.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// The key with its new target.
    pub key: Arc<Key>,
}

pub(crate) struct Zone {
    pub(crate) name: ZoneName,
    pub(crate) known_zones: Vec<ZoneName>,
    pub(crate) keys_per_organisation: u32,
    /// Who may have keys here.
    pub(crate) organisations: HashSet<OrganisationName>,
    pub(crate) credentials: Credentials,
    pub(crate) directory: Arc<Directory>,
    pub(crate) records: Records,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<ServiceClock>,
    pub(crate) replication: Option<Replication>,
    /// Since when the use of keys is counted.
    pub(crate) counting: Counting,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) accounts: Accounts,
    /// Proof of being the one scheduler of this store.
    pub(crate) fence: Fence,
    /// Makes the material of deleted keys unrecoverable.
    pub(crate) shredder: Shredder,
    /// Held while due work is done, so that one pass is over before the next begins.
    pub(crate) due_pass: Mutex<()>,
    /// Something fell due earlier than was known, or time moved.
    pub(crate) due_changed: Notify,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl Kms {
    pub(crate) fn new(zone: Zone) -> Self {
        Self { zone: Arc::new(zone) }
    }

    pub(crate) fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// The zone's name.
    #[must_use]
    pub fn zone_name(&self) -> &ZoneName {
        &self.zone.name
    }

    /// Whether changes are taken; if not, why. Crypto calls are served as long as the service runs.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.zone.stopping.is_cancelled() {
            return Health::ReadOnly { reason: "the service is stopping".into() };
        }
        match self.zone.audit.trouble() {
            Some(reason) => Health::ReadOnly { reason },
            None => self.zone.store.health(),
        }
    }

    /// What the zone's clock shows, and whether it is held.
    #[must_use]
    pub fn clock(&self) -> ClockStatus {
        let clock = &self.zone.clock;
        ClockStatus { now: clock.now(), wall: clock.wall(), held: clock.held() }
    }

    /// Believes a wall clock that jumped ahead: an operator has looked at it. What is due by it is done at once.
    pub async fn confirm_clock(&self) {
        if self.zone.record_act("confirm-clock", Actor::Operator, None).await.is_err() {
            tracing::error!(zone = %self.zone.name, "the audit log could not be written; the clock is confirmed all the same");
        }
        self.zone.clock.confirm_jump();
        self.zone.due_changed.notify_one();
        tracing::warn!(zone = %self.zone.name, now = %self.zone.clock.now(), "the wall clock was confirmed by an operator");
    }

    /// The caller whose API key `credential` made `tag`, an HMAC-SHA-256 over the concatenation of `signed`. Takes the
    /// same time whether the credential exists or not.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the credential is unknown or not for this zone, or the tag is another.
    pub fn authenticate(&self, credential: &str, signed: &[&[u8]], tag: &[u8]) -> Result<Caller, Refused> {
        self.zone.credentials.authenticate(credential, signed, tag)
    }

    /// Fills `out` with random bytes from the operating system, for request ids and the like.
    ///
    /// # Errors
    ///
    /// [`KmsError::NoEntropy`].
    pub fn random(&self, out: &mut [u8]) -> Result<(), KmsError> {
        Ok(self.zone.entropy.fill(out)?)
    }

    /// The organisation's keys in this zone, oldest first. A key whose record is damaged is not among them.
    ///
    /// # Errors
    ///
    /// [`KmsError::OutcomeUnknown`] while it is not known how one of them stands.
    pub fn list_keys(&self, caller: &Caller) -> Result<Vec<Arc<Key>>, KmsError> {
        if self.zone.directory.has_unsettled(caller.organisation()) {
            return Err(KmsError::OutcomeUnknown);
        }
        let ids = self.zone.directory.ids(caller.organisation());
        let mut keys: Vec<_> = ids.into_iter().filter_map(|id| self.get_key(caller, id).ok()).collect();
        keys.sort_by_key(|key| (key.created_at(), key.id()));
        Ok(keys)
    }

    /// One key.
    ///
    /// # Errors
    ///
    /// [`KmsError::KeyNotFound`], also when its deletion is due or it is another organisation's;
    /// [`KmsError::RecordDamaged`]; [`KmsError::OutcomeUnknown`] while it is not known how the key stands.
    pub fn get_key(&self, caller: &Caller, id: KeyId) -> Result<Arc<Key>, KmsError> {
        self.zone.visible_key(caller.organisation(), id)
    }
}

impl Zone {
    pub(crate) fn visible_key(&self, organisation: &OrganisationName, id: KeyId) -> Result<Arc<Key>, KmsError> {
        let key = self.directory.with_key(organisation, id, |snapshot| Ok(snapshot.to_key()))?;
        if self.directory.unsettled(id).is_some() {
            return Err(KmsError::OutcomeUnknown);
        }
        if key.is_gone(self.clock.now()) { Err(KmsError::KeyNotFound) } else { Ok(key) }
    }

    /// Runs a change in a task of its own and waits for it. The task goes on to its end even if the waiting ends before.
    pub(crate) async fn run_owned<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, KmsError>> + Send + 'static,
    ) -> Result<T, KmsError> {
        if self.stopping.is_cancelled() {
            return Err(KmsError::ReadOnly);
        }
        self.tasks.spawn(change).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "a change ended in a panic");
            Err(KmsError::OutcomeUnknown)
        })
    }
}
