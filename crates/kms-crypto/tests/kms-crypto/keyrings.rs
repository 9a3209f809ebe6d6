//! The keyring opens under its own root key only, and a record only where it belongs.

use crate::seeded::{Failing, Seeded};
use kms_crypto::{
    Backend, EntropyError, GcmTag, Keyring, KeyringDescription, MAX_DESCRIPTOR_LEN, RECORD_OVERHEAD, RecordError,
    RetireError, RootKey, UnwrapError, WrappedKeyring, XaesKey,
};
use proptest::collection::vec;
use proptest::prelude::*;

const PLACE: &str = "key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

proptest! {
    #[test]
    fn records_open_where_they_belong_and_nowhere_else(
        place in "[a-z/]{0,20}", other in "[a-z/]{0,20}", version: u64, later in 1_u64..,
        plaintext in vec(any::<u8>(), 0..300),
    ) {
        let keyring = keyring();
        let sealed = keyring.seal_record(&place, version, &plaintext, &Seeded::new("record")).unwrap();
        prop_assert_eq!(sealed.len(), plaintext.len() + RECORD_OVERHEAD);
        prop_assert_eq!(open(&keyring, &place, version, &sealed), Ok(plaintext));
        prop_assert_eq!(open(&keyring, &place, version.wrapping_add(later), &sealed), Err(RecordError::Damaged));
        if other != place {
            prop_assert_eq!(open(&keyring, &other, version, &sealed), Err(RecordError::Damaged));
        }
        let elsewhere = Keyring::generate(&Seeded::new("another store")).unwrap();
        prop_assert_eq!(open(&elsewhere, &place, version, &sealed), Err(RecordError::Damaged));
    }
}

#[test]
fn no_single_bit_and_no_prefix_of_a_record_opens() {
    let keyring = keyring();
    let sealed = keyring.seal_record(PLACE, 1, &[0x33; 40], &Seeded::new("record")).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open(&keyring, PLACE, 1, &flipped).unwrap_err();
        match bit / 8 {
            0 if bit == 0 => assert_eq!(error, RecordError::Damaged, "format 0"),
            0 => assert_eq!(error, RecordError::NewerFormat { found: flipped[0] }),
            1..=8 if flipped[1..9] == [0; 8] => assert_eq!(error, RecordError::Damaged, "epoch 0"),
            1..=8 => assert!(matches!(error, RecordError::UnknownEpoch(_)), "bit {bit}: {error:?}"),
            _ => assert_eq!(error, RecordError::Damaged, "bit {bit}"),
        }
    }
    for len in 0..sealed.len() {
        assert_eq!(open(&keyring, PLACE, 1, &sealed[..len]), Err(RecordError::Damaged), "{len} bytes");
    }
}

#[test]
fn a_wrapped_keyring_is_the_same_keyring() {
    let keyring = keyring();
    let again = Keyring::unwrap(&root(1), &keyring.wrap(&root(1), &Seeded::new("wrap")).unwrap()).unwrap();
    assert_eq!((again.store_id(), again.current_epoch()), (keyring.store_id(), keyring.current_epoch()));
    assert_eq!(again.manifest_key().tag(&[b"manifest"]), keyring.manifest_key().tag(&[b"manifest"]));
    let sealed = keyring.seal_record(PLACE, 1, b"record", &Seeded::new("record")).unwrap();
    assert_eq!(open(&again, PLACE, 1, &sealed), Ok(b"record".to_vec()));
}

