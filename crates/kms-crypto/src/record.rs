//! Sealed records: the form in which every value lies in the store (envelope 6).

use crate::aead::{Backend, GcmTag};
use crate::context::Fields;
use crate::entropy::{Entropy, EntropyError, public_bytes};
use crate::envelope::TAG_LEN;
use crate::material::MAX_PLAINTEXT_LEN;
use crate::secret::SecretBytes;
use crate::xaes::{XAES_NONCE_LEN, XaesKey};
use std::fmt;
use std::num::NonZeroU64;

/// How many bytes longer than its plaintext a sealed record is.
pub const RECORD_OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// The number of a storage epoch key, from 1. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(NonZeroU64);

impl EpochId {
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    pub(crate) const fn from_be_bytes(bytes: [u8; 8]) -> Option<Self> {
        match NonZeroU64::new(u64::from_be_bytes(bytes)) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("epochs are added one by one, and nobody adds 2^64"))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a sealed record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Altered, cut short, or brought here from another place, version or store.
    #[error("the record is damaged, or does not belong where it was found")]
    Damaged,
    /// Sealed under a key that the keyring does not hold.
    #[error("the record was sealed under storage epoch {0}, which the keyring does not hold")]
    UnknownEpoch(EpochId),
    /// Written by a newer version of ZoneKMS.
    #[error("the record has format {found}; this version reads format {RECORD_FORMAT}")]
    NewerFormat {
        /// The record's first byte.
        found: u8,
    },
}

/// Where a record belongs: the associated data of its seal, beside its epoch.
pub(crate) struct Place<'a> {
    pub(crate) store_id: &'a [u8; 16],
    pub(crate) name: &'a str,
    pub(crate) version: u64,
}

/// Seals `plaintext` for `place` under the key of `epoch`.
pub(crate) fn seal(
    key: &XaesKey,
    epoch: EpochId,
    place: &Place<'_>,
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, EntropyError> {
    assert!(plaintext.len() as u64 <= MAX_PLAINTEXT_LEN, "a record has at most 64 GiB");
    let nonce = public_bytes(entropy)?;
    let mut out = Vec::with_capacity(plaintext.len() + RECORD_OVERHEAD);
    out.push(RECORD_FORMAT);
    out.extend_from_slice(&epoch.get().to_be_bytes());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let tag = key
        .seal(Backend::fastest(plaintext.len()), &nonce, &place.associated_data(epoch), &mut out[HEADER_LEN..])
        .expect("the only record that cannot be sealed is one that is too long, and this one is not");
    out.extend_from_slice(tag.as_bytes());
    Ok(out)
}

/// A sealed record taken apart, not yet opened.
pub(crate) struct SealedRecord<'a> {
    pub(crate) epoch: EpochId,
    nonce: &'a [u8; XAES_NONCE_LEN],
    body: &'a [u8],
    tag: GcmTag,
}

impl<'a> SealedRecord<'a> {
    pub(crate) fn parse(sealed: &'a [u8]) -> Result<Self, RecordError> {
        let (format, rest) = sealed.split_first().ok_or(RecordError::Damaged)?;
        match *format {
            0 => return Err(RecordError::Damaged),
            RECORD_FORMAT => (),
            found => return Err(RecordError::NewerFormat { found }),
        }
        let (epoch, rest) = rest.split_first_chunk().ok_or(RecordError::Damaged)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(RecordError::Damaged)?;
        let (body, tag) = rest.split_last_chunk().ok_or(RecordError::Damaged)?;
        let epoch = EpochId::from_be_bytes(*epoch).ok_or(RecordError::Damaged)?;
        Ok(Self { epoch, nonce, body, tag: GcmTag::new(*tag) })
    }

    pub(crate) fn open(&self, key: &XaesKey, place: &Place<'_>) -> Result<SecretBytes, RecordError> {
        let mut plaintext = SecretBytes::copy_from(self.body);
        let associated_data = place.associated_data(self.epoch);
        key.open(Backend::fastest(self.body.len()), self.nonce, &associated_data, plaintext.expose_mut(), &self.tag)
            .map_err(|_| RecordError::Damaged)?;
        Ok(plaintext)
    }
}

impl Place<'_> {
    fn associated_data(&self, epoch: EpochId) -> Vec<u8> {
        let mut fields = Fields::with_capacity(128 + self.name.len());
        fields.push(LABEL);
        fields.push(self.store_id);
        fields.push(self.name.as_bytes());
        fields.push(&self.version.to_be_bytes());
        fields.push(&epoch.get().to_be_bytes());
        fields.into_bytes()
    }
}

const LABEL: &[u8] = b"zonekms record v1";
const RECORD_FORMAT: u8 = 1;
/// Format, epoch and nonce.
const HEADER_LEN: usize = 1 + 8 + XAES_NONCE_LEN;
