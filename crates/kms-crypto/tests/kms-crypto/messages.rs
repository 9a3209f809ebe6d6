//! One key, one version, one context: a ciphertext opens under nothing else.

use crate::contexts::stated;
use crate::seeded::{Failing, Seeded};
use kms_crypto::{
    Backend, Ciphertext, DecryptError, EncryptionContext, EntropyError, KeyMaterial, OVERHEAD, OsEntropy, SecretBytes,
};
use kms_types::{KeyId, MaterialVersion};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const KEY: KeyId = KeyId::from_bytes([7; 16]);

proptest! {
    #[test]
    fn what_is_sealed_opens_on_every_backend(
        material: [u8; 32], id: [u8; 16], version in 1_u32.., context in stated(), plaintext in vec(any::<u8>(), 0..300),
        seed: String,
    ) {
        let material = KeyMaterial::from_bytes(&material);
        let (id, version) = (KeyId::from_bytes(id), MaterialVersion::new(version).unwrap());
        let sealed = material.seal(id, version, context.context(), &plaintext, &Seeded::new(&seed)).unwrap();
        for backend in Backend::all() {
            let other = material.seal_with(backend, id, version, context.context(), &plaintext, &Seeded::new(&seed));
            prop_assert_eq!(&sealed, &other.unwrap(), "{:?}", backend);
        }
        prop_assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
        let ciphertext = Ciphertext::parse(&sealed).unwrap();
        prop_assert_eq!((ciphertext.header().key_id(), ciphertext.header().version()), (id, version));
        prop_assert_eq!(ciphertext.plaintext_len(), plaintext.len());
        for backend in Backend::all() {
            let opened = material.open_with(backend, &ciphertext, context.context());
            prop_assert_eq!(opened.map(|opened| opened.expose().to_vec()), Ok(plaintext.clone()));
        }
    }

    #[test]
    fn a_ciphertext_opens_only_with_its_context(sealed_with in stated(), opened_with in stated()) {
        let material = KeyMaterial::from_bytes(&[1; 32]);
        let sealed = seal(&material, sealed_with.context(), b"plaintext");
        let same = kms_crypto::associated_data(&[0; 45], sealed_with.context())
            == kms_crypto::associated_data(&[0; 45], opened_with.context());
        prop_assert_eq!(open(&material, &sealed, opened_with.context()).is_ok(), same);
    }

    #[test]
    fn what_was_never_sealed_does_not_open(bytes in vec(any::<u8>(), 0..200), first: bool) {
        let mut bytes = bytes;
        if first && let Some(format) = bytes.first_mut() {
            *format = kms_crypto::FORMAT;
        }
        prop_assert!(open(&KeyMaterial::from_bytes(&[1; 32]), &bytes, EncryptionContext::None).is_err());
    }
}

#[test]
fn no_single_bit_can_be_changed() {
    let material = KeyMaterial::from_bytes(&[1; 32]);
    let context = EncryptionContext::Bytes(b"context");
    for size in [0, 1, 32] {
        let mut sealed = seal(&material, context, &vec![0x33; size]);
        for bit in 0..sealed.len() * 8 {
            refuse_flipped(&material, &mut sealed, bit, context);
        }
        assert!(open(&material, &sealed, context).is_ok(), "the bits were not put back");
    }
    // 4096 bytes: the whole header, the whole tag, and a bit of every byte between.
    let mut sealed = seal(&material, context, &[0x33; 4096]);
    let all_bits = (0..45 * 8).chain((sealed.len() - 16) * 8..sealed.len() * 8);
    let sampled = (45..sealed.len() - 16).map(|byte| byte * 8 + byte % 8);
    for bit in all_bits.chain(sampled) {
        refuse_flipped(&material, &mut sealed, bit, context);
    }
    assert!(open(&material, &sealed, context).is_ok(), "the bits were not put back");
}

#[test]
fn no_single_bit_of_the_context_can_be_changed() {
    let material = KeyMaterial::from_bytes(&[1; 32]);
    let context: Vec<u8> = (0..64).collect();
    let sealed = seal(&material, EncryptionContext::Bytes(&context), b"plaintext");
    for bit in 0..context.len() * 8 {
        let mut other = context.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&material, &sealed, EncryptionContext::Bytes(&other)).err(), Some(DecryptError), "bit {bit}");
    }
    let name_and_value = ("name", "value");
    let map = BTreeMap::from([(name_and_value.0.to_owned(), name_and_value.1.to_owned())]);
    let sealed = seal(&material, EncryptionContext::Map(&map), b"plaintext");
    assert!(open(&material, &sealed, EncryptionContext::Map(&map)).is_ok());
    for bit in 0..name_and_value.0.len() * 7 {
        // Seven bits of ASCII: the result is text again.
        let flipped = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 7] ^= 1 << (bit % 7);
            String::from_utf8(bytes).unwrap()
        };
        for (name, value) in [
            (flipped(name_and_value.0), name_and_value.1.to_owned()),
            (name_and_value.0.to_owned(), flipped(name_and_value.1)),
        ] {
            let other = BTreeMap::from([(name, value)]);
            assert_eq!(open(&material, &sealed, EncryptionContext::Map(&other)).err(), Some(DecryptError), "bit {bit}");
        }
    }
}

