//! What a zone can say of a key id.

use kms_storage::record::TombstoneRecord;
use kms_types::{OrganisationName, Revision, Timestamp, ZoneName};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::snapshot::Snapshot;

/// What is known of a deleted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) organisation: OrganisationName,
    pub(crate) origin: ZoneName,
    pub(crate) revision: Revision,
    pub(crate) deleted_at: Timestamp,
    /// In the origin zone, the zones that may still hold the key.
    pub(crate) replicas: BTreeSet<ZoneName>,
}

impl From<&TombstoneRecord> for Deleted {
    fn from(record: &TombstoneRecord) -> Self {
        Self {
            organisation: record.organisation.clone(),
            origin: record.origin_zone.clone(),
            revision: record.revision,
            deleted_at: record.deleted_at,
            replicas: record.replicas.clone(),
        }
    }
}

/// What there is of a key id, whosever it is: for the scheduler and for replication.
pub(crate) enum Sight {
    Nothing,
    Live(Arc<Snapshot>),
    Damaged,
    Deleted(Arc<Deleted>),
}
