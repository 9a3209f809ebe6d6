//! A zone with its log: what is done is told, and what a crash kept from being told is told by the next run.

use crate::log::Scene;
use kms_audit::{FileAuditLog, verify_log};
use kms_crypto::{EncryptionContext, Keyring, MacKey, OsEntropy, SecretBytes};
use kms_lifecycle::{Command, Reach};
use kms_service::{
    Actor, AuditEntry, AuditLog, Caller, CreateKey, CredentialConfig, KeyringNotStored, KeyringVault, Kms, KmsConfig,
    KmsError, OrganisationConfig, Outcome, Parts, ReEncryptDestination, ReEncryptSource, RequestOrigin, Running,
    SHRED_AFTER, ServiceClock, Settled, StartError, record_adoption,
};
use kms_storage::{MemoryStore, Store, StoreRevision};
use kms_types::{DataKeyLength, DeletionDelay, KeyId, Timestamp};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SECRET: &[u8] = b"api-secret-canary-0123456789";

struct Zone {
    kms: Kms,
    running: Running,
    caller: Caller,
    clock: Arc<ServiceClock>,
}

/// The keyring of these tests need not outlive their process.
struct Forgetful;

impl KeyringVault for Forgetful {
    fn store(&self, _: &Keyring) -> Result<(), KeyringNotStored> {
        Ok(())
    }
}

