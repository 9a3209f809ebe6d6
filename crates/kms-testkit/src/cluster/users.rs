//! What users do: create, change, replicate and delete keys, each in its origin zone.

use super::disk::{Record, Writer};
use super::invariants::Broken;
use super::network::ZoneIndex;
use super::shell::Cluster;
use kms_replication::Content;
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::BTreeSet;

/// Keys per run, so that each one sees many events.
const MOST_KEYS: usize = 12;

impl Cluster {
    /// A user does something in zone `at`, if it runs.
    pub(crate) fn user(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        if self.zones[at].process.is_none() {
            return Ok(());
        }
        match self.dice.below(10) {
            0..=2 => self.create(at),
            3..=6 => self.change(at),
            7..=8 => self.register(at),
            _ => self.delete(at),
        }
        Ok(())
    }

    fn create(&mut self, at: ZoneIndex) {
        let clash = self.dice.chance(15).then(|| self.dice.pick(&self.keys)).flatten();
        let (key, kind) = match clash {
            Some(key) => (key, "user creates a key whose id exists elsewhere"),
            None if self.keys.len() >= MOST_KEYS => return,
            None => {
                let key = KeyId::from_time_and_random(1 + self.dice.below(1 << 40), &[7; 10]);
                self.keys.push(key);
                (key, "user creates a key")
            }
        };
        if self.zones[at].disk.get(key).is_some() || self.zones[at].disk.is_being_written(key) {
            return;
        }
        let targets = self.some_targets(at);
        let origin = self.zones[at].name.clone();
        let record =
            Record { origin, revision: Revision::FIRST, content: Content::Key, mark: self.dice.roll(), targets };
        self.submit(at, key, record, kind);
    }

    fn change(&mut self, at: ZoneIndex) {
        let mark = self.dice.roll();
        self.revise(at, "user changes a key", |record| record.mark = mark);
    }

    fn register(&mut self, at: ZoneIndex) {
        let targets = self.some_targets(at);
        self.revise(at, "user registers a target", |record| record.targets.extend(targets));
    }

    fn delete(&mut self, at: ZoneIndex) {
        self.revise(at, "user deletes a key", |record| record.content = Content::Tombstone);
    }

    /// Changes one of the zone's own keys that lives and that nobody else is writing.
    fn revise(&mut self, at: ZoneIndex, kind: &'static str, change: impl FnOnce(&mut Record)) {
        let zone = &self.zones[at];
        let own = zone.disk.records().iter().filter(|(key, record)| {
            record.origin == zone.name && record.content == Content::Key && !zone.disk.is_being_written(**key)
        });
        let own: Vec<_> = own.map(|(key, _)| *key).collect();
        let Some(key) = self.dice.pick(&own) else { return };
        let Some(mut record) = self.zones[at].disk.get(key).cloned() else { return };
        let Some(next) = record.revision.next() else { return };
        record.revision = next;
        change(&mut record);
        self.submit(at, key, record, kind);
    }

    fn submit(&mut self, at: ZoneIndex, key: KeyId, record: Record, kind: &'static str) {
        self.event(kind, || format!("zone {at}, {key} at {} for {:?}", record.revision, record.targets));
        self.zones[at].disk.submit(key, record, Writer::User);
    }

    fn some_targets(&mut self, at: ZoneIndex) -> BTreeSet<ZoneName> {
        let others: Vec<_> = (0..self.zones.len()).filter(|other| *other != at).collect();
        let first = self.dice.pick(&others);
        let both = self.dice.chance(50);
        let chosen = others.into_iter().filter(|other| both || Some(*other) == first);
        chosen.map(|other| self.zones[other].name.clone()).collect()
    }
}