/// The keyring file is opened here by hand, as envelope 7 describes it, and closed again with one bit of the store id
/// changed: the same epoch keys, another store.
#[test]
fn a_record_of_another_store_does_not_open_even_under_the_same_key() {
    let (root, keyring) = (root(1), keyring());
    let mut file = keyring.wrap(&root, &Seeded::new("wrap")).unwrap();
    let (header, rest) = file.split_at_mut(41);
    let (body, tag) = rest.split_last_chunk_mut::<16>().unwrap();
    let nonce: [u8; 24] = header[17..].try_into().unwrap();
    let label = b"zonekms keyring v1";
    let associated_data = [&[0, 0, 0, 0, 0, 0, 0, 18][..], label, &[0, 0, 0, 0, 0, 0, 0, 41], header].concat();
    let key = XaesKey::new(root.expose());
    key.open(Backend::Ring, &nonce, &associated_data, body, &GcmTag::new(*tag)).unwrap();
    assert_eq!(&body[..16], keyring.store_id());
    body[0] ^= 1;
    *tag = *key.seal(Backend::Ring, &nonce, &associated_data, body).unwrap().as_bytes();
    let other = Keyring::unwrap(&root, &file).unwrap();
    let sealed = keyring.seal_record(PLACE, 1, b"record", &Seeded::new("record")).unwrap();
    assert_eq!(open(&keyring, PLACE, 1, &sealed), Ok(b"record".to_vec()));
    assert_eq!(open(&other, PLACE, 1, &sealed), Err(RecordError::Damaged));
}

#[test]
fn a_keyring_opens_under_its_own_root_key_only() {
    let wrapped = keyring().wrap(&root(1), &Seeded::new("wrap")).unwrap();
    assert!(Keyring::unwrap(&root(1), &wrapped).is_ok());
    let expected = UnwrapError::WrongRootKey { expected: root(1).fingerprint(), given: root(2).fingerprint() };
    assert_eq!(Keyring::unwrap(&root(2), &wrapped).err(), Some(expected));
    // The fingerprint is only a name: replaced by the other key's, the seal still refuses.
    let mut forged = wrapped;
    forged[9..17].copy_from_slice(root(2).fingerprint().as_bytes());
    assert_eq!(Keyring::unwrap(&root(2), &forged).err(), Some(UnwrapError::Damaged));
}

#[test]
fn no_single_bit_and_no_prefix_of_a_wrapped_keyring_opens() {
    let root = root(1);
    let mut keyring = keyring();
    keyring.add_epoch(&Seeded::new("second")).unwrap();
    let wrapped = keyring.wrap(&root, &Seeded::new("wrap")).unwrap();
    for bit in 0..wrapped.len() * 8 {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = Keyring::unwrap(&root, &flipped).err();
        match bit / 8 {
            8 if bit != 64 => assert_eq!(error, Some(UnwrapError::NewerFormat { found: flipped[8] })),
            9..=16 => assert!(matches!(error, Some(UnwrapError::WrongRootKey { .. })), "bit {bit}: {error:?}"),
            _ => assert_eq!(error, Some(UnwrapError::Damaged), "bit {bit}"),
        }
    }
    for len in 0..wrapped.len() {
        assert_eq!(Keyring::unwrap(&root, &wrapped[..len]).err(), Some(UnwrapError::Damaged), "{len} bytes");
    }
}

/// The description is sealed with the keyring: nothing of it can be changed, and the fingerprint is still only a name.
#[test]
fn no_single_bit_and_no_prefix_of_a_described_keyring_opens() {
    let root = root(1);
    let description = KeyringDescription::new(3, 1_800_000_000, b"salt and parameters".to_vec()).unwrap();
    let wrapped = keyring().wrap_described(&root, &description, &Seeded::new("wrap")).unwrap();
    let parsed = WrappedKeyring::parse(&wrapped).unwrap();
    assert_eq!((parsed.description(), parsed.fingerprint()), (Some(&description), root.fingerprint()));
    assert_eq!(Keyring::unwrap(&root, &wrapped).unwrap().store_id(), keyring().store_id());
    for bit in 0..wrapped.len() * 8 {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = Keyring::unwrap(&root, &flipped).err();
        match bit / 8 {
            8 if flipped[8] > 2 => assert_eq!(error, Some(UnwrapError::NewerFormat { found: flipped[8] })),
            9..=16 => assert!(matches!(error, Some(UnwrapError::WrongRootKey { .. })), "bit {bit}: {error:?}"),
            _ => assert_eq!(error, Some(UnwrapError::Damaged), "bit {bit}"),
        }
    }
    for len in 0..wrapped.len() {
        assert_eq!(Keyring::unwrap(&root, &wrapped[..len]).err(), Some(UnwrapError::Damaged), "{len} bytes");
    }
    assert!(KeyringDescription::new(1, 0, vec![0; MAX_DESCRIPTOR_LEN + 1]).is_err());
}

