//! All keys of a zone in memory: found without a lock by id, and indexed under a lock by organisation, name and due time.

use kms_lifecycle::next_due;
use kms_storage::Durable;
use kms_types::{KeyId, KeyName, OrganisationName, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agenda::Agenda;
use crate::error::KmsError;
use crate::key_cell::KeyCell;
use crate::name_index::NameIndex;
use crate::reservation::Reservation;
use crate::sight::{Deleted, Sight};
use crate::snapshot::Snapshot;
use crate::turns::{Turn, Turns};

/// What the map holds of an id: the cell itself, so that a look-up goes from the map to the snapshot.
enum Entry {
    Live(KeyCell),
    /// The key's record does not open. The rest of the zone serves on.
    Damaged(Box<OrganisationName>),
    /// The key is deleted. Kept so that no other zone brings it back.
    Deleted(Arc<Deleted>),
}

/// The keys of one zone.
#[derive(Default)]
pub(crate) struct Directory {
    keys: papaya::HashMap<KeyId, Entry>,
    index: Mutex<Index>,
    turns: Turns,
    /// Set when everything is forgotten: a key is then not "not found".
    closed: AtomicBool,
}

#[derive(Default)]
struct Index {
    organisations: HashMap<OrganisationName, Holdings>,
    agenda: Agenda,
    unsettled: BTreeMap<KeyId, Unsettled>,
}

/// A change of which the store could not say whether it was made. Until it can, nothing is said about the key's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsettled {
    pub(crate) organisation: OrganisationName,
    pub(crate) attempt: UnsettledAttempt,
}

/// What may or may not have been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnsettledAttempt {
    /// A new key of that name.
    Creation(KeyName),
    /// A change or the deletion of a key.
    Change,
}

/// What one organisation has in this zone.
#[derive(Default)]
struct Holdings {
    keys: NameIndex,
    /// Names of keys being made.
    reserved: HashSet<KeyName>,
    /// Keys whose records do not open. They count, though their names are known to the store alone.
    damaged: usize,
}

impl Directory {
    /// Calls `look` with what is shown of the key `id` of `organisation`, without a lock.
    pub(crate) fn with_key<T>(
        &self,
        organisation: &OrganisationName,
        id: KeyId,
        look: impl FnOnce(&Arc<Snapshot>) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        match self.keys.pin().get(&id) {
            Some(Entry::Live(cell)) => match &*cell.look() {
                Some(snapshot) if snapshot.key().organisation() == organisation => look(snapshot),
                Some(_) | None => Err(self.not_found()),
            },
            Some(Entry::Damaged(owner)) if **owner == *organisation => Err(KmsError::RecordDamaged),
            Some(Entry::Damaged(_) | Entry::Deleted(_)) | None => Err(self.not_found()),
        }
    }

    /// What is shown of the key `id` of `organisation`.
    pub(crate) fn snapshot_of(&self, organisation: &OrganisationName, id: KeyId) -> Result<Arc<Snapshot>, KmsError> {
        self.with_key(organisation, id, |snapshot| Ok(Arc::clone(snapshot)))
    }

    /// What is shown of the key `id`, whosever it is, to whoever changes it.
    pub(crate) fn snapshot(&self, id: KeyId) -> Result<Arc<Snapshot>, KmsError> {
        self.shown(id).ok_or_else(|| self.not_found())
    }

    /// What is shown of the key `id`, whosever it is, if anything.
    pub(crate) fn shown(&self, id: KeyId) -> Option<Arc<Snapshot>> {
        match self.keys.pin().get(&id) {
            Some(Entry::Live(cell)) => cell.snapshot(),
            Some(Entry::Damaged(_) | Entry::Deleted(_)) | None => None,
        }
    }

    /// What there is of the key `id`.
    pub(crate) fn sight(&self, id: KeyId) -> Sight {
        self.sight_of(self.keys.pin().get(&id), id)
    }

    /// What there is of the key `id`, of which the map held `found` a moment ago.
    fn sight_of(&self, found: Option<&Entry>, id: KeyId) -> Sight {
        match found {
            Some(Entry::Live(cell)) => match cell.snapshot() {
                Some(snapshot) => Sight::Live(snapshot),
                // A cell is emptied after its tombstone has taken its place.
                None => match self.keys.pin().get(&id) {
                    Some(Entry::Deleted(deleted)) => Sight::Deleted(Arc::clone(deleted)),
                    Some(Entry::Live(_) | Entry::Damaged(_)) | None => Sight::Nothing,
                },
            },
            Some(Entry::Damaged(_)) => Sight::Damaged,
            Some(Entry::Deleted(deleted)) => Sight::Deleted(Arc::clone(deleted)),
            None => Sight::Nothing,
        }
    }

