//! Commits to the store on disk: one writer, and many that share a round of flush and fsync.
//!
//! ```text
//! cargo bench -p zonekms-benches --bench storage
//! ```

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kms_crypto::MacKey;
use kms_storage::{Commit, ManifestKey, NewBody, RecordKey, RecordVersion, SledPaths, SledStore, Store, Write};
use kms_types::{KeyId, OrganisationName};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// About what a key's record is, in bytes.
const RECORD: usize = 400;

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (store, _directory) = runtime.block_on(store());
    let organisation: OrganisationName = "acme".parse().expect("a name");
    let next = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("durable commits");
    group.sample_size(20);
    for writers in [1, 8, 32] {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("writers at the same time", writers), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for _ in 0..writers {
                        let key = new_key(&organisation, &next);
                        let store = Arc::clone(&store);
                        tasks.spawn(async move { store.commit(create(key)).await.expect("a new record") });
                    }
                    tasks.join_all().await
                })
            });
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (store, _directory) = runtime.block_on(store());
    let organisation: OrganisationName = "acme".parse().expect("a name");
    let key = new_key(&organisation, &AtomicU64::new(0));
    let _durable = runtime.block_on(store.commit(create(key.clone()))).expect("a new record");
    criterion.bench_function("read a record", |bencher| {
        bencher.iter(|| runtime.block_on(store.get(&key)).expect("a record that is there"));
    });
}

async fn store() -> (Arc<SledStore>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let paths = SledPaths { store: directory.path().join("store"), manifest: directory.path().join("manifest") };
    let tags = Arc::new(Tags(MacKey::new(&[7; 32])));
    let store = SledStore::open(paths, [1; 16], tags).await.expect("an empty directory");
    (Arc::new(store), directory)
}

fn new_key(organisation: &OrganisationName, next: &AtomicU64) -> RecordKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    RecordKey::key(organisation, KeyId::from_bytes(id))
}

fn create(key: RecordKey) -> Commit {
    let write = Write { key, expected: RecordVersion::NEVER, body: NewBody::Live(vec![7; RECORD]) };
    Commit { writes: vec![write], fence: None }
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);
