//! The account a store keeps of itself, by which loss and rollback are noticed.
//!
//! The account's sum is the exclusive or of one keyed tag for every record, tombstones included, over its path, version,
//! revision and kind. Bodies are not in it: they are sealed, and a damaged one is found where it is opened, while the others
//! go on serving.
//!
//! The sum is known in memory only, where it is counted anew at every opening. Such a sum is linear: whoever saw it at
//! enough revisions would know by how much each change moves it, and could pick old records that move it by nothing when
//! they are put back together. So what is written is a statement: `01 | store id (16) | revision (8) | live records (8) |
//! sum's tag (32) | tag (32)`, integers big-endian. The sum's tag is keyed and covers the sum with the store id, the revision
//! and the number of live records; it shows nothing of the sum, not even that two revisions have the same one. Without the
//! key nobody can tell which records could be taken away, added or set back without its being noticed.

use crate::record_key::RecordKey;
use crate::stored::StoreRevision;
use crate::view::{Content, Entry};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A keyed hash that the caller provides; the store never sees the key.
pub trait ManifestKey: Send + Sync + 'static {
    /// The tag of the parts put together, such as HMAC-SHA-256.
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32];
}

/// Bytes of an encoded manifest.
pub(crate) const LEN: usize = 1 + 16 + 8 + 8 + 32 + 32;

/// The format this build writes, and the newest it reads.
pub(crate) const FORMAT: u8 = 1;
const MANIFEST_LABEL: &[u8] = b"ZoneKMS manifest 1\0";
const SUM_LABEL: &[u8] = b"ZoneKMS sum 1\0";
const RECORD_LABEL: &[u8] = b"ZoneKMS record 1\0";

/// The account itself. It is never written, printed or compared but through the tag of its sum.
#[derive(Clone)]
pub(crate) struct Manifest {
    pub(crate) revision: StoreRevision,
    pub(crate) live: u64,
    sum: [u8; 32],
}

impl Manifest {
    /// Counts in all that `other` counted: other records of the same store.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.live = self.live.wrapping_add(other.live);
        for (sum, tag) in self.sum.iter_mut().zip(other.sum) {
            *sum ^= tag;
        }
    }

    /// The same records, at another revision.
    pub(crate) fn at(self, revision: StoreRevision) -> Self {
        Self { revision, ..self }
    }
}

/// What was written of an account, and found authentic.
pub(crate) struct Statement {
    pub(crate) revision: StoreRevision,
    pub(crate) live: u64,
    sum_tag: [u8; 32],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ManifestFault {
    Newer { found: u8 },
    OtherStore,
    Malformed,
}

/// Who keeps the account: the key and the store it is for.
#[derive(Clone)]
pub(crate) struct Accountant {
    pub(crate) store_id: [u8; 16],
    pub(crate) key: Arc<dyn ManifestKey>,
}

impl Accountant {
    /// The account of a store without records.
    pub(crate) const fn empty() -> Manifest {
        Manifest { revision: StoreRevision::ZERO, live: 0, sum: [0; 32] }
    }

    /// Counts a record in.
    pub(crate) fn add(&self, manifest: &mut Manifest, key: &RecordKey, entry: &Entry) {
        self.toggle(manifest, key, entry);
        match entry.content {
            Content::Live(_) => manifest.live = manifest.live.wrapping_add(1),
            Content::Tombstone => {}
        }
    }

    /// Counts a record out that was counted in.
    pub(crate) fn remove(&self, manifest: &mut Manifest, key: &RecordKey, entry: &Entry) {
        self.toggle(manifest, key, entry);
        match entry.content {
            Content::Live(_) => manifest.live = manifest.live.wrapping_sub(1),
            Content::Tombstone => {}
        }
    }

    /// Whether the statement was made of these records at this revision.
    pub(crate) fn agree(&self, statement: &Statement, manifest: &Manifest) -> bool {
        statement.revision == manifest.revision
            && statement.live == manifest.live
            && bool::from(statement.sum_tag.ct_eq(&self.sum_tag(manifest)))
    }

