//! Replication to and from other zones: the shell around the state machines of `kms-replication`.
//!
//! [`outbox`] brings this zone's keys to the others, [`inbox`] takes in theirs. Both begin where a change has become
//! durable and end where it has; what is between two zones may be lost, repeated or reordered.

mod apply;
mod endpoint;
mod inbox;
mod outbox;
mod retirement;
mod shipping;
mod status;

pub use outbox::SetBack;
pub use status::{ReplicaFailure, ReplicaStatus};

use kms_crypto::{ZonePrivateKey, ZonePublicKey};
use kms_lifecycle::Place;
use kms_replication::{FaultText, Jitter, Lag, Moment, Progress, Replica, Uptime, Window};
use kms_types::{KeyId, Watermark, ZoneName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::caller::Caller;
use crate::error::KmsError;
use crate::kms::{Kms, Zone};
use crate::link::LinkEndpoint;
use endpoint::Endpoint;
use outbox::Outbox;

/// What a zone needs to replicate.
pub struct ReplicationConfig {
    /// What other zones seal to: the current key first, then those it replaced and that may still be in use.
    pub private_keys: Vec<ZonePrivateKey>,
    /// The other zones, and what to seal to each with.
    pub peers: BTreeMap<ZoneName, ZonePublicKey>,
}

/// The replication of one zone.
pub(crate) struct Replication {
    private_keys: Vec<ZonePrivateKey>,
    peers: BTreeMap<ZoneName, ZonePublicKey>,
    outbox: Outbox,
    replica: Mutex<Replica>,
}

impl Replication {
    pub(crate) fn new(config: ReplicationConfig) -> Self {
        Self {
            private_keys: config.private_keys,
            peers: config.peers,
            outbox: Outbox::new(Window::DEFAULT),
            replica: Mutex::new(Replica::new(Window::DEFAULT)),
        }
    }

    pub(crate) fn knows(&self, zone: &ZoneName) -> bool {
        self.peers.contains_key(zone)
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        // The state machine does not panic half-way through a change.
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kms {
    /// What this zone's links report to; `None` when it was configured without replication.
    #[must_use]
    pub fn link_endpoint(&self) -> Option<Arc<dyn LinkEndpoint>> {
        self.zone().replication.as_ref()?;
        Some(Arc::new(Endpoint::new(Arc::clone(self.zone()))))
    }

    /// How far the replicas of key `id` have come, by zone. Empty unless this zone is the key's origin.
    ///
    /// # Errors
    ///
    /// As [`Kms::get_key`].
    pub fn replica_status(&self, caller: &Caller, id: KeyId) -> Result<Vec<ReplicaStatus>, KmsError> {
        let key = self.get_key(caller, id)?;
        let replicas = match key.place() {
            Place::Origin { replicas } => replicas,
            Place::SingleZone | Place::Replica { .. } => return Ok(Vec::new()),
        };
        let status = |zone: &ZoneName| ReplicaStatus::of(zone, self.zone().progress(id, zone));
        Ok(replicas.iter().map(status).collect())
    }

    /// How far each peer is behind with this zone's keys. After a start, keys count as behind until the peer was asked.
    #[must_use]
    pub fn replication_lag(&self) -> Vec<(ZoneName, Lag)> {
        let Some(replication) = &self.zone().replication else { return Vec::new() };
        replication.peers.keys().map(|zone| (zone.clone(), replication.outbox.lag(zone))).collect()
    }

    /// The proof that this zone was set back to an older state of its store, once another zone has given it.
    #[must_use]
    pub fn set_back(&self) -> Option<SetBack> {
        self.zone().replication.as_ref()?.outbox.set_back()
    }

    /// The time on the clock that [`Lag`] is reckoned in.
    #[must_use]
    pub fn uptime(&self) -> Uptime {
        self.zone().uptime()
    }
}

impl Zone {
    fn progress(&self, key: KeyId, target: &ZoneName) -> Option<Progress> {
        self.replication.as_ref()?.outbox.progress(key, target)
    }

    fn uptime(&self) -> Uptime {
        Uptime::from_start(self.clock.elapsed())
    }

    fn moment(&self) -> Moment {
        let mut random = [0; 8];
        let bits = match self.entropy.fill(&mut random) {
            Ok(()) => u64::from_le_bytes(random),
            // Pauses that are not spread are better than none.
            Err(_) => 0,
        };
        Moment { uptime: self.uptime(), wall: self.clock.now(), jitter: Jitter::from_random(bits) }
    }
}

impl ReplicaStatus {
    fn of(zone: &ZoneName, progress: Option<Progress>) -> Self {
        let (last_applied, last_failure) = match progress {
            Some(progress) => (progress.watermark, progress.last_failure),
            None => (Watermark::NONE, None),
        };
        let failure = |failure: kms_replication::Failure| ReplicaFailure {
            attempted: failure.attempted,
            error: failure.cause.to_string(),
            failed_at: failure.failed_at,
        };
        Self { zone: zone.clone(), last_applied, last_failure: last_failure.map(failure) }
    }
}

fn fault(cause: impl std::fmt::Display) -> FaultText {
    FaultText::cleaned(&cause.to_string())
}
