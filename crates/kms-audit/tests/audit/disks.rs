//! A disk without room, in a small file system of its own. Needs root and loop devices, and says so where it cannot run.

use crate::log::{Scene, call, change, recovered};
use crate::loop_disk::LoopDisk;
use kms_audit::WhenFull;
use kms_service::{AuditLog, NotRecorded};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

fn small_disk(scene: &mut Scene) -> Option<LoopDisk> {
    match LoopDisk::create(scene.scratch.path(), 8 << 20) {
        Ok(disk) => {
            scene.settings.directory = disk.path().join("audit");
            Some(disk)
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Writes until nothing more goes onto the disk.
fn fill(file: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    for size in [1 << 20, 1 << 16, 1 << 12, 1 << 8, 1] {
        while file.write_all(&vec![7; size]).and_then(|()| file.sync_all()).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_stops_changes_and_nothing_is_missing_afterwards() {
    // Files so small that new ones would have to be begun on the full disk, too.
    let mut scene = Scene::with(|settings| settings.file_bytes = 1_000);
    let Some(disk) = small_disk(&mut scene) else { return };
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    let filler = disk.path().join("filler");
    fill(&filler);
    // The last block of the log's file has room for some, and what a failed attempt gives back has room for others: the disk
    // is filled again until nothing is taken any more.
    let mut number = 1;
    let mut refused_in_a_row = 0;
    while refused_in_a_row < 3 {
        number += 1;
        assert!(number < 200, "the disk is full");
        refused_in_a_row = match log.record_change(&change(number)).await {
            Ok(()) => 0,
            Err(refused) => {
                assert_eq!(refused, NotRecorded::Broken);
                refused_in_a_row + 1
            }
        };
        fill(&filler);
    }
    assert_eq!(log.takes_changes(), Err(NotRecorded::Broken));
    let trouble = log.trouble().unwrap();
    assert!(trouble.contains("No space left on device"), "{trouble}");
    for _ in 0..1_000 {
        assert_eq!(log.record_use(&call(7)), Ok(()), "crypto calls go on");
    }
    assert!(scene.verify().is_ok(), "what is there is in order");
    fs::remove_file(filler).unwrap();
    recovered(&log).await;
    assert_eq!(log.trouble(), None);
    log.record_change(&change(201)).await.unwrap();
    log.close().await;
    scene.verify().unwrap();
    assert_eq!(scene.count("rotate-kms-key"), usize::from(number) + 1, "the changes that were refused are told too");
    assert_eq!(scene.count("encrypt"), 1_000);
    drop(log);
    drop(disk);
}

#[tokio::test]
async fn without_room_calls_are_refused_or_counted() {
    for when_full in [WhenFull::Refuse, WhenFull::Count] {
        let mut scene = Scene::with(|settings| settings.when_full = when_full);
        let Some(disk) = small_disk(&mut scene) else { return };
        let log = scene.open();
        let filler = disk.path().join("filler");
        fill(&filler);
        while log.record_change(&change(1)).await.is_ok() {}
        let mut refused = 0_u64;
        let calls = 300_000;
        for _ in 0..calls {
            refused += u64::from(log.record_use(&call(7)) == Err(NotRecorded::Full));
        }
        fs::remove_file(filler).unwrap();
        match when_full {
            WhenFull::Refuse => assert!((1_000..calls).contains(&refused), "{refused} refused"),
            WhenFull::Count => assert_eq!(refused, 0),
        }
        drop(log);
        drop(disk);
    }
}
