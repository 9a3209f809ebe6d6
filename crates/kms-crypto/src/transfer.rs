//! Records on their way to another zone, sealed to that zone's key with HPKE (RFC 9180; envelope 11).

use crate::context::Fields;
use crate::entropy::{Entropy, EntropyError};
use crate::envelope::TAG_LEN;
use crate::material::{DecryptError, MAX_PLAINTEXT_LEN};
use crate::secret::SecretBytes;
use crate::stack::with_wiped_deep_stack;
use crate::zone_key::{ZoneKeyFingerprint, ZonePrivateKey, ZonePublicKey};
use hpke::aead::{AeadTag, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{
    Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable, single_shot_open_inout_detached,
    single_shot_seal_inout_detached_with_rng,
};
use kms_types::{KeyId, Revision, ZoneName};
use std::convert::Infallible;

/// How many bytes longer than its plaintext a sealed transfer is: header, encapsulated key and tag.
pub const TRANSFER_OVERHEAD: usize = HEADER_LEN + ENCAPSULATED_LEN + TAG_LEN;

/// What a transfer is for. It opens only under the same four values.
#[derive(Clone, Copy, Debug)]
pub struct TransferBinding<'a> {
    /// The zone that owns the key and sends its record.
    pub origin: &'a ZoneName,
    /// The zone the record is for.
    pub target: &'a ZoneName,
    /// The key.
    pub key: KeyId,
    /// The revision of the key at its origin.
    pub revision: Revision,
}

impl ZonePublicKey {
    /// Seals `plaintext` so that only the holder of the private key can open it, and only under `binding`. The result is
    /// [`TRANSFER_OVERHEAD`] bytes longer.
    ///
    /// It does not prove who sealed it: anyone who has the public key can. The sender is proven by the connection.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails. Nothing has been sealed then.
    ///
    /// # Panics
    ///
    /// When `plaintext` is longer than [`MAX_PLAINTEXT_LEN`], which is 64 GiB.
    pub fn seal(
        &self,
        binding: &TransferBinding<'_>,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, EntropyError> {
        assert!(plaintext.len() as u64 <= MAX_PLAINTEXT_LEN, "a transfer has at most 64 GiB");
        let header = header(self.fingerprint());
        let mut random = HpkeRandomness { entropy, failed: false };
        let sealed = with_wiped_deep_stack(|| {
            seal_base::<XWing>(self.key(), &header, &binding.info(), &header, plaintext, &mut random)
        });
        if random.failed {
            return Err(EntropyError);
        }
        Ok(sealed.expect("X-Wing encapsulates to every public key, and the length was checked"))
    }
}

impl ZonePrivateKey {
    /// Opens what was sealed to this key under `binding`.
    ///
    /// # Errors
    ///
    /// When anything does not fit: another recipient, another binding, altered bytes. No part of a plaintext outlives the call
    /// then.
    pub fn open(&self, binding: &TransferBinding<'_>, sealed: &[u8]) -> Result<SecretBytes, DecryptError> {
        let (header, body) = sealed.split_first_chunk::<HEADER_LEN>().ok_or(DecryptError)?;
        if *header != self::header(self.fingerprint()) {
            return Err(DecryptError);
        }
        self.with_expanded(|key| open_base::<XWing>(key, &binding.info(), header, body))
    }
}

/// Opens `sealed` with the one of `keys` it was sealed to. While a zone replaces its key it has two: the new one, and the old one
/// for what is still under way.
///
/// # Errors
///
/// As [`ZonePrivateKey::open`]; also when it was sealed to none of them.
pub fn open_transfer(
    keys: &[ZonePrivateKey],
    binding: &TransferBinding<'_>,
    sealed: &[u8],
) -> Result<SecretBytes, DecryptError> {
    let (header, _) = sealed.split_first_chunk::<HEADER_LEN>().ok_or(DecryptError)?;
    let key = keys.iter().find(|key| self::header(key.fingerprint()) == *header).ok_or(DecryptError)?;
    key.open(binding, sealed)
}

impl TransferBinding<'_> {
    /// HPKE's `info`: every value behind its length, so no two bindings give the same bytes.
    fn info(&self) -> Vec<u8> {
        let mut fields = Fields::with_capacity(256);
        fields.push(LABEL);
        fields.push(self.origin.as_str().as_bytes());
        fields.push(self.target.as_str().as_bytes());
        fields.push(self.key.as_bytes());
        fields.push(&self.revision.get().to_be_bytes());
        fields.into_bytes()
    }
}

/// Format and recipient; also the associated data of the seal.
fn header(recipient: ZoneKeyFingerprint) -> [u8; HEADER_LEN] {
    let mut header = [FORMAT; HEADER_LEN];
    header[1..].copy_from_slice(recipient.as_bytes());
    header
}