    pub(crate) fn encode(&self, manifest: &Manifest) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = FORMAT;
        bytes[1..17].copy_from_slice(&self.store_id);
        bytes[17..25].copy_from_slice(&manifest.revision.get().to_be_bytes());
        bytes[25..33].copy_from_slice(&manifest.live.to_be_bytes());
        bytes[33..65].copy_from_slice(&self.sum_tag(manifest));
        let tag = self.key.tag(&[MANIFEST_LABEL, &bytes[..65]]);
        bytes[65..].copy_from_slice(&tag);
        bytes
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Statement, ManifestFault> {
        match bytes.first() {
            Some(&found) if found > FORMAT => return Err(ManifestFault::Newer { found }),
            Some(&FORMAT) => {}
            Some(_) | None => return Err(ManifestFault::Malformed),
        }
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| ManifestFault::Malformed)?;
        if bytes[1..17] != self.store_id {
            return Err(ManifestFault::OtherStore);
        }
        let tag = self.key.tag(&[MANIFEST_LABEL, &bytes[..65]]);
        if !bool::from(tag.ct_eq(&bytes[65..])) {
            return Err(ManifestFault::Malformed);
        }
        let mut sum_tag = [0; 32];
        sum_tag.copy_from_slice(&bytes[33..65]);
        let revision = StoreRevision::new(number(&bytes[17..25]));
        Ok(Statement { revision, live: number(&bytes[25..33]), sum_tag })
    }

    fn sum_tag(&self, manifest: &Manifest) -> [u8; 32] {
        self.key.tag(&[
            SUM_LABEL,
            &self.store_id,
            &manifest.revision.get().to_be_bytes(),
            &manifest.live.to_be_bytes(),
            &manifest.sum,
        ])
    }

    fn toggle(&self, manifest: &mut Manifest, key: &RecordKey, entry: &Entry) {
        let kind = match entry.content {
            Content::Live(_) => [0],
            Content::Tombstone => [1],
        };
        let tag = self.key.tag(&[
            RECORD_LABEL,
            &entry.version.get().to_be_bytes(),
            &entry.revision.get().to_be_bytes(),
            &kind,
            key.as_str().as_bytes(),
        ]);
        for (sum, tag) in manifest.sum.iter_mut().zip(tag) {
            *sum ^= tag;
        }
    }
}

