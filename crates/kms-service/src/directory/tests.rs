use super::*;
use crate::snapshot::VersionMaterial;
use kms_crypto::KeyMaterial;
use kms_lifecycle::{Key, Kind, NewKey, Reach, Usage};
use kms_storage::RecordVersion;
use kms_types::{Description, Revision};
use std::collections::BTreeSet;

fn id(last: u8) -> KeyId {
    format!("019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}").parse().unwrap()
}

fn snapshot(last: u8) -> Snapshot {
    let new = NewKey {
        id: id(last),
        organisation: "acme".parse().unwrap(),
        name: format!("k{last}").parse().unwrap(),
        description: Description::default(),
        usage: Usage::EncryptDecrypt,
        zone: "ch-gva-2".parse().unwrap(),
        multi_zone: Reach::SingleZone,
        kind: Kind::Ordinary,
    };
    let material = VersionMaterial::new(KeyMaterial::from_bytes(&[last; 32]));
    let record = RecordVersion::NEVER.next().unwrap();
    Snapshot::new(Key::create(new, Timestamp::EPOCH), Box::new([material]), record)
}

fn deleted() -> Deleted {
    Deleted {
        organisation: "acme".parse().unwrap(),
        origin: "ch-gva-2".parse().unwrap(),
        revision: Revision::FIRST,
        deleted_at: Timestamp::EPOCH,
        replicas: BTreeSet::new(),
    }
}

/// At once, not when the map gets round to freeing what was removed from it.
#[test]
fn material_goes_with_its_key() {
    let directory = Directory::default();
    assert!(directory.load(snapshot(1)) && directory.load(snapshot(2)) && !directory.load(snapshot(2)));
    let [buried, cleared] = [1, 2].map(|last| Arc::downgrade(&directory.shown(id(last)).unwrap()));
    directory.bury_found(id(1), deleted());
    assert!(buried.upgrade().is_none(), "the material of a deleted key is still in memory");
    directory.refresh(snapshot(1));
    assert!(matches!(directory.sight(id(1)), Sight::Deleted(_)), "a deleted key came back");
    assert_eq!(directory.id_of(&"acme".parse().unwrap(), &"k1".parse().unwrap()), None);
    directory.clear();
    assert!(cleared.upgrade().is_none(), "everything was forgotten but some material is still in memory");
    assert!(matches!(directory.snapshot(id(2)), Err(KmsError::ReadOnly)));
    assert!(!directory.load(snapshot(3)), "a key came after everything was forgotten");
    assert!(directory.shown(id(3)).is_none());
}

#[test]
fn a_key_that_is_deleted_while_it_is_looked_at_is_deleted_and_not_unknown() {
    let directory = Directory::default();
    assert!(directory.load(snapshot(1)));
    let keys = directory.keys.pin();
    let found = keys.get(&id(1));
    assert!(matches!(directory.sight_of(found, id(1)), Sight::Live(_)));
    directory.bury_found(id(1), deleted());
    assert!(matches!(directory.sight_of(found, id(1)), Sight::Deleted(_)));
}
