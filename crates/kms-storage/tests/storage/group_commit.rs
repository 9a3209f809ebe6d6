//! Many changes share one round of syncs.

use crate::support::{open, record};
use kms_storage::{Commit, RecordVersion, Store, Write};
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn concurrent_commits_share_rounds_of_syncs() {
    const COMMITS: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).await.unwrap());
    let mut tasks = JoinSet::new();
    for number in 0..COMMITS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let write = Write::live(record(0, number), RecordVersion::NEVER, vec![0; 300]);
            store.commit(Commit::new(vec![write])).await.unwrap().revision().get()
        });
    }
    let mut revisions = Vec::new();
    while let Some(revision) = tasks.join_next().await {
        revisions.push(revision.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=COMMITS).collect::<Vec<_>>());
    let rounds = store.sync_rounds();
    println!("{COMMITS} concurrent commits took {rounds} rounds of syncs");
    assert!(rounds <= COMMITS / 10, "{rounds}");
}

#[tokio::test]
async fn a_lone_commit_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for version in 0..20 {
        let write = Write::live(record(0, 0), RecordVersion::new(version), vec![]);
        assert_eq!(store.commit(Commit::new(vec![write])).await.unwrap().revision().get(), version + 1);
    }
    assert_eq!(store.sync_rounds(), 20);
}
