//! A zone to test on.

use kms_crypto::{EncryptionContext, MacKey, SecretBytes};
use kms_lifecycle::{Command, Key, Reach};
use kms_service::{
    AuditLog, Caller, CreateKey, CredentialConfig, Kms, KmsConfig, KmsError, NoAuditLog, OrganisationConfig, Parts,
    Running, SHRED_AFTER, ServiceClock, StartError,
};
use kms_storage::{MemoryStore, Store};
use kms_testkit::{FakeTime, FaultyStore, SeededEntropy, TestVault};
use kms_types::{Description, KeyId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const START: Timestamp = Timestamp::from_nanos(1_790_000_000_123_456_789);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const NO_CONTEXT: EncryptionContext<'static> = EncryptionContext::None;

const SECRET: &[u8] = b"a secret that is long enough";

/// What outlives a restart: store, keyring and clocks.
pub(crate) struct World {
    pub(crate) time: FakeTime,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) vault: Arc<TestVault>,
    pub(crate) shred_after: Duration,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) keys_per_organisation: u32,
    pub(crate) default_key: Option<&'static str>,
}

/// A zone that runs, with one caller of each of two organisations.
pub(crate) struct Zone {
    pub(crate) kms: Kms,
    pub(crate) running: Running,
    pub(crate) acme: Caller,
    pub(crate) other: Caller,
    pub(crate) clock: Arc<ServiceClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            time: FakeTime::at(START),
            store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))),
            vault: Arc::new(TestVault::new(1)),
            shred_after: SHRED_AFTER,
            audit: Arc::new(NoAuditLog),
            entropy: Arc::new(SeededEntropy::new(7)),
            keys_per_organisation: 1_000,
            default_key: None,
        }
    }

    pub(crate) async fn try_start(&self) -> Result<Zone, StartError> {
        let clock = Arc::new(ServiceClock::new(Box::new(self.time.clone())));
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            keyring: self.vault.keyring(),
            keyring_vault: Arc::clone(&self.vault) as Arc<_>,
            shred_after: self.shred_after,
            entropy: Arc::clone(&self.entropy) as Arc<_>,
            clock: Arc::clone(&clock),
            audit: Arc::clone(&self.audit),
        };
        let organisation = |name: &str, default_key: Option<&str>| OrganisationConfig {
            name: name.parse().unwrap(),
            default_key: default_key.map(|key| key.parse().unwrap()),
            credentials: vec![CredentialConfig::new(name, SecretBytes::copy_from(SECRET), None).unwrap()],
        };
        let config = KmsConfig {
            zone: "ch-gva-2".parse().unwrap(),
            zones: vec!["ch-gva-2".parse().unwrap(), "de-fra-1".parse().unwrap()],
            organisations: vec![organisation("acme", self.default_key), organisation("other", None)],
            keys_per_organisation: self.keys_per_organisation,
            replication: None,
        };
        let (kms, running) = Kms::start(config, parts).await?;
        let tag = MacKey::new(SECRET).tag(&[b"hello"]);
        let caller = |name| kms.authenticate(name, &[b"hello"], &tag).unwrap();
        Ok(Zone { acme: caller("acme"), other: caller("other"), kms, running, clock })
    }

    pub(crate) async fn start(&self) -> Zone {
        match self.try_start().await {
            Ok(zone) => zone,
            Err(cause) => panic!("the zone did not start: {cause}"),
        }
    }
}

impl Zone {
    pub(crate) async fn create(&self, name: &str) -> Result<Arc<Key>, KmsError> {
        self.create_for(&self.acme, name).await
    }

    pub(crate) async fn create_for(&self, caller: &Caller, name: &str) -> Result<Arc<Key>, KmsError> {
        let request =
            CreateKey { name: name.parse().unwrap(), description: Description::default(), reach: Reach::SingleZone };
        self.kms.create_key(caller, request).await
    }

    pub(crate) async fn change(&self, id: KeyId, command: Command) -> Result<Arc<Key>, KmsError> {
        self.kms.change_key(&self.acme, id, command).await
    }

    pub(crate) fn encrypt(&self, id: KeyId, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
        self.kms.encrypt(&self.acme, id, plaintext, NO_CONTEXT).map(|made| made.ciphertext)
    }

    pub(crate) fn decrypt(&self, id: KeyId, ciphertext: &[u8]) -> Result<Vec<u8>, KmsError> {
        self.kms.decrypt(&self.acme, id, ciphertext, NO_CONTEXT).map(|opened| opened.plaintext.expose().to_vec())
    }

    pub(crate) fn get(&self, id: KeyId) -> Result<Arc<Key>, KmsError> {
        self.kms.get_key(&self.acme, id)
    }
}
