//! What a commit asks for, and what it can answer.

use crate::record_key::RecordKey;
use crate::stored::{RecordVersion, StoreRevision};
use std::collections::HashSet;
use std::fmt;

/// The most writes in one commit (etcd's limit of operations per transaction).
pub const MAX_WRITES: usize = 128;

/// The longest value in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// The most bytes of paths and values in one commit; with the framing it stays below etcd's request limit of 1.5 MiB.
pub const MAX_COMMIT: usize = MAX_VALUE + (MAX_VALUE >> 2);

/// Writes that are made all together or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The writes: at least one, at most [`MAX_WRITES`], each for another record.
    pub writes: Vec<Write>,
    /// When given, the commit is made only while this fence is its role's latest.
    pub fence: Option<Fence>,
}

/// One compare-and-swap: it takes place when the record's version is `expected`, and makes it `expected.next()`.
#[derive(Clone, Debug)]
pub struct Write {
    /// The record.
    pub key: RecordKey,
    /// The version that the record must have; [`RecordVersion::NEVER`] to create it.
    pub expected: RecordVersion,
    /// The new content.
    pub body: NewBody,
}

/// The new content of a record.
#[derive(Clone, PartialEq, Eq)]
pub enum NewBody {
    /// Bytes, at most [`MAX_VALUE`].
    Live(Vec<u8>),
    /// The record is deleted; its version goes on.
    Tombstone,
}

/// A role that one holder at a time may play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Does the work that falls due: automatic rotation and final deletion.
    Scheduler,
}

/// Proof of having acquired a role. It is worth something until the role is acquired again.
#[derive(Clone, Debug)]
pub struct Fence {
    pub(crate) role: Role,
    pub(crate) token: u64,
}

/// Proof that a commit is durable in the sense of [`Store::durability`](crate::Store::durability). Only a store makes one:
/// answers to users and messages to other zones are released against it.
#[derive(Debug)]
#[must_use = "an answer may be given only against it"]
pub struct Durable {
    pub(crate) revision: StoreRevision,
}

/// Why a commit gave no [`Durable`].
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A record had another version than expected; nothing was written. What was found is durable.
    #[error("record {key} is at version {found}, not at the version expected")]
    Conflict {
        /// The first such record.
        key: RecordKey,
        /// Its version.
        found: RecordVersion,
    },
    /// The role was acquired by another since; nothing was written.
    #[error("the role has passed to another holder")]
    Fenced,
    /// The write failed half-way: it may be there or not. Read again (after a re-open, when the store became read-only)
    /// before telling anyone either way.
    #[error("it is not known whether the change was written: {0}")]
    Unknown(String),
    /// The store takes no changes at present; nothing was written. [`Store::health`](crate::Store::health) says why.
    #[error("the store takes no changes: {0}")]
    ReadOnly(String),
    /// The commit is larger than a store takes; nothing was written.
    #[error(transparent)]
    TooLarge(TooLarge),
    /// The commit contradicts itself; nothing was written.
    #[error(transparent)]
    Malformed(Malformed),
}

/// Which limit a commit exceeds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// More than [`MAX_WRITES`] writes.
    #[error("a commit of {0} writes exceeds the limit of {MAX_WRITES}")]
    Writes(usize),
    /// A value longer than [`MAX_VALUE`].
    #[error("a value of {length} bytes for record {key} exceeds the limit of {MAX_VALUE}")]
    Value {
        /// The record.
        key: RecordKey,
        /// The value's length in bytes.
        length: usize,
    },
    /// More than [`MAX_COMMIT`] bytes altogether.
    #[error("a commit of {0} bytes exceeds the limit of {MAX_COMMIT}")]
    Bytes(usize),
}

/// How a commit contradicts itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It writes nothing.
    #[error("a commit must write something")]
    Empty,
    /// It writes one record twice.
    #[error("a commit writes record {0} twice")]
    Repeated(RecordKey),
    /// It expects a version that has no next one.
    #[error("record {0} has no further version")]
    Exhausted(RecordKey),
}

impl Commit {
    /// A commit of those writes, without a fence.
    #[must_use]
    pub const fn new(writes: Vec<Write>) -> Self {
        Self { writes, fence: None }
    }

    /// The same commit, to be made only while `fence` is its role's latest.
    #[must_use]
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self }
    }

    /// Checks what can be checked without a store. Every store does so first.
    ///
    /// # Errors
    /// [`CommitError::TooLarge`] and [`CommitError::Malformed`].
    pub fn check(&self) -> Result<(), CommitError> {
        if self.writes.is_empty() {
            return Err(CommitError::Malformed(Malformed::Empty));
        }
        if self.writes.len() > MAX_WRITES {
            return Err(CommitError::TooLarge(TooLarge::Writes(self.writes.len())));
        }
        let mut seen = HashSet::with_capacity(self.writes.len());
        for write in &self.writes {
            if !seen.insert(&write.key) {
                return Err(CommitError::Malformed(Malformed::Repeated(write.key.clone())));
            }
            let length = write.body.len();
            if length > MAX_VALUE {
                return Err(CommitError::TooLarge(TooLarge::Value { key: write.key.clone(), length }));
            }
            if write.expected.next().is_none() {
                return Err(CommitError::Malformed(Malformed::Exhausted(write.key.clone())));
            }
        }
        match self.bytes() {
            bytes if bytes > MAX_COMMIT => Err(CommitError::TooLarge(TooLarge::Bytes(bytes))),
            _ => Ok(()),
        }
    }

    /// Bytes of paths and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(|write| write.key.as_str().len() + write.body.len()).sum()
    }
}

impl Write {
    /// Writes `bytes` to `key` if its version is `expected`.
    #[must_use]
    pub const fn live(key: RecordKey, expected: RecordVersion, bytes: Vec<u8>) -> Self {
        Self { key, expected, body: NewBody::Live(bytes) }
    }

    /// Deletes `key` if its version is `expected`.
    #[must_use]
    pub const fn tombstone(key: RecordKey, expected: RecordVersion) -> Self {
        Self { key, expected, body: NewBody::Tombstone }
    }
}

impl NewBody {
    const fn len(&self) -> usize {
        match self {
            Self::Live(bytes) => bytes.len(),
            Self::Tombstone => 0,
        }
    }
}

impl Fence {
    /// The role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

impl Durable {
    /// The commit's revision: one more than that of the commit before it.
    #[must_use]
    pub const fn revision(&self) -> StoreRevision {
        self.revision
    }
}

impl fmt::Debug for NewBody {
    /// Tells the length only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(bytes) => write!(f, "Live({} bytes)", bytes.len()),
            Self::Tombstone => f.write_str("Tombstone"),
        }
    }
}