    /// Waits until nobody else changes the key `id`.
    pub(crate) async fn turn(&self, id: KeyId) -> Turn<'_> {
        self.turns.take(id).await
    }

    /// What is shown of all keys, in no order.
    pub(crate) fn all_shown(&self) -> Vec<Arc<Snapshot>> {
        let keys = self.keys.pin();
        let live = |entry: &Entry| match entry {
            Entry::Live(cell) => cell.snapshot(),
            Entry::Damaged(_) | Entry::Deleted(_) => None,
        };
        keys.values().filter_map(live).collect()
    }

    /// All keys that are deleted, in no order.
    pub(crate) fn tombstones(&self) -> Vec<(KeyId, Arc<Deleted>)> {
        let keys = self.keys.pin();
        let deleted = |(id, entry): (&KeyId, &Entry)| match entry {
            Entry::Deleted(deleted) => Some((*id, Arc::clone(deleted))),
            Entry::Live(_) | Entry::Damaged(_) => None,
        };
        keys.iter().filter_map(deleted).collect()
    }

    /// Ids of the organisation's keys.
    pub(crate) fn ids(&self, organisation: &OrganisationName) -> Vec<KeyId> {
        self.index().organisations.get(organisation).map(|all| all.keys.ids().collect()).unwrap_or_default()
    }

    /// The id of the organisation's key of that name.
    pub(crate) fn id_of(&self, organisation: &OrganisationName, name: &KeyName) -> Option<KeyId> {
        self.index().organisations.get(organisation)?.keys.find(name, |id| self.is_named(id, name))
    }

    /// When work is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.index().agenda.next()
    }

    /// Ids of the keys whose work is due at `now`, the longest overdue first.
    pub(crate) fn due_at(&self, now: Timestamp) -> Vec<KeyId> {
        let mut index = self.index();
        if index.agenda.is_short_at(now) {
            let keys = self.keys.pin();
            let due = |(id, entry): (&KeyId, &Entry)| match entry {
                Entry::Live(cell) => next_due(cell.look().as_ref()?.key()).map(|due| (due, *id)),
                Entry::Damaged(_) | Entry::Deleted(_) => None,
            };
            index.agenda.renew(now, keys.iter().filter_map(due));
        }
        index.agenda.due_at(now)
    }

    /// Takes the name and one of the `limit` places of the organisation, until the reservation is used or dropped.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        organisation: &OrganisationName,
        name: &KeyName,
        limit: u32,
    ) -> Result<Reservation, KmsError> {
        let mut index = self.index();
        let holdings = index.organisations.entry(organisation.clone()).or_default();
        if holdings.reserved.contains(name) || holdings.keys.find(name, |id| self.is_named(id, name)).is_some() {
            return Err(KmsError::NameConflict);
        }
        if holdings.keys.len() + holdings.reserved.len() + holdings.damaged
            >= usize::try_from(limit).unwrap_or(usize::MAX)
        {
            return Err(KmsError::KeyQuota { limit });
        }
        holdings.reserved.insert(name.clone());
        drop(index);
        Ok(Reservation::new(Arc::clone(self), organisation.clone(), name.clone()))
    }

    /// Takes in a key that the store has. False when its id is there already, or everything was forgotten.
    pub(crate) fn load(&self, snapshot: Snapshot) -> bool {
        let snapshot = Arc::new(snapshot);
        let key = snapshot.key();
        let keys = self.keys.pin();
        // Both at once: a name that is no longer reserved has its key, and a key that is there has its name.
        let mut index = self.index();
        if self.closed.load(Ordering::Acquire) || keys.contains_key(&key.id()) {
            return false;
        }
        keys.insert(key.id(), Entry::Live(KeyCell::new(Arc::clone(&snapshot))));
        let Index { organisations, agenda, .. } = &mut *index;
        if !organisations.contains_key(key.organisation()) {
            organisations.insert(key.organisation().clone(), Holdings::default());
        }
        if let Some(holdings) = organisations.get_mut(key.organisation()) {
            holdings.reserved.remove(key.name());
            holdings.keys.insert(key.name(), key.id());
        }
        if let Some(due) = next_due(key) {
            agenda.add(due, key.id());
        }
        true
    }

    /// Takes note of a key whose record does not open.
    pub(crate) fn load_damaged(&self, organisation: OrganisationName, id: KeyId) {
        self.index().organisations.entry(organisation.clone()).or_default().damaged += 1;
        self.keys.pin().insert(id, Entry::Damaged(Box::new(organisation)));
    }

    /// Takes in a tombstone found in the store. False when there is something else of that id.
    pub(crate) fn load_tombstone(&self, id: KeyId, deleted: Deleted) -> bool {
        let keys = self.keys.pin();
        if keys.contains_key(&id) {
            return false;
        }
        keys.insert(id, Entry::Deleted(Arc::new(deleted)));
        true
    }

    /// Shows `snapshot` to every call that begins from now on. `_durable` is the store's word that its record will stay.
    pub(crate) fn publish(&self, snapshot: Snapshot, _durable: &Durable) {
        self.refresh(snapshot);
    }

    /// Shows `snapshot`, just read from the store, which holds durable records only. To be called in the key's turn.
    pub(crate) fn refresh(&self, snapshot: Snapshot) {
        let id = snapshot.key().id();
        let keys = self.keys.pin();
        // A key that is gone, because everything is being forgotten, does not come back.
        let Some(Entry::Live(cell)) = keys.get(&id) else { return };
        let Some(shown) = cell.snapshot() else { return };
        let (before, after) = (next_due(shown.key()), next_due(snapshot.key()));
        snapshot.take_over_usage(&shown);
        cell.replace(&shown, snapshot);
        if before != after {
            let mut index = self.index();
            if let Some(due) = after {
                index.agenda.add(due, id);
            }
            if let Some(due) = before {
                index.agenda.remove(due, id);
            }
        }
    }

    /// Keeps of the key `id`, whose deletion is final, nothing but that; its name is free again.
    pub(crate) fn bury(&self, id: KeyId, deleted: Deleted, _durable: &Durable) {
        self.bury_found(id, deleted);
    }

    /// Notes the tombstone of a key that is not there: what is known of it has changed, or it never was.
    pub(crate) fn note_tombstone(&self, id: KeyId, deleted: Deleted, _durable: &Durable) {
        self.bury_found(id, deleted);
    }

    /// As [`Directory::bury`], for a tombstone just read from the store, which holds durable records only.
    pub(crate) fn bury_found(&self, id: KeyId, deleted: Deleted) {
        let keys = self.keys.pin();
        let mut index = self.index();
        let Some(Entry::Live(cell)) = keys.insert(id, Entry::Deleted(Arc::new(deleted))) else { return };
        let Some(shown) = cell.take() else { return };
        let key = shown.key();
        if let Some(due) = next_due(key) {
            index.agenda.remove(due, id);
        }
        if let Some(holdings) = index.organisations.get_mut(key.organisation()) {
            holdings.keys.remove(key.name(), id);
        }
    }

    /// Takes note that the outcome of a change of key `id` is not known.
    pub(crate) fn unsettle(&self, id: KeyId, unsettled: Unsettled) {
        self.index().unsettled.insert(id, unsettled);
    }

    /// The store has told how things stand with key `id`.
    pub(crate) fn settle(&self, id: KeyId) {
        self.index().unsettled.remove(&id);
    }

    /// The store has told that a key was not made: its name is free.
    pub(crate) fn release(&self, organisation: &OrganisationName, name: &KeyName) {
        if let Some(holdings) = self.index().organisations.get_mut(organisation) {
            holdings.reserved.remove(name);
        }
    }

    /// What is not known about key `id`, if anything.
    pub(crate) fn unsettled(&self, id: KeyId) -> Option<Unsettled> {
        self.index().unsettled.get(&id).cloned()
    }

    /// Whether there is such a key of the organisation.
    pub(crate) fn has_unsettled(&self, organisation: &OrganisationName) -> bool {
        self.index().unsettled.values().any(|unsettled| unsettled.organisation == *organisation)
    }

    /// All ids about which something is not known.
    pub(crate) fn all_unsettled(&self) -> Vec<KeyId> {
        self.index().unsettled.keys().copied().collect()
    }

    /// Forgets everything, so that all material is wiped as the last calls end.
    pub(crate) fn clear(&self) {
        let keys = self.keys.pin();
        // Held to the end: a key that is taken in meanwhile is forgotten with the others, or not taken in.
        let mut index = self.index();
        self.closed.store(true, Ordering::Release);
        for entry in keys.values() {
            match entry {
                Entry::Live(cell) => drop(cell.take()),
                Entry::Damaged(_) | Entry::Deleted(_) => {}
            }
        }
        keys.clear();
        *index = Index::default();
    }

    fn not_found(&self) -> KmsError {
        if self.closed.load(Ordering::Acquire) { KmsError::ReadOnly } else { KmsError::KeyNotFound }
    }

    fn is_named(&self, id: KeyId, name: &KeyName) -> bool {
        match self.keys.pin().get(&id) {
            Some(Entry::Live(cell)) => cell.look().as_ref().is_some_and(|shown| shown.key().name() == name),
            Some(Entry::Damaged(_) | Entry::Deleted(_)) | None => false,
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing that runs under this lock can panic half-way through a change of the index.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
