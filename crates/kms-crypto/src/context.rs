//! The encryption context and the associated data that binds it to a ciphertext (envelope 3).

use crate::envelope::HEADER_LEN;
use std::collections::BTreeMap;

/// What the caller of encrypt states and the caller of decrypt must state again. It is authenticated, not stored.
///
/// Absent, null and empty are one and the same context: none. The variants may be built directly; an empty `Bytes` or `Map`
/// still means `None`.
#[derive(Clone, Copy)]
pub enum EncryptionContext<'a> {
    /// No context.
    None,
    /// Opaque bytes, as Exoscale and Vault have it.
    Bytes(&'a [u8]),
    /// Names and values, as AWS has it; their order does not matter.
    Map(&'a BTreeMap<String, String>),
}

impl<'a> EncryptionContext<'a> {
    /// The context of these bytes; none when they are empty.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes).normalised()
    }

    /// The context of these names and values; none when there are none.
    #[must_use]
    pub fn from_map(map: &'a BTreeMap<String, String>) -> Self {
        Self::Map(map).normalised()
    }

    fn normalised(self) -> Self {
        match self {
            Self::Bytes([]) => Self::None,
            Self::Map(map) if map.is_empty() => Self::None,
            Self::None | Self::Bytes(_) | Self::Map(_) => self,
        }
    }
}

/// The associated data of a message: label, header and context, each behind its length (envelope 3.1). No two different
/// pairs of header and context give the same bytes.
#[must_use]
pub fn associated_data(header: &[u8; HEADER_LEN], context: EncryptionContext<'_>) -> Vec<u8> {
    let context = context.normalised();
    let context_len = match context {
        EncryptionContext::None => 0,
        EncryptionContext::Bytes(bytes) => LENGTH_LEN + bytes.len(),
        EncryptionContext::Map(map) => {
            LENGTH_LEN + map.iter().map(|(name, value)| 2 * LENGTH_LEN + name.len() + value.len()).sum::<usize>()
        }
    };
    let mut out = Fields::with_capacity(2 * LENGTH_LEN + LABEL.len() + HEADER_LEN + 1 + context_len);
    out.push(LABEL);
    out.push(header);
    match context {
        EncryptionContext::None => out.push_kind(KIND_NONE),
        EncryptionContext::Bytes(bytes) => {
            out.push_kind(KIND_BYTES);
            out.push(bytes);
        }
        EncryptionContext::Map(map) => {
            out.push_kind(KIND_MAP);
            out.push_number(map.len() as u64);
            // A BTreeMap gives its entries sorted by the bytes of the name.
            for (name, value) in map {
                out.push(name.as_bytes());
                out.push(value.as_bytes());
            }
        }
    }
    out.into_bytes()
}

const LABEL: &[u8] = b"zonekms message v1";
const KIND_NONE: u8 = 0;
const KIND_BYTES: u8 = 1;
const KIND_MAP: u8 = 2;
const LENGTH_LEN: usize = 8;

/// Fields of associated data, each behind its length as eight bytes, big-endian. A reader could take them apart again in
/// one way only, which is why different fields never give the same bytes.
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(crate) fn push(&mut self, field: &[u8]) {
        self.push_number(field.len() as u64);
        self.0.extend_from_slice(field);
    }

    fn push_number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn push_kind(&mut self, kind: u8) {
        self.0.push(kind);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_empty_are_the_same_context() {
        let header = [7; HEADER_LEN];
        let none = associated_data(&header, EncryptionContext::None);
        let empty = BTreeMap::new();
        for context in [
            EncryptionContext::from_bytes(b""),
            EncryptionContext::from_map(&empty),
            EncryptionContext::Bytes(b""),
            EncryptionContext::Map(&empty),
        ] {
            assert_eq!(associated_data(&header, context), none);
        }
    }

    #[test]
    fn the_capacity_is_exact() {
        let map = BTreeMap::from([("a".to_owned(), "bc".to_owned()), (String::new(), "d".to_owned())]);
        for context in [EncryptionContext::None, EncryptionContext::Bytes(b"abc"), EncryptionContext::Map(&map)] {
            let bytes = associated_data(&[0; HEADER_LEN], context);
            assert_eq!(bytes.len(), bytes.capacity());
        }
    }
}
