//! Transfers between zones open with the right key under the right binding, and not otherwise.

use crate::seeded::{Counting, Failing, Seeded};
use kms_crypto::{
    DecryptError, InvalidZoneKey, SecretBytes, TRANSFER_OVERHEAD, TransferBinding, ZonePrivateKey, ZonePublicKey,
    open_transfer,
};
use kms_types::{KeyId, Revision, ZoneName};
use sha2::{Digest, Sha256};

#[test]
fn what_is_sealed_opens() {
    let names = Names::new();
    let key = ZonePrivateKey::generate(&Seeded::new("zone")).unwrap();
    for len in [0, 1, 31, 4096, 262_144] {
        let plaintext = SecretBytes::random(len, &Seeded::new("record")).unwrap();
        let sealed = key.public_key().seal(&names.binding(), plaintext.expose(), &Seeded::new("seal")).unwrap();
        assert_eq!(sealed.len(), len + TRANSFER_OVERHEAD);
        assert_eq!(key.open(&names.binding(), &sealed).unwrap().expose(), plaintext.expose());
    }
}

#[test]
fn two_seals_of_the_same_record_differ() {
    let names = Names::new();
    let (key, entropy) = (ZonePrivateKey::generate(&Seeded::new("zone")).unwrap(), Seeded::new("seals"));
    let [first, second] = [(); 2].map(|()| key.public_key().seal(&names.binding(), b"record", &entropy).unwrap());
    let header = 9;
    assert_eq!(first[..header], second[..header]);
    assert!(first[header..].iter().zip(&second[header..]).filter(|(a, b)| a == b).count() < 40);
}

#[test]
fn every_field_is_bound() {
    let names = Names::new();
    let (key, sealed) = sealed(&names);
    let right = names.binding();
    let (other, a, ab, b, bc) = (zone("zone-c"), zone("a"), zone("ab"), zone("b"), zone("bc"));
    for (what, wrong) in [
        ("origin", TransferBinding { origin: &other, ..right }),
        ("target", TransferBinding { target: &other, ..right }),
        ("direction", TransferBinding { origin: right.target, target: right.origin, ..right }),
        ("key", TransferBinding { key: KeyId::from_bytes([8; 16]), ..right }),
        ("revision", TransferBinding { revision: right.revision.next().unwrap(), ..right }),
    ] {
        assert_eq!(key.open(&wrong, &sealed).err(), Some(DecryptError), "{what}");
    }
    assert!(key.open(&right, &sealed).is_ok());

    // The same letters in other fields: "a" + "bc" and "ab" + "c".
    let (apart, joined) =
        (TransferBinding { origin: &a, target: &bc, ..right }, TransferBinding { origin: &ab, target: &b, ..right });
    let sealed = key.public_key().seal(&apart, b"", &Seeded::new("seal")).unwrap();
    assert!(key.open(&joined, &sealed).is_err());
}

