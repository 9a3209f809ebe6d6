//! A zone's durable store: what is on the disk, and what is only on its way there.

use super::dice::Dice;
use kms_replication::{ApplyPermit, Content, Held};
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::{BTreeMap, BTreeSet};

/// What is stored of a key. `mark` stands for all that a revision changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) origin: ZoneName,
    pub(crate) revision: Revision,
    pub(crate) content: Content,
    pub(crate) mark: u64,
    /// The zones it belongs in; empty on a replica.
    pub(crate) targets: BTreeSet<ZoneName>,
}

/// A write that the store has not answered yet.
pub(crate) struct Write {
    pub(crate) key: KeyId,
    pub(crate) record: Record,
    pub(crate) writer: Writer,
    /// What the compare-and-swap demands to find.
    expected: Option<Record>,
}

pub(crate) enum Writer {
    User,
    Replication(ApplyPermit),
}

#[derive(Default)]
pub(crate) struct Disk {
    durable: BTreeMap<KeyId, Record>,
    pub(crate) writes: Vec<Write>,
}

impl Disk {
    pub(crate) fn records(&self) -> &BTreeMap<KeyId, Record> {
        &self.durable
    }

    pub(crate) fn get(&self, key: KeyId) -> Option<&Record> {
        self.durable.get(&key)
    }

    pub(crate) fn is_being_written(&self, key: KeyId) -> bool {
        self.writes.iter().any(|write| write.key == key)
    }

    pub(crate) fn held(&self, key: KeyId) -> Held {
        let Some(record) = self.durable.get(&key) else { return Held::Nothing };
        let (origin, revision) = (record.origin.clone(), record.revision);
        match record.content {
            Content::Key => Held::Key { origin, revision },
            Content::Tombstone => Held::Tombstone { origin, revision },
        }
    }

    pub(crate) fn submit(&mut self, key: KeyId, record: Record, writer: Writer) {
        let expected = self.durable.get(&key).cloned();
        self.writes.push(Write { key, record, writer, expected });
    }

    /// Puts a write on the disk, unless the record has changed since it was submitted.
    pub(crate) fn commit(&mut self, write: &Write) -> Result<(), Conflict> {
        if self.durable.get(&write.key) != write.expected.as_ref() {
            return Err(Conflict);
        }
        self.durable.insert(write.key, write.record.clone());
        Ok(())
    }

    /// The power fails: of the writes under way some reach the disk, the others are lost. Gives how many were lost.
    pub(crate) fn crash(&mut self, dice: &mut Dice) -> usize {
        let mut lost = 0;
        for write in std::mem::take(&mut self.writes) {
            if dice.chance(50) || self.commit(&write) == Err(Conflict) {
                lost += 1;
            }
        }
        lost
    }
}

/// The compare-and-swap found another record than it expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict;