async fn start(scene: &Scene, store: &Arc<MemoryStore>) -> Zone {
    try_start(scene, store).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn try_start(scene: &Scene, store: &Arc<MemoryStore>) -> Result<Zone, StartError> {
    let clock = Arc::new(ServiceClock::system());
    let log = FileAuditLog::open(scene.settings.clone(), scene.keys(), Arc::clone(&clock));
    let parts = Parts {
        store: Arc::clone(store) as Arc<dyn Store>,
        keyring: scene.keyring(),
        entropy: Arc::new(OsEntropy),
        clock: Arc::clone(&clock),
        keyring_vault: Arc::new(Forgetful),
        shred_after: SHRED_AFTER,
        audit: Arc::new(log.unwrap_or_else(|error| panic!("{error}"))),
    };
    let config = KmsConfig {
        zone: "ch-gva-2".parse().unwrap(),
        zones: vec!["ch-gva-2".parse().unwrap()],
        organisations: vec![OrganisationConfig {
            name: "acme".parse().unwrap(),
            default_key: None,
            credentials: vec![CredentialConfig::new("EXO1", SecretBytes::copy_from(SECRET), None).unwrap()],
        }],
        keys_per_organisation: 100,
        replication: None,
    };
    let (kms, running) = Kms::start(config, parts).await?;
    let tag = MacKey::new(SECRET).tag(&[b"hello"]);
    let origin = RequestOrigin { id: 0xabc, address: Some("192.0.2.7".parse().unwrap()) };
    let caller = kms.authenticate("EXO1", &[b"hello"], &tag).unwrap().with_origin(origin);
    Ok(Zone { kms, running, caller, clock })
}

impl Zone {
    async fn create(&self, name: &str) -> KeyId {
        let request = CreateKey {
            name: name.parse().unwrap(),
            description: "description-canary".parse().unwrap(),
            reach: Reach::SingleZone,
        };
        self.kms.create_key(&self.caller, request).await.unwrap().id()
    }

    /// Ends without a word, as by SIGKILL: the store keeps what was committed. The lock goes with a process; here its thread
    /// lives on, idle, so the lock is taken away.
    fn kill(self, scene: &Scene) {
        std::mem::forget(self);
        fs::remove_file(scene.directory().join("lock")).unwrap();
    }

    async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

fn files(scene: &Scene) -> Vec<(PathBuf, Vec<u8>)> {
    scene.files("0").into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

fn put_back(scene: &Scene, files: &[(PathBuf, Vec<u8>)]) {
    for file in scene.files("0") {
        fs::remove_file(file).unwrap();
    }
    for (file, content) in files {
        fs::write(file, content).unwrap();
    }
}

fn operations(scene: &Scene) -> Vec<String> {
    scene.entries().iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect()
}

fn of<'e>(entries: &'e [Value], operation: &str) -> &'e Value {
    entries.iter().find(|entry| entry["operation"] == operation).unwrap_or_else(|| panic!("no {operation}"))
}

#[tokio::test]
async fn everything_that_was_done_is_told_and_no_secret() {
    let (scene, store) = (Scene::new(), Arc::new(MemoryStore::new()));
    let zone = start(&scene, &store).await;
    let key = zone.create("name-canary").await;
    let (caller, kms) = (&zone.caller, &zone.kms);
    let context = EncryptionContext::Bytes(b"context-canary");
    let encrypted = kms.encrypt(caller, key, b"plaintext-canary", context).unwrap();
    kms.change_key(caller, key, Command::Rotate).await.unwrap();
    let decrypted = kms.decrypt(caller, key, &encrypted.ciphertext, context).unwrap();
    assert_eq!(decrypted.plaintext.expose(), b"plaintext-canary");
    let source = ReEncryptSource { key, ciphertext: &encrypted.ciphertext, context };
    let destination = ReEncryptDestination { key, context: EncryptionContext::None };
    kms.re_encrypt(caller, source, destination).unwrap();
    let made = kms.generate_data_key(caller, key, DataKeyLength::try_from(32).unwrap(), context).unwrap();
    zone.clock.advance(Duration::from_secs(366 * 86_400));
    kms.run_due_work().await;
    let delay = DeletionDelay::try_from(7).unwrap();
    kms.change_key(caller, key, Command::ScheduleDeletion { delay }).await.unwrap();
    zone.clock.advance(Duration::from_secs(8 * 86_400));
    kms.run_due_work().await;
    let secrets = [SECRET.to_vec(), encrypted.ciphertext, made.plaintext.expose().to_vec(), made.ciphertext];
    zone.stop().await;

    let entries = scene.entries();
    let told: Vec<_> = operations(&scene).into_iter().filter(|operation| operation != "audit-file-begun").collect();
    assert_eq!(
        told,
        [
            "start",
            "create-kms-key",
            "encrypt",
            "rotate-kms-key",
            "decrypt",
            "re-encrypt",
            "generate-data-key",
            "automatic-rotation",
            "schedule-kms-key-deletion",
            "begin-epoch",
            "final-deletion",
            "stop",
        ]
    );
    let rotated = of(&entries, "rotate-kms-key");
    assert_eq!((&rotated["by"], &rotated["organisation"]), (&"caller".into(), &"acme".into()));
    assert_eq!((&rotated["credential"], &rotated["address"]), (&"EXO1".into(), &"192.0.2.7".into()));
    assert_eq!((&rotated["request"], &rotated["key"]), (&"0000000000000abc".into(), &key.to_string().into()));
    assert_eq!((&rotated["version"], &rotated["revision"]), (&2.into(), &2.into()));
    assert_eq!(of(&entries, "decrypt")["version"], 1, "the version that opened it");
    let again = of(&entries, "re-encrypt");
    assert_eq!((&again["version"], &again["destination-version"]), (&1.into(), &2.into()));
    assert!(again["context"].is_string() && again["destination-context"].is_null());
    assert_eq!(of(&entries, "encrypt")["context"], again["context"], "the same context has the same hash");
    assert_eq!(of(&entries, "automatic-rotation")["by"], "scheduler");
    assert_eq!(of(&entries, "final-deletion")["organisation"], "acme");
    verify_log(scene.directory(), &scene.expected()).unwrap();

    let text: Vec<u8> = files(&scene).into_iter().flat_map(|(_, content)| content).collect();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("canary"), "names, descriptions, contexts, plaintexts and secrets are not told");
    for secret in secrets {
        let tail = &secret[secret.len() - 12..];
        assert!(!text.contains(&hex::encode(tail)), "nor in hexadecimal");
        use base64::Engine;
        for shift in 0..3 {
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&tail[shift..shift + 9]);
            assert!(!text.contains(&encoded), "nor in base64");
        }
    }
}

/// The store has the change, and the log does not: the process was killed between the two.
#[tokio::test]
async fn a_change_that_a_crash_kept_from_the_log_is_recovered() {
    let (scene, store) = (Scene::new(), Arc::new(MemoryStore::new()));
    let zone = start(&scene, &store).await;
    let (kept, lost) = (zone.create("kept").await, zone.create("lost").await);
    let before = files(&scene);
    zone.kms.change_key(&zone.caller, lost, Command::Disable).await.unwrap();
    let unseen = zone.create("unseen").await;
    // The process is killed; of its log, the last two entries never reached the disk.
    zone.kill(&scene);
    put_back(&scene, &before);

    let zone = start(&scene, &store).await;
    let entries = scene.entries();
    let recovered: Vec<_> = entries.iter().filter(|entry| entry["operation"] == "recover").collect();
    let told = |key: KeyId, revision: u64| {
        let is = |entry: &&&Value| entry["key"] == key.to_string() && entry["revision"] == revision;
        recovered.iter().filter(is).count()
    };
    assert_eq!((told(lost, 2), told(unseen, 1), told(kept, 1)), (1, 1, 0), "{recovered:?}");
    assert_eq!(of(&entries, "recover-commits")["count"], 2);
    // Once it was told, it is told no more.
    zone.kill(&scene);
    start(&scene, &store).await.stop().await;
    assert_eq!(scene.count("recover"), 2);
    verify_log(scene.directory(), &scene.expected()).unwrap();
}

