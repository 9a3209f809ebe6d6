//! The durable state: what reads are answered from, and what changes are decided on.
//!
//! The records lie in the engine and are read there. In memory are those that the group under way replaces, as they were
//! before it, and those that the recent past replaced. A group's writes are shown only once they are durable, all of them at
//! once: so a read can show neither a change that may yet be lost nor half of one, and does not wait for the group's syncs.

use crate::commit::{Commit, CommitError, Fence, NewBody, Role};
use crate::first_reading::FirstReading;
use crate::reader::RecordReader;
use crate::record_key::RecordKey;
use crate::store::{MAX_PAGE, Page, ScanError, StoreError, WatchError};
use crate::stored::{Body, RecordVersion, StoreRevision, Stored};
use std::collections::{HashMap, VecDeque};
use std::ops::{Bound, ControlFlow};
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
    pub(crate) writes: Vec<DecidedWrite>,
}

/// One record that a commit writes.
pub(crate) struct DecidedWrite {
    pub(crate) key: RecordKey,
    /// What the commit finds there, which another commit of its group may have written.
    pub(crate) before: Option<Entry>,
    pub(crate) entry: Entry,
}

/// What a group makes of one record.
pub(crate) struct Staged {
    /// The durable record that the group replaces.
    pub(crate) before: Option<Entry>,
    pub(crate) entry: Entry,
}

pub(crate) struct View {
    /// `None` once the store is closed.
    records: Option<Box<dyn RecordReader>>,
    /// The same records, as long as none was changed and the store's user has not started yet.
    first_reading: Option<FirstReading>,
    /// The records that the group under way writes, as they were before it: the engine may show either.
    under_way: HashMap<RecordKey, Option<Entry>>,
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
    pub(crate) fn new(records: Box<dyn RecordReader>, revision: StoreRevision, history: History) -> Self {
        Self {
            records: Some(records),
            first_reading: None,
            under_way: HashMap::new(),
            revision,
            past: VecDeque::new(),
            past_bytes: 0,
            history,
            scheduler: None,
        }
    }

    /// The same view, of a store of which everything was just read.
    pub(crate) fn after(self, reading: FirstReading) -> Self {
        Self { first_reading: Some(reading), ..self }
    }

    /// Lets go of what the opening of the store read.
    pub(crate) fn forget_first_reading(&mut self) {
        self.first_reading = None;
    }

    pub(crate) const fn revision(&self) -> StoreRevision {
        self.revision
    }

    /// The durable record at `key`.
    pub(crate) fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError> {
        match self.under_way.get(key) {
            Some(before) => Ok(before.clone()),
            None => self.records()?.entry(key),
        }
    }

    pub(crate) fn get(&self, key: &RecordKey) -> Result<Stored, StoreError> {
        Ok(self.entry(key)?.as_ref().map_or(Stored::ABSENT, Entry::stored))
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
        let mut entries: Vec<(RecordKey, Stored)> = Vec::new();
        let mut next = None;
        self.records()?.walk(start, &mut |key, entry| {
            if !key.as_str().starts_with(prefix) {
                return ControlFlow::Break(());
            }
            let then = match before.get(&key) {
                Some(replaced) => replaced.cloned(),
                None => Some(entry),
            };
            let Some(then) = then else { return ControlFlow::Continue(()) };
            if entries.len() == limit {
                next = entries.last().map(|(key, _)| key.clone());
                return ControlFlow::Break(());
            }
            entries.push((key, then.stored()));
            ControlFlow::Continue(())
        })?;
        Ok(Page { entries, at, next })
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

    /// From now on reads are answered with what the group under way replaces, whatever the engine shows.
    pub(crate) fn begin(&mut self, staged: &HashMap<RecordKey, Staged>) {
        self.forget_first_reading();
        self.under_way = staged.iter().map(|(key, staged)| (key.clone(), staged.before.clone())).collect();
    }

    /// The group under way is durable, and the engine shows what it wrote: these commits.
    pub(crate) fn publish(&mut self, group: Vec<Decided>) {
        self.under_way = HashMap::new();
        for decided in group {
            self.remember(decided);
        }
    }

    /// No record is read any more: the engine is to be released.
    pub(crate) fn close(&mut self) {
        self.forget_first_reading();
        self.records = None;
    }

    fn records(&self) -> Result<&dyn RecordReader, StoreError> {
        match (&self.first_reading, &self.records) {
            (Some(reading), Some(_)) => Ok(reading),
            (None, Some(records)) => Ok(records.as_ref()),
            (_, None) => Err(StoreError::Closed),
        }
    }

    fn remember(&mut self, decided: Decided) {
        let mut bytes = 0;
        let mut replaced = Vec::with_capacity(decided.writes.len());
        for DecidedWrite { key, before, entry } in decided.writes {
            bytes += before.as_ref().map_or(0, Entry::len);
            replaced.push(Replaced { key, version: entry.version, before });
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

    /// What stood at revision `at` for every record written since, or being written.
    fn replaced_since(&self, at: StoreRevision) -> HashMap<&RecordKey, Option<&Entry>> {
        let since = self.past.partition_point(|past| past.revision <= at);
        let mut before = HashMap::new();
        for past in self.past.iter().skip(since) {
            for replaced in &past.replaced {
                before.entry(&replaced.key).or_insert(replaced.before.as_ref());
            }
        }
        for (key, durable) in &self.under_way {
            before.entry(key).or_insert(durable.as_ref());
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
    staged: HashMap<RecordKey, Staged>,
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
        let mut writes = Vec::with_capacity(commit.writes.len());
        for write in commit.writes {
            let before = self.found(&write.key)?;
            let found = before.as_ref().map_or(RecordVersion::NEVER, |entry| entry.version);
            let (true, Some(version)) = (found == write.expected, found.next()) else {
                return Err(CommitError::Conflict { key: write.key, found });
            };
            let content = match write.body {
                NewBody::Live(bytes) => Content::Live(bytes.into()),
                NewBody::Tombstone => Content::Tombstone,
            };
            writes.push(DecidedWrite { key: write.key, before, entry: Entry { version, revision, content } });
        }
        self.revision = revision;
        for DecidedWrite { key, before, entry } in &writes {
            match self.staged.get_mut(key) {
                Some(staged) => staged.entry = entry.clone(),
                None => {
                    let staged = Staged { before: before.clone(), entry: entry.clone() };
                    self.staged.insert(key.clone(), staged);
                }
            }
        }
        Ok(Decided { revision, writes })
    }

    /// What the group makes of each record it wrote.
    pub(crate) fn finish(self) -> HashMap<RecordKey, Staged> {
        self.staged
    }

    fn found(&self, key: &RecordKey) -> Result<Option<Entry>, CommitError> {
        match self.staged.get(key) {
            Some(staged) => Ok(Some(staged.entry.clone())),
            None => self.view.entry(key).map_err(|cause| CommitError::ReadOnly(cause.to_string())),
        }
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
