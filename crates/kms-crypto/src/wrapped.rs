//! The keyring as it lies in its file: sealed under a root key, with what is needed to find that root key beside it in the
//! clear (envelope 7.1).

use crate::entropy::{Entropy, EntropyError, public_bytes};
use crate::envelope::TAG_LEN;
use crate::keyring::{FORMAT, Keyring, LABEL, MAGIC, UnwrapError};
use crate::root::{RootKey, RootKeyFingerprint};
use crate::xaes::XAES_NONCE_LEN;

/// The longest descriptor, in bytes.
pub const MAX_DESCRIPTOR_LEN: usize = 16_384;

/// What stands beside a sealed keyring in the clear. It is authenticated with the keyring: once the keyring is open, this is
/// what was written, and before that it is only what somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringDescription {
    /// How many times the keyring was written, this time included.
    pub generation: u64,
    /// When the root key came into use, in seconds since 1970.
    pub root_key_since: i64,
    descriptor: Vec<u8>,
}

/// A descriptor that is longer than [`MAX_DESCRIPTOR_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor of the root key has {len} bytes; there is room for {MAX_DESCRIPTOR_LEN}")]
pub struct DescriptorTooLong {
    /// Its length in bytes.
    pub len: usize,
}

/// The bytes of a keyring file, taken apart and not yet opened.
#[derive(Debug)]
pub struct WrappedKeyring<'a> {
    label: &'static [u8],
    fingerprint: RootKeyFingerprint,
    description: Option<KeyringDescription>,
    nonce: [u8; XAES_NONCE_LEN],
    header: &'a [u8],
    sealed: &'a [u8],
}

impl KeyringDescription {
    /// A description whose descriptor is not too long.
    ///
    /// # Errors
    ///
    /// When it is.
    pub fn new(generation: u64, root_key_since: i64, descriptor: Vec<u8>) -> Result<Self, DescriptorTooLong> {
        if descriptor.len() > MAX_DESCRIPTOR_LEN {
            return Err(DescriptorTooLong { len: descriptor.len() });
        }
        Ok(Self { generation, root_key_since, descriptor })
    }

    /// What the provider of the root key needs to give it again; its form is the provider's own.
    #[must_use]
    pub fn descriptor(&self) -> &[u8] {
        &self.descriptor
    }
}

impl Keyring {
    /// The keyring file's bytes: the keyring sealed under `root` together with `description` (format 2, envelope 7.1).
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn wrap_described(
        &self,
        root: &RootKey,
        description: &KeyringDescription,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        let KeyringDescription { generation, root_key_since, descriptor } = description;
        let nonce = public_bytes(entropy)?;
        let descriptor_len = u32::try_from(descriptor.len()).expect("a descriptor has at most 16,384 bytes");
        let mut out = Vec::with_capacity(FIXED_LEN + descriptor.len() + self.body_len() + TAG_LEN);
        out.extend_from_slice(MAGIC);
        out.push(DESCRIBED_FORMAT);
        out.extend_from_slice(root.fingerprint().as_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&generation.to_be_bytes());
        out.extend_from_slice(&root_key_since.to_be_bytes());
        out.extend_from_slice(&descriptor_len.to_be_bytes());
        out.extend_from_slice(descriptor);
        self.seal_after_header(root, &nonce, DESCRIBED_LABEL, &mut out);
        Ok(out)
    }
}

impl<'a> WrappedKeyring<'a> {
    /// Takes the bytes of a keyring file apart. Nothing is verified yet.
    ///
    /// # Errors
    ///
    /// When they are no keyring, or one of a newer format.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UnwrapError> {
        Self::split(bytes).unwrap_or(Err(UnwrapError::Damaged))
    }

    /// The root key that opens it.
    #[must_use]
    pub const fn fingerprint(&self) -> RootKeyFingerprint {
        self.fingerprint
    }

    /// What stands beside it in the clear; nothing in format 1.
    #[must_use]
    pub const fn description(&self) -> Option<&KeyringDescription> {
        self.description.as_ref()
    }

    /// Opens the keyring, and so proves that the description is the one that it was written with.
    ///
    /// # Errors
    ///
    /// When it was wrapped under another root key, or is damaged.
    pub fn open(&self, root: &RootKey) -> Result<Keyring, UnwrapError> {
        if self.fingerprint != root.fingerprint() {
            return Err(UnwrapError::WrongRootKey { expected: self.fingerprint, given: root.fingerprint() });
        }
        Keyring::open_after_header(root, &self.nonce, self.label, self.header, self.sealed)
    }

    /// `None`: too short or otherwise no keyring.
    fn split(bytes: &'a [u8]) -> Option<Result<Self, UnwrapError>> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (format, rest) = rest.split_first()?;
        let label = match *format {
            0 => return None,
            FORMAT => LABEL,
            DESCRIBED_FORMAT => DESCRIBED_LABEL,
            found => return Some(Err(UnwrapError::NewerFormat { found })),
        };
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (description, sealed) = if *format == DESCRIBED_FORMAT {
            let (generation, rest) = rest.split_first_chunk()?;
            let (root_key_since, rest) = rest.split_first_chunk()?;
            let (descriptor_len, rest) = rest.split_first_chunk()?;
            let (descriptor, sealed) =
                rest.split_at_checked(usize::try_from(u32::from_be_bytes(*descriptor_len)).ok()?)?;
            let (generation, since) = (u64::from_be_bytes(*generation), i64::from_be_bytes(*root_key_since));
            (Some(KeyringDescription::new(generation, since, descriptor.to_vec()).ok()?), sealed)
        } else {
            (None, rest)
        };
        let header = &bytes[..bytes.len() - sealed.len()];
        let fingerprint = RootKeyFingerprint::from_bytes(*fingerprint);
        Some(Ok(Self { label, fingerprint, description, nonce: *nonce, header, sealed }))
    }
}

pub(crate) const DESCRIBED_FORMAT: u8 = 2;
const DESCRIBED_LABEL: &[u8] = b"zonekms keyring v2";
/// Magic, format, fingerprint, nonce, generation, time, length of the descriptor.
const FIXED_LEN: usize = MAGIC.len() + 1 + 8 + XAES_NONCE_LEN + 8 + 8 + 4;
