//! How fast keys reach other zones: three zones with stores on disk and real TLS links on loopback.
//!
//! Keys are made and registered for two targets while the links are down, as in a long partition; then the links come up, and
//! the time is taken until every replica has confirmed every key. Shown for a growing number of keys: the cost of a key must
//! not grow with their number.
//!
//!     cargo bench -p zonekms-benches --bench replication [-- KEYS...]

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and ends where a step fails")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use kms_crypto::{Keyring, MacKey, OsEntropy, SecretBytes, ZonePrivateKey};
use kms_lifecycle::Reach;
use kms_link::{LinkConfig, LinkLimits, NoFaults, PeerConfig, TlsIdentity, generate_identity};
use kms_service::{
    Caller, CreateKey, CredentialConfig, Kms, KmsConfig, Lag, NoAuditLog, NoKeyringVault, OrganisationConfig, Parts,
    ReplicationConfig, Running, SHRED_AFTER, ServiceClock,
};
use kms_storage::{ManifestKey, SledPaths, SledStore};
use kms_types::{Description, ZoneName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 3] = ["ch-gva-2", "ch-dk-2", "de-fra-1"];
const SECRET: &[u8] = b"a secret that is long enough";

/// Keys made at once, so that their commits share the store's flushes.
const AT_ONCE: usize = 64;

struct Zone {
    name: ZoneName,
    kms: Kms,
    running: Running,
    caller: Caller,
    identity: TlsIdentity,
    listener: TcpListener,
    _directory: TempDir,
}

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

fn main() {
    let asked: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![1_000, 4_000, 10_000] } else { asked };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{:>8} {:>12} {:>16} {:>14} {:>8}", "keys", "caught up in", "keys/s a target", "µs a key", "ratio");
    let mut first = None;
    for keys in counts {
        let time = runtime.block_on(catch_up(keys));
        let cost = time.as_secs_f64() * 1e6 / f64::from(keys);
        let ratio = cost / *first.get_or_insert(cost);
        let rate = f64::from(keys) / time.as_secs_f64();
        println!("{keys:>8} {:>10.2} s {rate:>16.0} {cost:>14.0} {ratio:>8.2}", time.as_secs_f64());
    }
}

/// How long it takes until two zones have confirmed `keys` keys, from the moment the links may come up.
async fn catch_up(keys: u32) -> Duration {
    let private_keys: Vec<_> = NAMES.iter().map(|_| ZonePrivateKey::generate(&OsEntropy).unwrap()).collect();
    let mut zones = Vec::new();
    for number in 0..NAMES.len() {
        zones.push(zone(number, &private_keys).await);
    }
    make_keys(&zones[0], keys).await;

    let begin = Instant::now();
    let shutdown = CancellationToken::new();
    let mut links = JoinSet::new();
    let peers: Vec<_> = zones
        .iter()
        .map(|zone| PeerConfig {
            zone: zone.name.clone(),
            address: zone.listener.local_addr().unwrap().to_string(),
            certificates: vec![zone.identity.certificate().clone()],
        })
        .collect();
    let mut services = Vec::new();
    for zone in zones {
        let config = LinkConfig {
            peers: peers.iter().filter(|peer| peer.zone != zone.name).cloned().collect(),
            zone: zone.name,
            identity: zone.identity,
            limits: LinkLimits::default(),
        };
        let endpoint = zone.kms.link_endpoint().unwrap();
        links.spawn(kms_link::run(zone.listener, config, endpoint, Arc::new(NoFaults), shutdown.clone()));
        services.push((zone.kms, zone.running, zone._directory));
    }
    while services[0].0.replication_lag().iter().any(|(_, lag)| !matches!(lag, Lag::None)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let time = begin.elapsed();
    shutdown.cancel();
    while links.join_next().await.is_some() {}
    for (_, running, _directory) in services {
        running.stop().await.unwrap();
    }
    time
}

async fn zone(number: usize, private_keys: &[ZonePrivateKey]) -> Zone {
    let name: ZoneName = NAMES[number].parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&OsEntropy).unwrap();
    let paths = SledPaths { store: directory.path().join("store"), manifest: directory.path().join("manifest") };
    let store = SledStore::open(paths, *keyring.store_id(), Arc::new(Tags(MacKey::new(SECRET)))).await.unwrap();
    let own = ZonePrivateKey::from_bytes(private_keys[number].expose_bytes());
    let peers = NAMES.iter().zip(private_keys).filter(|(peer, _)| **peer != NAMES[number]);
    let config = KmsConfig {
        zone: name.clone(),
        zones: NAMES.iter().map(|name| name.parse().unwrap()).collect(),
        organisations: vec![OrganisationConfig {
            name: "acme".parse().unwrap(),
            default_key: None,
            credentials: vec![CredentialConfig::new("acme", SecretBytes::copy_from(SECRET), None).unwrap()],
        }],
        keys_per_organisation: u32::MAX,
        replication: Some(ReplicationConfig {
            private_keys: vec![own],
            peers: peers.map(|(peer, key)| (peer.parse().unwrap(), key.public_key())).collect(),
        }),
    };
    let parts = Parts {
        store: Arc::new(store),
        keyring,
        keyring_vault: Arc::new(NoKeyringVault),
        shred_after: SHRED_AFTER,
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::system()),
        audit: Arc::new(NoAuditLog),
    };
    let (kms, running) = Kms::start(config, parts).await.map_err(|cause| cause.to_string()).unwrap();
    let tag = MacKey::new(SECRET).tag(&[b"hello"]);
    let caller = kms.authenticate("acme", &[b"hello"], &tag).unwrap();
    let identity = generate_identity(&name).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Zone { name, kms, running, caller, identity, listener, _directory: directory }
}

/// Makes keys and registers them for both other zones.
async fn make_keys(origin: &Zone, keys: u32) {
    let mut making = JoinSet::new();
    for number in 0..keys {
        if making.len() >= AT_ONCE {
            making.join_next().await.unwrap().unwrap();
        }
        let (kms, caller) = (origin.kms.clone(), origin.caller.clone());
        making.spawn(async move {
            let name = format!("k{number}").parse().unwrap();
            let request = CreateKey { name, description: Description::default(), reach: Reach::MultiZone };
            let key = kms.create_key(&caller, request).await.unwrap();
            for target in &NAMES[1..] {
                kms.replicate_key(&caller, key.id(), target.parse().unwrap()).await.unwrap();
            }
        });
    }
    while making.join_next().await.is_some() {}
}
