//! What happens when its time has come, and not before.

use crate::zone::{DAY, START, World};
use kms_lifecycle::{Command, Made, Rejection};
use kms_service::KmsError;
use kms_testkit::Fault;
use kms_types::{DeletionDelay, Timestamp};
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

#[tokio::test]
async fn keys_rotate_after_a_year_and_not_a_nanosecond_earlier() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let old = zone.encrypt(id, b"old").unwrap();
    world.time.run(365 * DAY - NANO);
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).unwrap().versions().len(), 1);
    world.time.run(NANO);
    zone.kms.run_due_work().await;
    let key = zone.get(id).unwrap();
    assert_eq!(key.current_version().made, Made::Automatically);
    assert_eq!(key.rotation().next_at(), START.plus_days(730));
    assert_eq!(zone.decrypt(id, &old).unwrap(), b"old");
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).unwrap().versions().len(), 2, "not twice");
}

#[tokio::test]
async fn a_deletion_is_final_at_its_date_whether_or_not_anyone_came_by() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }).await.unwrap();
    world.time.run(7 * DAY - NANO);
    assert_eq!(zone.encrypt(id, b"x"), Err(KmsError::Rejected(Rejection::KeyPendingDeletion)));
    assert!(zone.get(id).is_ok());
    world.time.run(NANO);
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound), "before the scheduler");
    assert_eq!(zone.encrypt(id, b"x"), Err(KmsError::KeyNotFound));
    assert_eq!(zone.change(id, Command::CancelDeletion).await.err(), Some(KmsError::KeyNotFound));
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound), "after the scheduler");
}

#[tokio::test]
async fn a_zone_that_was_down_catches_up_at_start() {
    let world = World::new();
    let zone = world.start().await;
    let doomed = zone.create("doomed").await.unwrap().id();
    let kept = zone.create("kept").await.unwrap().id();
    zone.change(doomed, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }).await.unwrap();
    drop(zone);
    world.time.run(366 * DAY);
    let zone = world.start().await;
    assert_eq!(zone.get(doomed).err(), Some(KmsError::KeyNotFound));
    assert_eq!(zone.get(kept).unwrap().versions().len(), 2);
}

#[tokio::test]
async fn missed_periods_make_one_rotation() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    world.time.run(5 * 365 * DAY + DAY);
    let zone = world.start().await;
    let key = zone.get(id).unwrap();
    assert_eq!(key.versions().len(), 2);
    assert_eq!(key.rotation().next_at(), START.plus_days(6 * 365));
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_deletes_nothing_until_it_is_confirmed() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }).await.unwrap();
    world.time.set_wall(START.plus(31 * DAY));
    zone.kms.run_due_work().await;
    assert!(zone.change(id, Command::CancelDeletion).await.is_ok(), "there is time to save it");
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }).await.unwrap();
    assert_eq!(zone.kms.clock().held, Some(31 * DAY));
    zone.kms.confirm_clock().await;
    assert_eq!(zone.kms.clock().held, None);
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound));
}

#[tokio::test]
async fn a_clock_set_back_delays() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }).await.unwrap();
    world.time.set_wall(Timestamp::EPOCH.plus(60 * DAY));
    let zone = world.start().await;
    assert!(zone.clock.now() >= START, "the store's latest time is a floor");
    world.time.run(30 * DAY);
    zone.kms.run_due_work().await;
    assert!(zone.get(id).is_ok());
}

#[tokio::test]
async fn work_that_failed_is_done_by_a_later_pass() {
    let world = World::new();
    let zone = world.start().await;
    let one = zone.create("one").await.unwrap().id();
    let two = zone.create("two").await.unwrap().id();
    world.time.run(365 * DAY);
    world.store.fail_next(Fault::UnknownNotApplied);
    zone.kms.run_due_work().await;
    let versions = || [one, two].map(|id| zone.get(id).unwrap().versions().len());
    assert_eq!(versions().iter().sum::<usize>(), 3, "one of the two was done");
    zone.kms.run_due_work().await;
    assert_eq!(versions(), [2, 2]);
}
