//! The account a store keeps of itself, by which loss and rollback are noticed.
//!
//! Encoding, integers big-endian: `01 | store id (16) | revision (8) | live records (8) | sum (32) | tag (32)`. The sum is
//! the exclusive or of one keyed tag for every record, tombstones included, over its path, version, revision and kind:
//! without the key nobody can take away, add or set back a record and keep the sum. Bodies are not in it: they are sealed,
//! and a damaged one is found where it is opened, while the others go on serving.

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
const RECORD_LABEL: &[u8] = b"ZoneKMS record 1\0";

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_id: [u8; 16],
    pub(crate) revision: StoreRevision,
    pub(crate) live: u64,
    sum: [u8; 32],
}

impl Manifest {
    /// Whether both count the same records, at whatever revision.
    pub(crate) fn counts_the_same(&self, other: &Self) -> bool {
        self.store_id == other.store_id && self.live == other.live && self.sum == other.sum
    }
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
    pub(crate) const fn empty(&self) -> Manifest {
        Manifest { store_id: self.store_id, revision: StoreRevision::ZERO, live: 0, sum: [0; 32] }
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

    pub(crate) fn encode(&self, manifest: &Manifest) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = FORMAT;
        bytes[1..17].copy_from_slice(&manifest.store_id);
        bytes[17..25].copy_from_slice(&manifest.revision.get().to_be_bytes());
        bytes[25..33].copy_from_slice(&manifest.live.to_be_bytes());
        bytes[33..65].copy_from_slice(&manifest.sum);
        let tag = self.key.tag(&[MANIFEST_LABEL, &bytes[..65]]);
        bytes[65..].copy_from_slice(&tag);
        bytes
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Manifest, ManifestFault> {
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
        let mut sum = [0; 32];
        sum.copy_from_slice(&bytes[33..65]);
        let revision = StoreRevision::new(number(&bytes[17..25]));
        Ok(Manifest { store_id: self.store_id, revision, live: number(&bytes[25..33]), sum })
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
                let mut manifest = accountant.empty();
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
        let mut manifest = accountant.empty();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        accountant.add(&mut manifest, &key, &entry);
        assert_eq!(manifest.live, 1);
        accountant.remove(&mut manifest, &key, &entry);
        assert!(manifest == accountant.empty());
    }

    #[test]
    fn an_altered_account_is_refused() {
        let accountant = accountant();
        let mut manifest = accountant.empty();
        let (key, entry) = record(1, 1, 1, Content::Live(Arc::from([1])));
        accountant.add(&mut manifest, &key, &entry);
        manifest.revision = StoreRevision::new(9);
        let good = accountant.encode(&manifest);
        assert!(accountant.decode(&good).unwrap() == manifest);
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
