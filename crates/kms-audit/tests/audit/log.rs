//! A log in a scratch directory, and what is put into it.

use kms_audit::{AuditSettings, Expected, FileAuditLog, LogKeys, OpenError, Verified, VerifyError, verify_log};
use kms_crypto::{EncryptionContext, Keyring, OsEntropy, RootKey};
use kms_service::{Actor, AuditEntry, AuditLog, Outcome, RequestOrigin, ServiceClock, Settled};
use kms_storage::StoreRevision;
use kms_testkit::FakeTime;
use kms_types::{KeyId, Revision, Timestamp};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A zone's keyring, and where its log lies.
pub(crate) struct Scene {
    pub(crate) scratch: TempDir,
    root: RootKey,
    wrapped: Vec<u8>,
    pub(crate) time: FakeTime,
    pub(crate) clock: Arc<ServiceClock>,
    pub(crate) settings: AuditSettings,
}

impl Scene {
    pub(crate) fn new() -> Self {
        // In memory: what a sync promises is tested where processes are killed and disks are full.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let settings = AuditSettings::in_directory(scratch.path().join("audit"));
        let root = RootKey::generate(&OsEntropy).unwrap();
        let wrapped = Keyring::generate(&OsEntropy).unwrap().wrap(&root, &OsEntropy).unwrap();
        let time = FakeTime::at(at(0));
        let clock = Arc::new(ServiceClock::new(Box::new(time.clone())));
        Self { scratch, root, wrapped, time, clock, settings }
    }

    pub(crate) fn with(change: impl FnOnce(&mut AuditSettings)) -> Self {
        let mut scene = Self::new();
        change(&mut scene.settings);
        scene
    }

    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::unwrap(&self.root, &self.wrapped).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn keys(&self) -> LogKeys {
        LogKeys::derive(&self.keyring(), &"ch-gva-2".parse().unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_open(&self) -> Result<FileAuditLog, OpenError> {
        FileAuditLog::open(self.settings.clone(), self.keys(), Arc::clone(&self.clock))
    }

    pub(crate) fn open(&self) -> FileAuditLog {
        self.try_open().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.settings.directory
    }

    pub(crate) fn verify(&self) -> Result<Verified, VerifyError> {
        verify_log(self.directory(), &self.expected())
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected { public_key: Some(self.keys().signer().verifier().clone()), ..Expected::default() }
    }

    /// The files whose names have that part, in order.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        let has_part = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains(part);
        let mut files: Vec<_> = entries.filter(has_part).collect();
        files.sort();
        files
    }

    /// All lines of all files.
    pub(crate) fn lines(&self) -> Vec<String> {
        let texts = self.files(".jsonl").into_iter().map(|file| fs::read_to_string(file).unwrap());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// All entries.
    pub(crate) fn entries(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many entries there are of that operation.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.entries().iter().filter(|entry| entry["operation"] == operation).count()
    }
}

pub(crate) fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 16])
}

pub(crate) fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(1_790_000_000_000_000_000 + nanos)
}

/// A change: key `number` came to revision `number`, by commit `number`.
pub(crate) fn change(number: u8) -> AuditEntry<'static> {
    let revision = StoreRevision::new(number.into());
    AuditEntry {
        key: Some(key(number)),
        revision: Revision::new(number.into()),
        commit: Some(revision),
        settled: Some(Settled { revision, at: at(number.into()) }),
        ..AuditEntry::new(at(number.into()), "rotate-kms-key", Actor::Scheduler, Outcome::Done)
    }
}

pub(crate) fn call(number: u8) -> AuditEntry<'static> {
    AuditEntry {
        key: Some(key(number)),
        context: EncryptionContext::Bytes(b"tenant-canary"),
        ..AuditEntry::new(at(number.into()), "encrypt", Actor::Server, Outcome::Done)
    }
}

pub(crate) fn refusal(nanos: i64) -> AuditEntry<'static> {
    let origin = RequestOrigin { id: 7, address: Some("192.0.2.1".parse().unwrap()) };
    let outcome = Outcome::Refused { status: Some(403), reason: "Forbidden" };
    AuditEntry::new(at(nanos), "encrypt", Actor::Anonymous(origin), outcome)
}

/// Waits until changes are taken again.
pub(crate) async fn recovered(log: &impl AuditLog) {
    for _ in 0..2_400 {
        if log.takes_changes().is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("changes are still refused: {:?}", log.trouble());
}

/// A log that was written in two runs and several files, and closed.
pub(crate) async fn written() -> Scene {
    let scene = Scene::with(|settings| settings.file_bytes = 1_200);
    for run in 0..2 {
        let log = scene.open();
        for number in 1..=5 {
            log.record_use(&call(number)).unwrap();
            log.record_change(&change(run * 5 + number)).await.unwrap();
        }
        log.close().await;
    }
    scene
}
