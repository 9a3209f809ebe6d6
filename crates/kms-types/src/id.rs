//! The identity of a key.

use std::fmt;
use std::str::FromStr;
use uuid::{Builder, Uuid};

/// The identity of a key: a UUID, the same in every zone. New ones are version 7 (RFC 9562), as the real service makes them.
///
/// Text has one spelling only: lower case with hyphens. Caches, locks, logs and associated data therefore never see two
/// spellings of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct KeyId(Uuid);

/// A text that is not a canonical UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID in lower case with hyphens")]
pub struct InvalidKeyId;

impl KeyId {
    /// A new id from the time in milliseconds since 1970 and ten random bytes (UUID version 7, RFC 9562 section 5.7).
    #[must_use]
    pub fn from_time_and_random(millis: u64, random: &[u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(millis, random).into_uuid())
    }

    /// The id whose 16 bytes, in network order, are given.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let canonical = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match Uuid::try_parse(text) {
            Ok(uuid) if canonical => Ok(Self(uuid)),
            Ok(_) | Err(_) => Err(InvalidKeyId),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        assert_eq!(CANONICAL.parse::<KeyId>().unwrap().to_string(), CANONICAL);
        for other in [
            "019EEF19-73EF-7CE3-9EA1-FCAA367EBD8D",
            "019eef1973ef7ce39ea1fcaa367ebd8d",
            "{019eef19-73ef-7ce3-9ea1-fcaa367ebd8d}",
            "urn:uuid:019eef19-73ef-7ce3-9ea1-fcaa367ebd8d",
            "019eef19-73ef-7ce3-9ea1-fcaa367ebd8",
            "",
            "k1",
        ] {
            assert_eq!(other.parse::<KeyId>(), Err(InvalidKeyId), "{other}");
        }
    }

    #[test]
    fn new_ids_are_version_seven_and_sort_by_time() {
        let early = KeyId::from_time_and_random(1_000, &[0xff; 10]);
        let late = KeyId::from_time_and_random(1_001, &[0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().as_bytes()[14], b'7');
    }
}
