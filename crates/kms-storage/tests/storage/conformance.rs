//! What every back end must do, run against each of them.

use crate::support::{open, record};
use kms_storage::{
    Body, Commit, CommitError, FeedError, Health, MAX_VALUE, MAX_WRITES, Malformed, MemoryStore, RecordVersion, Role,
    ScanError, Store, StoreError, StoreRevision, Stored, TooLarge, WatchError, Write,
};
use std::sync::Arc;
use tokio::task::JoinSet;

macro_rules! conformance {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Arc::new(super::MemoryStore::new())).await;
            })*
        }

        mod sled {
            $(#[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::$test(super::Arc::new(super::open(folder.path()).await.unwrap())).await;
            })*
        }
    };
}

conformance! {
    a_write_takes_place_over_the_expected_version_only
    a_commit_takes_place_wholly_or_not_at_all
    a_tombstone_keeps_the_version
    commits_out_of_limits_are_refused
    a_scan_gives_every_record_once_and_in_order
    a_scan_stands_still_while_records_change
    a_scan_at_a_revision_no_longer_kept_is_superseded
    a_feed_gives_every_change_in_order
    a_feed_resumes_where_another_ended
    a_feed_from_too_far_back_is_refused
    a_slow_feed_is_told_that_it_lagged
    a_feed_ends_with_the_store
    an_older_fence_is_worth_nothing
    concurrent_commits_are_all_kept_and_never_collide
    a_closed_store_refuses_everything
}

fn live(number: u64, expected: u64, body: &[u8]) -> Write {
    Write::live(record(0, number), RecordVersion::new(expected), body.to_vec())
}

fn tombstone(number: u64, expected: u64) -> Write {
    Write::tombstone(record(0, number), RecordVersion::new(expected))
}

fn stored(version: u64, body: &[u8]) -> Stored {
    Stored { version: RecordVersion::new(version), body: Body::Live(body.to_vec()) }
}

async fn commit(store: &Arc<dyn Store>, writes: Vec<Write>) -> u64 {
    store.commit(Commit::new(writes)).await.unwrap().revision().get()
}

async fn get(store: &Arc<dyn Store>, number: u64) -> Stored {
    store.get(&record(0, number)).await.unwrap()
}

