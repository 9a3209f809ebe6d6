//! What is in the store: sealed, checked, and never trusted.

use crate::zone::World;
use kms_lifecycle::Command;
use kms_service::{KmsError, StartError};
use kms_storage::{Body, Commit, RecordKey, Store, Write};
use kms_types::KeyId;

fn place(id: KeyId) -> RecordKey {
    RecordKey::key(&"acme".parse().unwrap(), id)
}

async fn sealed(world: &World, place: &RecordKey) -> (kms_storage::RecordVersion, Vec<u8>) {
    let stored = world.store.get(place).await.unwrap();
    let Body::Live(bytes) = stored.body else { panic!("{place} is there") };
    (stored.version, bytes)
}

async fn overwrite(world: &World, place: &RecordKey, bytes: Vec<u8>) {
    let (version, _) = sealed(world, place).await;
    let _durable = world.store.commit(Commit::new(vec![Write::live(place.clone(), version, bytes)])).await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_refused_and_the_rest_served() {
    let world = World::new();
    let zone = world.start().await;
    let bad = zone.create("bad").await.unwrap().id();
    let good = zone.create("good").await.unwrap().id();
    damage(&world, bad).await;
    let zone = world.start().await;
    assert_eq!(zone.get(bad).err(), Some(KmsError::RecordDamaged));
    assert_eq!(zone.encrypt(bad, b"x"), Err(KmsError::RecordDamaged));
    assert_eq!(zone.kms.get_key(&zone.other, bad).err(), Some(KmsError::KeyNotFound), "not theirs to know");
    assert!(zone.encrypt(good, b"x").is_ok());
}

async fn damage(world: &World, id: KeyId) {
    let (_, mut bytes) = sealed(world, &place(id)).await;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    overwrite(world, &place(id), bytes).await;
}

#[tokio::test]
async fn nothing_takes_the_place_of_a_damaged_key() {
    let mut world = World::new();
    world.keys_per_organisation = 2;
    world.default_key = Some("the default");
    let zone = world.start().await;
    let default_key = zone.kms.list_keys(&zone.acme).unwrap()[0].id();
    let mine = zone.create("mine").await.unwrap().id();
    damage(&world, default_key).await;
    damage(&world, mine).await;
    let zone = world.start().await;
    assert_eq!(zone.kms.list_keys(&zone.acme).unwrap(), [], "no second default key is made");
    assert_eq!(zone.create("another").await.err(), Some(KmsError::KeyQuota { limit: 2 }), "damaged keys count");
    world.keys_per_organisation = 3;
    let zone = world.start().await;
    assert_eq!(zone.create("mine").await.err(), Some(KmsError::NameConflict), "the name is still taken");
    zone.create("another").await.unwrap();
}

#[tokio::test]
async fn a_record_in_another_records_place_is_damaged() {
    let world = World::new();
    let zone = world.start().await;
    let one = zone.create("one").await.unwrap().id();
    let two = zone.create("two").await.unwrap().id();
    let (_, bytes) = sealed(&world, &place(one)).await;
    overwrite(&world, &place(two), bytes).await;
    let zone = world.start().await;
    assert_eq!(zone.get(two).err(), Some(KmsError::RecordDamaged));
    assert!(zone.get(one).is_ok());
}

#[tokio::test]
async fn an_old_record_put_back_is_damaged() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let (_, enabled) = sealed(&world, &place(id)).await;
    zone.change(id, Command::Disable).await.unwrap();
    overwrite(&world, &place(id), enabled).await;
    let zone = world.start().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::RecordDamaged), "the record is bound to its version");
}

#[tokio::test]
async fn a_newer_record_stops_the_start() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let (version, _) = sealed(&world, &place(id)).await;
    let next = version.next().unwrap();
    let newer = world.vault.keyring().seal_record(place(id).as_str(), next.get(), &[2, 0, 0], &*world.entropy).unwrap();
    overwrite(&world, &place(id), newer).await;
    assert!(matches!(world.try_start().await.err(), Some(StartError::NewerFormat { found: 2, .. })));
}

#[tokio::test]
async fn no_random_bytes_ever_given_out_lie_in_the_store_in_clear() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    zone.change(id, Command::Rotate).await.unwrap();
    zone.change(id, Command::Disable).await.unwrap();
    let page = world.store.scan("", None, None, 100).await.unwrap();
    let stored: Vec<u8> = page
        .entries
        .iter()
        .flat_map(|(_, stored)| match &stored.body {
            Body::Live(bytes) => bytes.clone(),
            Body::Absent | Body::Tombstone => Vec::new(),
        })
        .collect();
    assert!(stored.len() > 300);
    let material: Vec<_> = world.entropy.given().into_iter().filter(|given| given.len() == 32).collect();
    assert!(material.len() >= 2, "two versions of material were made");
    for secret in material {
        assert!(!stored.windows(16).any(|window| secret.windows(16).any(|part| part == window)));
    }
}
