//! Replication to and from other zones: the shell around the state machines of `kms-replication`.

mod status;

pub use status::{ReplicaFailure, ReplicaStatus};

use kms_replication::Lag;
use kms_types::{KeyId, Watermark, ZoneName};
use std::sync::Arc;

use crate::caller::Caller;
use crate::error::KmsError;
use crate::kms::Kms;
use crate::link::LinkEndpoint;

/// What a zone needs to replicate.
pub struct ReplicationConfig {}

impl Kms {
    /// What this zone's links report to; `None` when it was configured without replication.
    #[must_use]
    pub fn link_endpoint(&self) -> Option<Arc<dyn LinkEndpoint>> {
        None
    }

    /// How far the replicas of key `id` have come, by zone. Empty unless this zone is the key's origin.
    ///
    /// # Errors
    ///
    /// As [`Kms::get_key`].
    pub fn replica_status(&self, caller: &Caller, id: KeyId) -> Result<Vec<ReplicaStatus>, KmsError> {
        let key = self.get_key(caller, id)?;
        Ok(match key.place() {
            kms_lifecycle::Place::Origin { replicas } => replicas
                .iter()
                .map(|zone| ReplicaStatus { zone: zone.clone(), last_applied: Watermark::NONE, last_failure: None })
                .collect(),
            kms_lifecycle::Place::SingleZone | kms_lifecycle::Place::Replica => Vec::new(),
        })
    }

    /// How far each peer is behind with this zone's keys.
    #[must_use]
    pub fn replication_lag(&self) -> Vec<(ZoneName, Lag)> {
        Vec::new()
    }
}