async fn a_write_takes_place_over_the_expected_version_only(store: Arc<dyn Store>) {
    assert_eq!(get(&store, 1).await, Stored::ABSENT);
    assert_eq!(commit(&store, vec![live(1, 0, b"one")]).await, 1);
    assert_eq!(get(&store, 1).await, stored(1, b"one"));
    for wrong in [0, 2, u64::MAX - 1] {
        match store.commit(Commit::new(vec![live(1, wrong, b"x")])).await {
            Err(CommitError::Conflict { key, found }) => assert_eq!((key, found.get()), (record(0, 1), 1)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(commit(&store, vec![live(1, 1, b"")]).await, 2, "a refused commit takes no revision");
    assert_eq!(get(&store, 1).await, stored(2, b""));
}

async fn a_commit_takes_place_wholly_or_not_at_all(store: Arc<dyn Store>) {
    commit(&store, vec![live(1, 0, b"a"), live(2, 0, b"b"), tombstone(3, 0)]).await;
    let half_right = vec![live(1, 1, b"new"), live(4, 0, b"new"), live(2, 0, b"new"), live(5, 0, b"new")];
    let refused = store.commit(Commit::new(half_right)).await;
    assert!(matches!(refused, Err(CommitError::Conflict { key, .. }) if key == record(0, 2)));
    assert_eq!(get(&store, 1).await, stored(1, b"a"));
    assert_eq!(get(&store, 4).await, Stored::ABSENT);
    assert_eq!(get(&store, 5).await, Stored::ABSENT);
    commit(&store, vec![live(1, 1, b"c"), tombstone(2, 1), live(3, 1, b"d")]).await;
    assert_eq!(get(&store, 1).await, stored(2, b"c"));
    assert_eq!(get(&store, 2).await.body, Body::Tombstone);
    assert_eq!(get(&store, 3).await, stored(2, b"d"));
}

async fn a_tombstone_keeps_the_version(store: Arc<dyn Store>) {
    commit(&store, vec![live(1, 0, b"a")]).await;
    commit(&store, vec![tombstone(1, 1)]).await;
    assert_eq!(get(&store, 1).await, Stored { version: RecordVersion::new(2), body: Body::Tombstone });
    assert!(matches!(
        store.commit(Commit::new(vec![live(1, 0, b"again")])).await,
        Err(CommitError::Conflict { found, .. }) if found.get() == 2
    ));
    commit(&store, vec![live(1, 2, b"again")]).await;
    assert_eq!(get(&store, 1).await, stored(3, b"again"));
}

async fn commits_out_of_limits_are_refused(store: Arc<dyn Store>) {
    let refused = async |writes| store.commit(Commit::new(writes)).await.unwrap_err();
    assert!(matches!(refused(vec![]).await, CommitError::Malformed(Malformed::Empty)));
    let twice = vec![live(1, 0, b"a"), live(1, 1, b"b")];
    assert!(matches!(refused(twice).await, CommitError::Malformed(Malformed::Repeated(key)) if key == record(0, 1)));
    let last = vec![live(1, u64::MAX, b"a")];
    assert!(matches!(refused(last).await, CommitError::Malformed(Malformed::Exhausted(_))));
    let limit = MAX_WRITES as u64;
    let many = |count| (0..count).map(|number| live(number, 0, b"")).collect::<Vec<_>>();
    assert!(matches!(refused(many(limit + 1)).await, CommitError::TooLarge(TooLarge::Writes(129))));
    commit(&store, many(limit)).await;
    let long = |length| vec![live(200, 0, &vec![0xab; length])];
    assert!(matches!(refused(long(MAX_VALUE + 1)).await, CommitError::TooLarge(TooLarge::Value { .. })));
    commit(&store, long(MAX_VALUE)).await;
    assert_eq!(get(&store, 200).await, stored(1, &vec![0xab; MAX_VALUE]));
    let heavy = vec![live(201, 0, &vec![0; MAX_VALUE]), live(202, 0, &vec![0; MAX_VALUE / 4])];
    assert!(matches!(refused(heavy).await, CommitError::TooLarge(TooLarge::Bytes(_))));
}

async fn a_scan_gives_every_record_once_and_in_order(store: Arc<dyn Store>) {
    let numbers: Vec<u64> = (0..25).map(|number| number * 7 % 25).collect();
    for number in &numbers {
        commit(&store, vec![live(*number, 0, &[u8::try_from(*number).unwrap()])]).await;
    }
    commit(&store, vec![tombstone(3, 1), Write::live(record(1, 0), RecordVersion::NEVER, vec![])]).await;
    let prefix = "key/acme/00000000-";
    for limit in [0, 1, 7, 24, 25, 26, 5000] {
        let mut found = Vec::new();
        let mut after = None;
        let mut at = None;
        for _ in 0..100 {
            let page = store.scan(prefix, after.as_ref(), at, limit).await.unwrap();
            assert!(page.entries.len() <= limit.max(1));
            assert_eq!(page.at.get(), 26);
            found.extend(page.entries);
            at = Some(page.at);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (0..25)
            .map(|number| match number {
                3 => (record(0, 3), Stored { version: RecordVersion::new(2), body: Body::Tombstone }),
                _ => (record(0, number), stored(1, &[u8::try_from(number).unwrap()])),
            })
            .collect();
        assert_eq!(found, expected, "limit {limit}");
    }
    assert_eq!(store.scan("name/", None, None, 10).await.unwrap().entries, []);
    let all = store.scan("", None, None, 100).await.unwrap();
    assert_eq!(all.entries.len(), 26);
    let from_before = store.scan("key/acme/00000001-", Some(&record(0, 9)), None, 100).await.unwrap();
    assert_eq!(from_before.entries.len(), 1, "a record before the prefix begins at the prefix");
}

async fn a_scan_stands_still_while_records_change(store: Arc<dyn Store>) {
    for number in [1, 3, 5, 7] {
        commit(&store, vec![live(number, 0, b"old")]).await;
    }
    let first = store.scan("key/", None, None, 1).await.unwrap();
    commit(&store, vec![live(3, 1, b"new"), live(4, 0, b"new"), tombstone(5, 1)]).await;
    commit(&store, vec![live(3, 2, b"newer"), live(7, 1, b"new"), tombstone(9, 0)]).await;
    let rest = store.scan("key/", first.next.as_ref(), Some(first.at), 100).await.unwrap();
    assert_eq!(rest.at, first.at);
    let expected: Vec<_> = [3, 5, 7].map(|number| (record(0, number), stored(1, b"old"))).into();
    assert_eq!(rest.entries, expected);
    assert_eq!(store.scan("key/", None, None, 100).await.unwrap().entries.len(), 6);
}

/// More commits than any back end keeps the past of.
async fn outlast_history(store: &Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for version in 0..80 {
                commit(&store, vec![live(1000 + task, version, b"")]).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn a_scan_at_a_revision_no_longer_kept_is_superseded(store: Arc<dyn Store>) {
    commit(&store, vec![live(1, 0, b"")]).await;
    commit(&store, vec![live(2, 0, b"")]).await;
    let first = store.scan("key/", None, None, 1).await.unwrap();
    outlast_history(&store).await;
    let next = store.scan("key/", first.next.as_ref(), Some(first.at), 1).await;
    assert_eq!(next, Err(ScanError::Superseded));
    let ahead = store.scan("key/", None, Some(StoreRevision::new(1_000_000)), 1).await;
    assert_eq!(ahead, Err(ScanError::Superseded));
}

async fn a_feed_gives_every_change_in_order(store: Arc<dyn Store>) {
    let mut feed = store.watch(StoreRevision::ZERO).unwrap();
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for version in 0..50 {
            commit(&writer, vec![live(1, version, b""), live(2 + version, 0, b"")]).await;
        }
    });
    for number in 1..=50 {
        let change = feed.next().await.unwrap();
        assert_eq!(change.revision.get(), number);
        let versions: Vec<_> = change.keys.iter().map(|(key, version)| (key.clone(), version.get())).collect();
        assert_eq!(versions, [(record(0, 1), number), (record(0, 1 + number), 1)]);
        let seen = get(&store, 1).await;
        assert!(seen.version.get() >= number, "a change is told when it can be read");
    }
    writing.await.unwrap();
}

async fn a_feed_resumes_where_another_ended(store: Arc<dyn Store>) {
    for version in 0..10 {
        commit(&store, vec![live(1, version, b"")]).await;
    }
    let mut first = store.watch(StoreRevision::new(2)).unwrap();
    assert_eq!(first.next().await.unwrap().revision.get(), 3);
    assert_eq!(first.next().await.unwrap().revision.get(), 4);
    let mut second = store.watch(first.seen()).unwrap();
    drop(first);
    for number in 5..=10 {
        assert_eq!(second.next().await.unwrap().revision.get(), number);
    }
    let mut from_now = store.watch(StoreRevision::new(10)).unwrap();
    commit(&store, vec![live(1, 10, b"")]).await;
    assert_eq!(from_now.next().await.unwrap().revision.get(), 11);
}

async fn a_feed_from_too_far_back_is_refused(store: Arc<dyn Store>) {
    outlast_history(&store).await;
    let Err(WatchError::Compacted { oldest }) = store.watch(StoreRevision::new(1)) else { panic!("not refused") };
    let mut feed = store.watch(oldest).unwrap();
    assert_eq!(feed.next().await.unwrap().revision.get(), oldest.get() + 1);
    let current = store.scan("key/", None, None, 1).await.unwrap().at;
    let ahead = StoreRevision::new(current.get() + 1);
    assert_eq!(store.watch(ahead).err(), Some(WatchError::Ahead { current }));
}

async fn a_slow_feed_is_told_that_it_lagged(store: Arc<dyn Store>) {
    let mut feed = store.watch(StoreRevision::ZERO).unwrap();
    outlast_history(&store).await;
    let Err(FeedError::Lagged { oldest }) = feed.next().await else { panic!("not told") };
    assert!(store.watch(oldest).is_ok());
}

async fn a_feed_ends_with_the_store(store: Arc<dyn Store>) {
    let mut feed = store.watch(StoreRevision::ZERO).unwrap();
    commit(&store, vec![live(1, 0, b"")]).await;
    store.close().await.unwrap();
    assert_eq!(feed.next().await.unwrap().revision.get(), 1, "what came before is handed out");
    assert_eq!(feed.next().await, Err(FeedError::Closed));
}

async fn an_older_fence_is_worth_nothing(store: Arc<dyn Store>) {
    let first = store.acquire(Role::Scheduler).await.unwrap();
    let by_first = |version| Commit::new(vec![live(1, version, b"first")]).fenced(first.clone());
    assert_eq!(store.commit(by_first(0)).await.unwrap().revision().get(), 1);
    let second = store.acquire(Role::Scheduler).await.unwrap();
    assert!(matches!(store.commit(by_first(1)).await, Err(CommitError::Fenced)));
    assert_eq!(get(&store, 1).await, stored(1, b"first"));
    let by_second = Commit::new(vec![live(1, 1, b"second")]).fenced(second);
    assert_eq!(store.commit(by_second).await.unwrap().revision().get(), 2);
    assert_eq!(commit(&store, vec![live(1, 2, b"no fence")]).await, 3);
}

async fn concurrent_commits_are_all_kept_and_never_collide(store: Arc<dyn Store>) {
    const TASKS: u64 = 32;
    const ROUNDS: u64 = 12;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut made = Vec::new();
            for round in 0..ROUNDS {
                // Everybody wants record 0; each attempt also writes a record of its own.
                for attempt in 0..10_000 {
                    let expected = get(&store, 0).await.version.get();
                    let own = 1 + task * ROUNDS + round;
                    let body = own.to_be_bytes();
                    match store.commit(Commit::new(vec![live(0, expected, &body), live(own, 0, &body)])).await {
                        Ok(durable) => {
                            assert_eq!(get(&store, own).await, stored(1, &body), "readable once answered");
                            assert!(get(&store, 0).await.version.get() > expected);
                            made.push((expected + 1, durable.revision().get()));
                            break;
                        }
                        Err(CommitError::Conflict { key, found }) => {
                            assert_eq!(key, record(0, 0));
                            assert!(found.get() > expected, "attempt {attempt}: a conflict shows a newer version");
                            let now = get(&store, 0).await.version;
                            assert!(now >= found, "what a conflict tells can be read");
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            made
        });
    }
    let mut made = Vec::new();
    while let Some(done) = tasks.join_next().await {
        made.extend(done.unwrap());
    }
    made.sort_unstable();
    let expected: Vec<_> = (1..=TASKS * ROUNDS).map(|number| (number, number)).collect();
    assert_eq!(made, expected, "each version was made once, in the order of revisions");
}

async fn a_closed_store_refuses_everything(store: Arc<dyn Store>) {
    commit(&store, vec![live(1, 0, b"")]).await;
    assert_eq!(store.health(), Health::Ready);
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.get(&record(0, 1)).await, Err(StoreError::Closed));
    assert_eq!(store.scan("", None, None, 1).await, Err(ScanError::Store(StoreError::Closed)));
    assert!(matches!(store.commit(Commit::new(vec![live(2, 0, b"")])).await, Err(CommitError::ReadOnly(_))));
    assert_eq!(store.watch(StoreRevision::ZERO).err(), Some(WatchError::Closed));
    assert_eq!(store.acquire(Role::Scheduler).await.err(), Some(StoreError::Closed));
    assert!(matches!(store.health(), Health::ReadOnly { .. }));
}
