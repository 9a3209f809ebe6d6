//! The keyring: the keys that seal the store, wrapped by the root key in a small file (envelope 6 and 7).

use crate::aead::{Backend, GcmTag};
use crate::context::Fields;
use crate::entropy::{Entropy, EntropyError, public_bytes};
use crate::envelope::TAG_LEN;
use crate::mac::MacKey;
use crate::record::{self, EpochId, Place, RecordError, SealedRecord};
use crate::root::{RootKey, RootKeyFingerprint};
use crate::secret::{Secret, SecretBytes};
use crate::wrapped::{DESCRIBED_FORMAT, WrappedKeyring};
use crate::xaes::{XAES_NONCE_LEN, XaesKey};

mod succession;

/// The storage epoch keys of one store, the store's id, and the key of its manifest.
///
/// New records are sealed under the newest epoch; older epochs stay until nothing is sealed under them any more. The store
/// id and the manifest key never change.
pub struct Keyring {
    store_id: [u8; 16],
    manifest: Manifest,
    older: Vec<Epoch>,
    current: Epoch,
}

struct Manifest {
    secret: Secret<32>,
    key: MacKey,
}

struct Epoch {
    id: EpochId,
    key: XaesKey,
}

/// Why a wrapped keyring was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Wrapped under another root key.
    #[error("the keyring was wrapped under root key {expected}, but root key {given} was given")]
    WrongRootKey {
        /// The root key the file names.
        expected: RootKeyFingerprint,
        /// The root key that was tried.
        given: RootKeyFingerprint,
    },
    /// Altered, cut short, or not a keyring at all.
    #[error("the keyring is damaged")]
    Damaged,
    /// Written by a newer version of ZoneKMS.
    #[error("the keyring has format {found}; this version reads formats up to {DESCRIBED_FORMAT}")]
    NewerFormat {
        /// The file's format byte.
        found: u8,
    },
}

/// Why an epoch cannot be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    /// New records are sealed under it.
    #[error("storage epoch {0} is the current one")]
    Current(EpochId),
    /// The keyring does not hold it.
    #[error("the keyring does not hold storage epoch {0}")]
    Unknown(EpochId),
}