/// The big-endian number in at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stored::RecordVersion;
    use hmac::{Hmac, KeyInit, Mac};

    pub(crate) struct TestKey(pub(crate) [u8; 32]);

    impl ManifestKey for TestKey {
        fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.0).unwrap();
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes().into()
        }
    }

    pub(crate) fn accountant() -> Accountant {
        Accountant { store_id: *b"a test's storeid", key: Arc::new(TestKey([7; 32])) }
    }

    fn record(last: u8, version: u64, revision: u64, content: Content) -> (RecordKey, Entry) {
        let key = RecordKey::parse(&format!("key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}")).unwrap();
        (key, Entry { version: RecordVersion::new(version), revision: StoreRevision::new(revision), content })
    }

    #[test]
    fn the_account_tells_every_difference_between_two_sets_of_records() {
        let accountant = accountant();
        let live = || Content::Live(Arc::from([1]));
        let sets = [
            vec![],
            vec![record(1, 1, 1, live())],
            vec![record(2, 1, 1, live())],
            vec![record(1, 2, 1, live())],
            vec![record(1, 1, 2, live())],
            vec![record(1, 1, 1, Content::Tombstone)],
            vec![record(1, 1, 1, live()), record(2, 1, 1, live())],
        ];
        let accounts: Vec<_> = sets
            .iter()
            .map(|set| {
                let mut manifest = Accountant::empty();
                set.iter().for_each(|(key, entry)| accountant.add(&mut manifest, key, entry));
                manifest.sum
            })
            .collect();
        for (one, sum) in accounts.iter().enumerate() {
            for (other, other_sum) in accounts.iter().enumerate() {
                assert_eq!(one == other, sum == other_sum, "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_counted_out_leaves_no_trace() {
        let accountant = accountant();
        let mut manifest = Accountant::empty();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        accountant.add(&mut manifest, &key, &entry);
        assert_eq!(manifest.live, 1);
        accountant.remove(&mut manifest, &key, &entry);
        assert!(manifest.live == 0 && manifest.sum == [0; 32]);
    }

    #[test]
    fn what_is_written_shows_nothing_of_the_sum() {
        let accountant = accountant();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        let mut manifest = Accountant::empty();
        accountant.add(&mut manifest, &key, &entry);
        let encoded: Vec<_> = (1..=50)
            .map(|revision| {
                manifest.revision = StoreRevision::new(revision);
                accountant.encode(&manifest)
            })
            .collect();
        for (at, bytes) in encoded.iter().enumerate() {
            assert!(bytes.windows(32).all(|window| window != manifest.sum));
            assert!(encoded[..at].iter().all(|other| other[33..65] != bytes[33..65]), "one sum, two revisions");
        }
    }

    #[test]
    fn a_statement_is_of_one_revision_one_number_and_one_sum() {
        let accountant = accountant();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        let mut manifest = Accountant::empty();
        accountant.add(&mut manifest, &key, &entry);
        let statement = accountant.decode(&accountant.encode(&manifest)).unwrap();
        assert!(accountant.agree(&statement, &manifest));
        let others = [
            Manifest { revision: StoreRevision::new(1), ..manifest.clone() },
            Manifest { live: 2, ..manifest.clone() },
            Manifest { sum: [0; 32], ..manifest.clone() },
        ];
        assert!(others.iter().all(|other| !accountant.agree(&statement, other)));
        let other_store = Accountant { store_id: [0; 16], ..accountant };
        assert!(!other_store.agree(&statement, &manifest));
    }

    /// Somebody keeps an old copy of every record, watches what is written while the records are changed one by one, and
    /// solves for a set of changes that cancel each other out in what he saw: more changes than the sum has bits.
    #[test]
    fn what_was_written_does_not_tell_which_records_can_be_put_back_together() {
        const RECORDS: u16 = 280;
        let accountant = accountant();
        let numbered = |number: u16, version: u64, revision: u64| {
            let key = RecordKey::parse(&format!("key/acme/019eef19-73ef-7ce3-9ea1-fcaa367e{number:04x}")).unwrap();
            let content = Content::Live(Arc::from([1]));
            (key, Entry { version: RecordVersion::new(version), revision: StoreRevision::new(revision), content })
        };
        let old: Vec<_> = (0..RECORDS).map(|number| numbered(number, 1, 1)).collect();
        let mut manifest = Accountant::empty();
        old.iter().for_each(|(key, entry)| accountant.add(&mut manifest, key, entry));
        let seen = |manifest: &Manifest| -> [u8; 32] { accountant.encode(manifest)[33..65].try_into().unwrap() };
        let mut new = Vec::new();
        let mut moved_by = Vec::new();
        for (number, (old_key, old_entry)) in (0..RECORDS).zip(&old) {
            let before = seen(&manifest);
            let (key, entry) = numbered(number, 2, u64::from(number) + 2);
            accountant.remove(&mut manifest, old_key, old_entry);
            accountant.add(&mut manifest, &key, &entry);
            manifest.revision = entry.revision;
            moved_by.push(xor(before, seen(&manifest)));
            new.push((key, entry));
        }
        let put_back = cancelling(&moved_by).expect("more changes than bits always hold such a set");
        assert!(!put_back.is_empty());

        let mut counted = Accountant::empty();
        for (number, (old, new)) in old.iter().zip(&new).enumerate() {
            let (key, entry) = if put_back.contains(&number) { old } else { new };
            accountant.add(&mut counted, key, entry);
        }
        counted.revision = manifest.revision;
        let statement = accountant.decode(&accountant.encode(&manifest)).unwrap();
        assert!(accountant.agree(&statement, &manifest));
        assert!(!accountant.agree(&statement, &counted), "{} records were put back unnoticed", put_back.len());
    }

    /// Some of the vectors, by their numbers, whose exclusive or is zero (Gaussian elimination over GF(2)).
    fn cancelling(vectors: &[[u8; 32]]) -> Option<Vec<usize>> {
        let mut basis: Vec<([u8; 32], Vec<usize>)> = Vec::new();
        for (number, vector) in vectors.iter().enumerate() {
            let (mut rest, mut members) = (*vector, vec![number]);
            for (pivot, pivot_members) in &basis {
                if leading_bit(pivot).is_some_and(|(at, bit)| rest[at] & bit != 0) {
                    rest = xor(rest, *pivot);
                    members = symmetric_difference(&members, pivot_members);
                }
            }
            if leading_bit(&rest).is_none() {
                return Some(members);
            }
            basis.push((rest, members));
        }
        None
    }

    fn leading_bit(vector: &[u8; 32]) -> Option<(usize, u8)> {
        vector.iter().position(|byte| *byte != 0).map(|at| (at, 0x80 >> vector[at].leading_zeros()))
    }

    fn symmetric_difference(one: &[usize], other: &[usize]) -> Vec<usize> {
        let only = |of: &[usize], not: &[usize]| -> Vec<usize> {
            of.iter().filter(|number| !not.contains(number)).copied().collect()
        };
        [only(one, other), only(other, one)].concat()
    }

    fn xor(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|at| one[at] ^ other[at])
    }

    #[test]
    fn an_altered_account_is_refused() {
        let accountant = accountant();
        let mut manifest = Accountant::empty();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        accountant.add(&mut manifest, &key, &entry);
        manifest.revision = StoreRevision::new(9);
        let good = accountant.encode(&manifest);
        assert!(accountant.agree(&accountant.decode(&good).unwrap(), &manifest));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(accountant.decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(accountant.decode(&good[..length]).is_err(), "length {length}");
        }
        let stranger = Accountant { key: Arc::new(TestKey([8; 32])), ..accountant };
        assert_eq!(stranger.decode(&good).err(), Some(ManifestFault::Malformed));
    }
}