#[tokio::test]
async fn a_store_that_was_set_back_is_refused_until_it_is_adopted() {
    let (scene, store) = (Scene::new(), Arc::new(MemoryStore::new()));
    let zone = start(&scene, &store).await;
    zone.create("first").await;
    zone.create("second").await;
    zone.kill(&scene);
    let earlier = Arc::new(MemoryStore::new());
    for refusals in 1..=3 {
        let refused = try_start(&scene, &earlier).await.err();
        assert!(matches!(refused, Some(StartError::SetBack { commits: 2 })), "{refused:?}");
        assert_eq!((scene.count("store-set-back"), scene.count("start")), (refusals, 1), "it is told, and not started");
    }
    let told = scene.entries();
    let told = of(&told, "store-set-back");
    assert_eq!((&told["result"], &told["count"], &told["commit"]), (&"refused".into(), &2.into(), &2.into()));
    // The newer store is still welcome.
    start(&scene, &store).await.stop().await;
    assert_eq!(scene.count("recover-commits"), 0);

    assert_eq!(adopt(&scene, 0).await, 2);
    let told = scene.entries();
    let told = of(&told, "adopt-store");
    assert_eq!((&told["by"], &told["count"], &told["settled"]), (&"operator".into(), &2.into(), &0.into()));
    start(&scene, &earlier).await.kill(&scene);
    start(&scene, &earlier).await.stop().await;
    assert_eq!((scene.count("store-set-back"), scene.count("recover"), scene.count("recover-commits")), (3, 0, 0));
    verify_log(scene.directory(), &scene.expected()).unwrap();
}

/// A commit beyond what is settled is in the newest file alone, and every start begins a new one.
#[tokio::test]
async fn a_refused_start_forgets_no_commit() {
    let scene = Scene::new();
    let log = scene.open();
    let time = Timestamp::from_nanos(1_790_000_000_000_000_000);
    let change = AuditEntry {
        commit: Some(StoreRevision::new(7)),
        settled: Some(Settled { revision: StoreRevision::new(3), at: time }),
        ..AuditEntry::new(time, "create-kms-key", Actor::Server, Outcome::Done)
    };
    log.record_change(&change).await.unwrap();
    log.close().await;
    for _ in 0..3 {
        let refused = try_start(&scene, &Arc::new(MemoryStore::new())).await.err();
        assert!(matches!(refused, Some(StartError::SetBack { commits: 7 })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_adoption_hides_nothing_that_the_store_has_beyond_the_log() {
    let (scene, store) = (Scene::new(), Arc::new(MemoryStore::new()));
    let zone = start(&scene, &store).await;
    let before = files(&scene);
    zone.create("unseen").await;
    zone.kill(&scene);
    put_back(&scene, &before);
    assert_eq!(adopt(&scene, 1).await, 0);
    start(&scene, &store).await.stop().await;
    assert_eq!(scene.count("recover"), 1);
}

/// What `zonekms adopt-store` does with the log of a store that stands at `revision`.
async fn adopt(scene: &Scene, revision: u64) -> u64 {
    let log = scene.open();
    let now = ServiceClock::system().now();
    let missing = record_adoption(&log, StoreRevision::new(revision), now).await.unwrap();
    log.close().await;
    missing
}

#[tokio::test]
async fn nothing_is_changed_that_could_not_be_recorded() {
    let (scene, store) = (Scene::new(), Arc::new(MemoryStore::new()));
    let zone = start(&scene, &store).await;
    let key = zone.create("one").await;
    // The log is closed under the service, as if its disk had gone.
    zone.kms.audit().close().await;
    let refused = zone.kms.change_key(&zone.caller, key, Command::Disable).await;
    assert_eq!(refused.err(), Some(KmsError::NotRecorded));
    assert!(zone.kms.get_key(&zone.caller, key).unwrap().revision().seq.get() == 1, "reads go on, nothing changed");
    assert!(zone.kms.encrypt(&zone.caller, key, b"x", EncryptionContext::None).is_ok());
    assert!(matches!(zone.kms.health(), kms_storage::Health::ReadOnly { .. }));
    zone.stop().await;
}
