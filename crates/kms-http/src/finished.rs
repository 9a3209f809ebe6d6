//! Finished operations, for clients of the API's first version: `replicate` answered one, and scripts wait for it.
//!
//! Nothing is kept for them. The id of an operation is the key's id with the key's revision in place of the last twelve
//! digits: it tells which change it was, and that change was made if the key has come to that revision.

use kms_lifecycle::Key;
use kms_types::{InvalidKeyId, KeyId};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How many digits of a key's id an operation's id begins with, hyphens included.
const SHARED: usize = 24;

/// The id of an operation: a UUID in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationId(KeyId);

/// An operation that was finished when it was answered.
#[derive(Serialize)]
pub(crate) struct FinishedOperation {
    id: String,
    state: &'static str,
    reference: Reference,
}

#[derive(Serialize)]
struct Reference {
    id: String,
    link: String,
    command: &'static str,
}

impl FinishedOperation {
    /// The change that brought `key` to its present revision.
    pub(crate) fn latest(key: &Key) -> Self {
        let revision = key.revision().seq.get() & 0xffff_ffff_ffff;
        let id = format!("{}{revision:012x}", &key.id().to_string()[..SHARED]);
        Self::of(key, id)
    }

    /// The operation `id`, if one of `keys` has made it.
    pub(crate) fn find<'a>(id: OperationId, keys: impl IntoIterator<Item = &'a Key>) -> Option<Self> {
        let id = id.to_string();
        let (shared, revision) = id.split_at_checked(SHARED)?;
        let revision = u64::from_str_radix(revision, 16).ok()?;
        let made =
            |key: &&Key| key.id().to_string().starts_with(shared) && (1..=key.revision().seq.get()).contains(&revision);
        keys.into_iter().find(made).map(|key| Self::of(key, id.clone()))
    }

    fn of(key: &Key, id: String) -> Self {
        let key = key.id().to_string();
        let reference = Reference { link: format!("/v2/kms-key/{key}"), id: key, command: "get-kms-key" };
        Self { id, state: "success", reference }
    }
}

impl FromStr for OperationId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        text.parse().map(Self)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_lifecycle::{Command, Decision, Kind, NewKey, Reach, Usage, decide};
    use kms_types::{Description, Timestamp};

    fn key(last: u8) -> Key {
        let new = NewKey {
            id: KeyId::from_time_and_random(1_790_000_000_000 + u64::from(last), &[last; 10]),
            organisation: "acme".parse().unwrap(),
            name: "k1".parse().unwrap(),
            description: Description::default(),
            usage: Usage::EncryptDecrypt,
            zone: "ch-gva-2".parse().unwrap(),
            multi_zone: Reach::MultiZone,
            kind: Kind::Ordinary,
        };
        Key::create(new, Timestamp::EPOCH)
    }

    fn found(id: &str, keys: &[Key]) -> Option<serde_json::Value> {
        FinishedOperation::find(id.parse().unwrap(), keys).map(|operation| serde_json::to_value(operation).unwrap())
    }

    #[test]
    fn an_operation_is_found_by_its_id_and_no_other_is() {
        let (one, other) = (key(1), key(2));
        let made = serde_json::to_value(FinishedOperation::latest(&one)).unwrap();
        let id = made["id"].as_str().unwrap();
        let keys = [other.clone(), one.clone()];
        assert_eq!(found(id, &keys), Some(made.clone()));
        assert_eq!(made["reference"]["id"], one.id().to_string());
        assert_eq!(found(id, &[other]), None, "another caller's keys");
        for last in ["000000000000", "000000000002", "ffffffffffff"] {
            assert_eq!(found(&format!("{}{last}", &id[..SHARED]), &keys), None, "a change that was never made: {last}");
        }
        let Ok(Decision::Change(change)) = decide(&one, &Command::Disable, Timestamp::EPOCH) else {
            panic!("a change")
        };
        assert_eq!(found(id, &[one.apply(&change).unwrap()]), Some(made), "later changes do not unmake it");
    }
}
