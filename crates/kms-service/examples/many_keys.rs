//! What many keys cost: time to start, memory, crypto calls, and durable creations, on a real store.
//!
//!     cargo run --release -p kms-service --example many_keys -- fill    DIR KEYS
//!     cargo run --release -p kms-service --example many_keys -- start   DIR
//!     cargo run --release -p kms-service --example many_keys -- encrypt DIR
//!     cargo run --release -p kms-service --example many_keys -- create  DIR CLIENTS KEYS
//!     cargo run --release -p kms-service --example many_keys -- appends DIR APPENDS
//!     cargo run --release -p kms-service --example many_keys -- shred   DIR
//!
//! `fill` makes keys in a new or known directory; `start` opens it, with every check value verified, and tells how long that
//! took and how much memory is resident; `encrypt` compares one hot key with all keys chosen uniformly; `create` makes keys by
//! so many clients at once, and `appends` is its measure: one writer's durable appends of a record's size on the same disk;
//! `shred` brings all records under a new epoch.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a measurement ends where a step fails")]

use kms_crypto::{EncryptionContext, Keyring, MacKey, OsEntropy, RootKey, SecretBytes};
use kms_lifecycle::Reach;
use kms_service::{
    Caller, CreateKey, CredentialConfig, KeyringNotStored, KeyringVault, Kms, KmsConfig, NoAuditLog,
    OrganisationConfig, Parts, Running, SHRED_AFTER, ServiceClock, SystemTimeSource, TimeSource,
};
use kms_storage::{ManifestKey, SledPaths, SledStore};
use kms_types::{Description, KeyId};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const SECRET: &[u8] = b"a secret that is long enough";
const AT_ONCE: u32 = 256;
/// What one creation writes, roughly: a key's record and a name's.
const RECORD: usize = 512;

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

struct Zone {
    kms: Kms,
    running: Running,
    caller: Caller,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["fill", directory, keys] => runtime.block_on(fill(directory.as_ref(), keys.parse().unwrap())),
        ["start", directory] => runtime.block_on(start(directory.as_ref())),
        ["encrypt", directory] => runtime.block_on(encrypt(directory.as_ref())),
        ["create", directory, clients, keys] => {
            runtime.block_on(create(directory.as_ref(), clients.parse().unwrap(), keys.parse().unwrap()));
        }
        ["shred", directory] => runtime.block_on(shred(directory.as_ref())),
        ["appends", directory, appends] => append(directory.as_ref(), appends.parse().unwrap()),
        _ => panic!("see the head of this file for what to ask for"),
    }
}

async fn fill(directory: &Path, keys: u32) {
    let zone = open(directory).await;
    let (time, ()) = timed(make_keys(&zone, AT_ONCE, keys)).await;
    println!("{keys} keys made in {:.2} s", time.as_secs_f64());
    zone.running.stop().await.unwrap();
}

async fn start(directory: &Path) {
    let before = resident();
    let (time, zone) = timed(open(directory)).await;
    let at_once = resident();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = resident();
    let keys = zone.kms.list_keys(&zone.caller).unwrap().len();
    println!(
        "{keys} keys: started in {:.0} ms; resident {} KiB before, {} KiB then, {} KiB two seconds later: {} B a key",
        time.as_secs_f64() * 1e3,
        before >> 10,
        at_once >> 10,
        later >> 10,
        (later - before) / (keys.max(1) as u64),
    );
    zone.running.stop().await.unwrap();
}

async fn encrypt(directory: &Path) {
    const ROUNDS: usize = 9;
    const CALLS: usize = 100_000;
    let zone = open(directory).await;
    let ids: Vec<KeyId> = zone.kms.list_keys(&zone.caller).unwrap().iter().map(|key| key.id()).collect();
    let mut random = 1_u64;
    let mut all: Vec<KeyId> = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.push(ids[usize::try_from(random >> 33).unwrap() % ids.len()]);
    }
    let hot = vec![ids[ids.len() / 2]; CALLS];
    let call = |ids: &[KeyId]| {
        let begin = SystemTimeSource.elapsed();
        for id in ids {
            let made = zone.kms.encrypt(&zone.caller, *id, &[7; 32], EncryptionContext::None);
            std::hint::black_box(made.ok().unwrap());
        }
        (SystemTimeSource.elapsed() - begin).as_secs_f64() * 1e9 / (ids.len() as f64)
    };
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (call(&hot), call(&all))).collect();
    rounds.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let (hot, all) = rounds[ROUNDS / 2];
    println!("{} keys: {hot:.0} ns a call on one key, {all:.0} ns uniformly: {:.3}", ids.len(), hot / all);
    zone.running.stop().await.unwrap();
}

