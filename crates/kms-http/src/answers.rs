//! The answers of the operations: shapes that satisfy both versions of the API and all of its clients.

use crate::answer_body::Content;
use crate::base64_text;
use crate::finished::FinishedOperation;
use kms_crypto::SecretBytes;
use kms_lifecycle::{Key, Made, Place, RevisionStamp, Rotation, Schedule, Status, Usage, VersionInfo};
use kms_service::ReplicaStatus;
use kms_types::{Timestamp, ZoneName};
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// The object of one key. Which members it has depends on the operation.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KeyAnswer<'a> {
    #[serde(serialize_with = "as_text")]
    id: kms_types::KeyId,
    name: &'a str,
    description: &'a str,
    usage: &'static str,
    source: &'static str,
    status: &'static str,
    #[serde(serialize_with = "as_text")]
    status_since: Timestamp,
    multi_zone: bool,
    origin_zone: &'a str,
    #[serde(serialize_with = "as_text")]
    created_at: Timestamp,
    revision: RevisionAnswer,
    /// Always empty; the first version of the API has it in create and get.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'static str>,
    /// The zone that answers; the first version of the API requires it in get.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    material: MaterialAnswer,
    rotation: RotationAnswer,
    replicas: Vec<&'a str>,
    /// In create and get.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas_status: Option<Vec<ReplicaAnswer<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    delete_at: Option<Timestamp>,
}

/// How far one replica has come.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReplicaAnswer<'a> {
    zone: &'a str,
    last_applied_watermark: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<FailureAnswer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FailureAnswer<'a> {
    attempted_watermark: u64,
    error: &'a str,
    #[serde(serialize_with = "as_text")]
    failed_at: Timestamp,
}

