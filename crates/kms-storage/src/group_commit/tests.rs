//! The writing thread over an engine whose every write is let through, failed or made to panic by the test.

use super::*;
use crate::commit::Write;
use crate::engine::{Visit, decode_entry, is_system};
use crate::manifest::tests::accountant;
use crate::open_error::OpenError;
use crate::opening::{self, Trust};
use crate::reader::{RecordReader, Walk};
use crate::record_key::RecordKey;
use crate::stored::{Body, RecordVersion, StoreRevision, Stored};
use crate::view::Entry;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc as gate;
use std::time::Duration;

/// What the engine does with its next write.
enum Next {
    Write,
    Fail,
    Panic,
}

/// What lies in the engine, which readers see as soon as it is written.
#[derive(Clone, Default)]
struct Entries(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

/// An engine in memory that writes, says so, and then waits to be told how the write ends: readers of the engine itself
/// see what is not durable yet.
#[derive(Default)]
struct Gated {
    entries: Entries,
    gate: Option<(gate::Sender<usize>, gate::Receiver<Next>)>,
}

impl Engine for Gated {
    fn read_all(&self, visit: &mut Visit<'_>) -> Result<(), OpenError> {
        self.entries.0.lock().unwrap().iter().try_for_each(|(path, value)| visit(path, value))
    }

    fn reader(&self) -> Box<dyn RecordReader> {
        Box::new(self.entries.clone())
    }

    fn write(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let number = entries.len();
        self.entries.0.lock().unwrap().extend(entries);
        if let Some((asked, told)) = &self.gate {
            asked.send(number).unwrap();
            match told.recv_timeout(Duration::from_secs(20)).unwrap() {
                Next::Write => {}
                Next::Fail => return Err("a planned failure".to_owned()),
                Next::Panic => panic!("a planned panic"),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl RecordReader for Entries {
    fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError> {
        let entries = self.0.lock().unwrap();
        Ok(entries.get(key.as_str().as_bytes()).map(|value| decode_entry(key.as_str().as_bytes(), value).unwrap().1))
    }

    fn walk(&self, start: Bound<&str>, visit: &mut Walk<'_>) -> Result<(), StoreError> {
        let entries = self.0.lock().unwrap();
        let records = entries.range::<[u8], _>((start.map(str::as_bytes), Bound::Unbounded));
        for (path, value) in records.filter(|(path, _)| !is_system(path)) {
            let (key, entry) = decode_entry(path, value).unwrap();
            if visit(key, entry).is_break() {
                break;
            }
        }
        Ok(())
    }
}

struct Rig {
    group: Arc<GroupCommit>,
    published: Arc<Published>,
    asked: gate::Receiver<usize>,
    tell: gate::Sender<Next>,
}

fn rig(folder: &Path) -> Rig {
    let (asked_sender, asked) = gate::channel();
    let (tell, told) = gate::channel();
    let start = |_: &Path| Ok(Gated::default());
    let mut found =
        opening::open(&folder.join("store"), &folder.join("manifest"), &accountant(), Trust::Guard, start).unwrap();
    found.engine.gate = Some((asked_sender, told));
    let room = Room::of(folder.to_owned());
    let (group, published) = GroupCommit::start(found, accountant(), room, History::default()).unwrap();
    Rig { group: Arc::new(group), published, asked, tell }
}

fn key(last: u8) -> RecordKey {
    RecordKey::parse(&format!("key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}")).unwrap()
}

fn create(last: u8) -> Commit {
    Commit::new(vec![Write::live(key(last), RecordVersion::NEVER, vec![last])])
}

impl Rig {
    fn commit(&self, commit: Commit) -> tokio::task::JoinHandle<Result<Durable, CommitError>> {
        let group = Arc::clone(&self.group);
        tokio::spawn(async move { group.commit(commit).await })
    }

    /// Waits until the engine is asked to write, and gives the number of entries.
    fn asked(&self) -> usize {
        self.asked.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn read(&self, last: u8) -> Stored {
        self.published.read().get(&key(last)).unwrap()
    }

    /// Number, version and body of every record.
    fn scan(&self, at: Option<u64>) -> Vec<(u8, u64, Body)> {
        let page = self.published.read().scan("key/", None, at.map(StoreRevision::new), 100).unwrap();
        let number = |key: &RecordKey| u8::from_str_radix(&key.as_str()[key.as_str().len() - 2..], 16).unwrap();
        page.entries.into_iter().map(|(key, stored)| (number(&key), stored.version.get(), stored.body)).collect()
    }

    /// Commits `first`, and while the engine is at it lets `then` gather behind it; the answers of `then`.
    async fn gather(&self, first: u8, then: Vec<Commit>, next: Next) -> Vec<Result<Durable, CommitError>> {
        let first = self.commit(create(first));
        tokio::task::yield_now().await;
        assert_eq!(self.asked(), 2, "one record and the manifest");
        let mut waiting = Vec::new();
        for commit in then {
            waiting.push(self.commit(commit));
            // On a runtime of one thread the task runs up to its answer, so it is in the queue now.
            tokio::task::yield_now().await;
        }
        self.tell.send(Next::Write).unwrap();
        assert!(first.await.unwrap().is_ok());
        self.tell.send(next).unwrap();
        let mut answers = Vec::new();
        for answer in waiting {
            answers.push(answer.await.unwrap());
        }
        answers
    }
}

#[tokio::test]
async fn nothing_is_shown_before_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let mut feed = rig.published.watch(StoreRevision::ZERO).unwrap();
    let committing = rig.commit(create(1));
    tokio::task::yield_now().await;
    rig.asked();
    assert_eq!(rig.read(1), Stored::ABSENT);
    let early = tokio::time::timeout(Duration::from_millis(20), feed.next()).await;
    assert!(early.is_err(), "a watcher heard of a change that may yet be lost");
    assert!(!committing.is_finished());
    rig.tell.send(Next::Write).unwrap();
    assert_eq!(committing.await.unwrap().unwrap().revision().get(), 1);
    assert_eq!(rig.read(1).version.get(), 1);
    assert_eq!(feed.next().await.unwrap().revision.get(), 1);
}

/// What the engine shows while a group is written is not durable yet: neither a read nor a scan, at whatever revision, shows
/// any of it, nor after the write failed.
#[tokio::test]
async fn what_a_group_replaces_is_shown_until_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    assert!(rig.gather(1, vec![create(2)], Next::Write).await[0].is_ok());
    rig.asked();
    let before = rig.scan(None);
    assert_eq!(before, [(1, 1, Body::Live(vec![1])), (2, 1, Body::Live(vec![2]))]);

    let two = RecordVersion::new(2);
    let writes = vec![
        Write::live(key(1), RecordVersion::new(1), vec![11]),
        Write::tombstone(key(2), RecordVersion::new(1)),
        Write::live(key(3), RecordVersion::NEVER, vec![3]),
    ];
    let committing = rig.commit(Commit::new(writes));
    tokio::task::yield_now().await;
    assert_eq!(rig.asked(), 4);
    assert_eq!(rig.read(1).body, Body::Live(vec![1]));
    assert_eq!(rig.read(3), Stored::ABSENT);
    assert_eq!((rig.scan(None), rig.scan(Some(2))), (before.clone(), before.clone()));
    rig.tell.send(Next::Write).unwrap();
    assert_eq!(committing.await.unwrap().unwrap().revision().get(), 3);
    assert_eq!((rig.read(1).version, rig.read(1).body), (two, Body::Live(vec![11])));
    let after = [(1, 2, Body::Live(vec![11])), (2, 2, Body::Tombstone), (3, 1, Body::Live(vec![3]))];
    assert_eq!(rig.scan(None), after);
    assert_eq!(rig.scan(Some(2)), before, "the past is kept");

    let committing = rig.commit(Commit::new(vec![Write::live(key(1), two, vec![111])]));
    tokio::task::yield_now().await;
    rig.asked();
    rig.tell.send(Next::Fail).unwrap();
    assert!(matches!(committing.await.unwrap(), Err(CommitError::Unknown(_))));
    assert_eq!(rig.scan(None), after, "what failed may be there or not, and is not shown");
}

#[tokio::test]
async fn a_change_once_begun_is_finished_without_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let committing = rig.commit(create(1));
    tokio::task::yield_now().await;
    rig.asked();
    committing.abort();
    assert!(committing.await.unwrap_err().is_cancelled());
    let mut feed = rig.published.watch(StoreRevision::ZERO).unwrap();
    rig.tell.send(Next::Write).unwrap();
    assert_eq!(feed.next().await.unwrap().revision.get(), 1);
    assert_eq!(rig.read(1).version.get(), 1);
    rig.group.close().await;
}

#[tokio::test]
async fn what_gathers_becomes_one_group() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let over_new = Commit::new(vec![Write::live(key(2), RecordVersion::new(1), vec![9])]);
    let answers = rig.gather(1, vec![create(2), create(3), create(2), over_new], Next::Write).await;
    assert_eq!(rig.asked(), 3, "two records and the manifest");
    assert_eq!(rig.group.rounds(), 2);
    let revisions: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|durable| durable.revision().get())).collect();
    assert_eq!(revisions, [Some(2), Some(3), None, Some(4)]);
    assert!(matches!(&answers[2], Err(CommitError::Conflict { found, .. }) if found.get() == 1));
    assert_eq!(rig.read(2).version.get(), 2);
}

