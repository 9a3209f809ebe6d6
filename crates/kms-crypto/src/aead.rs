//! AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags, from one of several libraries.
//!
//! Other nonce and tag lengths cannot be expressed, so they are refused before any cipher is called.

use crate::material::MAX_PLAINTEXT_LEN;
use crate::secret::wipe;
use aes::Aes256Enc;
use aes::cipher::consts::U12;
use aes_gcm::aead::KeyInit;
use aes_gcm::{AeadInOut, AesGcm};
use kms_aesni::AesNi;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};

/// A nonce of exactly 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcmNonce([u8; 12]);

/// A tag of exactly 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct GcmTag([u8; 16]);

/// A nonce that is not 12 bytes long, or a tag that is not 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AES-256-GCM takes a nonce of 12 and a tag of 16 bytes only")]
pub struct WrongLength;

/// Sealing: more than 2^36 - 32 bytes. Opening: that, or a tag that does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AES-256-GCM refused the message")]
pub struct AeadError;

/// The code that does the work. All of it gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// RustCrypto's `aes-gcm`. Wipes its key schedule.
    AesGcm,
    /// `kms-aesni`, where the processor can. Keeps its key schedule in registers.
    AesNi(AesNi),
    /// `aws-lc-rs`. Wipes its key schedule.
    AwsLc,
    /// `ring`. Does not wipe its key schedule, so nothing but tests and benches uses it.
    Ring,
}

impl Backend {
    /// Every backend that this processor can run, for tests and benches.
    pub fn all() -> impl Iterator<Item = Self> {
        [Some(Self::AesGcm), Some(Self::AwsLc), Some(Self::Ring), AesNi::detect().map(Self::AesNi)]
            .into_iter()
            .flatten()
    }

    /// The fastest that wipes what it knew, for a plaintext of `len` bytes under a key that is used once (envelope 8).
    #[must_use]
    pub fn fastest(len: usize) -> Self {
        match AesNi::detect() {
            _ if len > SHORT => Self::AwsLc,
            Some(cpu) => Self::AesNi(cpu),
            None => Self::AesGcm,
        }
    }

    /// Encrypts `buffer` in place under `key` and returns the tag. A pair of key and nonce must be used once only.
    ///
    /// # Errors
    ///
    /// When `buffer` is longer than 2^36 - 32 bytes.
    pub fn seal(
        self,
        key: &[u8; 32],
        nonce: GcmNonce,
        associated_data: &[u8],
        buffer: &mut [u8],
    ) -> Result<GcmTag, AeadError> {
        match self {
            Self::AesGcm => seal_with_aes_gcm(key, nonce, associated_data, buffer),
            Self::AesNi(cpu) => seal_with_aesni(cpu, key, nonce, associated_data, buffer),
            Self::AwsLc => seal_with_aws_lc(key, nonce, associated_data, buffer),
            Self::Ring => seal_with_ring(key, nonce, associated_data, buffer),
        }
    }

    /// Decrypts `buffer` in place under `key`.
    ///
    /// # Errors
    ///
    /// When the tag does not match. `buffer` is then all zeros.
    pub fn open(
        self,
        key: &[u8; 32],
        nonce: GcmNonce,
        associated_data: &[u8],
        buffer: &mut [u8],
        tag: &GcmTag,
    ) -> Result<(), AeadError> {
        let opened = match self {
            Self::AesGcm => open_with_aes_gcm(key, nonce, associated_data, buffer, tag),
            Self::AesNi(cpu) => cpu.open(key, &nonce.0, associated_data, buffer, &tag.0).map_err(|_| AeadError),
            Self::AwsLc => open_with_aws_lc(key, nonce, associated_data, buffer, tag),
            Self::Ring => open_with_ring(key, nonce, associated_data, buffer, tag),
        };
        if opened.is_err() {
            wipe(buffer);
        }
        opened
    }
}

/// The longest plaintext in bytes for which setting up the key costs more than a faster library gains.
const SHORT: usize = 1024;