/// `SealBase` of RFC 9180 section 6.1 with HKDF-SHA256 and AES-256-GCM. Gives `prefix`, encapsulated key, ciphertext and tag.
fn seal_base<K: Kem>(
    recipient: &K::PublicKey,
    prefix: &[u8],
    info: &[u8],
    associated_data: &[u8],
    plaintext: &[u8],
    random: &mut HpkeRandomness<'_>,
) -> Result<Vec<u8>, HpkeError> {
    let encapsulated_len = K::EncappedKey::size();
    let body_at = prefix.len() + encapsulated_len;
    let mut out = Vec::with_capacity(body_at + plaintext.len() + TAG_LEN);
    out.extend_from_slice(prefix);
    out.resize(body_at, 0);
    out.extend_from_slice(plaintext);
    let (encapsulated, tag) = single_shot_seal_inout_detached_with_rng::<AesGcm256, HkdfSha256, K>(
        &OpModeS::Base,
        recipient,
        info,
        InOutBuf::from(&mut out[body_at..]),
        associated_data,
        random,
    )?;
    encapsulated.write_exact(&mut out[prefix.len()..body_at]);
    out.extend_from_slice(&tag.to_bytes());
    Ok(out)
}

/// `OpenBase` of RFC 9180 section 6.1; `sealed` is encapsulated key, ciphertext and tag.
fn open_base<K: Kem>(
    recipient: &K::PrivateKey,
    info: &[u8],
    associated_data: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes, DecryptError> {
    let (encapsulated, body) = sealed.split_at_checked(K::EncappedKey::size()).ok_or(DecryptError)?;
    let (body, tag) = body.split_last_chunk::<TAG_LEN>().ok_or(DecryptError)?;
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| DecryptError)?;
    let tag = AeadTag::<AesGcm256>::from_bytes(tag).map_err(|_| DecryptError)?;
    let mut plaintext = SecretBytes::copy_from(body);
    single_shot_open_inout_detached::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        recipient,
        &encapsulated,
        info,
        InOutBuf::from(plaintext.expose_mut()),
        associated_data,
        &tag,
    )
    .map_err(|_| DecryptError)?;
    Ok(plaintext)
}

/// Our randomness as the library wants it: without errors. After a failure it gives zeros and says so, and whatever was made
/// with them must be thrown away.
struct HpkeRandomness<'a> {
    entropy: &'a dyn Entropy,
    failed: bool,
}

impl TryRng for HpkeRandomness<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        if self.entropy.fill(out).is_err() {
            out.fill(0);
            self.failed = true;
        }
        Ok(())
    }
}

impl TryCryptoRng for HpkeRandomness<'_> {}

const LABEL: &[u8] = b"zonekms transfer v1";
const FORMAT: u8 = 1;
/// Format and fingerprint.
const HEADER_LEN: usize = 1 + ZoneKeyFingerprint::LEN;
/// The encapsulated key of X-Wing: 1088 bytes of ML-KEM-768, then 32 of X25519.
const ENCAPSULATED_LEN: usize = 1120;

#[cfg(test)]
mod tests {
    use super::*;
    use hpke::kem::X25519HkdfSha256;
    use serde::Deserialize;

    /// The vectors have no X-Wing: this shows that everything around the encapsulation is RFC 9180's.
    #[test]
    fn rfc_9180_vectors_in_base_mode() {
        let json = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/rfc9180/hpke_aes256gcm.json")).unwrap();
        let file: File = serde_json::from_slice(&json).unwrap();
        assert_eq!(file.vectors.len(), file.count);
        let ours = file.vectors.iter().filter(|vector| (vector.mode, vector.kem_id, vector.kdf_id) == (0, 0x20, 1));
        let mut checked = 0;
        for vector in ours {
            let bytes = |text: &str| hex::decode(text).unwrap();
            let first = &vector.encryptions[0];
            let (info, associated_data, plaintext) = (bytes(&vector.info), bytes(&first.aad), bytes(&first.pt));
            let expected = [bytes(&vector.enc), bytes(&first.ct)].concat();

            let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&bytes(&vector.recipient_public)).unwrap();
            let ephemeral = Given(bytes(&vector.ephemeral_seed));
            let mut random = HpkeRandomness { entropy: &ephemeral, failed: false };
            let sealed =
                seal_base::<X25519HkdfSha256>(&public, b"prefix", &info, &associated_data, &plaintext, &mut random);
            assert_eq!(sealed.unwrap(), [b"prefix", &expected[..]].concat());

            let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&bytes(&vector.recipient_secret)).unwrap();
            let opened = open_base::<X25519HkdfSha256>(&private, &info, &associated_data, &expected).unwrap();
            assert_eq!(opened.expose(), plaintext);
            assert!(open_base::<X25519HkdfSha256>(&private, &info[1..], &associated_data, &expected).is_err());
            assert!(open_base::<X25519HkdfSha256>(&private, &info, &associated_data[1..], &expected).is_err());
            checked += 1;
        }
        assert_eq!(checked, 1);
    }

    /// Exactly these bytes, once.
    struct Given(Vec<u8>);

    impl Entropy for Given {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }

    #[derive(Deserialize)]
    struct File {
        count: usize,
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        mode: u8,
        kem_id: u16,
        kdf_id: u16,
        info: String,
        enc: String,
        #[serde(rename = "ikmE")]
        ephemeral_seed: String,
        #[serde(rename = "skRm")]
        recipient_secret: String,
        #[serde(rename = "pkRm")]
        recipient_public: String,
        encryptions: Vec<Encryption>,
    }

    #[derive(Deserialize)]
    struct Encryption {
        aad: String,
        ct: String,
        pt: String,
    }
}
