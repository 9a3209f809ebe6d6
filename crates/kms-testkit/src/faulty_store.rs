//! A store that fails when it is told to.

use async_trait::async_trait;
use kms_storage::{
    ChangeFeed, Commit, CommitError, Durability, Durable, Fence, Health, Page, RecordKey, Role, ScanError, Store,
    StoreError, StoreRevision, Stored, WatchError,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is made, and answered as unknown.
    UnknownApplied,
    /// It is not made, and answered as unknown.
    UnknownNotApplied,
    /// It is made, and answered as unknown, and the store takes no changes from then on, until [`FaultyStore::heal`]: as an
    /// embedded store fails whose disk reports an error after the write.
    Broken,
    /// It is not made, and the store takes no changes from then on, until [`FaultyStore::heal`].
    ReadOnly,
    /// It is made that much later.
    Delay(Duration),
}

/// Any store, with faults on chosen commits. Reads and watches pass through.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    commits: u64,
    faults: BTreeMap<u64, Fault>,
    read_only: Option<String>,
    at_close: AtClose,
}

/// What becomes of the store within when its user closes this one.
#[derive(Default)]
enum AtClose {
    #[default]
    Close,
    StayOpen,
}

impl FaultyStore {
    /// `inner`, without faults as yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Plans a fault for the commit of that number; the first commit ever asked of this store is number 1.
    pub fn fail(&self, number: u64, fault: Fault) {
        self.plan().faults.insert(number, fault);
    }

    /// Plans a fault for the next commit.
    pub fn fail_next(&self, fault: Fault) {
        let mut plan = self.plan();
        let next = plan.commits + 1;
        plan.faults.insert(next, fault);
    }

    /// Lets the store take changes again. Planned faults stay.
    pub fn heal(&self) {
        self.plan().read_only = None;
    }

    /// Lets the store within outlive its user, as a store on disk does: the next user finds it open.
    pub fn outlive_its_user(&self) {
        self.plan().at_close = AtClose::StayOpen;
    }

    /// How many commits were asked for, the failed ones included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.plan().commits
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn next_fault(&mut self) -> Result<Option<Fault>, CommitError> {
        self.commits += 1;
        let fault = self.faults.remove(&self.commits);
        if let Some(reason) = &self.read_only {
            return Err(CommitError::ReadOnly(reason.clone()));
        }
        if matches!(fault, Some(Fault::ReadOnly | Fault::Broken)) {
            self.read_only = Some("a fault was planned here".to_owned());
        }
        Ok(fault)
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &RecordKey) -> Result<Stored, StoreError> {
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&RecordKey>,
        at: Option<StoreRevision>,
        limit: usize,
    ) -> Result<Page, ScanError> {
        self.inner.scan(prefix, after, at, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Durable, CommitError> {
        let fault = self.plan().next_fault()?;
        match fault {
            None => self.inner.commit(commit).await,
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.inner.commit(commit).await
            }
            Some(Fault::UnknownApplied | Fault::Broken) => {
                let made = self.inner.commit(commit).await?;
                Err(CommitError::Unknown(format!("a fault was planned after commit {}", made.revision())))
            }
            Some(Fault::UnknownNotApplied) => {
                Err(CommitError::Unknown("a fault was planned before the commit".to_owned()))
            }
            Some(Fault::ReadOnly) => Err(CommitError::ReadOnly("a fault was planned here".to_owned())),
        }
    }

    fn watch(&self, from: StoreRevision) -> Result<ChangeFeed, WatchError> {
        self.inner.watch(from)
    }

    async fn acquire(&self, role: Role) -> Result<Fence, StoreError> {
        self.inner.acquire(role).await
    }

    fn started(&self) {
        self.inner.started();
    }

    fn health(&self) -> Health {
        match &self.plan().read_only {
            Some(reason) => Health::ReadOnly { reason: reason.clone() },
            None => self.inner.health(),
        }
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn close(&self) -> Result<(), StoreError> {
        match self.plan().at_close {
            AtClose::StayOpen => return Ok(()),
            AtClose::Close => {}
        }
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_storage::{Body, MemoryStore, RecordVersion, Write};

    fn key() -> RecordKey {
        RecordKey::parse("key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d").unwrap()
    }

    fn write(expected: u64) -> Commit {
        Commit::new(vec![Write::live(key(), RecordVersion::new(expected), vec![1])])
    }

    #[tokio::test]
    async fn faults_strike_the_commits_they_were_planned_for() {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        store.fail(2, Fault::UnknownApplied);
        store.fail(3, Fault::UnknownNotApplied);
        store.fail(4, Fault::ReadOnly);
        assert_eq!(store.commit(write(0)).await.unwrap().revision().get(), 1);
        assert!(matches!(store.commit(write(1)).await, Err(CommitError::Unknown(_))));
        assert_eq!(store.get(&key()).await.unwrap().version.get(), 2, "it was made all the same");
        assert!(matches!(store.commit(write(2)).await, Err(CommitError::Unknown(_))));
        assert_eq!(store.get(&key()).await.unwrap().version.get(), 2, "it was not made");
        for _ in 0..2 {
            assert!(matches!(store.commit(write(2)).await, Err(CommitError::ReadOnly(_))));
            assert!(matches!(store.health(), Health::ReadOnly { .. }));
        }
        store.heal();
        store.fail_next(Fault::Broken);
        assert!(matches!(store.commit(write(2)).await, Err(CommitError::Unknown(_))));
        assert_eq!(store.get(&key()).await.unwrap().version.get(), 3, "it was made before the store broke");
        assert!(matches!(store.commit(write(3)).await, Err(CommitError::ReadOnly(_))));
        store.heal();
        assert_eq!(store.health(), Health::Ready);
        assert_eq!(store.commit(write(3)).await.unwrap().revision().get(), 4);
        assert_eq!(store.get(&key()).await.unwrap().body, Body::Live(vec![1]));
        assert_eq!(store.commits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_commit_is_made_later() {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        store.fail_next(Fault::Delay(Duration::from_secs(60)));
        let begin = tokio::time::Instant::now();
        assert_eq!(store.commit(write(0)).await.unwrap().revision().get(), 1);
        assert_eq!(begin.elapsed(), Duration::from_secs(60));
    }
}
