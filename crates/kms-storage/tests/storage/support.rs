//! Stores in temporary directories, record keys by number, and bodies that tell damage as sealed ones do.

use hmac::{Hmac, KeyInit, Mac};
use kms_storage::{ManifestKey, OpenError, RecordKey, RecordVersion, SledPaths, SledStore};
use kms_types::KeyId;
use std::path::Path;
use std::sync::Arc;

pub(crate) const STORE_ID: [u8; 16] = *b"a test's storeid";

struct TestKey;

impl ManifestKey for TestKey {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(b"manifest", parts)
    }
}

pub(crate) fn manifest_key() -> Arc<dyn ManifestKey> {
    Arc::new(TestKey)
}

/// The store in `<folder>/store` with its manifest in `<folder>/manifest`.
pub(crate) fn paths(folder: &Path) -> SledPaths {
    SledPaths { store: folder.join("store"), manifest: folder.join("manifest") }
}

pub(crate) async fn open(folder: &Path) -> Result<SledStore, OpenError> {
    SledStore::open(paths(folder), STORE_ID, manifest_key()).await
}

/// A key record of organisation `acme`; records of one `table` sort by `number`.
pub(crate) fn record(table: u32, number: u64) -> RecordKey {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&table.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    RecordKey::key(&"acme".parse().unwrap(), KeyId::from_bytes(id))
}

/// `content` bound to its place and version by a tag, as the service seals it.
pub(crate) fn sealed(key: &RecordKey, version: RecordVersion, content: &[u8]) -> Vec<u8> {
    let tag = mac(b"body", &[key.as_str().as_bytes(), &version.get().to_be_bytes(), content]);
    [content, &tag].concat()
}

/// The content, if it is what was sealed for that place and version.
pub(crate) fn unsealed<'a>(key: &RecordKey, version: RecordVersion, body: &'a [u8]) -> Option<&'a [u8]> {
    let (content, tag) = body.split_last_chunk::<32>()?;
    (*tag == mac(b"body", &[key.as_str().as_bytes(), &version.get().to_be_bytes(), content])).then_some(content)
}

/// Numbers from a seed, so that a failure can be seen again (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