async fn create(directory: &Path, clients: u32, keys: u32) {
    let zone = open(directory).await;
    let (time, ()) = timed(make_keys(&zone, clients, keys)).await;
    println!("{clients} clients: {:.0} durable creations a second", f64::from(keys) / time.as_secs_f64());
    zone.running.stop().await.unwrap();
}

async fn shred(directory: &Path) {
    let zone = open(directory).await;
    let before = resident();
    let (time, report) = timed(zone.kms.shred_now()).await;
    let resealed = report.unwrap().resealed;
    let rate = resealed as f64 / time.as_secs_f64();
    let (before, after) = (before >> 10, resident() >> 10);
    println!(
        "{resealed} records sealed anew in {:.1} s, {rate:.0}/s; {before} KiB resident before, {after} after",
        time.as_secs_f64()
    );
    zone.running.stop().await.unwrap();
}

fn append(directory: &Path, appends: u32) {
    fs::create_dir_all(directory).unwrap();
    let path = directory.join("appends");
    let mut file = fs::File::create(&path).unwrap();
    let begin = SystemTimeSource.elapsed();
    for _ in 0..appends {
        file.write_all(&[7; RECORD]).unwrap();
        file.sync_data().unwrap();
    }
    let time = SystemTimeSource.elapsed() - begin;
    fs::remove_file(path).unwrap();
    println!("one writer: {:.0} durable appends a second", f64::from(appends) / time.as_secs_f64());
}

/// Makes `keys` keys by `clients` at once, each of which waits for its answer before it asks again.
async fn make_keys(zone: &Zone, clients: u32, keys: u32) {
    let offset = zone.kms.list_keys(&zone.caller).unwrap().len();
    let mut work = JoinSet::new();
    for client in 0..clients {
        let (kms, caller) = (zone.kms.clone(), zone.caller.clone());
        work.spawn(async move {
            for number in (client..keys).step_by(usize::try_from(clients).unwrap()) {
                let name = format!("application-{}-{number:06}", offset).parse().unwrap();
                let request = CreateKey { name, description: Description::default(), reach: Reach::SingleZone };
                kms.create_key(&caller, request).await.unwrap();
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begin = SystemTimeSource.elapsed();
    let done = work.await;
    (SystemTimeSource.elapsed() - begin, done)
}

async fn open(directory: &Path) -> Zone {
    fs::create_dir_all(directory).unwrap();
    let keyring = keyring(&directory.join("keyring"));
    let tags = Arc::new(Tags(MacKey::new(keyring.store_id())));
    let paths = SledPaths { store: directory.join("store"), manifest: directory.join("manifest") };
    let (time, store) = timed(SledStore::open(paths, *keyring.store_id(), tags)).await;
    println!("the store was open after {:.0} ms, {} KiB resident", time.as_secs_f64() * 1e3, resident() >> 10);
    let store = store.unwrap();
    let credential = CredentialConfig::new("EXOclient", SecretBytes::copy_from(SECRET), None).unwrap();
    let config = KmsConfig {
        zone: "ch-gva-2".parse().unwrap(),
        zones: vec!["ch-gva-2".parse().unwrap()],
        organisations: vec![OrganisationConfig {
            name: "acme".parse().unwrap(),
            default_key: None,
            credentials: vec![credential],
        }],
        keys_per_organisation: u32::MAX,
        replication: None,
    };
    let parts = Parts {
        store: Arc::new(store),
        keyring,
        keyring_vault: Arc::new(File(directory.join("keyring"))),
        shred_after: SHRED_AFTER,
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::system()),
        audit: Arc::new(NoAuditLog),
    };
    let (kms, running) = Kms::start(config, parts).await.unwrap_or_else(|cause| panic!("{cause}"));
    let tag = MacKey::new(SECRET).tag(&[b"hello"]);
    let caller = kms.authenticate("EXOclient", &[b"hello"], &tag).unwrap();
    Zone { kms, running, caller }
}

/// The file that a keyring is kept in.
struct File(PathBuf);

impl KeyringVault for File {
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored> {
        let wrapped = keyring.wrap(&root(), &OsEntropy).unwrap();
        fs::write(&self.0, wrapped).map_err(|cause| KeyringNotStored::new(cause.to_string()))
    }
}

/// A root key known to everybody: this is no place for real keys.
fn root() -> RootKey {
    RootKey::from_bytes(&std::array::from_fn::<u8, 32, _>(|place| u8::try_from(place).unwrap())).unwrap()
}

/// The keyring in that file.
fn keyring(path: &Path) -> Keyring {
    let root = root();
    match fs::read(path) {
        Ok(bytes) => Keyring::unwrap(&root, &bytes).unwrap(),
        Err(_) => {
            let keyring = Keyring::generate(&OsEntropy).unwrap();
            fs::write(path, keyring.wrap(&root, &OsEntropy).unwrap()).unwrap();
            keyring
        }
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