#[test]
fn one_altered_bit_anywhere_is_refused() {
    let names = Names::new();
    let (key, sealed) = sealed(&names);
    // All bits of header, X25519 share, ciphertext and tag, and one bit of every byte of the ML-KEM part.
    let ml_kem = 9..9 + 1088;
    for at in 0..sealed.len() {
        for bit in 0..8 {
            if ml_kem.contains(&at) && bit != at % 8 {
                continue;
            }
            let mut altered = sealed.clone();
            altered[at] ^= 1 << bit;
            assert!(key.open(&names.binding(), &altered).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn any_other_length_is_refused() {
    let names = Names::new();
    let (key, sealed) = sealed(&names);
    for len in (0..sealed.len()).step_by(7).chain([8, 9, 10, 9 + 1120, TRANSFER_OVERHEAD - 1, TRANSFER_OVERHEAD]) {
        assert!(key.open(&names.binding(), &sealed[..len]).is_err(), "{len} bytes");
        assert!(open_transfer(&[ZonePrivateKey::from_bytes(&[1; 32])], &names.binding(), &sealed[..len]).is_err());
    }
    assert!(key.open(&names.binding(), &[&sealed[..], &[0]].concat()).is_err());
}

#[test]
fn only_the_recipient_opens() {
    let names = Names::new();
    let (_, mut sealed) = sealed(&names);
    let other = ZonePrivateKey::generate(&Seeded::new("another zone")).unwrap();
    assert!(other.open(&names.binding(), &sealed).is_err());
    // Nor when the header names the other key: the fingerprint finds keys, it does not make them fit.
    sealed[1..9].copy_from_slice(other.fingerprint().as_bytes());
    assert!(other.open(&names.binding(), &sealed).is_err());
}

#[test]
fn a_zone_with_two_keys_opens_what_was_sealed_to_either() {
    let names = Names::new();
    let keys = ["new", "old"].map(|seed| ZonePrivateKey::generate(&Seeded::new(seed)).unwrap());
    for key in &keys {
        let sealed = key.public_key().seal(&names.binding(), b"record", &Seeded::new("seal")).unwrap();
        assert_eq!(open_transfer(&keys, &names.binding(), &sealed).unwrap().expose(), b"record");
        assert_eq!(open_transfer(std::slice::from_ref(key), &names.binding(), &sealed).unwrap().expose(), b"record");
    }
    let [new, old] = &keys;
    let to_old = old.public_key().seal(&names.binding(), b"record", &Seeded::new("seal")).unwrap();
    assert!(open_transfer(std::slice::from_ref(new), &names.binding(), &to_old).is_err(), "the old key is gone");
    assert!(open_transfer(&[], &names.binding(), &to_old).is_err());
}

#[test]
fn keys_survive_their_files() {
    let key = ZonePrivateKey::generate(&Seeded::new("zone")).unwrap();
    let again = ZonePrivateKey::from_bytes(key.expose_bytes());
    let public = ZonePublicKey::from_bytes(&key.public_key().to_bytes()).unwrap();
    assert_eq!(public, again.public_key());
    assert_eq!([public.fingerprint(), again.fingerprint()], [key.fingerprint(); 2]);
    assert_eq!(public.to_bytes().len(), ZonePublicKey::LEN);
    assert_ne!(public, ZonePrivateKey::from_bytes(&[0; 32]).public_key());
}

#[test]
fn what_is_no_public_key_is_refused() {
    let bytes = ZonePrivateKey::from_bytes(&[1; 32]).public_key().to_bytes();
    for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[], &[0xff; ZonePublicKey::LEN]] {
        assert_eq!(ZonePublicKey::from_bytes(wrong), Err(InvalidZoneKey), "{} bytes", wrong.len());
    }
}

#[test]
fn without_randomness_nothing_is_made() {
    let names = Names::new();
    assert!(ZonePrivateKey::generate(&Failing::after(0)).is_err());
    let public = ZonePrivateKey::from_bytes(&[1; 32]).public_key();
    assert!(public.seal(&names.binding(), b"record", &Failing::after(0)).is_err());
    assert!(public.seal(&names.binding(), b"record", &Failing::after(1)).is_ok(), "one draw is all it takes");
}

/// Envelope 11, pinned: what one version of ZoneKMS seals, the next one opens.
#[test]
fn the_form_is_pinned() {
    let names = Names::new();
    let key = ZonePrivateKey::generate(&Counting).unwrap();
    let sealed = key.public_key().seal(&names.binding(), b"record", &Counting).unwrap();
    assert_eq!(key.fingerprint().to_string(), "318fb500782f943f");
    assert_eq!(hex::encode(&sealed[..9]), "01318fb500782f943f");
    assert_eq!(
        hex::encode(Sha256::digest(&sealed)),
        "bd2aa4e2349a8466da56a7e3ab6bc1d93d7eab2163a086e238a1582272b81b1e"
    );
}

struct Names {
    origin: ZoneName,
    target: ZoneName,
}

impl Names {
    fn new() -> Self {
        Self { origin: zone("zone-a"), target: zone("zone-b") }
    }

    fn binding(&self) -> TransferBinding<'_> {
        let revision = Revision::FIRST.next().unwrap();
        TransferBinding { origin: &self.origin, target: &self.target, key: KeyId::from_bytes([7; 16]), revision }
    }
}

fn zone(name: &str) -> ZoneName {
    name.parse().unwrap()
}

fn sealed(names: &Names) -> (ZonePrivateKey, Vec<u8>) {
    let key = ZonePrivateKey::generate(&Seeded::new("zone")).unwrap();
    let sealed = key.public_key().seal(&names.binding(), b"record", &Seeded::new("seal")).unwrap();
    (key, sealed)
}
