//! What is written, and what the settings do to it.

use crate::log::{Scene, at, call, change, key, recovered, refusal};
use kms_audit::{CryptoCalls, OpenError};
use kms_crypto::EncryptionContext;
use kms_service::{AuditEntry, AuditLog, Destination, NotRecorded, Settled};
use kms_storage::StoreRevision;
use kms_types::{MaterialVersion, Timestamp};
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[tokio::test]
async fn an_entry_says_who_what_and_with_which_key() {
    let scene = Scene::new();
    let log = scene.open();
    let version = MaterialVersion::FIRST;
    let context = EncryptionContext::Bytes(b"tenant-canary-2");
    let destination = Some(Destination { key: key(9), version, context });
    log.record_use(&AuditEntry { version: Some(version), destination, ..call(3) }).unwrap();
    log.record_change(&change(4)).await.unwrap();
    log.record_refusal(&refusal(5));
    log.close().await;
    let entries = scene.entries();
    let [header, used, changed, refused] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(header["operation"], "audit-file-begun");
    assert_eq!(header["public-key"], scene.keys().signer().verifier().to_string());
    assert_eq!(used["seq"], 1);
    assert_eq!(used["zone"], "ch-gva-2");
    assert_eq!(used["operation"], "encrypt");
    assert_eq!(used["result"], "ok");
    assert_eq!(used["key"], key(3).to_string());
    assert_eq!(used["version"], 1);
    assert_eq!(used["destination-key"], key(9).to_string());
    assert!(used["context"].as_str().is_some_and(|hash| hash.len() == 32));
    assert_ne!(used["context"], used["destination-context"]);
    assert_eq!(changed["by"], "scheduler");
    assert_eq!((&changed["revision"], &changed["commit"], &changed["settled"]), (&4.into(), &4.into(), &4.into()));
    assert_eq!(changed["time"], "2026-09-21T14:13:20.000000004Z");
    assert_eq!(refused["by"], "anonymous");
    assert_eq!(refused["address"], "192.0.2.1");
    assert_eq!(refused["request"], "0000000000000007");
    assert_eq!((&refused["status"], &refused["reason"]), (&403.into(), &"Forbidden".into()));
    let text = scene.lines().concat();
    assert!(!text.contains("canary"), "the context itself is not in the log");
}

#[tokio::test]
async fn the_files_are_the_owners_alone() {
    let scene = Scene::new();
    scene.open().close().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(scene.directory()), 0o700);
    for file in scene.files("0") {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_directory_that_others_use_is_refused_and_left_as_it_is() {
    let mut scene = Scene::new();
    let shared = scene.scratch.path().join("shared");
    let mode = || fs::metadata(&shared).unwrap().permissions().mode() & 0o7777;
    let set = |mode| fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("theirs"), "").unwrap();
    let link = scene.scratch.path().join("link");
    std::os::unix::fs::symlink(&shared, &link).unwrap();
    for name in [shared.clone(), link] {
        scene.settings.directory = name;
        for open in [0o1777, 0o755, 0o710] {
            set(open);
            let refused = scene.try_open().err().unwrap_or_else(|| panic!("{open:o} is taken")).to_string();
            assert!(refused.contains("chmod 0700"), "{refused}");
            assert_eq!((mode(), fs::read_dir(&shared).unwrap().count()), (open, 1));
        }
    }
    set(0o700);
    scene.open().close().await;
    // Now it holds a log.
    set(0o755);
    scene.open().close().await;
    assert_eq!(mode(), 0o700);
    fs::remove_dir_all(&shared).unwrap();
    fs::create_dir(&shared).unwrap();
    set(0o755);
    scene.open().close().await;
    assert_eq!(mode(), 0o700, "an empty one is nobody's");
}

#[tokio::test]
async fn a_change_is_answered_when_it_is_in_the_file() {
    let scene = Scene::new();
    let log = scene.open();
    for number in 1..=20 {
        log.record_change(&change(number)).await.unwrap();
        assert_eq!(scene.count("rotate-kms-key"), usize::from(number));
    }
}

#[tokio::test]
async fn a_barrier_waits_for_crypto_calls_and_synchronous_ones_are_at_once_durable() {
    let scene = Scene::with(|settings| settings.synchronous = true);
    let log = scene.open();
    assert!(log.is_synchronous());
    for number in 1..=5 {
        log.record_use(&call(number)).unwrap();
        log.settle_uses().await.unwrap();
        assert_eq!(scene.count("encrypt"), usize::from(number));
    }
}

#[tokio::test]
async fn what_was_used_before_a_change_is_told_before_it() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_use(&call(1)).unwrap();
    log.record_change(&change(2)).await.unwrap();
    let operations: Vec<_> =
        scene.entries().iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect();
    assert_eq!(operations, ["audit-file-begun", "encrypt", "rotate-kms-key"]);
}

