//! What opening a store refuses, and what it says then.

use crate::support::{STORE_ID, manifest_key, open, paths, record};
use kms_storage::{
    Body, Commit, Health, ManifestKey, OpenError, RecordVersion, SledStore, Store, StoreRevision, Write,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

async fn commits(store: &SledStore, versions: std::ops::Range<u64>) {
    for version in versions {
        let write = Write::live(record(0, 1), RecordVersion::new(version), vec![1]);
        assert_eq!(store.commit(Commit::new(vec![write])).await.unwrap().revision().get(), version + 1);
    }
}

async fn a_store_of_commits(folder: &Path, count: u64) {
    let store = open(folder).await.unwrap();
    commits(&store, 0..count).await;
    store.close().await.unwrap();
}

async fn refusal(folder: &Path) -> OpenError {
    match open(folder).await {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error,
    }
}

/// Copies a directory of files and directories.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_can_be_opened_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for count in 0..10 {
        let store = open(folder.path()).await.unwrap();
        assert_eq!(store.get(&record(0, 1)).await.unwrap().version.get(), count);
        commits(&store, count..count + 1).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_while_the_first_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let refused = refusal(folder.path()).await;
    assert!(matches!(&refused, OpenError::Locked { path } if path.ends_with("store.lock")), "{refused}");
    assert!(refused.to_string().contains("in use by another process"));
    commits(&store, 0..1).await;
    store.close().await.unwrap();
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = crate::workload::Child::start(folder.path());
    child.wait_for_acks(1);
    assert!(matches!(refusal(folder.path()).await, OpenError::Locked { .. }));
    child.kill();
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn yesterdays_store_is_refused_until_it_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    a_store_of_commits(folder.path(), 3).await;
    let yesterday = folder.path().join("yesterday");
    copy_directory(&paths(folder.path()).store, &yesterday);
    let store = open(folder.path()).await.unwrap();
    commits(&store, 3..5).await;
    store.close().await.unwrap();
    fs::remove_dir_all(paths(folder.path()).store).unwrap();
    fs::rename(&yesterday, paths(folder.path()).store).unwrap();
    for _ in 0..2 {
        let refused = refusal(folder.path()).await;
        assert!(matches!(refused, OpenError::RolledBack { store: 3, expected: 5 }), "{refused}");
    }
    let adopted = SledStore::adopt_manifest(paths(folder.path()), STORE_ID, manifest_key()).await.unwrap();
    assert_eq!(adopted, StoreRevision::new(3));
    let store = open(folder.path()).await.unwrap();
    commits(&store, 3..4).await;
}

#[tokio::test]
async fn an_empty_store_does_not_take_the_place_of_a_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    a_store_of_commits(folder.path(), 2).await;
    for make_empty in [false, true] {
        fs::remove_dir_all(paths(folder.path()).store).unwrap();
        if make_empty {
            fs::create_dir(paths(folder.path()).store).unwrap();
        }
        let refused = refusal(folder.path()).await;
        assert!(matches!(refused, OpenError::RecordsLost { found: 0, expected: 1, revision: 2 }), "{refused}");
    }
    let adopted = SledStore::adopt_manifest(paths(folder.path()), STORE_ID, manifest_key()).await;
    assert!(matches!(adopted, Err(OpenError::Damaged { .. })), "an empty store cannot be adopted");
}

#[tokio::test]
async fn a_store_without_its_manifest_file_is_refused_until_it_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    a_store_of_commits(folder.path(), 2).await;
    fs::remove_file(paths(folder.path()).manifest).unwrap();
    let refused = refusal(folder.path()).await;
    assert!(matches!(refused, OpenError::ManifestMissing { .. }), "{refused}");
    SledStore::adopt_manifest(paths(folder.path()), STORE_ID, manifest_key()).await.unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.get(&record(0, 1)).await.unwrap().body, Body::Live(vec![1]));
}

