//! The durable state in memory: what reads are answered from, and what changes are decided on.
//!
//! It holds every record (sealed bytes, as in the engine) and the recent past. A store publishes commits to it only once
//! they are durable, all writes of a group at once: so a read can show neither a change that may yet be lost nor half of
//! one, and never waits for the disk.

use crate::commit::{Commit, CommitError, Fence, NewBody, Role};
use crate::record_key::RecordKey;
use crate::store::{MAX_PAGE, Page, ScanError, WatchError};
use crate::stored::{Body, RecordVersion, StoreRevision, Stored};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// How much of the past is kept for scans at a revision and for watchers.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Commits.
    pub commits: usize,
    /// Bytes of values that were overwritten meanwhile.
    pub bytes: usize,
}

impl Default for History {
    /// 4096 commits, 16 MiB.
    fn default() -> Self {
        Self { commits: 4096, bytes: 16 << 20 }
    }
}

/// One record in memory. Cloning it copies no content.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) version: RecordVersion,
    /// The commit that wrote it.
    pub(crate) revision: StoreRevision,
    pub(crate) content: Content,
}

#[derive(Clone)]
pub(crate) enum Content {
    Live(Arc<[u8]>),
    Tombstone,
}

/// A commit that was decided on and waits to become durable.
pub(crate) struct Decided {
    pub(crate) revision: StoreRevision,
    pub(crate) entries: Vec<(RecordKey, Entry)>,
}

pub(crate) struct View {
    records: BTreeMap<RecordKey, Entry>,
    revision: StoreRevision,
    past: VecDeque<Past>,
    past_bytes: usize,
    history: History,
    scheduler: Option<u64>,
}

/// A commit of the past and what it replaced.
struct Past {
    revision: StoreRevision,
    replaced: Vec<Replaced>,
    bytes: usize,
}

struct Replaced {
    key: RecordKey,
    version: RecordVersion,
    before: Option<Entry>,
}

/// One commit as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit's revision.
    pub revision: StoreRevision,
    /// The records it wrote and the versions it made.
    pub keys: Vec<(RecordKey, RecordVersion)>,
}

impl View {
    pub(crate) const fn new(records: BTreeMap<RecordKey, Entry>, revision: StoreRevision, history: History) -> Self {
        Self { records, revision, past: VecDeque::new(), past_bytes: 0, history, scheduler: None }
    }

    pub(crate) const fn revision(&self) -> StoreRevision {
        self.revision
    }

    pub(crate) fn entry(&self, key: &RecordKey) -> Option<&Entry> {
        self.records.get(key)
    }

    pub(crate) fn get(&self, key: &RecordKey) -> Stored {
        self.records.get(key).map_or(Stored::ABSENT, Entry::stored)
    }

    pub(crate) fn scan(
        &self,
        prefix: &str,
        after: Option<&RecordKey>,
        at: Option<StoreRevision>,
        limit: usize,
    ) -> Result<Page, ScanError> {
        let at = at.unwrap_or(self.revision);
        if at < self.oldest() || at > self.revision {
            return Err(ScanError::Superseded);
        }
        let before = self.replaced_since(at);
        let limit = limit.clamp(1, MAX_PAGE);
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut entries = Vec::new();
        for (key, entry) in self.records.range::<str, _>((start, Bound::Unbounded)) {
            if !key.as_str().starts_with(prefix) {
                break;
            }
            let then = match before.get(key) {
                Some(replaced) => *replaced,
                None => Some(entry),
            };
            let Some(then) = then else { continue };
            if entries.len() == limit {
                let next = entries.last().map(|(key, _): &(RecordKey, Stored)| key.clone());
                return Ok(Page { entries, at, next });
            }
            entries.push((key.clone(), then.stored()));
        }
        Ok(Page { entries, at, next: None })
    }

    /// The first change after `from`, or `None` when there is none yet.
    pub(crate) fn change_after(&self, from: StoreRevision) -> Result<Option<Change>, WatchError> {
        if from > self.revision {
            return Err(WatchError::Ahead { current: self.revision });
        }
        if from < self.oldest() {
            return Err(WatchError::Compacted { oldest: self.oldest() });
        }
        let next = self.past.partition_point(|past| past.revision <= from);
        Ok(self.past.get(next).map(|past| Change {
            revision: past.revision,
            keys: past.replaced.iter().map(|replaced| (replaced.key.clone(), replaced.version)).collect(),
        }))
    }

