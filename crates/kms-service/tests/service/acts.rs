//! What the audit log is told of acts that are about no single key, and what waits for it.

use crate::backups::{back_up, new_pair};
use crate::zone::{DAY, World, Zone};
use async_trait::async_trait;
use kms_lifecycle::Command;
use kms_service::{Accounted, Actor, AuditEntry, AuditLog, NotRecorded, Outcome, ShredError};
use kms_testkit::VaultFault;
use kms_types::{DeletionDelay, KeyId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Keeps what it is told as short lines, until it is broken.
#[derive(Default)]
struct Told {
    lines: Mutex<Vec<String>>,
    broken: AtomicBool,
}

impl Told {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

#[async_trait]
impl AuditLog for Told {
    fn takes_changes(&self) -> Result<(), NotRecorded> {
        if self.broken.load(Ordering::SeqCst) { Err(NotRecorded::Broken) } else { Ok(()) }
    }

    fn trouble(&self) -> Option<String> {
        self.takes_changes().err().map(|broken| broken.to_string())
    }

    async fn record_change(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        self.takes_changes()?;
        let by = match entry.actor {
            Actor::Operator => "operator",
            Actor::Scheduler => "scheduler",
            Actor::Server => "server",
            Actor::Caller(_) => "caller",
            Actor::Anonymous(_) | Actor::Stranger(_) | Actor::Peer(_) => panic!("nobody else does anything here"),
        };
        let outcome = match entry.outcome {
            Outcome::Done => entry.count.map_or_else(|| "done".to_owned(), |count| count.to_string()),
            Outcome::Refused { reason, .. } => reason.to_owned(),
        };
        self.lines.lock().unwrap().push(format!("{} {by} {outcome}", entry.operation));
        Ok(())
    }

    fn record_use(&self, _: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn record_refusal(&self, _: &AuditEntry<'_>) {}

    fn is_synchronous(&self) -> bool {
        false
    }

    async fn settle_uses(&self) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn accounted(&self) -> Accounted {
        Accounted::default()
    }

    async fn close(&self) {}
}

async fn a_zone(world: &mut World) -> (Arc<Told>, Zone, KeyId) {
    let told = Arc::new(Told::default());
    world.audit = Arc::clone(&told) as Arc<_>;
    world.store.outlive_its_user();
    let zone = world.start().await;
    zone.create("kept").await.unwrap();
    let doomed = zone.create("doomed").await.unwrap().id();
    assert_eq!(told.take(), ["start server done", "create-kms-key caller done", "create-kms-key caller done"]);
    (told, zone, doomed)
}

async fn delete_for_good(world: &World, zone: &Zone, id: KeyId) {
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }).await.unwrap();
    world.time.run(8 * DAY);
    zone.kms.run_due_work().await;
}

#[tokio::test]
async fn a_pass_is_told_from_its_begin_to_its_end() {
    let mut world = World::new();
    let (told, zone, doomed) = a_zone(&mut world).await;
    delete_for_good(&world, &zone, doomed).await;
    // The epoch comes before the deletion that needs it.
    assert_eq!(
        told.take(),
        ["schedule-kms-key-deletion caller done", "begin-epoch server 2", "final-deletion scheduler done"]
    );
    zone.kms.shred_now().await.unwrap();
    assert_eq!(told.take(), ["begin-shred operator done", "retire-epochs server 1", "shred operator 2"]);

    world.vault.fail_next(VaultFault::NotStored);
    assert!(matches!(zone.kms.shred_now().await, Err(ShredError::Keyring(_))));
    assert_eq!(told.take(), ["begin-shred operator done", "shred operator keyring-not-stored"]);
    zone.running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_comes_by_itself_is_the_schedulers() {
    let mut world = World::new();
    world.shred_after = Duration::from_secs(600);
    let (told, zone, doomed) = a_zone(&mut world).await;
    delete_for_good(&world, &zone, doomed).await;
    told.take();
    while zone.kms.shred_status().last.is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(told.take(), ["begin-shred scheduler done", "retire-epochs server 1", "shred scheduler 2"]);
    zone.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_backup_is_told_with_how_it_ended() {
    let mut world = World::new();
    let (told, zone, _) = a_zone(&mut world).await;
    let pair = new_pair();
    back_up(&zone.kms, &pair).await.unwrap();
    assert_eq!(told.take(), ["begin-backup operator done", "backup operator 4"]);
    let (parts, taken) = mpsc::channel(1);
    drop(taken);
    assert!(zone.kms.backup(pair.lock(), parts).await.is_err());
    assert_eq!(told.take(), ["begin-backup operator done", "backup operator abandoned"]);
}

#[tokio::test]
async fn no_pass_begins_that_could_not_be_recorded() {
    let mut world = World::new();
    let (told, zone, doomed) = a_zone(&mut world).await;
    delete_for_good(&world, &zone, doomed).await;
    let epochs = || world.vault.keyring().epochs().count();
    told.broken.store(true, Ordering::SeqCst);
    let commits = world.store.commits();
    assert_eq!(zone.kms.shred_now().await, Err(ShredError::NotRecorded(NotRecorded::Broken)));
    assert_eq!((epochs(), world.store.commits()), (2, commits));
    assert!(zone.kms.shred_status().waiting.is_some());
    back_up(&zone.kms, &new_pair()).await.expect("a backup may be all that will be left of a disk that fails");

    told.broken.store(false, Ordering::SeqCst);
    zone.kms.shred_now().await.unwrap();
    assert_eq!(epochs(), 1);
}

/// A restored zone, or a log that was named another directory: the store is older than the log.
#[tokio::test]
async fn a_log_that_begins_later_than_its_store_says_so() {
    let mut world = World::new();
    let (_, zone, _) = a_zone(&mut world).await;
    zone.running.stop().await.unwrap();
    let told = Arc::new(Told::default());
    world.audit = Arc::clone(&told) as Arc<_>;
    let _zone = world.start().await;
    assert_eq!(told.take(), ["earlier-commits server 2", "start server done"]);
}
