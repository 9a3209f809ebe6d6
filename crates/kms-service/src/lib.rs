//! The one asynchronous layer: it brings clock, entropy, store, lifecycle and cryptography together and owns nothing but
//! their order.
//!
//! Two paths run through it:
//!
//! * **Crypto calls** read. They look a key up in a lock-free map, load one snapshot (state and material together), obtain a
//!   permit for it from `kms-lifecycle` and use the material the permit names. They never wait for the store.
//! * **Changes** write. Each runs in a task of its own, so that a caller who leaves does not leave half a change behind:
//!   decide, seal, commit, and only against the store's `Durable` token publish the new snapshot and answer.
//!
//! A third path leads to other zones and from them: what has become durable here is brought to the zones that hold replicas,
//! and what they bring of their own keys is stored as a change like any other. `kms-replication` decides, this crate does.
//!
//! A zone's records leave it in a backup (`backup`) and come back in a restore (`restore`), opened on both ways: a restored
//! zone has another keyring.
//!
//! Because the snapshot is replaced before the answer is given, a key that was disabled is refused to every call that begins
//! after the answer.

mod accounts;
mod agenda;
mod audit;
mod backup;
mod caller;
mod change;
mod clock;
mod create;
mod crypto_calls;
mod directory;
mod epochs;
mod error;
mod key_cell;
mod kms;
mod link;
mod load;
mod name_index;
mod recording;
mod records;
mod replication;
mod reservation;
mod restore;
mod scheduler;
mod set_back;
mod settle;
mod shared_names;
mod shred_pass;
mod shredding;
mod sight;
mod snapshot;
mod start;
mod turns;
mod usage;
mod usage_file;
mod usage_report;

pub use audit::{
    Accounted, Actor, AuditEntry, AuditLog, Destination, NoAuditLog, NotRecorded, Outcome, RequestOrigin, Settled,
};
pub use backup::{BackupError, BackupPart, BackupSummary, StoppedZone};
pub use caller::{Caller, CredentialConfig, InvalidCredential, Refused};
pub use clock::{ServiceClock, SystemTimeSource, TimeSource};
pub use create::CreateKey;
pub use crypto_calls::{DataKey, Decrypted, Encrypted, ReEncryptDestination, ReEncryptSource};
pub use epochs::{KeyringNotStored, KeyringVault, NoKeyringVault};
pub use error::{KmsError, StartError};
pub use kms::{ClockStatus, Kms, Replicated};
pub use kms_replication::{Lag, Uptime};
pub use link::{BadFrame, FrameNotSent, FrameReceiver, FrameSender, LinkEndpoint, MAX_FRAME_LEN};
pub use replication::{ReplicaFailure, ReplicaStatus, ReplicationConfig, SetBack};
pub use restore::{BackupContent, RestoreError, RestoreTarget, Restored, VerifiedBackup, verify_backup};
pub use set_back::record_adoption;
pub use shredding::{SHRED_AFTER, ShredError, ShredProgress, ShredReport, ShredStatus, ShredWaiting};
pub use start::{KmsConfig, OrganisationConfig, Parts, Running};
pub use usage::Use;
pub use usage_file::{UsageFault, UsageMark, UsageText};
pub use usage_report::{KeyUse, UsageFilter, VersionUse};