#[test]
fn no_prefix_opens() {
    let material = KeyMaterial::from_bytes(&[1; 32]);
    for size in [0, 1, 32, 4096] {
        let sealed = seal(&material, EncryptionContext::None, &vec![0x33; size]);
        for len in 0..sealed.len() {
            assert_eq!(open(&material, &sealed[..len], EncryptionContext::None).err(), Some(DecryptError), "{len}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(open(&material, &longer, EncryptionContext::None).err(), Some(DecryptError));
    }
}

/// The material is the right one throughout: it is the header alone that is refused.
#[test]
fn a_header_of_another_key_or_version_does_not_open() {
    let material = KeyMaterial::from_bytes(&[1; 32]);
    let other_key = KeyId::from_bytes([8; 16]);
    let second = MaterialVersion::FIRST.next().unwrap();
    let sealed = seal(&material, EncryptionContext::None, b"plaintext");
    for (id, version) in [(other_key, MaterialVersion::FIRST), (KEY, second), (other_key, second)] {
        let other = material.seal(id, version, EncryptionContext::None, b"plaintext", &Seeded::new("seed")).unwrap();
        assert_eq!(other[21..45], sealed[21..45], "the nonces differ, so this would prove nothing");
        for (header, rest) in [(&other, &sealed), (&sealed, &other)] {
            let mixed = [&header[..45], &rest[45..]].concat();
            assert_eq!(open(&material, &mixed, EncryptionContext::None).err(), Some(DecryptError));
        }
    }
    let other_material = KeyMaterial::from_bytes(&[2; 32]);
    assert_eq!(open(&other_material, &sealed, EncryptionContext::None).err(), Some(DecryptError));
}

#[test]
fn every_failure_is_the_same_error() {
    let text = DecryptError.to_string();
    assert_eq!(text, "the ciphertext could not be decrypted");
    for bytes in [&b""[..], &[0; 61], &[2; 61], &[1; 60], &[1; 61]] {
        let error = open(&KeyMaterial::from_bytes(&[1; 32]), bytes, EncryptionContext::None).err().unwrap();
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn without_randomness_nothing_is_sealed_or_made() {
    let material = KeyMaterial::from_bytes(&[1; 32]);
    let none = EncryptionContext::None;
    let sealed = material.seal(KEY, MaterialVersion::FIRST, none, b"plaintext", &Failing::after(0));
    assert_eq!(sealed, Err(EntropyError));
    assert_eq!(KeyMaterial::generate(&Failing::after(0)).err(), Some(EntropyError));
    assert_eq!(SecretBytes::random(32, &Failing::after(0)).err(), Some(EntropyError));
}

#[test]
fn the_systems_nonces_do_not_repeat() {
    let material = KeyMaterial::generate(&OsEntropy).unwrap();
    let nonces: HashSet<[u8; 24]> = (0..10_000)
        .map(|_| {
            let none = EncryptionContext::None;
            let sealed = material.seal(KEY, MaterialVersion::FIRST, none, b"", &OsEntropy).unwrap();
            *Ciphertext::parse(&sealed).unwrap().header().nonce()
        })
        .collect();
    assert_eq!(nonces.len(), 10_000);
}

#[test]
fn check_values_tell_material_keys_and_versions_apart() {
    let second = MaterialVersion::FIRST.next().unwrap();
    let value = |material: u8, id, version| KeyMaterial::from_bytes(&[material; 32]).check_value(id, version);
    let right = value(1, KEY, MaterialVersion::FIRST);
    assert_eq!(value(1, KEY, MaterialVersion::FIRST), right);
    assert_ne!(value(2, KEY, MaterialVersion::FIRST), right);
    assert_ne!(value(1, KeyId::from_bytes([8; 16]), MaterialVersion::FIRST), right);
    assert_ne!(value(1, KEY, second), right);
}

fn seal(material: &KeyMaterial, context: EncryptionContext<'_>, plaintext: &[u8]) -> Vec<u8> {
    material.seal(KEY, MaterialVersion::FIRST, context, plaintext, &Seeded::new("seed")).unwrap()
}

fn open(material: &KeyMaterial, bytes: &[u8], context: EncryptionContext<'_>) -> Result<SecretBytes, DecryptError> {
    let opened = Ciphertext::parse(bytes).map_err(DecryptError::from).and_then(|text| material.open(&text, context));
    for backend in Backend::all() {
        let other = Ciphertext::parse(bytes).map_err(DecryptError::from);
        let other = other.and_then(|text| material.open_with(backend, &text, context));
        assert_eq!(opened.as_ref().err(), other.as_ref().err(), "{backend:?} differs");
    }
    opened
}

fn refuse_flipped(material: &KeyMaterial, sealed: &mut [u8], bit: usize, context: EncryptionContext<'_>) {
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(open(material, sealed, context).err(), Some(DecryptError), "bit {bit} of {} bytes", sealed.len());
    sealed[bit / 8] ^= 1 << (bit % 8);
}
