//! A start: the store opened, every record opened and every check value verified, for a growing number of keys.
//!
//! ```text
//! cargo bench -p zonekms-benches --bench startup
//! ```

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kms_crypto::{Keyring, MacKey, OsEntropy, RootKey, SecretBytes};
use kms_lifecycle::Reach;
use kms_service::{
    CreateKey, CredentialConfig, Kms, KmsConfig, NoAuditLog, NoKeyringVault, OrganisationConfig, Parts, Running,
    SHRED_AFTER, ServiceClock,
};
use kms_storage::{ManifestKey, SledPaths, SledStore};
use kms_types::Description;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const SECRET: &[u8] = b"a secret that is long enough";
/// Keys made at once, so that their commits share the store's flushes.
const AT_ONCE: usize = 64;

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

fn starts(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("start and stop");
    group.sample_size(10);
    for keys in [100, 1_000, 10_000] {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let root = RootKey::generate(&OsEntropy).expect("randomness of the system");
        let keyring = Keyring::generate(&OsEntropy).expect("randomness of the system");
        let sealed = keyring.wrap(&root, &OsEntropy).expect("randomness of the system");
        runtime.block_on(async {
            let (kms, running) = start(directory.path(), &root, &sealed).await;
            make_keys(&kms, keys).await;
            drop(kms);
            running.stop().await.expect("an orderly stop");
        });
        group.throughput(Throughput::Elements(keys));
        group.bench_function(BenchmarkId::new("keys", keys), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let (kms, running) = start(directory.path(), &root, &sealed).await;
                    drop(kms);
                    running.stop().await.expect("an orderly stop");
                });
            });
        });
    }
    group.finish();
}

async fn start(directory: &Path, root: &RootKey, sealed: &[u8]) -> (Kms, Running) {
    let keyring = Keyring::unwrap(root, sealed).expect("the root key it was wrapped with");
    let paths = SledPaths { store: directory.join("store"), manifest: directory.join("manifest") };
    let tags = Arc::new(Tags(MacKey::new(SECRET)));
    let store = SledStore::open(paths, *keyring.store_id(), tags).await.expect("an intact store");
    let config = KmsConfig {
        zone: "ch-gva-2".parse().expect("a zone"),
        zones: vec!["ch-gva-2".parse().expect("a zone")],
        organisations: vec![OrganisationConfig {
            name: "acme".parse().expect("a name"),
            default_key: None,
            credentials: vec![
                CredentialConfig::new("acme", SecretBytes::copy_from(SECRET), None).expect("a credential"),
            ],
        }],
        keys_per_organisation: u32::MAX,
        replication: None,
    };
    let parts = Parts {
        store: Arc::new(store),
        keyring,
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::system()),
        audit: Arc::new(NoAuditLog),
        keyring_vault: Arc::new(NoKeyringVault),
        shred_after: SHRED_AFTER,
    };
    let started = Kms::start(config, parts).await.map_err(|cause| cause.to_string());
    started.expect("an intact store")
}

async fn make_keys(kms: &Kms, keys: u64) {
    let tag = MacKey::new(SECRET).tag(&[b"hello"]);
    let caller = kms.authenticate("acme", &[b"hello"], &tag).expect("the right secret");
    let mut making = JoinSet::new();
    for number in 0..keys {
        if making.len() >= AT_ONCE {
            making.join_next().await;
        }
        let (kms, caller) = (kms.clone(), caller.clone());
        making.spawn(async move {
            let name = format!("k{number}").parse().expect("a name");
            let request = CreateKey { name, description: Description::default(), reach: Reach::SingleZone };
            kms.create_key(&caller, request).await.expect("a new name");
        });
    }
    making.join_all().await;
}

criterion_group!(benches, starts);
criterion_main!(benches);
