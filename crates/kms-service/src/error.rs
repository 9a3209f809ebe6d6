//! What can go wrong, without status codes: the front doors map these to their own answers.

use kms_crypto::{DecryptError, EntropyError};
use kms_lifecycle::{DecryptRefusal, InconsistentKey, Rejection};
use kms_storage::{RecordKey, StoreError};

use crate::audit::NotRecorded;

/// Why an operation was refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// No such key for this organisation in this zone: never made, deleted, or another organisation's.
    #[error("the key does not exist in this zone")]
    KeyNotFound,
    /// The key's lifecycle refuses.
    #[error("{0}")]
    Rejected(Rejection),
    /// The organisation has a key of that name in this zone.
    #[error("a key of this name exists in this zone")]
    NameConflict,
    /// The organisation has as many keys in this zone as it may.
    #[error("the organisation has {limit} keys in this zone, the most it may have")]
    KeyQuota {
        /// The most keys it may have.
        limit: u32,
    },
    /// The ciphertext does not open, for whatever reason: there is one error for all of them.
    #[error("the ciphertext could not be decrypted")]
    DecryptFailed,
    /// The zone has no link to that zone.
    #[error("this server has no link to that zone")]
    ReplicationUnavailable,
    /// The target is no zone known here, or the key's own.
    #[error("the target zone is not a zone this key can be replicated to")]
    InvalidTargetZone,
    /// The key's stored record does not open; the log names it.
    #[error("the stored record of this key is damaged; see the server's log")]
    RecordDamaged,
    /// The store takes no changes at the moment, or the service is stopping. Nothing was changed.
    #[error("changes are stopped: the store reported an error; see the server's log")]
    ReadOnly,
    /// The store failed during the change, which may or may not have happened.
    #[error("the change may or may not have been made; the key shows which once it can be read again")]
    OutcomeUnknown,
    /// The audit log takes no entries at the moment. Nothing was changed, and nothing is given.
    #[error("the audit log cannot be written; see the server's log")]
    NotRecorded,
    /// The operating system gave no random bytes. Nothing was changed.
    #[error("the operating system gave no random bytes")]
    NoEntropy,
}

impl From<NotRecorded> for KmsError {
    fn from(_: NotRecorded) -> Self {
        Self::NotRecorded
    }
}

impl From<Rejection> for KmsError {
    /// A key whose deletion is due is as good as gone, and a target that lifecycle refuses is the caller's mistake.
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::KeyGone => Self::KeyNotFound,
            Rejection::InvalidTargetZone => Self::InvalidTargetZone,
            Rejection::NotOnReplica
            | Rejection::NotOnDefault
            | Rejection::KeyPendingDeletion
            | Rejection::KeyDisabled
            | Rejection::NotPendingDeletion
            | Rejection::RotationConflict { .. }
            | Rejection::ManualRotationLimit
            | Rejection::NotMultiZone
            | Rejection::AlreadyReplicated
            | Rejection::Exhausted => Self::Rejected(rejection),
        }
    }
}

impl From<DecryptRefusal> for KmsError {
    /// A version that the key never had is a failed decryption like any other.
    fn from(refusal: DecryptRefusal) -> Self {
        match refusal {
            DecryptRefusal::Rejected(rejection) => rejection.into(),
            DecryptRefusal::UnknownVersion => Self::DecryptFailed,
        }
    }
}

impl From<DecryptError> for KmsError {
    fn from(_: DecryptError) -> Self {
        Self::DecryptFailed
    }
}

impl From<EntropyError> for KmsError {
    fn from(_: EntropyError) -> Self {
        Self::NoEntropy
    }
}

/// Why a zone could not be started. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    /// The audit log could not be written.
    #[error("{0}: see that its disk has room and can be written")]
    Audit(#[from] NotRecorded),
    /// The store is an earlier one than the audit log was kept with.
    #[error(
        "the store was put back to an earlier state: the audit log knows of {commits} commits more than the store has. With \
         this store, keys disabled or deleted since would work again, and versions and revisions would be used twice. Put \
         the newest store, manifest and keyring back, or make the zone anew from a backup with `zonekms restore`. To go on \
         with this store all the same, accept it with `zonekms adopt-store`"
    )]
    SetBack {
        /// How many commits the store lacks.
        commits: u64,
    },
    /// A record was written by a newer ZoneKMS.
    #[error(
        "record {record} has format {found}, which this version does not know: start the newer version that wrote it"
    )]
    NewerFormat {
        /// The record's key in the store.
        record: RecordKey,
        /// The format found.
        found: u8,
    },
    /// A key id occurs twice in the store.
    #[error("record {record} repeats the id of another key: restore the store from a backup")]
    RepeatedKey {
        /// The record's key in the store.
        record: RecordKey,
    },
    /// The same API key is configured twice.
    #[error("the API key {id} is configured twice")]
    RepeatedCredential {
        /// The API key's id.
        id: String,
    },
    /// The system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoEntropy,
    /// The key that the configuration names as a default key cannot be one.
    #[error("{place} cannot be the default key: {cause}; enable it and its rotation first, or name another")]
    UnfitDefaultKey {
        /// The record of the key.
        place: RecordKey,
        /// Why not.
        cause: InconsistentKey,
    },
    /// A default key could not be made.
    #[error("the default key of organisation {organisation} could not be made: {cause}")]
    DefaultKey {
        /// The organisation's name.
        organisation: String,
        /// Why not.
        cause: KmsError,
    },
}
