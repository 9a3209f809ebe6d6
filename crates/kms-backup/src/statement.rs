//! What a backup says of itself, at its beginning and at its end.

use kms_types::{Timestamp, ZoneName};
use serde::{Deserialize, Serialize};

/// The format that this build writes, and the newest it reads.
pub const FORMAT: u8 = 1;

/// What the first frame begins with.
pub(crate) const MAGIC: &[u8] = b"ZoneKMS backup";

/// What is known of a backup when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The zone that was backed up.
    pub zone: ZoneName,
    /// The id of its store.
    pub store_id: [u8; 16],
    /// The store's revision when the backup began: every change answered before that is in it.
    pub begun_at: u64,
    /// The zone's time then.
    pub taken_at: Timestamp,
    /// The version of the program that wrote it.
    pub program: String,
}

/// What is known of a backup when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// Record frames.
    pub records: u64,
    /// Removal frames.
    pub removed: u64,
    /// The store's revision as of which the backup stands: exactly this one.
    pub as_of: u64,
    /// SHA-256 of all bytes of the frames before this one.
    pub digest: [u8; 32],
}
