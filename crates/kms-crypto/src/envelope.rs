//! The ciphertext that callers of encrypt receive and keep (envelope 2).

use crate::aead::GcmTag;
use crate::xaes::XAES_NONCE_LEN;
use kms_types::{KeyId, MaterialVersion};

/// The first byte of every ciphertext of this format.
pub const FORMAT: u8 = 1;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 45;

/// Length of the tag in bytes.
pub const TAG_LEN: usize = 16;

/// How many bytes longer than its plaintext a ciphertext is.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// What a ciphertext says about itself. All of it is authenticated, but only once the ciphertext has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    key_id: KeyId,
    version: MaterialVersion,
    nonce: [u8; XAES_NONCE_LEN],
}

/// A ciphertext whose layout is right; whether it opens is another matter.
#[derive(Clone, Copy, Debug)]
pub struct Ciphertext<'a> {
    header: Header,
    header_bytes: &'a [u8; HEADER_LEN],
    body: &'a [u8],
    tag: GcmTag,
}

/// Bytes that are not a ciphertext of this service. A decrypt answers it like any other failure; the details are for
/// inspection by the one who holds the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCiphertext {
    /// Fewer bytes than the shortest ciphertext has.
    #[error("a ciphertext has at least {OVERHEAD} bytes, this has {len}")]
    TooShort {
        /// How many bytes there are.
        len: usize,
    },
    /// A first byte other than [`FORMAT`].
    #[error("ciphertext format {found} is unknown; this version reads format {FORMAT}")]
    UnknownFormat {
        /// The first byte.
        found: u8,
    },
    /// Material versions are counted from 1.
    #[error("the ciphertext names material version 0, which does not exist")]
    NoMaterialVersion,
}

impl Header {
    /// The header of a new ciphertext.
    #[must_use]
    pub const fn new(key_id: KeyId, version: MaterialVersion, nonce: [u8; XAES_NONCE_LEN]) -> Self {
        Self { key_id, version, nonce }
    }

    /// The key that sealed the ciphertext.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The version of that key's material.
    #[must_use]
    pub const fn version(&self) -> MaterialVersion {
        self.version
    }

    /// The nonce.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; XAES_NONCE_LEN] {
        &self.nonce
    }

    /// The header as it stands in the ciphertext.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = FORMAT;
        bytes[1..17].copy_from_slice(self.key_id.as_bytes());
        bytes[17..21].copy_from_slice(&self.version.get().to_be_bytes());
        bytes[21..].copy_from_slice(&self.nonce);
        bytes
    }

    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, MalformedCiphertext> {
        let version = MaterialVersion::new(u32::from_be_bytes(array_at(bytes, 17)));
        Ok(Self {
            key_id: KeyId::from_bytes(array_at(bytes, 1)),
            version: version.ok_or(MalformedCiphertext::NoMaterialVersion)?,
            nonce: array_at(bytes, 21),
        })
    }
}

impl<'a> Ciphertext<'a> {
    /// Reads the layout of `bytes`; no key is needed.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be a ciphertext. No cipher has been called then.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedCiphertext> {
        let too_short = MalformedCiphertext::TooShort { len: bytes.len() };
        let format = *bytes.first().ok_or(too_short)?;
        if format != FORMAT {
            return Err(MalformedCiphertext::UnknownFormat { found: format });
        }
        let (header_bytes, rest) = bytes.split_first_chunk().ok_or(too_short)?;
        let (body, tag) = rest.split_last_chunk().ok_or(too_short)?;
        Ok(Self { header: Header::parse(header_bytes)?, header_bytes, body, tag: GcmTag::new(*tag) })
    }

    /// What the ciphertext says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How long the plaintext is, in bytes.
    #[must_use]
    pub const fn plaintext_len(&self) -> usize {
        self.body.len()
    }

    pub(crate) const fn header_bytes(&self) -> &'a [u8; HEADER_LEN] {
        self.header_bytes
    }

    pub(crate) const fn body(&self) -> &'a [u8] {
        self.body
    }

    pub(crate) const fn tag(&self) -> &GcmTag {
        &self.tag
    }
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let version = MaterialVersion::new(0x0102_0304).unwrap();
        let header = Header::new(KeyId::from_bytes(*b"0123456789abcdef"), version, *b"a nonce of twenty-four b");
        let bytes = [&header.to_bytes()[..], b"body", &[9; TAG_LEN]].concat();
        let ciphertext = Ciphertext::parse(&bytes).unwrap();
        assert_eq!(ciphertext.header(), &header);
        assert_eq!((ciphertext.plaintext_len(), ciphertext.body()), (4, &b"body"[..]));
        assert_eq!(ciphertext.tag().as_bytes(), &[9; TAG_LEN]);
    }

    #[test]
    fn what_cannot_be_a_ciphertext_is_refused() {
        let shortest = [&[FORMAT; 1][..], &[1; OVERHEAD - 1]].concat();
        assert!(Ciphertext::parse(&shortest).is_ok());
        for len in 0..OVERHEAD {
            let expected = MalformedCiphertext::TooShort { len };
            assert_eq!(Ciphertext::parse(&shortest[..len]).unwrap_err(), expected);
        }
        for found in (0..=u8::MAX).filter(|byte| *byte != FORMAT) {
            let mut bytes = shortest.clone();
            bytes[0] = found;
            assert_eq!(Ciphertext::parse(&bytes).unwrap_err(), MalformedCiphertext::UnknownFormat { found });
        }
        let mut bytes = shortest;
        bytes[17..21].fill(0);
        assert_eq!(Ciphertext::parse(&bytes).unwrap_err(), MalformedCiphertext::NoMaterialVersion);
    }
}
