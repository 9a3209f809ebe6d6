//! The checks that commands and uses share. Each caller asks them in the order in which they stand here.

use crate::key::{Key, Kind};
use crate::place::Place;
use crate::rejection::Rejection;
use crate::status::Status;
use kms_types::Timestamp;

/// The key's deletion is not due yet.
pub(crate) fn still_there(key: &Key, now: Timestamp) -> Result<(), Rejection> {
    if key.is_gone(now) { Err(Rejection::KeyGone) } else { Ok(()) }
}

/// The key is not a replica.
pub(crate) fn not_on_replica(key: &Key) -> Result<(), Rejection> {
    match key.place {
        Place::SingleZone | Place::Origin { .. } => Ok(()),
        Place::Replica { .. } => Err(Rejection::NotOnReplica),
    }
}

/// The key is not the organisation's default key.
pub(crate) fn not_on_default(key: &Key) -> Result<(), Rejection> {
    match key.kind {
        Kind::Ordinary => Ok(()),
        Kind::Default => Err(Rejection::NotOnDefault),
    }
}

/// The key does not wait for its deletion.
pub(crate) fn not_pending_deletion(key: &Key) -> Result<(), Rejection> {
    match key.status {
        Status::Enabled { .. } | Status::Disabled { .. } => Ok(()),
        Status::PendingDeletion { .. } => Err(Rejection::KeyPendingDeletion),
    }
}

/// The key is enabled.
pub(crate) fn enabled(key: &Key) -> Result<(), Rejection> {
    match key.status {
        Status::Enabled { .. } => Ok(()),
        Status::Disabled { .. } => Err(Rejection::KeyDisabled),
        Status::PendingDeletion { .. } => Err(Rejection::KeyPendingDeletion),
    }
}
