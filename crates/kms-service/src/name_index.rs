//! Which key of an organisation has a name, in as little memory as it takes.
//!
//! The names themselves lie with the keys; the index holds a hash of each and the key's id.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use kms_types::{KeyId, KeyName};
use std::hash::{BuildHasher, RandomState};

/// The keys of one organisation by name.
#[derive(Default)]
pub(crate) struct NameIndex {
    keys: HashTable<Named>,
    hasher: RandomState,
}

/// One key. The bytes of the hash, as the id, need no alignment: so nothing is lost between them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Named {
    hash: [u8; 4],
    id: KeyId,
}

impl NameIndex {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Ids of all keys, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|named| named.id)
    }

    /// The key that has `name`; `has_it` says whether a key has it.
    pub(crate) fn find(&self, name: &KeyName, has_it: impl Fn(KeyId) -> bool) -> Option<KeyId> {
        let hash = self.hash(name);
        self.keys.find(spread(hash), |named| named.hash == hash && has_it(named.id)).map(|named| named.id)
    }

    /// The key `id` has `name`.
    pub(crate) fn insert(&mut self, name: &KeyName, id: KeyId) {
        let named = Named { hash: self.hash(name), id };
        self.keys.insert_unique(spread(named.hash), named, |named| spread(named.hash));
    }

    /// The key `id` no longer has `name`.
    pub(crate) fn remove(&mut self, name: &KeyName, id: KeyId) {
        let gone = Named { hash: self.hash(name), id };
        match self.keys.entry(spread(gone.hash), |named| *named == gone, |named| spread(named.hash)) {
            Entry::Occupied(entry) => drop(entry.remove()),
            Entry::Vacant(_) => {}
        }
    }

    fn hash(&self, name: &KeyName) -> [u8; 4] {
        let [a, b, c, d, ..] = self.hasher.hash_one(name).to_ne_bytes();
        [a, b, c, d]
    }
}

/// The table takes the place from the low bits of a hash and a mark from the high ones: both of 32 bits that are random.
fn spread(hash: [u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(hash)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_their_keys() {
        let name = |number: u32| format!("k{number}").parse::<KeyName>().unwrap();
        let id = |number: u32| format!("019eef19-73ef-7ce3-9ea1-0000{number:08x}").parse::<KeyId>().unwrap();
        let mut index = NameIndex::default();
        for number in 0..2_000 {
            index.insert(&name(number), id(number));
        }
        for number in 0..2_000 {
            assert_eq!(index.find(&name(number), |other| other == id(number)), Some(id(number)));
        }
        assert_eq!(index.find(&name(5), |_| false), None, "another name of the same hash");
        index.remove(&name(5), id(6));
        assert_eq!(index.len(), 2_000, "that key has another name");
        index.remove(&name(5), id(5));
        assert_eq!(index.find(&name(5), |other| other == id(5)), None);
        let mut ids: Vec<_> = index.ids().collect();
        ids.sort();
        assert!(ids.into_iter().eq((0..2_000).filter(|number| *number != 5).map(id)));
    }
}
