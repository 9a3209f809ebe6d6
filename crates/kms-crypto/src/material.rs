//! The key material of one version of a key, and what is done with it (envelope 4 and 5).

use crate::aead::Backend;
use crate::context::{EncryptionContext, associated_data};
use crate::entropy::{Entropy, EntropyError, message_nonce};
use crate::envelope::{Ciphertext, HEADER_LEN, Header, MalformedCiphertext, OVERHEAD};
use crate::mac::MacKey;
use crate::secret::{Secret, SecretBytes};
use crate::xaes::XaesKey;
use kms_types::{KeyId, MaterialVersion};
use std::fmt;
use subtle::ConstantTimeEq;

/// The longest plaintext in bytes: 2^36 - 32, the limit of AES-GCM (NIST SP 800-38D section 5.2.1.1).
pub const MAX_PLAINTEXT_LEN: u64 = (1 << 36) - 32;

/// 32 secret bytes, as an XAES root ready to seal and open.
pub struct KeyMaterial {
    root: XaesKey,
}

/// The ciphertext did not open. There is one value for every cause: altered bytes, another key, version or context, or
/// something that never was a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext could not be decrypted")]
pub struct DecryptError;

impl From<MalformedCiphertext> for DecryptError {
    fn from(_: MalformedCiphertext) -> Self {
        Self
    }
}

impl KeyMaterial {
    /// New random material.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { root: XaesKey::fill_with(|bytes| entropy.fill(bytes))? })
    }

    /// The material made of these secret bytes.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the material takes the place of the secret, which is wiped here"
    )]
    pub fn from_secret(secret: Secret<32>) -> Self {
        Self::from_bytes(secret.expose())
    }

    /// The material made of a copy of `bytes`, which are the caller's to wipe.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self { root: XaesKey::new(bytes) }
    }

    /// Seals `plaintext` into a ciphertext that is [`OVERHEAD`] bytes longer. It opens only with this material, under the
    /// same key id and version, and with the same context.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails. Nothing has been encrypted then.
    ///
    /// # Panics
    ///
    /// When `plaintext` is longer than [`MAX_PLAINTEXT_LEN`], which is 64 GiB.
    pub fn seal(
        &self,
        key_id: KeyId,
        version: MaterialVersion,
        context: EncryptionContext<'_>,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        self.seal_with(Backend::fastest(plaintext.len()), key_id, version, context, plaintext, entropy)
    }

    /// [`KeyMaterial::seal`] with a backend of the caller's choice; the bytes are the same with every backend.
    ///
    /// # Errors
    ///
    /// As [`KeyMaterial::seal`].
    ///
    /// # Panics
    ///
    /// As [`KeyMaterial::seal`].
    pub fn seal_with(
        &self,
        backend: Backend,
        key_id: KeyId,
        version: MaterialVersion,
        context: EncryptionContext<'_>,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        assert!(plaintext.len() as u64 <= MAX_PLAINTEXT_LEN, "a plaintext has at most 64 GiB");
        let header = Header::new(key_id, version, message_nonce(entropy)?);
        let header_bytes = header.to_bytes();
        let associated_data = associated_data(&header_bytes, context);
        let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&header_bytes);
        out.extend_from_slice(plaintext);
        let tag = self
            .root
            .seal(backend, header.nonce(), &associated_data, &mut out[HEADER_LEN..])
            .expect("the only message that cannot be sealed is one that is too long, and this one is not");
        out.extend_from_slice(tag.as_bytes());
        Ok(out)
    }

    /// Opens `ciphertext` and returns the plaintext.
    ///
    /// The caller must have found this material by the key id and version in the ciphertext's header.
    ///
    /// # Errors
    ///
    /// When anything does not fit. No part of a plaintext outlives the call then.
    pub fn open(
        &self,
        ciphertext: &Ciphertext<'_>,
        context: EncryptionContext<'_>,
    ) -> Result<SecretBytes, DecryptError> {
        self.open_with(Backend::fastest(ciphertext.plaintext_len()), ciphertext, context)
    }

    /// [`KeyMaterial::open`] with a backend of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`KeyMaterial::open`].
    pub fn open_with(
        &self,
        backend: Backend,
        ciphertext: &Ciphertext<'_>,
        context: EncryptionContext<'_>,
    ) -> Result<SecretBytes, DecryptError> {
        let associated_data = associated_data(ciphertext.header_bytes(), context);
        let mut plaintext = SecretBytes::copy_from(ciphertext.body());
        self.root
            .open(backend, ciphertext.header().nonce(), &associated_data, plaintext.expose_mut(), ciphertext.tag())
            .map_err(|_| DecryptError)?;
        Ok(plaintext)
    }

    /// The value that shows, without using the material, that these are the bytes meant for that key and version
    /// (envelope 5).
    #[must_use]
    pub fn check_value(&self, key_id: KeyId, version: MaterialVersion) -> CheckValue {
        let tag = MacKey::new(self.root.expose_key()).tag(&[
            CHECK_VALUE_LABEL,
            key_id.as_bytes(),
            &version.get().to_be_bytes(),
        ]);
        let mut value = [0; 16];
        value.copy_from_slice(&tag[..16]);
        CheckValue(value)
    }

    /// The secret bytes, for sealing them into a record and for nothing else.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        self.root.expose_key()
    }
}

const CHECK_VALUE_LABEL: &[u8] = b"zonekms check value v1";

/// Tells whether key material is what it should be. Not secret: it lets nobody find or use the material. Compared in
/// constant time.
#[derive(Clone, Copy)]
pub struct CheckValue([u8; 16]);

impl CheckValue {
    /// The check value of these bytes, as they were stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for CheckValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CheckValue {}

impl fmt::Debug for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckValue({:032x})", u128::from_be_bytes(self.0))
    }
}
