//! Encrypt, decrypt, re-encrypt and data keys: no lock, no store, no task.

use kms_crypto::{Ciphertext, EncryptionContext, SecretBytes};
use kms_lifecycle::{DecryptPermit, DecryptRefusal, EncryptPermit, Key};
use kms_types::{DataKeyLength, KeyId, MaterialVersion, Timestamp};

use crate::audit::Destination;
use crate::caller::Caller;
use crate::error::KmsError;
use crate::kms::Kms;
use crate::snapshot::Snapshot;

/// A ciphertext and the key version that made it.
pub struct Encrypted {
    /// The envelope of `docs/envelope.md`: 61 bytes longer than the plaintext.
    pub ciphertext: Vec<u8>,
    /// The key version used.
    pub version: MaterialVersion,
}

/// A plaintext and the key version that opened it.
pub struct Decrypted {
    /// Wiped when dropped.
    pub plaintext: SecretBytes,
    /// The key version used.
    pub version: MaterialVersion,
}

/// A new data key, in clear and encrypted under a key.
pub struct DataKey {
    /// The data key itself; wiped when dropped.
    pub plaintext: SecretBytes,
    /// The data key as [`Kms::decrypt`] takes it.
    pub ciphertext: Vec<u8>,
    /// The key version used.
    pub version: MaterialVersion,
}

/// What is to be encrypted anew.
#[derive(Clone, Copy)]
pub struct ReEncryptSource<'a> {
    /// The key that made the ciphertext.
    pub key: KeyId,
    /// The ciphertext.
    pub ciphertext: &'a [u8],
    /// The context it was made with.
    pub context: EncryptionContext<'a>,
}

/// Under what it is to be encrypted.
#[derive(Clone, Copy)]
pub struct ReEncryptDestination<'a> {
    /// The key to use; it may be the same.
    pub key: KeyId,
    /// The context to bind.
    pub context: EncryptionContext<'a>,
}

impl Kms {
    /// Encrypts `plaintext` under the current version of key `id`, bound to `context`.
    ///
    /// # Errors
    ///
    /// When the key is not there or its state refuses, or the system has no random bytes.
    pub fn encrypt(
        &self,
        caller: &Caller,
        id: KeyId,
        plaintext: &[u8],
        context: EncryptionContext<'_>,
    ) -> Result<Encrypted, KmsError> {
        self.with_snapshot(caller, id, |snapshot, now| {
            let permit = kms_lifecycle::permit_encrypt(snapshot.key(), now)?;
            let encrypted = self.seal(snapshot, &permit, plaintext, context, now)?;
            self.used(now, "encrypt", caller, (id, encrypted.version), context, None)?;
            Ok(encrypted)
        })
    }

    /// Opens `ciphertext` with the version of key `id` that made it.
    ///
    /// # Errors
    ///
    /// When the key is not there or its state refuses. [`KmsError::DecryptFailed`] whenever the ciphertext does not open:
    /// damaged, of another key or version, or made with another context.
    pub fn decrypt(
        &self,
        caller: &Caller,
        id: KeyId,
        ciphertext: &[u8],
        context: EncryptionContext<'_>,
    ) -> Result<Decrypted, KmsError> {
        self.with_snapshot(caller, id, |snapshot, now| {
            let permit = |key: &Key, version| kms_lifecycle::permit_decrypt(key, version, now);
            let decrypted = open(snapshot, ciphertext, context, now, permit)?;
            self.used(now, "decrypt", caller, (id, decrypted.version), context, None)?;
            Ok(decrypted)
        })
    }

