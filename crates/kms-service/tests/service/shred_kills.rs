//! SIGKILL at any instant of final deletions and passes: what stays opens, what is gone stays gone, and a pass ends the work.

use crate::zone::{DAY, NO_CONTEXT, START};
use kms_crypto::{Keyring, MacKey, OsEntropy, RootKey, SecretBytes};
use kms_lifecycle::{Command as KeyCommand, Reach};
use kms_service::{
    Caller, CreateKey, CredentialConfig, KeyringNotStored, KeyringVault, Kms, KmsConfig, KmsError, NoAuditLog,
    OrganisationConfig, Parts, Running, SHRED_AFTER, ServiceClock,
};
use kms_storage::{Body, ManifestKey, SledPaths, SledStore, Store};
use kms_testkit::FakeTime;
use kms_types::{DeletionDelay, Description, KeyId};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const FOLDER: &str = "ZONEKMS_SHRED_FOLDER";
const ROUND: &str = "ZONEKMS_SHRED_ROUND";
const SECRET: &[u8] = b"a secret that is long enough";

/// Deletions in one child's life, if nobody kills it; each takes eight days.
const DELETIONS: u32 = 40;

/// Days from one child to the next.
const ROUND_DAYS: u32 = 400;

#[tokio::test]
async fn kills_in_passes_lose_nothing_and_revive_nothing() {
    kill_again_and_again(8).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo test -p kms-service --test service -- --ignored --nocapture hundred_kills"]
async fn a_hundred_kills_in_passes_lose_nothing_and_revive_nothing() {
    kill_again_and_again(100).await;
}

/// What the children told of.
#[derive(Default)]
struct Told {
    kept: Vec<(KeyId, Vec<u8>)>,
    gone: Vec<KeyId>,
    passes: usize,
}

impl Told {
    /// Whole lines only: a line cut short by the kill is no answer.
    fn read(&mut self, text: &str) {
        let whole = text.rsplit_once('\n').map_or("", |(whole, _cut)| whole);
        for line in whole.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["kept", id, ciphertext] => self.kept.push((id.parse().unwrap(), from_hex(ciphertext))),
                ["gone", id] => self.gone.push(id.parse().unwrap()),
                ["shredded"] => self.passes += 1,
                _ => {}
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "a long test tells figures")]
async fn kill_again_and_again(kills: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut under_way = 0;
    let mut random = 1_u64;
    for round in 0..kills {
        let out = folder.path().join(format!("out-{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shred_kills::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It lives until it has told something, each child of something later than the one before, and a little longer.
        let awaited = ["kept ", "gone ", "shredded"][usize::try_from(round % 3).unwrap()];
        for _ in 0..20_000 {
            if fs::read_to_string(&out).unwrap().contains(awaited) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((random >> 33) % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
        told.read(&fs::read_to_string(&out).unwrap());
        under_way += check(folder.path(), round, &told).await;
    }
    let Told { kept, gone, passes } = told;
    println!(
        "{kills} kills, {under_way} of them in a pass; {} keys kept, {} gone, {passes} passes answered",
        kept.len(),
        gone.len()
    );
    assert!(!kept.is_empty() && !gone.is_empty() && passes > 0, "too little happened to show anything");
}

/// Opens what the child left, sees that everything told holds, and finishes the pass. 1 if one was under way.
async fn check(folder: &Path, round: u32, told: &Told) -> usize {
    let unfinished = Keyring::unwrap(&root(), &fs::read(folder.join("keyring")).unwrap()).unwrap().epochs().count() > 1;
    let zone = start(folder, (round + 1) * ROUND_DAYS - 1).await;
    for (id, ciphertext) in &told.kept {
        let opened = zone.kms.decrypt(&zone.caller, *id, ciphertext, NO_CONTEXT);
        assert_eq!(opened.ok().unwrap().plaintext.expose(), b"kept", "{id}");
    }
    for id in &told.gone {
        assert_eq!(zone.kms.get_key(&zone.caller, *id).err(), Some(KmsError::KeyNotFound));
    }
    // Every other time the next child finds the pass unfinished.
    if round.is_multiple_of(2) {
        zone.kms.shred_now().await.unwrap();
        let keyring = Keyring::unwrap(&root(), &fs::read(folder.join("keyring")).unwrap()).unwrap();
        assert_eq!(keyring.epochs().count(), 1);
        let mut after = None;
        loop {
            let page = zone.store.scan("", after.as_ref(), None, 1_000).await.unwrap();
            for (place, stored) in &page.entries {
                if let Body::Live(sealed) = &stored.body {
                    assert!(keyring.open_record(place.as_str(), stored.version.get(), sealed).is_ok(), "{place}");
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    zone.running.stop().await.unwrap();
    usize::from(unfinished)
}

/// The child's life: does nothing in an ordinary test run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let round: u32 = std::env::var(ROUND).unwrap().parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let zone = start(Path::new(&folder), round * ROUND_DAYS).await;
        for number in 0..DELETIONS {
            let kept = zone.create(&format!("kept-{round}-{number}")).await;
            let made = zone.kms.encrypt(&zone.caller, kept, b"kept", NO_CONTEXT).ok().unwrap();
            tell(&format!("kept {kept} {}", to_hex(&made.ciphertext)));
            let doomed = zone.create(&format!("doomed-{round}-{number}")).await;
            let schedule = KeyCommand::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() };
            zone.kms.change_key(&zone.caller, doomed, schedule).await.unwrap();
            zone.time.run(8 * DAY);
            zone.kms.run_due_work().await;
            tell(&format!("gone {doomed}"));
            zone.kms.shred_now().await.unwrap();
            tell("shredded");
        }
        zone.running.stop().await.unwrap();
    });
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

struct Zone {
    kms: Kms,
    running: Running,
    caller: Caller,
    time: FakeTime,
    store: Arc<SledStore>,
}

impl Zone {
    async fn create(&self, name: &str) -> KeyId {
        let request =
            CreateKey { name: name.parse().unwrap(), description: Description::default(), reach: Reach::SingleZone };
        self.kms.create_key(&self.caller, request).await.unwrap().id()
    }
}

async fn start(folder: &Path, day: u32) -> Zone {
    let vault = Arc::new(KeyringFile(folder.join("keyring")));
    if !vault.0.exists() {
        vault.store(&Keyring::generate(&OsEntropy).unwrap()).unwrap();
    }
    let keyring = Keyring::unwrap(&root(), &fs::read(&vault.0).unwrap()).unwrap();
    let tags = Arc::new(Tags(MacKey::new(b"tags")));
    let paths = SledPaths { store: folder.join("store"), manifest: folder.join("manifest") };
    let store = Arc::new(SledStore::open(paths, *keyring.store_id(), tags).await.unwrap());
    let time = FakeTime::at(START.plus_days(day));
    let config = KmsConfig {
        zone: "ch-gva-2".parse().unwrap(),
        zones: vec!["ch-gva-2".parse().unwrap()],
        organisations: vec![OrganisationConfig {
            name: "acme".parse().unwrap(),
            default_key: None,
            credentials: vec![CredentialConfig::new("acme", SecretBytes::copy_from(SECRET), None).unwrap()],
        }],
        keys_per_organisation: u32::MAX,
        replication: None,
    };
    let parts = Parts {
        store: Arc::clone(&store) as Arc<_>,
        keyring,
        keyring_vault: vault,
        shred_after: SHRED_AFTER,
        entropy: Arc::new(OsEntropy),
        clock: Arc::new(ServiceClock::new(Box::new(time.clone()))),
        audit: Arc::new(NoAuditLog),
    };
    let (kms, running) = Kms::start(config, parts).await.unwrap_or_else(|cause| panic!("{cause}"));
    let caller = kms.authenticate("acme", &[b"hello"], &MacKey::new(SECRET).tag(&[b"hello"])).unwrap();
    Zone { kms, running, caller, time, store }
}

/// The keyring in a file that is replaced as a whole.
struct KeyringFile(PathBuf);

impl KeyringVault for KeyringFile {
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored> {
        let replace = || {
            let new = self.0.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&keyring.wrap(&root(), &OsEntropy).unwrap())?;
            file.sync_all()?;
            fs::rename(&new, &self.0)?;
            File::open(self.0.parent().unwrap())?.sync_all()
        };
        replace().map_err(|cause: std::io::Error| KeyringNotStored::new(cause.to_string()))
    }
}

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

fn root() -> RootKey {
    RootKey::from_bytes(b"a root key that everybody knows.").unwrap()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