#[tokio::test]
async fn a_failed_group_is_unknown_and_ends_all_changes() {
    for failure in [Next::Fail, Next::Panic] {
        let folder = tempfile::tempdir().unwrap();
        let rig = rig(folder.path());
        let answers = rig.gather(1, vec![create(2), create(3), create(2), Commit::new(vec![])], failure).await;
        assert!(matches!(answers[0], Err(CommitError::Unknown(_))), "{answers:?}");
        assert!(matches!(answers[1], Err(CommitError::Unknown(_))), "{answers:?}");
        assert!(matches!(answers[2], Err(CommitError::ReadOnly(_))), "it met an unknown write: {answers:?}");
        assert!(matches!(answers[3], Err(CommitError::Malformed(_))), "{answers:?}");
        let Health::ReadOnly { reason } = rig.group.health() else { panic!("still ready") };
        assert!(reason.contains("start again"), "{reason}");
        assert!(matches!(rig.group.commit(create(4)).await, Err(CommitError::ReadOnly(_))));
        assert_eq!(rig.read(1).version.get(), 1, "reads go on");
        for lost in 2..5 {
            assert_eq!(rig.read(lost), Stored::ABSENT);
        }
        rig.group.close().await;
    }
}

#[tokio::test]
async fn a_role_passes_after_the_commits_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let first = rig.group.acquire(Role::Scheduler).await.unwrap();
    let fenced = rig.commit(create(1).fenced(first.clone()));
    tokio::task::yield_now().await;
    rig.asked();
    let group = Arc::clone(&rig.group);
    let acquiring = tokio::spawn(async move { group.acquire(Role::Scheduler).await });
    let late = rig.commit(create(2).fenced(first));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!acquiring.is_finished(), "the commit before it is not durable yet");
    rig.tell.send(Next::Write).unwrap();
    assert!(acquiring.await.unwrap().is_ok());
    assert!(fenced.await.unwrap().is_ok());
    let late = tokio::time::timeout(Duration::from_secs(20), late).await.unwrap();
    assert!(matches!(late.unwrap(), Err(CommitError::Fenced)));
}