#[derive(Serialize)]
struct RevisionAnswer {
    #[serde(serialize_with = "as_text")]
    at: Timestamp,
    seq: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MaterialAnswer {
    version: u32,
    #[serde(serialize_with = "as_text")]
    created_at: Timestamp,
    automatic: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RotationAnswer {
    manual_count: u8,
    automatic: bool,
    rotation_period: u32,
    #[serde(serialize_with = "as_text")]
    next_at: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct VersionAnswer {
    version: u32,
    #[serde(serialize_with = "as_text")]
    rotated_at: Timestamp,
    automatic: bool,
}

impl<'a> KeyAnswer<'a> {
    fn listed(key: &'a Key) -> Self {
        let (status, delete_at) = match key.status() {
            Status::Enabled { .. } => ("enabled", None),
            Status::Disabled { .. } => ("disabled", None),
            Status::PendingDeletion { delete_at, .. } => ("pending-deletion", Some(*delete_at)),
        };
        Self {
            id: key.id(),
            name: key.name().as_str(),
            description: key.description().as_str(),
            usage: match key.usage() {
                Usage::EncryptDecrypt => "encrypt-decrypt",
            },
            source: "exoscale-kms",
            status,
            status_since: key.status().since(),
            multi_zone: key.is_multi_zone(),
            origin_zone: key.origin_zone().as_str(),
            created_at: key.created_at(),
            revision: key.revision().into(),
            policy: None,
            zone: None,
            material: key.current_version().into(),
            rotation: key.rotation().into(),
            replicas: match key.place() {
                Place::Origin { replicas } => replicas.iter().map(ZoneName::as_str).collect(),
                Place::SingleZone | Place::Replica { .. } => Vec::new(),
            },
            replicas_status: None,
            delete_at,
        }
    }

    /// For create; a key just made has no replicas.
    pub(crate) fn created(key: &'a Key) -> Self {
        Self { policy: Some(""), replicas_status: Some(Vec::new()), ..Self::listed(key) }
    }

    /// For get, answered by `zone`.
    pub(crate) fn whole(key: &'a Key, replicas: &'a [ReplicaStatus], zone: &'a ZoneName) -> Self {
        let replicas_status = Some(replicas.iter().map(ReplicaAnswer::from).collect());
        Self { zone: Some(zone.as_str()), replicas_status, ..Self::created(key) }
    }
}

impl<'a> From<&'a ReplicaStatus> for ReplicaAnswer<'a> {
    fn from(status: &'a ReplicaStatus) -> Self {
        Self {
            zone: status.zone.as_str(),
            last_applied_watermark: status.last_applied.get(),
            last_failure: status.last_failure.as_ref().map(|failure| FailureAnswer {
                attempted_watermark: failure.attempted.get(),
                error: &failure.error,
                failed_at: failure.failed_at,
            }),
        }
    }
}

impl From<RevisionStamp> for RevisionAnswer {
    fn from(revision: RevisionStamp) -> Self {
        Self { at: revision.at, seq: revision.seq.get() }
    }
}

impl From<&VersionInfo> for MaterialAnswer {
    fn from(version: &VersionInfo) -> Self {
        Self { version: version.version.get(), created_at: version.created_at, automatic: automatic(version.made) }
    }
}

impl From<&Rotation> for RotationAnswer {
    fn from(rotation: &Rotation) -> Self {
        Self {
            manual_count: rotation.manual_count().get(),
            automatic: match rotation.schedule() {
                Schedule::On => true,
                Schedule::Off => false,
            },
            rotation_period: rotation.period().days(),
            next_at: rotation.next_at(),
        }
    }
}

const fn automatic(made: Made) -> bool {
    match made {
        Made::Created | Made::Manually => false,
        Made::Automatically => true,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KeyList<'a> {
    kms_keys: Vec<KeyAnswer<'a>>,
}

impl<'a> KeyList<'a> {
    pub(crate) fn of(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        Self { kms_keys: keys.into_iter().map(KeyAnswer::listed).collect() }
    }
}

/// The versions that rotations made: all but the first.
#[derive(Serialize)]
pub(crate) struct RotationList {
    rotations: Vec<VersionAnswer>,
}

impl RotationList {
    pub(crate) fn of(key: &Key) -> Self {
        let rotated = key.versions().iter().filter(|version| match version.made {
            Made::Created => false,
            Made::Manually | Made::Automatically => true,
        });
        let answer = |version: &VersionInfo| VersionAnswer {
            version: version.version.get(),
            rotated_at: version.created_at,
            automatic: automatic(version.made),
        };
        Self { rotations: rotated.map(answer).collect() }
    }
}

/// How a key rotates, after a change to that.
#[derive(Serialize)]
pub(crate) struct RotationChanged {
    rotation: RotationAnswer,
}

impl RotationChanged {
    pub(crate) fn of(key: &Key) -> Self {
        Self { rotation: key.rotation().into() }
    }
}

/// Done; and when the key will be gone, if it will.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Success {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    delete_at: Option<Timestamp>,
}

impl Success {
    pub(crate) const fn plain() -> Self {
        Self { status: "success", delete_at: None }
    }

    pub(crate) const fn with_deletion_of(key: &Key) -> Self {
        let delete_at = match key.status() {
            Status::PendingDeletion { delete_at, .. } => Some(*delete_at),
            Status::Enabled { .. } | Status::Disabled { .. } => None,
        };
        Self { status: "success", delete_at }
    }
}

/// A replica was registered: today's answer, and around it the finished operation that the first version of the API answered.
#[derive(Serialize)]
pub(crate) struct TargetRegistered {
    status: &'static str,
    #[serde(flatten)]
    operation: FinishedOperation,
}

impl TargetRegistered {
    pub(crate) fn of(key: &Key) -> Self {
        Self { status: "target-registered", operation: FinishedOperation::latest(key) }
    }
}

#[derive(Serialize)]
pub(crate) struct ZoneList<'a> {
    zones: Vec<ZoneAnswer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ZoneAnswer<'a> {
    name: &'a str,
    api_endpoint: &'a str,
}

impl<'a> ZoneList<'a> {
    /// Of names and endpoints.
    pub(crate) fn of(zones: impl IntoIterator<Item = (&'a ZoneName, &'a str)>) -> Self {
        let answer = |(name, api_endpoint): (&'a ZoneName, _)| ZoneAnswer { name: name.as_str(), api_endpoint };
        Self { zones: zones.into_iter().map(answer).collect() }
    }
}

/// `{"ciphertext":"…"}`.
pub(crate) fn ciphertext(ciphertext: &[u8]) -> Option<Content> {
    let parts = [Part::Text(b"{\"ciphertext\":\""), Part::Base64(ciphertext), Part::Text(b"\"}")];
    let mut answer = vec![0; length(&parts)];
    write(&parts, &mut answer)?;
    Some(Content::Public(answer))
}

/// `{"plaintext":"…"}`, in memory that is wiped once it is sent.
pub(crate) fn plaintext(plaintext: &SecretBytes) -> Option<Content> {
    secret(&[Part::Text(PLAINTEXT), Part::Base64(plaintext.expose()), Part::Text(b"\"}")])
}

/// `{"plaintext":"…","ciphertext":"…"}`, in memory that is wiped once it is sent.
pub(crate) fn data_key(plaintext: &SecretBytes, ciphertext: &[u8]) -> Option<Content> {
    secret(&[
        Part::Text(PLAINTEXT),
        Part::Base64(plaintext.expose()),
        Part::Text(b"\",\"ciphertext\":\""),
        Part::Base64(ciphertext),
        Part::Text(b"\"}"),
    ])
}

const PLAINTEXT: &[u8] = b"{\"plaintext\":\"";

/// A piece of an answer of a crypto call. These are written by hand and in place: a serialiser would leave copies behind as
/// its buffer grows, and base64 needs no escapes.
enum Part<'a> {
    Text(&'static [u8]),
    Base64(&'a [u8]),
}

fn secret(parts: &[Part<'_>]) -> Option<Content> {
    let mut answer = SecretBytes::zeroed(length(parts));
    write(parts, answer.expose_mut())?;
    Some(Content::Secret(answer))
}

fn length(parts: &[Part<'_>]) -> usize {
    let length = |part: &Part<'_>| match part {
        Part::Text(text) => text.len(),
        Part::Base64(bytes) => base64_text::encoded_length(bytes.len()),
    };
    parts.iter().map(length).sum()
}

/// Writes `parts` one after the other. `None` when `out` is too short for them.
fn write(parts: &[Part<'_>], mut out: &mut [u8]) -> Option<()> {
    for part in parts {
        out = match part {
            Part::Text(text) => {
                let (place, rest) = out.split_at_mut_checked(text.len())?;
                place.copy_from_slice(text);
                rest
            }
            Part::Base64(bytes) => {
                let (place, rest) = out.split_at_mut_checked(base64_text::encoded_length(bytes.len()))?;
                base64_text::encode_into(bytes, place)?;
                rest
            }
        };
    }
    Some(())
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_optional_text<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_text(value, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_lifecycle::{Kind, NewKey, Reach};
    use kms_types::{KeyId, Timestamp};
    use serde_json::json;

    fn key() -> Key {
        let new = NewKey {
            id: KeyId::from_bytes([7; 16]),
            organisation: "acme".parse().unwrap(),
            name: "k1".parse().unwrap(),
            description: "".parse().unwrap(),
            usage: Usage::EncryptDecrypt,
            zone: "ch-gva-2".parse().unwrap(),
            multi_zone: Reach::MultiZone,
            kind: Kind::Ordinary,
        };
        Key::create(new, Timestamp::from_nanos(1_790_000_000_000_000_001))
    }

    #[test]
    fn a_registered_replica_is_a_success_and_a_finished_operation() {
        let answer = serde_json::to_value(TargetRegistered::of(&key())).unwrap();
        let id = "07070707-0707-0707-0707-070707070707";
        let expected = json!({
            "status": "target-registered",
            "id": "07070707-0707-0707-0707-000000000001",
            "state": "success",
            "reference": { "id": id, "link": format!("/v2/kms-key/{id}"), "command": "get-kms-key" },
        });
        assert_eq!(answer, expected);
    }

    #[test]
    fn times_have_nine_digits_and_counters_none() {
        let text = serde_json::to_string(&RotationChanged::of(&key())).unwrap();
        let rotation =
            r#"{"manual-count":0,"automatic":true,"rotation-period":365,"next-at":"2027-09-21T14:13:20.000000001Z"}"#;
        assert_eq!(text, format!("{{\"rotation\":{rotation}}}"));
    }

    #[test]
    fn answers_of_crypto_calls_are_written_into_exactly_their_room() {
        let text = |content: Option<Content>| String::from_utf8(content.unwrap().expose().to_vec()).unwrap();
        for (plain, encoded) in [("", ""), ("a", "YQ=="), ("hello!", "aGVsbG8h")] {
            let secret = SecretBytes::copy_from(plain.as_bytes());
            assert_eq!(text(plaintext(&secret)), format!("{{\"plaintext\":\"{encoded}\"}}"));
            let both = format!("{{\"plaintext\":\"{encoded}\",\"ciphertext\":\"AQI=\"}}");
            assert_eq!(text(data_key(&secret, &[1, 2])), both);
            assert_eq!(text(ciphertext(plain.as_bytes())), format!("{{\"ciphertext\":\"{encoded}\"}}"));
        }
    }
}
