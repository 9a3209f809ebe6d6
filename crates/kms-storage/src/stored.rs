//! What the store holds for one record, and the two counters.

use std::fmt;

/// How often a record was written: 0 for never, and one more with every write, deletions included. It goes on after a
/// deletion, so a version names one content for ever (etcd's `version`, kept over tombstones).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordVersion(u64);

/// How many commits the whole store has seen (etcd's `revision`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreRevision(u64);

/// One record as a read finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version to expect when it is written next.
    pub version: RecordVersion,
    /// The content.
    pub body: Body,
}

/// The content of a record.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// Never written.
    Absent,
    /// Written: the bytes as they were given, opaque to the store.
    Live(Vec<u8>),
    /// Written and deleted since.
    Tombstone,
}

impl RecordVersion {
    /// The version of a record that was never written.
    pub const NEVER: Self = Self(0);

    /// The version of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of writes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The version that a write over this one makes, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl StoreRevision {
    /// The revision of a store that saw no commit.
    pub const ZERO: Self = Self(0);

    /// The revision of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of commits.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision that the next commit makes, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl Stored {
    /// What a read finds where nothing was ever written.
    pub const ABSENT: Self = Self { version: RecordVersion::NEVER, body: Body::Absent };
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StoreRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Body {
    /// Tells the length only: sealed or not, stored bytes do not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Live(bytes) => write!(f, "Live({} bytes)", bytes.len()),
            Self::Tombstone => f.write_str("Tombstone"),
        }
    }
}