impl GcmNonce {
    /// The nonce of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for GcmNonce {
    type Error = WrongLength;

    fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
        bytes.try_into().map(Self).map_err(|_| WrongLength)
    }
}

impl GcmTag {
    /// The tag of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for GcmTag {
    type Error = WrongLength;

    fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
        bytes.try_into().map(Self).map_err(|_| WrongLength)
    }
}

fn seal_with_aesni(
    cpu: AesNi,
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
) -> Result<GcmTag, AeadError> {
    if buffer.len() as u64 > MAX_PLAINTEXT_LEN {
        return Err(AeadError);
    }
    Ok(GcmTag(cpu.seal(key, &nonce.0, associated_data, buffer)))
}

// The libraries' functions are never inlined: the stack that one of them needs is not the others' to wipe.

/// GCM never runs the cipher backwards; without the schedule for that, setting up costs half.
type Aes256GcmEnc = AesGcm<Aes256Enc, U12>;

#[inline(never)]
fn seal_with_aes_gcm(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
) -> Result<GcmTag, AeadError> {
    let cipher = Aes256GcmEnc::new(key.into());
    let tag = cipher.encrypt_inout_detached(&nonce.0.into(), associated_data, buffer.into()).map_err(|_| AeadError)?;
    Ok(GcmTag(tag.into()))
}

#[inline(never)]
fn open_with_aes_gcm(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &GcmTag,
) -> Result<(), AeadError> {
    let cipher = Aes256GcmEnc::new(key.into());
    cipher.decrypt_inout_detached(&nonce.0.into(), associated_data, buffer.into(), &tag.0.into()).map_err(|_| AeadError)
}

#[inline(never)]
fn seal_with_aws_lc(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
) -> Result<GcmTag, AeadError> {
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.0);
    let tag = aws_lc_key(key)?
        .seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(associated_data), buffer)
        .map_err(|_| AeadError)?;
    tag.as_ref().try_into().map(GcmTag).map_err(|_| AeadError)
}

#[inline(never)]
fn open_with_aws_lc(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &GcmTag,
) -> Result<(), AeadError> {
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.0);
    aws_lc_key(key)?
        .open_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(associated_data), &tag.0, buffer)
        .map(|_| ())
        .map_err(|_| AeadError)
}

fn aws_lc_key(key: &[u8; 32]) -> Result<aws_lc_rs::aead::LessSafeKey, AeadError> {
    aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, key)
        .map(aws_lc_rs::aead::LessSafeKey::new)
        .map_err(|_| AeadError)
}

#[inline(never)]
fn seal_with_ring(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
) -> Result<GcmTag, AeadError> {
    let nonce = ring::aead::Nonce::assume_unique_for_key(nonce.0);
    let tag =
        ring_key(key)?.seal_in_place_separate_tag(nonce, Aad::from(associated_data), buffer).map_err(|_| AeadError)?;
    tag.as_ref().try_into().map(GcmTag).map_err(|_| AeadError)
}

#[inline(never)]
fn open_with_ring(
    key: &[u8; 32],
    nonce: GcmNonce,
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &GcmTag,
) -> Result<(), AeadError> {
    let nonce = ring::aead::Nonce::assume_unique_for_key(nonce.0);
    ring_key(key)?
        .open_in_place_separate_tag(nonce, Aad::from(associated_data), tag.0.into(), buffer, 0..)
        .map(|_| ())
        .map_err(|_| AeadError)
}

fn ring_key(key: &[u8; 32]) -> Result<LessSafeKey, AeadError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| AeadError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_leaves_zeros_in_the_buffer() {
        for backend in Backend::all() {
            let mut buffer = *b"sixteen bytes or so";
            let nonce = GcmNonce::new([1; 12]);
            let opened = backend.open(&[2; 32], nonce, b"", &mut buffer, &GcmTag::new([3; 16]));
            assert_eq!((opened, buffer), (Err(AeadError), [0; 19]), "{backend:?}");
        }
    }
}
