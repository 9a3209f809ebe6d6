//! A store that fails, a system without randomness, a caller who leaves.

use crate::zone::World;
use kms_lifecycle::{Command, Status};
use kms_service::KmsError;
use kms_storage::Health;
use kms_testkit::Fault;
use kms_types::DeletionDelay;
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn after_an_unknown_outcome_the_store_is_asked_before_anything_is_said() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let world = World::new();
        let zone = world.start().await;
        let key = zone.create("k1").await.unwrap();
        world.store.fail_next(fault.clone());
        assert_eq!(zone.change(key.id(), Command::Rotate).await.err(), Some(KmsError::OutcomeUnknown), "{fault:?}");
        let applied = usize::from(fault == Fault::UnknownApplied);
        let rotated = zone.change(key.id(), Command::Rotate).await.unwrap();
        assert_eq!(rotated.versions().len(), 2 + applied, "the next change reads the record first: {fault:?}");
        let made = zone.encrypt(key.id(), b"x").unwrap();
        let zone = world.start().await;
        assert_eq!(zone.get(key.id()).unwrap(), rotated, "{fault:?}");
        assert_eq!(zone.decrypt(key.id(), &made).unwrap(), b"x", "{fault:?}");
    }
}

#[tokio::test]
async fn while_an_outcome_is_unknown_no_answer_claims_to_know() {
    let world = World::new();
    let zone = world.start().await;
    let key = zone.create("k1").await.unwrap();
    let made = zone.encrypt(key.id(), b"x").unwrap();
    world.store.fail_next(Fault::Broken);
    let deletion = Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT };
    assert_eq!(zone.change(key.id(), deletion).await.err(), Some(KmsError::OutcomeUnknown));
    let unknown = Some(KmsError::OutcomeUnknown);
    assert_eq!(zone.get(key.id()).err(), unknown);
    assert_eq!(zone.kms.list_keys(&zone.acme).err(), unknown);
    assert_eq!(zone.change(key.id(), Command::Enable).await.err(), unknown, "not 'it is enabled already'");
    assert_eq!(zone.change(key.id(), Command::CancelDeletion).await.err(), unknown);
    assert_eq!(zone.kms.list_keys(&zone.other).unwrap(), [], "nobody else is concerned");
    assert_eq!(zone.decrypt(key.id(), &made).unwrap(), b"x", "crypto calls go on as last answered");

    world.store.heal();
    let pending = zone.change(key.id(), Command::CancelDeletion).await.unwrap();
    assert!(matches!(pending.status(), Status::Disabled { .. }), "the deletion had been scheduled, and is cancelled");
    assert_eq!(zone.get(key.id()).unwrap(), pending);
}

#[tokio::test]
async fn a_name_stays_taken_while_its_making_is_unknown() {
    let world = World::new();
    let zone = world.start().await;
    world.store.fail_next(Fault::Broken);
    assert_eq!(zone.create("k1").await.err(), Some(KmsError::OutcomeUnknown));
    assert_eq!(zone.create("k1").await.err(), Some(KmsError::NameConflict));
    assert_eq!(zone.kms.list_keys(&zone.acme).err(), Some(KmsError::OutcomeUnknown));
    let zone = world.start().await;
    assert_eq!(zone.kms.list_keys(&zone.acme).unwrap().len(), 1, "a restart shows what is so");
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_asks_a_store_that_recovers() {
    let world = World::new();
    let zone = world.start().await;
    let key = zone.create("k1").await.unwrap();
    world.store.fail_next(Fault::UnknownApplied);
    assert_eq!(zone.change(key.id(), Command::Disable).await.err(), Some(KmsError::OutcomeUnknown));
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        world.store.fail_next(fault.clone());
        assert_eq!(zone.create(&format!("{fault:?}")).await.err(), Some(KmsError::OutcomeUnknown));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(zone.get(key.id()).unwrap().status(), Status::Disabled { .. }));
    let names: BTreeSet<_> = zone.kms.list_keys(&zone.acme).unwrap().iter().map(|key| key.name().to_string()).collect();
    assert_eq!(names, BTreeSet::from(["k1", "UnknownApplied"].map(String::from)));
    zone.create("UnknownNotApplied").await.unwrap();
}

#[tokio::test]
async fn a_read_only_store_refuses_changes_and_serves_the_rest() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let made = zone.encrypt(id, b"x").unwrap();
    world.store.fail_next(Fault::ReadOnly);
    assert_eq!(zone.change(id, Command::Rotate).await.err(), Some(KmsError::ReadOnly));
    assert!(matches!(zone.kms.health(), Health::ReadOnly { .. }));
    assert_eq!(zone.create("k2").await.err(), Some(KmsError::ReadOnly));
    assert_eq!(zone.decrypt(id, &made).unwrap(), b"x");
    world.store.heal();
    zone.create("k2").await.unwrap();
    assert_eq!(zone.change(id, Command::Rotate).await.unwrap().versions().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_once_begun_is_finished_though_the_caller_leaves() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    world.store.fail_next(Fault::Delay(Duration::from_millis(50)));
    let left = tokio::time::timeout(Duration::from_millis(5), zone.change(id, Command::Rotate)).await;
    assert!(left.is_err(), "the caller left before the answer");
    assert_eq!(zone.change(id, Command::Rotate).await.unwrap().versions().len(), 3, "both rotations were made");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_changes_under_way_and_takes_no_new_ones() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    world.store.fail_next(Fault::Delay(Duration::from_millis(50)));
    let kms = zone.kms.clone();
    let caller = zone.acme.clone();
    let under_way = tokio::spawn(async move { kms.change_key(&caller, id, Command::Rotate).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    zone.running.stop().await.unwrap();
    assert_eq!(under_way.await.unwrap().unwrap().versions().len(), 2);
    assert_eq!(zone.kms.change_key(&zone.acme, id, Command::Rotate).await.err(), Some(KmsError::ReadOnly));
    assert_eq!(
        zone.kms.get_key(&zone.acme, id).err(),
        Some(KmsError::ReadOnly),
        "stopped is not the same as not found"
    );
}

#[tokio::test]
async fn without_randomness_nothing_is_made() {
    let world = World::new();
    let zone = world.start().await;
    let key = zone.create("k1").await.unwrap();
    world.entropy.run_dry();
    assert_eq!(zone.encrypt(key.id(), b"x"), Err(KmsError::NoEntropy));
    assert_eq!(zone.create("k2").await.err(), Some(KmsError::NoEntropy));
    assert_eq!(zone.change(key.id(), Command::Rotate).await.err(), Some(KmsError::NoEntropy));
    world.entropy.flow();
    assert_eq!(zone.get(key.id()).unwrap(), key);
    zone.create("k2").await.unwrap();
}