#[test]
fn calls_of_many_threads_are_told_in_the_order_of_their_times() {
    let scene = Scene::new();
    let log = scene.open();
    for number in 1..=40 {
        // Each from a thread, and so a buffer, of its own.
        std::thread::scope(|scope| scope.spawn(|| log.record_use(&call(number))).join().unwrap().unwrap());
    }
    drop(log);
    let keys: Vec<_> = scene.entries()[1..].iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, (1..=40).map(|number| key(number).to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn crypto_calls_are_written_all_or_one_in_so_many_or_never() {
    for (crypto_calls, expected) in
        [(CryptoCalls::On, 100), (CryptoCalls::Sampled(NonZeroU32::new(10).unwrap()), 10), (CryptoCalls::Off, 0)]
    {
        let scene = Scene::with(|settings| settings.crypto_calls = crypto_calls);
        let log = scene.open();
        for number in 0..100 {
            log.record_use(&call(number)).unwrap();
        }
        log.record_refusal(&refusal(1));
        log.close().await;
        let written =
            scene.entries().iter().filter(|entry| entry["operation"] == "encrypt" && entry["result"] == "ok").count();
        assert_eq!(written, expected, "{crypto_calls:?}");
        assert_eq!(scene.count("encrypt"), expected + 1, "a refused call is always told");
    }
}

#[tokio::test]
async fn a_flood_of_refusals_without_a_caller_is_told_in_sum() {
    let scene = Scene::new();
    let log = scene.open();
    for number in 0..5_000 {
        log.record_refusal(&refusal(number));
    }
    // The next second has entries of its own.
    log.record_refusal(&refusal(1_000_000_000));
    log.close().await;
    assert_eq!(scene.count("encrypt"), 101);
    let entries = scene.entries();
    let summed = entries.iter().filter(|entry| entry["operation"] == "audit-refusals-summed");
    assert_eq!(summed.map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>(), 4_900);
}

#[tokio::test]
async fn files_are_turned_over_by_size_and_by_age() {
    let scene = Scene::with(|settings| settings.file_bytes = 2_000);
    let log = scene.open();
    for number in 1..=100 {
        log.record_change(&change(number)).await.unwrap();
    }
    let files = scene.files(".jsonl").len();
    assert!(files > 10, "{files} files");
    let longest = scene.files(".jsonl").iter().map(|file| fs::metadata(file).unwrap().len()).max().unwrap();
    assert!(longest < 2_000 + 600, "{longest} bytes: one line over the limit at most");
    log.close().await;
    scene.verify().unwrap();

    let scene = Scene::new();
    let log = scene.open();
    for number in 1..=3 {
        log.record_change(&change(number)).await.unwrap();
        scene.time.run(Duration::from_secs(2 * 86_400));
    }
    log.close().await;
    // What is old is turned over after an answer, which is before or after the test moves the clock.
    assert!((3..=4).contains(&scene.files(".jsonl").len()));
    scene.verify().unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_begun_leaves_one_checkpoint_of_each_size() {
    let scene = Scene::with(|settings| settings.file_bytes = 1);
    let log = scene.open();
    // The next file would begin with entry 2, and something has its name.
    let obstacle = scene.directory().join("00000000000000000002.checkpoints");
    fs::create_dir(&obstacle).unwrap();
    log.record_change(&change(1)).await.unwrap();
    for _ in 0..5 {
        // Each is answered before the next try.
        log.settle_uses().await.unwrap();
    }
    let trouble = log.trouble().unwrap();
    assert!(trouble.contains("Is a directory"), "{trouble}");
    fs::remove_dir(&obstacle).unwrap();
    for _ in 0..2 {
        log.settle_uses().await.unwrap();
    }
    assert_eq!(log.trouble(), None);
    log.record_change(&change(2)).await.unwrap();
    log.close().await;
    let notes = fs::read_to_string(&scene.files("0.checkpoints")[0]).unwrap();
    assert_eq!(notes.matches("\n2\n").count(), 1, "{notes}");
    scene.verify().unwrap();
    assert_eq!(scene.count("rotate-kms-key"), 2);
}

#[tokio::test]
async fn checkpoints_are_written_in_time() {
    checkpoints_come(&Scene::new()).await;
}

/// Lifecycle time stands still until the wall clock has caught up with the store, which may take years.
#[tokio::test]
async fn a_clock_set_back_behind_the_store_does_not_stop_checkpoints() {
    let scene = Scene::new();
    scene.clock.not_before(at(0).plus_days(3_000));
    scene.time.set_wall(at(-3_000 * 86_400_000_000_000));
    checkpoints_come(&scene).await;
    assert_eq!(scene.clock.now(), at(0).plus_days(3_000));
}

async fn checkpoints_come(scene: &Scene) {
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    assert_eq!(scene.verify().unwrap().newest.checkpoint().size(), 0);
    scene.time.run(Duration::from_secs(11));
    log.record_change(&change(2)).await.unwrap();
    // The checkpoint follows the answer; the next answer follows the checkpoint.
    log.record_change(&change(3)).await.unwrap();
    assert!(scene.verify().unwrap().newest.checkpoint().size() >= 2);
    log.close().await;
    assert_eq!(scene.verify().unwrap().unsigned(), 0);
}

#[tokio::test]
async fn the_next_run_knows_which_changes_have_entries() {
    let scene = Scene::new();
    let log = scene.open();
    assert_eq!(log.accounted().settled, None);
    let settled = |revision| Some(Settled { revision: StoreRevision::new(revision), at: Timestamp::from_nanos(5) });
    log.record_change(&AuditEntry { settled: settled(1), ..change(2) }).await.unwrap();
    log.record_change(&AuditEntry { settled: settled(2), ..change(4) }).await.unwrap();
    log.close().await;
    let accounted = scene.open().accounted();
    assert_eq!(accounted.settled, settled(2));
    assert_eq!(accounted.commits.iter().map(|commit| commit.get()).collect::<Vec<_>>(), [2, 4]);
    assert!(accounted.keys.contains(&(key(4), kms_types::Revision::new(4).unwrap())));
    // It is told on in the first line of each file.
    assert_eq!(scene.open().accounted().settled, settled(2));
}

#[tokio::test]
async fn nothing_is_taken_after_the_end() {
    let scene = Scene::new();
    let log = scene.open();
    log.close().await;
    assert_eq!(log.record_change(&change(1)).await, Err(NotRecorded::Broken));
    assert_eq!(log.takes_changes(), Err(NotRecorded::Broken));
    assert_eq!(log.settle_uses().await, Err(NotRecorded::Broken));
}

/// An open file is written on when nobody finds it any more.
#[tokio::test]
async fn nothing_is_answered_that_went_into_a_removed_or_replaced_file() {
    for removed in
        ["the directory", "the directory, and there is another", "the newest file", "the file, and there is a copy"]
    {
        let scene = Scene::new();
        let log = scene.open();
        log.record_change(&change(1)).await.unwrap();
        let path = if removed.contains("directory") {
            scene.directory().to_owned()
        } else {
            scene.files(".jsonl").pop().unwrap()
        };
        let lines = scene.files(".jsonl").pop().unwrap();
        let elsewhere = scene.scratch.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        match removed {
            "the directory, and there is another" => fs::create_dir(&path).unwrap(),
            "the file, and there is a copy" => drop(fs::copy(&elsewhere, &path).unwrap()),
            _ => {}
        }
        for number in 2..=4 {
            assert_eq!(log.record_change(&change(number)).await, Err(NotRecorded::Broken), "{removed}");
            assert_eq!(log.takes_changes(), Err(NotRecorded::Broken), "{removed}");
        }
        let trouble = log.trouble().unwrap();
        let told = trouble.contains("was removed or replaced") && trouble.contains(lines.to_str().unwrap());
        assert!(told, "{removed}: {trouble}");
        // The very file is put back: the log goes on in it.
        match removed {
            "the directory, and there is another" => fs::remove_dir(&path).unwrap(),
            "the file, and there is a copy" => fs::remove_file(&path).unwrap(),
            _ => {}
        }
        fs::rename(&elsewhere, &path).unwrap();
        recovered(&log).await;
        log.record_change(&change(5)).await.unwrap();
        log.close().await;
        assert_eq!(scene.verify().unwrap().files, 1, "{removed}");
        assert_eq!(scene.count("rotate-kms-key"), 5, "{removed}: each is told once");
    }
}

/// A checkpoint would sign lines that are not there.
#[tokio::test]
async fn no_checkpoint_covers_a_file_that_was_removed() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    fs::remove_file(scene.files(".jsonl").pop().unwrap()).unwrap();
    log.close().await;
    let notes = fs::read_to_string(scene.files(".checkpoints").pop().unwrap()).unwrap();
    assert_eq!(notes.matches("zonekms/ch-gva-2/").count(), 2, "one note, which names the log twice: {notes}");
}

#[tokio::test]
async fn the_directory_of_another_zone_is_refused() {
    let (scene, mut other) = (Scene::new(), Scene::new());
    scene.open().close().await;
    other.settings.directory.clone_from(&scene.settings.directory);
    assert!(matches!(other.try_open(), Err(OpenError::OtherLog { .. })));
}

#[tokio::test]
async fn one_server_at_a_time_has_the_directory() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    let Err(OpenError::Io { directory, source }) = scene.try_open() else { panic!("two have it open") };
    assert_eq!((directory.as_path(), source.kind()), (scene.directory(), std::io::ErrorKind::ResourceBusy));
    assert!(source.to_string().contains("another server has it open"), "{source}");
    log.record_change(&change(2)).await.unwrap();
    log.close().await;
    // A closed one has nothing to write any more, though it is still there.
    let again = scene.open();
    drop(log);
    assert!(scene.try_open().is_err(), "the lock is not that of the one before");
    drop(again);
    scene.open().close().await;
    assert_eq!(scene.count("rotate-kms-key"), 2);
    scene.verify().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_all_there_once() {
    let scene = Scene::new();
    let log = std::sync::Arc::new(scene.open());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let log = std::sync::Arc::clone(&log);
            tokio::spawn(async move {
                for number in 0..50 {
                    log.record_use(&call(task)).unwrap();
                    log.record_change(&change(task * 10 + number % 10 + 1)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    log.close().await;
    assert_eq!((scene.count("encrypt"), scene.count("rotate-kms-key")), (400, 400));
    scene.verify().unwrap();
}
