//! How far a key's replicas have come, as its owner is told.

use kms_types::{Revision, Timestamp, Watermark, ZoneName};

/// How far one replica of a key has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The replica's zone.
    pub zone: ZoneName,
    /// The revision of the key that the zone confirmed last. None after a start of this zone, until the other was asked.
    pub last_applied: Watermark,
    /// Why the replica is behind, if an attempt has failed since it confirmed last.
    pub last_failure: Option<ReplicaFailure>,
}

/// An attempt to bring a key to a zone that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaFailure {
    /// The revision that was to be brought there.
    pub attempted: Revision,
    /// What went wrong, a sentence.
    pub error: String,
    /// When.
    pub failed_at: Timestamp,
}