#[tokio::test]
async fn a_process_killed_between_store_and_manifest_file_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    a_store_of_commits(folder.path(), 3).await;
    let behind = fs::read(paths(folder.path()).manifest).unwrap();
    let store = open(folder.path()).await.unwrap();
    commits(&store, 3..4).await;
    store.close().await.unwrap();
    fs::write(paths(folder.path()).manifest, behind).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.get(&record(0, 1)).await.unwrap().version.get(), 4);
    store.close().await.unwrap();
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn another_keyrings_store_is_refused() {
    struct OtherKey;
    impl ManifestKey for OtherKey {
        fn tag(&self, _: &[&[u8]]) -> [u8; 32] {
            [9; 32]
        }
    }
    let folder = tempfile::tempdir().unwrap();
    a_store_of_commits(folder.path(), 1).await;
    let other_id = SledStore::open(paths(folder.path()), [0; 16], manifest_key()).await.err().unwrap();
    assert!(matches!(other_id, OpenError::WrongStore { .. }), "{other_id}");
    let other_key = SledStore::open(paths(folder.path()), STORE_ID, Arc::new(OtherKey)).await.err().unwrap();
    assert!(matches!(other_key, OpenError::Damaged { .. }), "{other_key}");
    assert!(other_key.to_string().contains("another key"), "{other_key}");
    fs::remove_file(paths(folder.path()).manifest).unwrap();
    let no_file = SledStore::open(paths(folder.path()), [0; 16], manifest_key()).await.err().unwrap();
    assert!(matches!(no_file, OpenError::WrongStore { .. }), "{no_file}");
}

#[tokio::test]
async fn files_are_closed_to_others_whatever_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    fs::create_dir(&paths.store).unwrap();
    fs::set_permissions(&paths.store, Permissions::from_mode(0o777)).unwrap();
    a_store_of_commits(folder.path(), 3).await;
    fs::set_permissions(&paths.manifest, Permissions::from_mode(0o644)).unwrap();
    let store = open(folder.path()).await.unwrap();
    let large = Write::live(record(0, 2), RecordVersion::NEVER, vec![1; 1 << 20]);
    assert_eq!(store.commit(Commit::new(vec![large])).await.unwrap().revision().get(), 4);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&paths.store), 0o700);
    assert_eq!(mode(&paths.manifest), 0o600);
    assert_eq!(mode(&folder.path().join("store.lock")), 0o600);
    let mut files = 0;
    for directory in [paths.store.clone(), paths.store.join("blobs")] {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() {
                assert_eq!(mode(&entry), 0o600, "{}", entry.display());
                files += 1;
            }
        }
    }
    assert!(files >= 2, "{files} files");
}

#[tokio::test]
async fn a_file_in_the_stores_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(paths(folder.path()).store, "not a directory").unwrap();
    assert!(matches!(refusal(folder.path()).await, OpenError::Permissions { .. }));
    let nowhere = folder.path().join("no/such/place");
    assert!(matches!(refusal(&nowhere).await, OpenError::Io { .. }));
}

/// Needs root for a file system of its own; says so where it cannot run.
#[tokio::test]
async fn a_full_disk_refuses_changes_and_takes_them_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = match crate::loop_disk::LoopDisk::create(folder.path(), 96 << 20) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: no loop mount here ({reason})");
            return;
        }
    };
    let store = open(disk.path()).await.unwrap();
    commits(&store, 0..3).await;
    let ballast = disk.path().join("ballast");
    let filled = fs::write(&ballast, vec![1; 70 << 20]);
    assert!(filled.is_ok(), "{filled:?}");
    fs::File::open(&ballast).unwrap().sync_all().unwrap();
    assert!(matches!(store.health(), Health::ReadOnly { reason } if reason.contains("nearly full")));
    let write = Write::live(record(0, 1), RecordVersion::new(3), vec![2]);
    let refused = store.commit(Commit::new(vec![write])).await;
    assert!(matches!(refused, Err(kms_storage::CommitError::ReadOnly(_))), "{refused:?}");
    assert_eq!(store.get(&record(0, 1)).await.unwrap().version.get(), 3, "reads go on");
    fs::remove_file(&ballast).unwrap();
    assert_eq!(store.health(), Health::Ready);
    commits(&store, 3..6).await;
    store.close().await.unwrap();
}