#[test]
fn epochs_are_added_kept_and_retired() {
    let root = root(1);
    let mut keyring = keyring();
    let first = keyring.current_epoch();
    let old = keyring.seal_record(PLACE, 1, b"old", &Seeded::new("old")).unwrap();
    let second = keyring.add_epoch(&Seeded::new("second")).unwrap();
    let new = keyring.seal_record(PLACE, 2, b"new", &Seeded::new("new")).unwrap();
    assert_eq!((first.get(), second.get(), keyring.current_epoch()), (1, 2, second));
    assert_eq!((Keyring::epoch_of(&old), Keyring::epoch_of(&new)), (Ok(first), Ok(second)));

    let wrapped = keyring.wrap(&root, &Seeded::new("wrap")).unwrap();
    let mut keyring = Keyring::unwrap(&root, &wrapped).unwrap();
    assert_eq!(keyring.epochs().collect::<Vec<_>>(), [first, second]);
    assert_eq!(open(&keyring, PLACE, 1, &old), Ok(b"old".to_vec()));
    assert_eq!(open(&keyring, PLACE, 2, &new), Ok(b"new".to_vec()));

    assert_eq!(keyring.retire_epoch(second), Err(RetireError::Current(second)));
    assert_eq!(keyring.retire_epoch(first), Ok(()));
    assert_eq!(keyring.retire_epoch(first), Err(RetireError::Unknown(first)));
    assert_eq!(open(&keyring, PLACE, 1, &old), Err(RecordError::UnknownEpoch(first)));
    assert_eq!(open(&keyring, PLACE, 2, &new), Ok(b"new".to_vec()));

    // The number of a retired epoch is not given out again.
    let wrapped = keyring.wrap(&root, &Seeded::new("wrap again")).unwrap();
    let mut keyring = Keyring::unwrap(&root, &wrapped).unwrap();
    assert_eq!(keyring.add_epoch(&Seeded::new("third")).map(|third| third.get()), Ok(3));
    assert_eq!(keyring.epochs().map(|epoch| epoch.get()).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn without_randomness_nothing_is_made_or_sealed() {
    for calls in 0..3 {
        assert_eq!(Keyring::generate(&Failing::after(calls)).err(), Some(EntropyError), "{calls} good calls");
    }
    assert!(Keyring::generate(&Failing::after(3)).is_ok());
    let mut keyring = keyring();
    assert_eq!(keyring.wrap(&root(1), &Failing::after(0)), Err(EntropyError));
    assert_eq!(keyring.seal_record(PLACE, 1, b"", &Failing::after(0)), Err(EntropyError));
    assert_eq!(keyring.add_epoch(&Failing::after(0)), Err(EntropyError));
    assert_eq!(keyring.epochs().count(), 1);
    assert_eq!(RootKey::generate(&Failing::after(0)).err(), Some(EntropyError));
}

fn keyring() -> Keyring {
    Keyring::generate(&Seeded::new("keyring")).unwrap()
}

fn root(number: u8) -> RootKey {
    RootKey::generate(&Seeded::new(&format!("root {number}"))).unwrap()
}

fn open(keyring: &Keyring, place: &str, version: u64, sealed: &[u8]) -> Result<Vec<u8>, RecordError> {
    keyring.open_record(place, version, sealed).map(|plaintext| plaintext.expose().to_vec())
}
