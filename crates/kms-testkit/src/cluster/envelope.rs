//! A record on its way to one zone. It stands for sealing: what it was sealed for is checked, what is inside is not hidden.

use super::disk::Record;
use kms_replication::{Content, MessageError, Payload};
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::BTreeSet;

/// The record of `key`, for `target` only.
pub(crate) fn seal(target: &ZoneName, key: KeyId, record: &Record) -> Result<Payload, MessageError> {
    let kind = match record.content {
        Content::Key => "key",
        Content::Tombstone => "tombstone",
    };
    let text = format!("{target} {key} {} {} {kind} {}", record.origin, record.revision, record.mark);
    Payload::new(text.into_bytes())
}

/// The record that `origin` sealed to this zone for that key and revision; `None` for anything else.
pub(crate) fn open(
    zone: &ZoneName,
    origin: &ZoneName,
    key: KeyId,
    revision: Revision,
    payload: &Payload,
) -> Option<Record> {
    let text = std::str::from_utf8(payload.as_bytes()).ok()?;
    let bound = format!("{zone} {key} {origin} {revision} ");
    let (kind, mark) = text.strip_prefix(&bound)?.split_once(' ')?;
    let content = match kind {
        "key" => Content::Key,
        "tombstone" => Content::Tombstone,
        _ => return None,
    };
    Some(Record { origin: origin.clone(), revision, content, mark: mark.parse().ok()?, targets: BTreeSet::new() })
}
