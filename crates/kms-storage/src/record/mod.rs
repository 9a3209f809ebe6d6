//! The content of records before it is sealed: `format (1 byte) | kind and fields (postcard) | key material`.
//!
//! Postcard is specified at <https://postcard.jamesmunns.com>. The material section stands in key records only: 32 bytes for
//! each material version, in the order of the versions. It is kept out of postcard so that no secret passes through a
//! serialiser's buffers.

mod transfer;
mod v1;

pub use transfer::{TRANSFER_FORMAT, Transfer, decode_transfer, encode_tombstone_transfer, encode_transfer};
pub use v1::{
    AutomaticRecord, KeyRecord, KindRecord, MadeRecord, NameRecord, PlaceRecord, RotationRecord, StatusRecord,
    TombstoneRecord, UsageRecord, VersionRecord,
};

use serde::de::DeserializeOwned;
use v1::RecordV1;
use zeroize::Zeroizing;

/// The format that this build writes, and the newest it reads.
pub const FORMAT: u8 = 1;

/// Bytes of key material per version.
pub const MATERIAL_LEN: usize = 32;

/// A record that was read. The material lies in the bytes it was read from.
pub enum Record<'a> {
    /// A key.
    Key(KeyRecord, Materials<'a>),
    /// What remains of a deleted key.
    Tombstone(TombstoneRecord),
    /// Which key has a name.
    Name(NameRecord),
}

/// The material of a key's versions, in their order. It borrows from the buffer that was decoded and has no `Debug`.
#[derive(Clone, Copy)]
pub struct Materials<'a>(&'a [[u8; MATERIAL_LEN]]);

/// A record that cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFormatError {
    /// A newer ZoneKMS wrote it.
    #[error("the record has format {found}, this build reads up to {FORMAT}: start the newer build that wrote it")]
    Newer {
        /// The record's format.
        found: u8,
    },
    /// It is no record, or it contradicts itself.
    #[error("the record is malformed")]
    Malformed,
    /// It is a record of another kind than was asked for.
    #[error("the record is of another kind than its place says")]
    OtherKind,
}

/// The bytes of a key's record, to be sealed. `material` holds one entry for each of `record.versions`, in their order.
/// The buffer never grows, so no copy of the material stays behind.
///
/// # Errors
/// [`RecordFormatError::Malformed`] when there are not as many materials as versions.
pub fn encode_key(
    record: &KeyRecord,
    material: &[&[u8; MATERIAL_LEN]],
) -> Result<Zeroizing<Vec<u8>>, RecordFormatError> {
    if material.len() != record.versions.len() {
        return Err(RecordFormatError::Malformed);
    }
    Ok(joined(&encode_head(&RecordV1::Key(record.clone()))?, material))
}

/// The bytes of a deleted key's record, to be sealed.
///
/// # Errors
/// [`RecordFormatError::Malformed`] when the encoder refuses it.
pub fn encode_tombstone(record: &TombstoneRecord) -> Result<Vec<u8>, RecordFormatError> {
    encode_head(&RecordV1::Tombstone(record.clone()))
}

/// The bytes of a name's record, to be sealed.
///
/// # Errors
/// [`RecordFormatError::Malformed`] when the encoder refuses it.
pub fn encode_name(record: NameRecord) -> Result<Vec<u8>, RecordFormatError> {
    encode_head(&RecordV1::Name(record))
}

/// Reads a record of any kind.
///
/// # Errors
/// [`RecordFormatError`]; bytes left over are refused.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, RecordFormatError> {
    let (record, rest) = split(bytes, FORMAT)?;
    let (materials, _) = rest.as_chunks();
    match record {
        RecordV1::Key(key) if key.versions.len() == materials.len() => Ok(Record::Key(key, Materials(materials))),
        RecordV1::Tombstone(tombstone) if rest.is_empty() => Ok(Record::Tombstone(tombstone)),
        RecordV1::Name(name) if rest.is_empty() => Ok(Record::Name(name)),
        RecordV1::Key(_) | RecordV1::Tombstone(_) | RecordV1::Name(_) => Err(RecordFormatError::Malformed),
    }
}

/// Reads the record of a key that is not deleted.
///
/// # Errors
/// [`RecordFormatError`].
pub fn decode_key(bytes: &[u8]) -> Result<(KeyRecord, Materials<'_>), RecordFormatError> {
    match decode(bytes)? {
        Record::Key(key, materials) => Ok((key, materials)),
        Record::Tombstone(_) | Record::Name(_) => Err(RecordFormatError::OtherKind),
    }
}

/// Reads the record of a deleted key.
///
/// # Errors
/// [`RecordFormatError`].
pub fn decode_tombstone(bytes: &[u8]) -> Result<TombstoneRecord, RecordFormatError> {
    match decode(bytes)? {
        Record::Tombstone(tombstone) => Ok(tombstone),
        Record::Key(..) | Record::Name(_) => Err(RecordFormatError::OtherKind),
    }
}

/// Reads a name's record.
///
/// # Errors
/// [`RecordFormatError`].
pub fn decode_name(bytes: &[u8]) -> Result<NameRecord, RecordFormatError> {
    match decode(bytes)? {
        Record::Name(name) => Ok(name),
        Record::Key(..) | Record::Tombstone(_) => Err(RecordFormatError::OtherKind),
    }
}

impl<'a> Materials<'a> {
    /// The material of each version, oldest first.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8; MATERIAL_LEN]> {
        self.0.iter()
    }
}

/// The two sections in one buffer, which has the right size from the beginning.
fn joined(head: &[u8], material: &[&[u8; MATERIAL_LEN]]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(head.len() + material.len() * MATERIAL_LEN));
    bytes.extend_from_slice(head);
    for one in material {
        bytes.extend_from_slice(*one);
    }
    bytes
}

/// What stands before the material, and the material: whole pieces of [`MATERIAL_LEN`] bytes.
fn split<T: DeserializeOwned>(bytes: &[u8], known: u8) -> Result<(T, &[u8]), RecordFormatError> {
    let (&format, content) = bytes.split_first().ok_or(RecordFormatError::Malformed)?;
    if format > known {
        return Err(RecordFormatError::Newer { found: format });
    }
    if format != known {
        return Err(RecordFormatError::Malformed);
    }
    let (head, rest) = postcard::take_from_bytes(content).map_err(|_| RecordFormatError::Malformed)?;
    if rest.len().is_multiple_of(MATERIAL_LEN) { Ok((head, rest)) } else { Err(RecordFormatError::Malformed) }
}

/// Everything but the material: nothing in it is secret.
fn encode_head(record: &RecordV1) -> Result<Vec<u8>, RecordFormatError> {
    postcard::to_extend(record, vec![FORMAT]).map_err(|_| RecordFormatError::Malformed)
}
