//! The seam to the audit log: what is told of everything that was done or refused, and what the log answers.
//!
//! The service tells what was done where it is done, so that no key can be used or changed beside the log; the front doors
//! tell what they refuse. An entry never holds plaintext, ciphertext, secrets, or names and descriptions of keys. The
//! encryption context is given to the log, which writes a keyed hash of it.

use async_trait::async_trait;
use kms_crypto::EncryptionContext;
use kms_storage::StoreRevision;
use kms_types::{KeyId, MaterialVersion, OrganisationName, Revision, Timestamp, ZoneName};
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::caller::Caller;

/// A log of who did what with which key.
#[async_trait]
pub trait AuditLog: Send + Sync + 'static {
    /// Whether a change may begin, that is, whether its entry could be written now.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Broken`]; what is wrong is told by [`AuditLog::trouble`].
    fn takes_changes(&self) -> Result<(), NotRecorded>;

    /// Why changes are not taken, for people; `None` when they are.
    fn trouble(&self) -> Option<String>;

    /// Writes the entry of a change. Answers once it is durable.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`]: it is not durable yet; the log keeps it and writes it when it can.
    async fn record_change(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded>;

    /// Takes the entry of a crypto call, to be written soon, if the settings ask for it.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Full`]: there is no room, and the settings say that the call is to be refused then.
    fn record_use(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded>;

    /// Takes the entry of something refused, to be written soon. When there are too many, they are counted instead.
    fn record_refusal(&self, entry: &AuditEntry<'_>);

    /// Whether crypto calls are to be answered only after [`AuditLog::settle_uses`].
    fn is_synchronous(&self) -> bool;

    /// Answers once everything taken so far is durable.
    ///
    /// # Errors
    ///
    /// [`NotRecorded::Broken`].
    async fn settle_uses(&self) -> Result<(), NotRecorded>;

    /// Which changes the log of earlier runs accounts for.
    fn accounted(&self) -> Accounted;

    /// Writes what was taken, and ends. Nothing is taken afterwards.
    async fn close(&self);
}

/// Why an entry is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The log cannot be written at present.
    #[error("the audit log cannot be written")]
    Broken,
    /// More is waiting to be written than there is room for.
    #[error("the audit log has no room for more entries at present")]
    Full,
}

/// One thing that was done or refused.
#[derive(Clone)]
pub struct AuditEntry<'a> {
    /// When.
    pub time: Timestamp,
    /// What: an operation of the API by its name, or an act of the server.
    pub operation: &'static str,
    /// Who.
    pub actor: Actor<'a>,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// The organisation whose key it is, when the actor does not say so.
    pub organisation: Option<&'a OrganisationName>,
    /// The key.
    pub key: Option<KeyId>,
    /// The version of its material that was used or made.
    pub version: Option<MaterialVersion>,
    /// The encryption context that was stated.
    pub context: EncryptionContext<'a>,
    /// The key that something was re-encrypted to.
    pub destination: Option<Destination<'a>>,
    /// The key's revision afterwards.
    pub revision: Option<Revision>,
    /// What the store knows the change by.
    pub commit: Option<StoreRevision>,
    /// Up to where every change of the store has its entry.
    pub settled: Option<Settled>,
    /// How many, of something that is told in sum.
    pub count: Option<u64>,
}

/// Where something was re-encrypted to.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The key.
    pub key: KeyId,
    /// The version of its material.
    pub version: MaterialVersion,
    /// The encryption context of the new ciphertext.
    pub context: EncryptionContext<'a>,
}

/// Who did something.
#[derive(Clone, Copy)]
pub enum Actor<'a> {
    /// A caller whose request was verified.
    Caller(&'a Caller),
    /// A request whose caller is not known.
    Anonymous(RequestOrigin),
    /// A connection to the zones' listener that did not prove to be a zone.
    Stranger(IpAddr),
    /// Work that fell due.
    Scheduler,
    /// Another zone.
    Peer(&'a ZoneName),
    /// This server itself.
    Server,
    /// Who runs this server.
    Operator,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was done.
    Done,
    /// It was refused or failed.
    Refused {
        /// The status it was answered with, where there is one.
        status: Option<u16>,
        /// The title of the problem, or a few words.
        reason: &'a str,
    },
}

/// Which request something came with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The number that the answer's `x-request-id` shows as 16 hexadecimal digits.
    pub id: u64,
    /// The address that the connection came from.
    pub address: Option<IpAddr>,
}

/// A point up to which every change of the store has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settled {
    /// Every commit up to this one.
    pub revision: StoreRevision,
    /// No change that is without an entry was begun before this time.
    pub at: Timestamp,
}

/// Which changes have entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounted {
    /// Up to where all have; `None` when the log is new.
    pub settled: Option<Settled>,
    /// The commits after it that have.
    pub commits: BTreeSet<StoreRevision>,
    /// The keys' revisions that these made.
    pub keys: HashSet<(KeyId, Revision)>,
}

impl<'a> AuditEntry<'a> {
    /// An entry with nothing but this.
    #[must_use]
    pub const fn new(time: Timestamp, operation: &'static str, actor: Actor<'a>, outcome: Outcome<'a>) -> Self {
        Self {
            time,
            operation,
            actor,
            outcome,
            organisation: None,
            key: None,
            version: None,
            context: EncryptionContext::None,
            destination: None,
            revision: None,
            commit: None,
            settled: None,
            count: None,
        }
    }
}

/// A log that keeps nothing: for tests and tools whose changes nobody has to account for.
pub struct NoAuditLog;

#[async_trait]
impl AuditLog for NoAuditLog {
    fn takes_changes(&self) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn record_change(&self, _entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn record_use(&self, _entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn record_refusal(&self, _entry: &AuditEntry<'_>) {}

    fn is_synchronous(&self) -> bool {
        false
    }

    async fn settle_uses(&self) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn accounted(&self) -> Accounted {
        Accounted::default()
    }

    async fn close(&self) {}
}
