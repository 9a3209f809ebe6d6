//! Making, listing and keeping keys.

use crate::zone::{DAY, NO_CONTEXT, START, World};
use kms_lifecycle::{Command, Rejection, Status};
use kms_service::{KmsError, ReEncryptDestination, ReEncryptSource};
use kms_types::DeletionDelay;

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let first = zone.encrypt(id, b"first").unwrap();
    zone.change(id, Command::Rotate).await.unwrap();
    let second = zone.encrypt(id, b"second").unwrap();
    zone.change(id, Command::DisableRotation).await.unwrap();
    let before = zone.get(id).unwrap();

    let zone = world.start().await;
    assert_eq!(zone.get(id).unwrap(), before);
    assert_eq!(zone.decrypt(id, &first).unwrap(), b"first");
    assert_eq!(zone.decrypt(id, &second).unwrap(), b"second");
    assert_eq!(zone.create("k1").await.err(), Some(KmsError::NameConflict));
}

#[tokio::test]
async fn a_name_is_free_again_when_the_deletion_is_final() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }).await.unwrap();
    assert_eq!(zone.create("k1").await.err(), Some(KmsError::NameConflict), "a pending key keeps its name");
    world.time.run(7 * DAY);
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound));
    let again = zone.create("k1").await.unwrap().id();
    assert_ne!(again, id);

    let zone = world.start().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound), "it does not come back");
    assert_eq!(zone.kms.list_keys(&zone.acme).unwrap().iter().map(|key| key.id()).collect::<Vec<_>>(), [again]);
}

#[tokio::test]
async fn the_quota_is_per_organisation_and_exact() {
    let mut world = World::new();
    world.keys_per_organisation = 3;
    let zone = world.start().await;
    for name in ["a", "b", "c"] {
        zone.create(name).await.unwrap();
    }
    assert_eq!(zone.create("d").await.err(), Some(KmsError::KeyQuota { limit: 3 }));
    assert_eq!(zone.create("a").await.err(), Some(KmsError::NameConflict), "the name is looked at first");
    zone.create_for(&zone.other, "a").await.unwrap();
    let zone = world.start().await;
    assert_eq!(zone.create("d").await.err(), Some(KmsError::KeyQuota { limit: 3 }), "also after a restart");
}

#[tokio::test]
async fn repeating_enable_or_disable_changes_nothing() {
    let zone = World::new().start().await;
    let key = zone.create("k1").await.unwrap();
    assert_eq!(zone.change(key.id(), Command::Enable).await.unwrap(), key);
    let disabled = zone.change(key.id(), Command::Disable).await.unwrap();
    assert_eq!(zone.change(key.id(), Command::Disable).await.unwrap(), disabled);
    assert!(disabled.revision().seq > key.revision().seq);
}

#[tokio::test]
async fn a_default_key_is_made_once_and_protected() {
    let mut world = World::new();
    world.default_key = Some("the default");
    let zone = world.start().await;
    let keys = zone.kms.list_keys(&zone.acme).unwrap();
    let [key] = &keys[..] else { panic!("one key") };
    let not_on_default = KmsError::Rejected(Rejection::NotOnDefault);
    for command in
        [Command::Disable, Command::DisableRotation, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }]
    {
        assert_eq!(zone.change(key.id(), command).await.err(), Some(not_on_default));
    }
    let made = zone.encrypt(key.id(), b"x").unwrap();
    let source = ReEncryptSource { key: key.id(), ciphertext: &made, context: NO_CONTEXT };
    let destination = ReEncryptDestination { key: key.id(), context: NO_CONTEXT };
    assert_eq!(zone.kms.re_encrypt(&zone.acme, source, destination).err(), Some(not_on_default));
    assert_eq!(zone.create("the default").await.err(), Some(KmsError::NameConflict));

    let zone = world.start().await;
    assert_eq!(zone.kms.list_keys(&zone.acme).unwrap(), keys, "it is not made again");
    world.default_key = None;
    let zone = world.start().await;
    let key = zone.change(keys[0].id(), Command::Disable).await.unwrap();
    assert_eq!(*key.status(), Status::Disabled { since: START }, "no longer the default, no longer protected");
    world.default_key = Some("the default");
    let refused = world.try_start().await.err().map(|cause| cause.to_string()).unwrap_or_default();
    assert!(refused.contains("cannot be the default key"), "{refused}");
}

#[tokio::test]
async fn replication_checks_the_key_first_and_then_says_that_there_is_none() {
    let zone = World::new().start().await;
    let id = zone.create("k1").await.unwrap().id();
    let target = || "de-fra-1".parse().unwrap();
    assert_eq!(
        zone.kms.replicate_key(&zone.acme, id, target()).await.err(),
        Some(KmsError::Rejected(Rejection::NotMultiZone))
    );
    let request = kms_service::CreateKey {
        name: "m".parse().unwrap(),
        description: "".parse().unwrap(),
        reach: kms_lifecycle::Reach::MultiZone,
    };
    let id = zone.kms.create_key(&zone.acme, request).await.unwrap().id();
    let replicate = |target: &str| zone.kms.replicate_key(&zone.acme, id, target.parse().unwrap());
    assert_eq!(replicate("de-fra-1").await.err(), Some(KmsError::ReplicationUnavailable));
    assert_eq!(replicate("ch-gva-2").await.err(), Some(KmsError::InvalidTargetZone));
    assert_eq!(replicate("nowhere").await.err(), Some(KmsError::InvalidTargetZone));
}