impl Keyring {
    /// A new keyring with one epoch.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self {
            store_id: public_bytes(entropy)?,
            manifest: Manifest::new(Secret::random(entropy)?),
            older: Vec::new(),
            current: Epoch::generate(EpochId::FIRST, entropy)?,
        })
    }

    /// The id of the store that this keyring belongs to: random, and never changed.
    #[must_use]
    pub const fn store_id(&self) -> &[u8; 16] {
        &self.store_id
    }

    /// The key under which the store's manifest is authenticated.
    #[must_use]
    pub const fn manifest_key(&self) -> &MacKey {
        &self.manifest.key
    }

    /// The epoch under which new records are sealed.
    #[must_use]
    pub const fn current_epoch(&self) -> EpochId {
        self.current.id
    }

    /// Every epoch that can still be opened, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = EpochId> {
        self.all_epochs().map(|epoch| epoch.id)
    }

    /// Adds an epoch and makes it the current one. Wrap and keep the keyring before anything is sealed under it.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails; the keyring is then unchanged.
    pub fn add_epoch(&mut self, entropy: &dyn Entropy) -> Result<EpochId, EntropyError> {
        let next = Epoch::generate(self.current.id.next(), entropy)?;
        self.older.push(std::mem::replace(&mut self.current, next));
        Ok(self.current.id)
    }

    /// Drops an older epoch. What is still sealed under it can never be opened again, once no copy of an earlier keyring
    /// is left.
    ///
    /// # Errors
    ///
    /// When `epoch` is the current one or not in the keyring.
    pub fn retire_epoch(&mut self, epoch: EpochId) -> Result<(), RetireError> {
        if epoch == self.current.id {
            return Err(RetireError::Current(epoch));
        }
        let at = self.older.iter().position(|older| older.id == epoch).ok_or(RetireError::Unknown(epoch))?;
        self.older.remove(at);
        Ok(())
    }

    /// Seals a record for the place it will be stored at, under the current epoch. `place` is the text of the record's key
    /// in the store, `version` the record's version there: the record opens at no other.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails. Nothing has been sealed then.
    pub fn seal_record(
        &self,
        place: &str,
        version: u64,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        let place = Place { store_id: &self.store_id, name: place, version };
        record::seal(&self.current.key, self.current.id, &place, plaintext, entropy)
    }

    /// Opens a record that was found at `place` with `version`.
    ///
    /// # Errors
    ///
    /// When the record is damaged, not at home there, of an epoch not in the keyring, or of a newer format.
    pub fn open_record(&self, place: &str, version: u64, sealed: &[u8]) -> Result<SecretBytes, RecordError> {
        let sealed = SealedRecord::parse(sealed)?;
        let epoch = self.all_epochs().find(|epoch| epoch.id == sealed.epoch);
        let epoch = epoch.ok_or(RecordError::UnknownEpoch(sealed.epoch))?;
        sealed.open(&epoch.key, &Place { store_id: &self.store_id, name: place, version })
    }

    /// The epoch that `sealed` says it was sealed under. Not authenticated: only [`Keyring::open_record`] is.
    ///
    /// # Errors
    ///
    /// When the record is too short or of a newer format.
    pub fn epoch_of(sealed: &[u8]) -> Result<EpochId, RecordError> {
        SealedRecord::parse(sealed).map(|sealed| sealed.epoch)
    }

    /// The keyring sealed under `root`, without a descriptor (format 1, envelope 7.1).
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn wrap(&self, root: &RootKey, entropy: &dyn Entropy) -> Result<Vec<u8>, EntropyError> {
        let nonce = public_bytes(entropy)?;
        // The plaintext is written where it will be encrypted. The capacity is exact, so nothing of it is ever moved.
        let mut out = Vec::with_capacity(HEADER_LEN + self.body_len() + TAG_LEN);
        out.extend_from_slice(MAGIC);
        out.push(FORMAT);
        out.extend_from_slice(root.fingerprint().as_bytes());
        out.extend_from_slice(&nonce);
        self.seal_after_header(root, &nonce, LABEL, &mut out);
        Ok(out)
    }

    /// Opens the bytes that [`Keyring::wrap`] or [`Keyring::wrap_described`] made.
    ///
    /// # Errors
    ///
    /// When they were wrapped under another root key, are damaged, or are of a newer format.
    pub fn unwrap(root: &RootKey, bytes: &[u8]) -> Result<Self, UnwrapError> {
        WrappedKeyring::parse(bytes)?.open(root)
    }

    /// Appends the keyring to the header that `out` holds, sealed together with it. `out` has room for both and the tag.
    pub(crate) fn seal_after_header(
        &self,
        root: &RootKey,
        nonce: &[u8; XAES_NONCE_LEN],
        label: &[u8],
        out: &mut Vec<u8>,
    ) {
        let header_len = out.len();
        let associated_data = associated_data(label, out);
        out.extend_from_slice(&self.store_id);
        out.extend_from_slice(self.manifest.secret.expose());
        for epoch in self.all_epochs() {
            out.extend_from_slice(&epoch.id.get().to_be_bytes());
            out.extend_from_slice(epoch.key.expose_key());
        }
        let tag = root
            .xaes()
            .seal(Backend::fastest(out.len() - header_len), nonce, &associated_data, &mut out[header_len..])
            .expect("a keyring is far shorter than 64 GiB");
        out.extend_from_slice(tag.as_bytes());
    }

    /// Opens what [`Keyring::seal_after_header`] appended to `header`.
    pub(crate) fn open_after_header(
        root: &RootKey,
        nonce: &[u8; XAES_NONCE_LEN],
        label: &[u8],
        header: &[u8],
        sealed: &[u8],
    ) -> Result<Self, UnwrapError> {
        let (body, tag) = sealed.split_last_chunk().ok_or(UnwrapError::Damaged)?;
        let mut plaintext = SecretBytes::copy_from(body);
        root.xaes()
            .open(
                Backend::fastest(body.len()),
                nonce,
                &associated_data(label, header),
                plaintext.expose_mut(),
                &GcmTag::new(*tag),
            )
            .map_err(|_| UnwrapError::Damaged)?;
        Self::from_body(plaintext.expose()).ok_or(UnwrapError::Damaged)
    }

    /// The length of the keyring in the clear, in bytes.
    pub(crate) fn body_len(&self) -> usize {
        BODY_START_LEN + (1 + self.older.len()) * EPOCH_LEN
    }

    fn from_body(body: &[u8]) -> Option<Self> {
        let (store_id, rest) = body.split_first_chunk()?;
        let (manifest, rest) = rest.split_first_chunk()?;
        let (epochs, []) = rest.as_chunks::<EPOCH_LEN>() else {
            return None;
        };
        let mut older = epochs.iter().map(Epoch::parse).collect::<Option<Vec<_>>>()?;
        if !older.is_sorted_by(|a, b| a.id < b.id) {
            return None;
        }
        let current = older.pop()?;
        let manifest = Manifest::new(Secret::copy_from(manifest));
        Some(Self { store_id: *store_id, manifest, older, current })
    }

    fn all_epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.older.iter().chain([&self.current])
    }
}

impl Manifest {
    fn new(secret: Secret<32>) -> Self {
        let key = MacKey::new(secret.expose());
        Self { secret, key }
    }
}

impl Epoch {
    fn generate(id: EpochId, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { id, key: XaesKey::fill_with(|bytes| entropy.fill(bytes))? })
    }

    fn parse(bytes: &[u8; EPOCH_LEN]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (secret, _) = rest.split_first_chunk()?;
        Some(Self { id: EpochId::from_be_bytes(*id)?, key: XaesKey::new(secret) })
    }
}

fn associated_data(label: &[u8], header: &[u8]) -> Vec<u8> {
    let mut fields = Fields::with_capacity(16 + label.len() + header.len());
    fields.push(label);
    fields.push(header);
    fields.into_bytes()
}

pub(crate) const LABEL: &[u8] = b"zonekms keyring v1";
pub(crate) const MAGIC: &[u8] = b"ZKMSRING";
pub(crate) const FORMAT: u8 = 1;
/// Magic, format, fingerprint of the root key, nonce.
const HEADER_LEN: usize = MAGIC.len() + 1 + 8 + XAES_NONCE_LEN;
/// Store id and manifest key.
const BODY_START_LEN: usize = 16 + 32;
/// Number and key.
const EPOCH_LEN: usize = 8 + 32;
