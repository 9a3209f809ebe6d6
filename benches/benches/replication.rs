//! How fast a zone that has nothing receives all keys of another, and whether a key costs the same however many there are:
//! real services and sealed records, stores in memory, and links without TLS.
//!
//! ```text
//! cargo bench -p zonekms-benches --bench replication
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kms_crypto::{Entropy, EntropyError, Keyring, MacKey, OsEntropy, SecretBytes, ZonePrivateKey};
use kms_lifecycle::Reach;
use kms_service::{
    BadFrame, Caller, CreateKey, CredentialConfig, FrameSender, Kms, KmsConfig, OrganisationConfig, Parts,
    ReplicationConfig, Running, ServiceClock,
};
use kms_storage::MemoryStore;
use kms_types::{Description, ZoneName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const COUNTS: [usize; 3] = [1_000, 4_000, 10_000];
const NAMES: [&str; 2] = ["ch-gva-2", "de-fra-1"];
const SECRET: &[u8] = b"a secret that is long enough";

/// The same root of all keys at every start of a zone, as its keyring file would hold it.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(7);
        Ok(())
    }
}

/// One zone while it runs.
struct Zone {
    kms: Kms,
    caller: Caller,
    _running: Running,
}

fn catch_up(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("catch up");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for count in COUNTS {
        let store = Arc::new(MemoryStore::new());
        runtime.block_on(fill(&store, count));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(once(&store, count))).sum::<Duration>());
        });
    }
    group.finish();
}

/// Keys in the store of the first zone, all registered for the second.
async fn fill(store: &Arc<MemoryStore>, count: usize) {
    let zone = start(0, Arc::clone(store), count).await;
    for number in 0..count {
        let name = format!("k{number}").parse().expect("a name");
        let request = CreateKey { name, description: Description::default(), reach: Reach::MultiZone };
        let key = zone.kms.create_key(&zone.caller, request).await.expect("room for the key");
        zone.kms.replicate_key(&zone.caller, key.id(), name_of(1)).await.expect("a zone it is not in");
    }
    // Not stopped: that would close the store, which the next start needs.
    drop(zone);
}

/// From the moment the link is up until the origin knows that the other zone has every key.
async fn once(store: &Arc<MemoryStore>, count: usize) -> Duration {
    let origin = start(0, Arc::clone(store), count).await;
    let replica = start(1, Arc::new(MemoryStore::new()), count).await;
    assert_eq!(behind(&origin.kms), count, "nothing is there yet");
    let began = Instant::now();
    let tasks = link(&origin.kms, &replica.kms);
    while behind(&origin.kms) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    assert_eq!(replica.kms.list_keys(&replica.caller).expect("a list").len(), count);
    tasks.iter().for_each(JoinHandle::abort);
    took
}

fn behind(kms: &Kms) -> usize {
    kms.replication_lag().iter().map(|(_, lag)| lag.keys()).sum()
}

/// Carries frames both ways, as a connection that the origin dialled would.
fn link(origin: &Kms, replica: &Kms) -> [JoinHandle<Result<(), BadFrame>>; 2] {
    let (sending, taking) = (endpoint(origin), endpoint(replica));
    let (outgoing, mut requests) = FrameSender::channel(16);
    let (answering, mut answers) = FrameSender::channel(16);
    sending.origin_up(&name_of(1), outgoing);
    let asked = tokio::spawn(async move {
        while let Some(frame) = requests.receive().await {
            taking.replica_received(&name_of(0), frame, &answering).await?;
        }
        Ok(())
    });
    let answered = tokio::spawn(async move {
        while let Some(frame) = answers.receive().await {
            sending.origin_received(&name_of(1), frame).await?;
        }
        Ok(())
    });
    [asked, answered]
}

fn endpoint(kms: &Kms) -> Arc<dyn kms_service::LinkEndpoint> {
    kms.link_endpoint().expect("the zone has peers")
}

async fn start(number: usize, store: Arc<MemoryStore>, count: usize) -> Zone {
    let credential = CredentialConfig::new("acme", SecretBytes::copy_from(SECRET), None).expect("a credential");
    let organisation = "acme".parse().expect("a name");
    let config = KmsConfig {
        zone: name_of(number),
        zones: vec![name_of(0), name_of(1)],
        organisations: vec![OrganisationConfig {
            name: organisation,
            default_key: None,
            credentials: vec![credential],
        }],
        keys_per_organisation: u32::try_from(count).expect("few keys"),
        replication: Some(ReplicationConfig {
            private_keys: vec![private_key()],
            peers: [(name_of(1 - number), private_key().public_key())].into(),
        }),
    };
    let parts = Parts {
        store,
        keyring: Keyring::generate(&Fixed).expect("bytes"),
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::system()),
    };
    let (kms, running) = Kms::start(config, parts).await.expect("a zone starts on its own store");
    let tag = MacKey::new(SECRET).tag(&[b"hello"]);
    let caller = kms.authenticate("acme", &[b"hello"], &tag).expect("its own credential");
    Zone { kms, caller, _running: running }
}

fn name_of(number: usize) -> ZoneName {
    NAMES[number].parse().expect("a zone name")
}

/// Both zones have the same one: what is measured is the work.
fn private_key() -> ZonePrivateKey {
    ZonePrivateKey::generate(&Fixed).expect("bytes")
}

criterion_group!(benches, catch_up);
criterion_main!(benches);
