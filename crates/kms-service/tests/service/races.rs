//! Many at once.

use crate::zone::World;
use kms_lifecycle::{Command, Rejection, Status};
use kms_service::KmsError;
use kms_types::{DeletionDelay, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_encryption_that_begins_after_the_answer_to_disable_succeeds() {
    let zone = Arc::new(World::new().start().await);
    let id = zone.create("k1").await.unwrap().id();
    let stop = Arc::new(AtomicBool::new(false));
    // Even while the key may be used, odd once a disable was answered.
    let round = Arc::new(AtomicU64::new(0));
    let user = {
        let (zone, stop, round) = (Arc::clone(&zone), Arc::clone(&stop), Arc::clone(&round));
        std::thread::spawn(move || {
            let (mut late, mut served) = (0, 0);
            while !stop.load(Ordering::SeqCst) {
                let before = round.load(Ordering::SeqCst);
                let outcome = zone.encrypt(id, b"x");
                let after = round.load(Ordering::SeqCst);
                served += u64::from(outcome.is_ok());
                late += u64::from(outcome.is_ok() && before % 2 == 1 && before == after);
            }
            (late, served)
        })
    };
    for _ in 0..10_000 {
        zone.change(id, Command::Disable).await.unwrap();
        round.fetch_add(1, Ordering::SeqCst);
        assert_eq!(zone.encrypt(id, b"x"), Err(KmsError::Rejected(Rejection::KeyDisabled)));
        round.fetch_add(1, Ordering::SeqCst);
        zone.change(id, Command::Enable).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let (late, served) = user.join().unwrap();
    assert_eq!(late, 0);
    assert!(served > 0, "the race was run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_at_once_make_ten_versions() {
    let zone = Arc::new(World::new().start().await);
    let id = zone.create("k1").await.unwrap().id();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let zone = Arc::clone(&zone);
            tokio::spawn(async move { zone.change(id, Command::Rotate).await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(key) => made.push(key.current_version().version.get()),
            Err(cause) => assert_eq!(cause, KmsError::Rejected(Rejection::ManualRotationLimit)),
        }
    }
    made.sort_unstable();
    assert_eq!(made, (2..=11).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_creations_at_the_quota_make_one_key() {
    let mut world = World::new();
    world.keys_per_organisation = 10;
    let zone = Arc::new(world.start().await);
    for n in 0..9 {
        zone.create(&format!("k{n}")).await.unwrap();
    }
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let zone = Arc::clone(&zone);
            tokio::spawn(async move { zone.create(&format!("new{n}")).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(cause) => assert_eq!(cause, KmsError::KeyQuota { limit: 10 }),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_is_given_once() {
    let zone = Arc::new(World::new().start().await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let zone = Arc::clone(&zone);
            tokio::spawn(async move { zone.create("the name").await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(cause) => assert_eq!(cause, KmsError::NameConflict),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_due_second_a_key_is_either_cancelled_or_gone() {
    let world = World::new();
    let zone = Arc::new(world.start().await);
    let delay = DeletionDelay::try_from(7).unwrap();
    let (mut cancelled, mut gone) = (0, 0);
    for round in 0..300 {
        let id = zone.create(&format!("k{round}")).await.unwrap().id();
        let made = zone.encrypt(id, b"x").unwrap();
        zone.change(id, Command::ScheduleDeletion { delay }).await.unwrap();
        let Status::PendingDeletion { delete_at, .. } = *zone.get(id).unwrap().status() else { panic!("pending") };
        world.time.set_wall(Timestamp::from_nanos(delete_at.as_nanos() - round % 2));
        zone.clock.confirm_jump();
        let deleting = {
            let zone = Arc::clone(&zone);
            tokio::spawn(async move { zone.kms.run_due_work().await })
        };
        let answer = zone.change(id, Command::CancelDeletion).await;
        deleting.await.unwrap();
        match answer {
            Ok(_) => {
                cancelled += 1;
                zone.change(id, Command::Enable).await.unwrap();
                assert_eq!(zone.decrypt(id, &made).unwrap(), b"x");
                zone.change(id, Command::ScheduleDeletion { delay }).await.unwrap();
            }
            Err(cause) => {
                gone += 1;
                assert_eq!(cause, KmsError::KeyNotFound);
                assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound));
            }
        }
    }
    assert_eq!((cancelled, gone), (150, 150), "one nanosecond before its date it can be saved, at its date it cannot");
}
