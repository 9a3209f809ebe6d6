//! The audit log: append-only files of JSON lines, a Merkle tree over them, and signed checkpoints of it.
//!
//! `docs/audit-log.md` specifies the files. [`FileAuditLog`] writes them, as the [`AuditLog`](kms_service::AuditLog) of a
//! zone; [`verify_log`], [`prove_inclusion`], [`prove_consistency`], [`verify_proof`] and [`Tail`] read them, without the
//! zone's keys, while it writes or after.

mod buffer;
mod checkpoint;
mod directory;
mod file_log;
mod header;
mod keys;
mod line;
mod note;
mod proof;
mod prove;
mod recovery;
mod segment;
mod segment_writer;
mod settings;
mod stamp;
mod tail;
mod tree;
mod verify;
mod writer;

pub use checkpoint::{BadCheckpoint, Checkpoint, SignedCheckpoint};
pub use file_log::FileAuditLog;
pub use keys::{ContextKey, LogKeys};
pub use note::{BadNote, InvalidVerifier, NoteSigner, NoteVerifier};
pub use prove::{BadProof, ProofError, Proven, prove_consistency, prove_inclusion, verify_proof};
pub use recovery::OpenError;
pub use settings::{AuditSettings, CryptoCalls, WhenFull};
pub use tail::{Filter, Tail};
pub use tree::{Frontier, InvalidHash, TreeHash};
pub use verify::{Expected, Fault, Verified, VerifyError, newest_checkpoint, verify_log};
