//! What travels between zones before it is sealed to the target: `format (1 byte) | kind and fields (postcard) | key material`.
//!
//! The layout is that of stored records, the format a number of its own: a zone reads what zones of other versions send.

use super::v1::{KeyRecord, PlaceRecord, TombstoneRecord};
use super::{MATERIAL_LEN, Materials, RecordFormatError, joined, split};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The format that this build sends, and the newest it reads.
pub const TRANSFER_FORMAT: u8 = 1;

/// A transfer that was read. The material lies in the bytes it was read from.
pub enum Transfer<'a> {
    /// The state of a key at its origin.
    Key(KeyRecord, Materials<'a>),
    /// What remains of a deleted key.
    Tombstone(TombstoneRecord),
}

/// What a transfer holds; the variant's number is the second byte.
#[derive(Serialize, Deserialize)]
enum TransferV1 {
    Key(KeyRecord),
    Tombstone(TombstoneRecord),
}

/// The bytes of a key's state, to be sealed. `record` is that of the key at its origin, `material` as for
/// [`encode_key`](super::encode_key). The buffer never grows, so no copy of the material stays behind.
///
/// # Errors
/// [`RecordFormatError::Malformed`] when there are not as many materials as versions; [`RecordFormatError::OtherKind`] when
/// the record is not one of a key at its origin.
pub fn encode_transfer(
    record: &KeyRecord,
    material: &[&[u8; MATERIAL_LEN]],
) -> Result<Zeroizing<Vec<u8>>, RecordFormatError> {
    if material.len() != record.versions.len() {
        return Err(RecordFormatError::Malformed);
    }
    check_place(record)?;
    Ok(joined(&encode_head(&TransferV1::Key(record.clone()))?, material))
}

/// The bytes that tell a deletion, to be sealed.
///
/// # Errors
/// [`RecordFormatError::Malformed`] when the encoder refuses it.
pub fn encode_tombstone_transfer(record: &TombstoneRecord) -> Result<Vec<u8>, RecordFormatError> {
    encode_head(&TransferV1::Tombstone(record.clone()))
}

/// Reads a transfer.
///
/// # Errors
/// [`RecordFormatError`]; bytes left over are refused, and a key that is not one at its origin.
pub fn decode_transfer(bytes: &[u8]) -> Result<Transfer<'_>, RecordFormatError> {
    let (transfer, rest) = split(bytes, TRANSFER_FORMAT)?;
    let (materials, _) = rest.as_chunks();
    match transfer {
        TransferV1::Key(key) if key.versions.len() == materials.len() => {
            check_place(&key)?;
            Ok(Transfer::Key(key, Materials(materials)))
        }
        TransferV1::Tombstone(tombstone) if rest.is_empty() => Ok(Transfer::Tombstone(tombstone)),
        TransferV1::Key(_) | TransferV1::Tombstone(_) => Err(RecordFormatError::Malformed),
    }
}

fn check_place(record: &KeyRecord) -> Result<(), RecordFormatError> {
    match record.place {
        PlaceRecord::Origin { .. } => Ok(()),
        PlaceRecord::SingleZone | PlaceRecord::Replica { .. } => Err(RecordFormatError::OtherKind),
    }
}

fn encode_head(transfer: &TransferV1) -> Result<Vec<u8>, RecordFormatError> {
    postcard::to_extend(transfer, vec![TRANSFER_FORMAT]).map_err(|_| RecordFormatError::Malformed)
}
