//! How often, and when last, keys were used.

use crate::zone::{DAY, NO_CONTEXT, START, World, Zone};
use kms_lifecycle::Command;
use kms_service::{ReEncryptDestination, ReEncryptSource, UsageFault, UsageFilter, UsageText, Use};
use kms_types::{DataKeyLength, DeletionDelay, KeyId, Timestamp};
use std::time::Duration;

fn second(time: Timestamp) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(time.as_seconds() * 1_000_000_000))
}

fn uses(zone: &Zone, id: KeyId) -> Vec<Use> {
    zone.kms.usage_of(id).unwrap().versions.iter().map(|version| version.used).collect()
}

#[tokio::test]
async fn every_kind_of_call_counts_for_the_version_it_used() {
    let world = World::new();
    let zone = world.start().await;
    let (one, two) = (zone.create("one").await.unwrap().id(), zone.create("two").await.unwrap().id());
    assert_eq!(uses(&zone, one), [Use::default()]);
    let old = zone.encrypt(one, b"x").unwrap();
    zone.change(one, Command::Rotate).await.unwrap();
    world.time.run(Duration::from_secs(10));
    let later = second(START.plus(Duration::from_secs(10)));

    zone.decrypt(one, &old).unwrap();
    zone.kms.generate_data_key(&zone.acme, one, DataKeyLength::default(), NO_CONTEXT).unwrap();
    let source = ReEncryptSource { key: one, ciphertext: &old, context: NO_CONTEXT };
    zone.kms.re_encrypt(&zone.acme, source, ReEncryptDestination { key: two, context: NO_CONTEXT }).unwrap();
    // What fails is not counted.
    assert!(zone.decrypt(two, &old).is_err());
    assert!(zone.decrypt(one, b"nothing that was ever encrypted").is_err());

    let first = Use { encrypts: 1, decrypts: 2, encrypted_at: second(START), decrypted_at: later };
    let once = Use { encrypts: 1, decrypts: 0, encrypted_at: later, decrypted_at: None };
    assert_eq!(uses(&zone, one), [first, once]);
    assert_eq!(uses(&zone, two), [once]);
    assert_eq!(zone.kms.keys_used_recently(), (2, 1));

    let old_versions = UsageFilter { organisation: None, old_versions: true };
    let told = zone.kms.usage_page(&old_versions, None, 10);
    assert_eq!(told.iter().map(|told| (told.key.id(), told.versions.len())).collect::<Vec<_>>(), [(one, 1)]);
    assert_eq!(told[0].versions[0].used, first);
    world.time.run(DAY);
    assert_eq!(zone.kms.keys_used_recently(), (0, 0));
}

#[tokio::test]
async fn a_report_comes_in_pages_and_by_organisation() {
    let world = World::new();
    let zone = world.start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(zone.create(&format!("k{number}")).await.unwrap().id());
    }
    let others = zone.create_for(&zone.other, "theirs").await.unwrap().id();
    ids.push(others);
    ids.sort();
    let page = |filter: &UsageFilter, after, limit| -> Vec<KeyId> {
        zone.kms.usage_page(filter, after, limit).iter().map(|told| told.key.id()).collect()
    };
    let all = UsageFilter::default();
    assert_eq!(page(&all, None, 4), ids[..4]);
    assert_eq!(page(&all, Some(ids[3]), 4), ids[4..]);
    let filter = UsageFilter { organisation: Some("other".parse().unwrap()), old_versions: false };
    assert_eq!(page(&filter, None, 4), [others]);
}

#[tokio::test]
async fn what_was_saved_is_counted_on_and_nothing_else_opens() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k").await.unwrap().id();
    assert!(zone.kms.usage_to_save().unwrap().is_none(), "nothing was used yet");
    let ciphertext = zone.encrypt(id, b"x").unwrap();
    zone.change(id, Command::Rotate).await.unwrap();
    zone.decrypt(id, &ciphertext).unwrap();
    zone.encrypt(id, b"y").unwrap();
    let (before, since) = (uses(&zone, id), zone.kms.usage_counted_since());
    let (text, mark) = zone.kms.usage_to_save().unwrap().unwrap();
    zone.kms.usage_saved(mark);
    assert!(zone.kms.usage_to_save().unwrap().is_none(), "nothing new");
    drop(zone);

    world.time.run(DAY);
    let zone = world.start().await;
    for at in 0..text.0.len() {
        let mut bent = text.0.clone();
        bent[at] ^= 1;
        assert_eq!(zone.kms.go_on_from_usage(&UsageText(bent)), Err(UsageFault::Sealed), "byte {at}");
    }
    assert_eq!(zone.kms.go_on_from_usage(&UsageText(Vec::new())), Err(UsageFault::Sealed));
    assert_eq!(uses(&zone, id), [Use::default(); 2], "nothing of it was taken over");
    assert_ne!(zone.kms.usage_counted_since(), since);
    zone.kms.go_on_from_usage(&text).unwrap();
    assert_eq!((uses(&zone, id), zone.kms.usage_counted_since()), (before, since));
    assert!(zone.kms.usage_to_save().unwrap().is_none(), "it is saved already");
    zone.encrypt(id, b"z").unwrap();
    assert_eq!(uses(&zone, id)[1].encrypts, 2);
}

#[tokio::test]
async fn a_key_tells_whether_it_was_used_in_the_last_day() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k").await.unwrap().id();
    let told = || zone.kms.usage_of(id).unwrap();
    assert!(!told().recently);
    zone.encrypt(id, b"x").unwrap();
    assert!(told().recently);
    world.time.run(DAY - Duration::from_secs(2));
    assert!(told().recently);
    world.time.run(Duration::from_secs(2));
    assert!(!told().recently);
    assert_eq!((told().status_name(), told().delete_at()), ("enabled", None));
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::default() }).await.unwrap();
    assert_eq!(told().status_name(), "pending-deletion");
    assert!(told().delete_at().is_some());
}

#[tokio::test]
async fn what_was_saved_is_saved_again_before_its_epoch_is_needed_no_more() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k").await.unwrap().id();
    zone.encrypt(id, b"x").unwrap();
    let (before, mark) = zone.kms.usage_to_save().unwrap().unwrap();
    zone.kms.usage_saved(mark);
    assert!(zone.kms.usage_to_save().unwrap().is_none());
    zone.kms.shred_now().await.unwrap();
    assert_eq!(zone.kms.go_on_from_usage(&before), Err(UsageFault::Sealed), "its epoch is gone");
    let (after, _) = zone.kms.usage_to_save().unwrap().expect("nothing was used since, but the epoch is another");
    zone.kms.go_on_from_usage(&after).unwrap();
    assert_eq!(uses(&zone, id)[0].encrypts, 1);
}