    /// Opens a ciphertext of one key and encrypts the plaintext under another, without showing it. Both keys' states are
    /// checked before anything is opened.
    ///
    /// # Errors
    ///
    /// As [`Kms::decrypt`] for the source and [`Kms::encrypt`] for the destination; a default key can be neither.
    pub fn re_encrypt(
        &self,
        caller: &Caller,
        source: ReEncryptSource<'_>,
        destination: ReEncryptDestination<'_>,
    ) -> Result<Encrypted, KmsError> {
        let zone = self.zone();
        let now = zone.clock.now();
        let from = zone.directory.snapshot_of(caller.organisation(), source.key)?;
        let _usable = kms_lifecycle::permit_reencrypt_source(from.key(), MaterialVersion::FIRST, now)?;
        let to = zone.directory.snapshot_of(caller.organisation(), destination.key)?;
        let permit = kms_lifecycle::permit_reencrypt_destination(to.key(), now)?;
        let opened = open(&from, source.ciphertext, source.context, now, |key, version| {
            kms_lifecycle::permit_reencrypt_source(key, version, now)
        })?;
        let ReEncryptDestination { key, context } = destination;
        let encrypted = self.seal(&to, &permit, opened.plaintext.expose(), context, now)?;
        let used = Destination { key, version: encrypted.version, context };
        self.used(now, "re-encrypt", caller, (source.key, opened.version), source.context, Some(used))?;
        Ok(encrypted)
    }

    /// Makes `length` random bytes and encrypts them under the current version of key `id`, bound to `context`.
    ///
    /// # Errors
    ///
    /// As [`Kms::encrypt`].
    pub fn generate_data_key(
        &self,
        caller: &Caller,
        id: KeyId,
        length: DataKeyLength,
        context: EncryptionContext<'_>,
    ) -> Result<DataKey, KmsError> {
        self.with_snapshot(caller, id, |snapshot, now| {
            let permit = kms_lifecycle::permit_encrypt(snapshot.key(), now)?;
            let length = usize::try_from(length.bytes()).map_err(|_| KmsError::NoEntropy)?;
            let plaintext = SecretBytes::random(length, self.zone().entropy.as_ref())?;
            let Encrypted { ciphertext, version } = self.seal(snapshot, &permit, plaintext.expose(), context, now)?;
            self.used(now, "generate-data-key", caller, (id, version), context, None)?;
            Ok(DataKey { plaintext, ciphertext, version })
        })
    }

    fn with_snapshot<T>(
        &self,
        caller: &Caller,
        id: KeyId,
        call: impl FnOnce(&Snapshot, Timestamp) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let zone = self.zone();
        zone.directory.with_key(caller.organisation(), id, |snapshot| call(snapshot, zone.clock.now()))
    }

    fn seal(
        &self,
        snapshot: &Snapshot,
        permit: &EncryptPermit,
        plaintext: &[u8],
        context: EncryptionContext<'_>,
        now: Timestamp,
    ) -> Result<Encrypted, KmsError> {
        let material = snapshot.material_to_encrypt(permit).ok_or(KmsError::RecordDamaged)?;
        let (key, version) = (permit.key_id(), permit.version());
        let ciphertext = material.seal(key, version, context, plaintext, self.zone().entropy.as_ref())?;
        material.usage().note_encrypt(now);
        Ok(Encrypted { ciphertext, version })
    }
}

/// Opens `ciphertext` with the material that `permit` allows for the version it names.
fn open(
    snapshot: &Snapshot,
    ciphertext: &[u8],
    context: EncryptionContext<'_>,
    now: Timestamp,
    permit: impl FnOnce(&Key, MaterialVersion) -> Result<DecryptPermit, DecryptRefusal>,
) -> Result<Decrypted, KmsError> {
    let key = snapshot.key();
    let parsed = Ciphertext::parse(ciphertext).ok().filter(|parsed| parsed.header().key_id() == key.id());
    // A key that may not be used is told apart from a bad ciphertext, whatever the ciphertext: so its state comes first.
    let named = parsed.as_ref().map(|parsed| parsed.header().version());
    let permit = permit(key, named.unwrap_or(key.current_version().version))?;
    let material = snapshot.material_to_decrypt(&permit).ok_or(KmsError::RecordDamaged)?;
    let plaintext = material.open(&parsed.ok_or(KmsError::DecryptFailed)?, context)?;
    material.usage().note_decrypt(now);
    Ok(Decrypted { plaintext, version: permit.version() })
}
