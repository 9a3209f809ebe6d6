//! Where a record lies: readable paths, and the kinds of record they name.

use kms_types::{KeyId, KeyName, OrganisationName};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Every key record's path begins with this: `key/<organisation>/<key id>`.
pub const KEY_PREFIX: &str = "key/";

/// Every name record's path begins with this: `name/<organisation>/<SHA-256 of the name in hex>`.
pub const NAME_PREFIX: &str = "name/";

/// Characters of a key id: 32 hexadecimal digits in five groups.
const ID_LEN: usize = 36;

/// The place of one record: a readable path of ASCII characters. Keys sort by their path's bytes.
///
/// A key name may hold any characters, so its path holds the name's SHA-256 instead.
#[derive(Clone)]
pub struct RecordKey {
    path: Box<str>,
    kind: RecordKind,
}

/// What a [`RecordKey`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A key's record: metadata and material, or what remains of a deleted key.
    Key {
        /// The organisation that owns the key.
        organisation: OrganisationName,
        /// The key.
        id: KeyId,
    },
    /// The record that says which key has a name.
    Name {
        /// The organisation within which the name is unique.
        organisation: OrganisationName,
        /// SHA-256 of the name's UTF-8 bytes.
        digest: [u8; 32],
    },
}

impl RecordKey {
    /// The record of the key `id` of `organisation`.
    #[must_use]
    pub fn key(organisation: &OrganisationName, id: KeyId) -> Self {
        Self::of(RecordKind::Key { organisation: organisation.clone(), id })
    }

    /// The record that says which key of `organisation` is called `name`.
    #[must_use]
    pub fn name(organisation: &OrganisationName, name: &KeyName) -> Self {
        let digest = Sha256::digest(name.as_str().as_bytes()).into();
        Self::of(RecordKind::Name { organisation: organisation.clone(), digest })
    }

    /// The record key of that path, or `None` when it is not one in its only spelling.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (table, rest) = path.split_once('/')?;
        let (organisation, last) = rest.split_once('/')?;
        let organisation = organisation.parse().ok()?;
        // With their length and in lower case, ids and digests have one spelling each.
        if last.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let kind = match table {
            "key" if last.len() == ID_LEN => RecordKind::Key { organisation, id: last.parse().ok()? },
            "name" => {
                let mut digest = [0; 32];
                hex::decode_to_slice(last, &mut digest).ok()?;
                RecordKind::Name { organisation, digest }
            }
            _ => return None,
        };
        Some(Self { path: path.into(), kind })
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// What the path names.
    #[must_use]
    pub const fn kind(&self) -> &RecordKind {
        &self.kind
    }

    fn of(kind: RecordKind) -> Self {
        let path = match &kind {
            RecordKind::Key { organisation, id } => format!("{KEY_PREFIX}{organisation}/{id}"),
            RecordKind::Name { organisation, digest } => format!("{NAME_PREFIX}{organisation}/{}", hex::encode(digest)),
        };
        Self { path: path.into_boxed_str(), kind }
    }
}

impl PartialEq for RecordKey {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for RecordKey {}

impl PartialOrd for RecordKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RecordKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.path.cmp(&other.path)
    }
}

impl Hash for RecordKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

impl std::borrow::Borrow<str> for RecordKey {
    fn borrow(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

    #[test]
    fn paths_are_readable_and_parse_back() {
        let organisation: OrganisationName = "acme".parse().unwrap();
        let key = RecordKey::key(&organisation, ID.parse().unwrap());
        assert_eq!(key.as_str(), format!("key/acme/{ID}"));
        let name = RecordKey::name(&organisation, &"k1".parse().unwrap());
        // printf k1 | sha256sum
        assert_eq!(name.as_str(), "name/acme/6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0");
        for built in [key, name] {
            let parsed = RecordKey::parse(built.as_str()).unwrap();
            assert_eq!(parsed, built);
            assert_eq!(parsed.kind(), built.kind());
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        let upper = ID.to_ascii_uppercase();
        let digest = "D9".repeat(32);
        for path in [
            "",
            "key",
            "key/acme",
            "key/acme/",
            "key//x",
            &format!("key/ACME/{ID}"),
            &format!("key/acme/{upper}"),
            &format!("key/acme/{}", ID.replace('-', "")),
            &format!("key/acme/{{{ID}}}"),
            &format!("key/acme/urn:uuid:{ID}"),
            &format!("key/acme/{}-", &ID[..35]),
            &format!("key/acme/{ID}/"),
            &format!("keys/acme/{ID}"),
            &format!("/key/acme/{ID}"),
            &format!("name/acme/{digest}"),
            "name/acme/d9e6",
        ] {
            assert_eq!(RecordKey::parse(path), None, "{path}");
        }
    }
}