    pub(crate) const fn acquire(&mut self, role: Role, token: u64) -> Fence {
        match role {
            Role::Scheduler => self.scheduler = Some(token),
        }
        Fence { role, token }
    }

    /// Puts a durable commit in place of what it replaces.
    pub(crate) fn publish(&mut self, decided: Decided) {
        let mut replaced = Vec::with_capacity(decided.entries.len());
        let mut bytes = 0;
        for (key, entry) in decided.entries {
            let version = entry.version;
            let before = self.records.insert(key.clone(), entry);
            bytes += before.as_ref().map_or(0, Entry::len);
            replaced.push(Replaced { key, version, before });
        }
        self.revision = decided.revision;
        self.past.push_back(Past { revision: decided.revision, replaced, bytes });
        self.past_bytes += bytes;
        while self.past.len() > self.history.commits || self.past_bytes > self.history.bytes {
            match self.past.pop_front() {
                Some(past) => self.past_bytes -= past.bytes,
                None => break,
            }
        }
    }

    /// The oldest revision whose state can still be told.
    fn oldest(&self) -> StoreRevision {
        let kept = u64::try_from(self.past.len()).unwrap_or(u64::MAX);
        StoreRevision::new(self.revision.get().saturating_sub(kept))
    }

    /// What stood at revision `at` for every record written since.
    fn replaced_since(&self, at: StoreRevision) -> HashMap<&RecordKey, Option<&Entry>> {
        let since = self.past.partition_point(|past| past.revision <= at);
        let mut before = HashMap::new();
        for past in self.past.iter().skip(since) {
            for replaced in &past.replaced {
                before.entry(&replaced.key).or_insert(replaced.before.as_ref());
            }
        }
        before
    }

    fn holds(&self, fence: &Fence) -> bool {
        match fence.role {
            Role::Scheduler => self.scheduler == Some(fence.token),
        }
    }
}

/// Commits decided on one after the other on top of a view, before any of them is durable.
pub(crate) struct Group<'v> {
    view: &'v View,
    staged: HashMap<RecordKey, Entry>,
    revision: StoreRevision,
}

impl<'v> Group<'v> {
    pub(crate) fn new(view: &'v View) -> Self {
        Self { view, staged: HashMap::new(), revision: view.revision }
    }

    /// Decides on one more commit. A refused one leaves no trace.
    pub(crate) fn decide(&mut self, commit: Commit) -> Result<Decided, CommitError> {
        commit.check()?;
        if commit.fence.as_ref().is_some_and(|fence| !self.view.holds(fence)) {
            return Err(CommitError::Fenced);
        }
        let Some(revision) = self.revision.next() else {
            return Err(CommitError::ReadOnly("the store has no further revision".to_owned()));
        };
        let mut entries = Vec::with_capacity(commit.writes.len());
        for write in commit.writes {
            let before = self.staged.get(&write.key).or_else(|| self.view.entry(&write.key));
            let found = before.map_or(RecordVersion::NEVER, |entry| entry.version);
            let (true, Some(version)) = (found == write.expected, found.next()) else {
                return Err(CommitError::Conflict { key: write.key, found });
            };
            let content = match write.body {
                NewBody::Live(bytes) => Content::Live(bytes.into()),
                NewBody::Tombstone => Content::Tombstone,
            };
            entries.push((write.key, Entry { version, revision, content }));
        }
        self.revision = revision;
        self.staged.extend(entries.iter().cloned());
        Ok(Decided { revision, entries })
    }

    /// What the group makes of each record it wrote.
    pub(crate) fn finish(self) -> HashMap<RecordKey, Entry> {
        self.staged
    }
}

impl Entry {
    fn stored(&self) -> Stored {
        let body = match &self.content {
            Content::Live(bytes) => Body::Live(bytes.to_vec()),
            Content::Tombstone => Body::Tombstone,
        };
        Stored { version: self.version, body }
    }

    fn len(&self) -> usize {
        match &self.content {
            Content::Live(bytes) => bytes.len(),
            Content::Tombstone => 0,
        }
    }
}
