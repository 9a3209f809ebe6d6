//! Several zones in one process, and links between them that the tests hold in their hands.

use crate::zone::START;
use kms_crypto::{EncryptionContext, MacKey, SecretBytes, ZonePrivateKey};
use kms_lifecycle::{Command, Key, Reach};
use kms_service::{
    BadFrame, Caller, CreateKey, CredentialConfig, FrameSender, Kms, KmsConfig, KmsError, LinkEndpoint,
    OrganisationConfig, Parts, ReplicaStatus, ReplicationConfig, Running, SHRED_AFTER, ServiceClock,
};
use kms_storage::{MemoryStore, Store};
use kms_testkit::{FakeTime, FaultyStore, SeededEntropy, TestVault};
use kms_types::{Description, KeyId, ZoneName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const SECRET: &[u8] = b"a secret that is long enough";
const NAMES: [&str; 3] = ["ch-gva-2", "de-fra-1", "ch-dk-2"];

/// What outlives a restart of one zone, and the zone while it runs.
pub(crate) struct Site {
    pub(crate) name: ZoneName,
    pub(crate) time: FakeTime,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) vault: Arc<TestVault>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) keys_per_organisation: u32,
    pub(crate) organisations: Vec<&'static str>,
    number: usize,
    running: Option<Live>,
}

struct Live {
    kms: Kms,
    running: Running,
    caller: Caller,
}

/// Zones, none of which runs at first, and the links between them.
pub(crate) struct Cluster {
    pub(crate) sites: Vec<Site>,
    links: HashMap<(usize, usize), Link>,
    /// Every frame that went from one zone to another, requests only.
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) to: ZoneName,
    pub(crate) frame: Vec<u8>,
}

struct Link {
    origin: Arc<dyn LinkEndpoint>,
    peer: ZoneName,
    tasks: [JoinHandle<Result<(), BadFrame>>; 2],
}

/// The key that other zones seal to when they send to that zone.
pub(crate) fn private_key(number: usize) -> ZonePrivateKey {
    ZonePrivateKey::generate(&SeededEntropy::new(900 + number as u64)).unwrap()
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let time = FakeTime::at(START);
        let site = |(number, name): (usize, &&str)| Site {
            name: name.parse().unwrap(),
            time: time.clone(),
            store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))),
            vault: Arc::new(TestVault::new(number as u64)),
            entropy: Arc::new(SeededEntropy::new(70 + number as u64)),
            keys_per_organisation: 1_000,
            organisations: vec!["acme"],
            number,
            running: None,
        };
        let sites = NAMES.iter().enumerate().map(site).collect();
        Self { sites, links: HashMap::new(), requests: Arc::default() }
    }

    /// All three zones, started and linked.
    pub(crate) async fn running() -> Self {
        let mut cluster = Self::new();
        for number in 0..NAMES.len() {
            cluster.sites[number].start().await;
        }
        cluster.link_all();
        cluster
    }

    pub(crate) fn link_all(&mut self) {
        for from in 0..NAMES.len() {
            for to in 0..NAMES.len() {
                if from != to {
                    self.link(from, to);
                }
            }
        }
    }

    /// Connects zone `from`, as the origin of keys, to zone `to`.
    pub(crate) fn link(&mut self, from: usize, to: usize) {
        self.cut(from, to);
        let (origin, replica) = (self.sites[from].endpoint(), self.sites[to].endpoint());
        let (origin_name, peer) = (self.sites[from].name.clone(), self.sites[to].name.clone());
        let (outgoing, mut requests) = FrameSender::channel(8);
        let (answering, mut answers) = FrameSender::channel(8);
        let (log, to_name) = (Arc::clone(&self.requests), peer.clone());
        let asked = tokio::spawn(async move {
            while let Some(frame) = requests.receive().await {
                log.lock().unwrap().push(Request { to: to_name.clone(), frame: frame.clone() });
                replica.replica_received(&origin_name, frame, &answering).await?;
            }
            Ok(())
        });
        let (told, name) = (Arc::clone(&origin), peer.clone());
        let answered = tokio::spawn(async move {
            while let Some(frame) = answers.receive().await {
                told.origin_received(&name, frame).await?;
            }
            Ok(())
        });
        origin.origin_up(&peer, outgoing);
        self.links.insert((from, to), Link { origin, peer, tasks: [asked, answered] });
    }

    /// Cuts the connection that `from` dialled; what is on its way is lost.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        if let Some(link) = self.links.remove(&(from, to)) {
            link.tasks.iter().for_each(JoinHandle::abort);
            link.origin.origin_down(&link.peer, "the test cut it");
        }
    }

    pub(crate) fn cut_all_of(&mut self, number: usize) {
        for other in 0..NAMES.len() {
            self.cut(number, other);
            self.cut(other, number);
        }
    }

    /// The zone dies without a word and starts again on what is in its store.
    pub(crate) async fn crash(&mut self, number: usize) {
        self.cut_all_of(number);
        self.sites[number].running = None;
        self.sites[number].start().await;
        for other in (0..NAMES.len()).filter(|other| *other != number) {
            self.link(number, other);
            self.link(other, number);
        }
    }

    /// Waits until every replica of the key at zone `origin` has confirmed the key's revision.
    pub(crate) async fn settled(&self, origin: usize, id: KeyId) {
        self.until(|| {
            let key = self.sites[origin].get(id).unwrap();
            let status = self.sites[origin].replica_status(id);
            status.iter().all(|one| one.last_applied.get() == key.revision().seq.get() && one.last_failure.is_none())
        })
        .await;
    }

    /// Waits, a minute or two at most, until it is so. Time goes on meanwhile, so that retries fall due.
    pub(crate) async fn until(&self, so: impl Fn() -> bool) {
        for _ in 0..20_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            for site in self.sites.iter().filter(|site| site.running.is_some()) {
                site.time.run(Duration::from_millis(20));
                site.kms().run_due_work().await;
            }
        }
        let told: Vec<_> = self.sites.iter().filter(|site| site.running.is_some()).map(Site::all_status).collect();
        panic!("it did not come to be: {told:#?}");
    }
}

impl Site {
    pub(crate) async fn start(&mut self) {
        let organisation = |name: &&str| OrganisationConfig {
            name: name.parse().unwrap(),
            default_key: None,
            credentials: vec![CredentialConfig::new(name, SecretBytes::copy_from(SECRET), None).unwrap()],
        };
        let others = NAMES.iter().enumerate().filter(|(other, _)| *other != self.number);
        let config = KmsConfig {
            zone: self.name.clone(),
            zones: NAMES.iter().map(|name| name.parse().unwrap()).collect(),
            organisations: self.organisations.iter().map(organisation).collect(),
            keys_per_organisation: self.keys_per_organisation,
            replication: Some(ReplicationConfig {
                private_keys: vec![private_key(self.number)],
                peers: others.map(|(other, name)| (name.parse().unwrap(), private_key(other).public_key())).collect(),
            }),
        };
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            keyring: self.vault.keyring(),
            keyring_vault: Arc::clone(&self.vault) as Arc<_>,
            shred_after: SHRED_AFTER,
            entropy: Arc::clone(&self.entropy) as Arc<_>,
            clock: Arc::new(ServiceClock::new(Box::new(self.time.clone()))),
            audit: Arc::new(kms_service::NoAuditLog),
        };
        let (kms, running) = match Kms::start(config, parts).await {
            Ok(started) => started,
            Err(cause) => panic!("the zone did not start: {cause}"),
        };
        let tag = MacKey::new(SECRET).tag(&[b"hello"]);
        let caller = kms.authenticate(self.organisations[0], &[b"hello"], &tag).unwrap();
        self.running = Some(Live { kms, running, caller });
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().running.stop().await.unwrap();
    }

    fn live(&self) -> &Live {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn kms(&self) -> &Kms {
        &self.live().kms
    }

    pub(crate) fn endpoint(&self) -> Arc<dyn LinkEndpoint> {
        self.kms().link_endpoint().unwrap()
    }

    pub(crate) fn get(&self, id: KeyId) -> Result<Arc<Key>, KmsError> {
        self.kms().get_key(&self.live().caller, id)
    }

    pub(crate) async fn create(&self, name: &str, reach: Reach) -> Result<Arc<Key>, KmsError> {
        let request = CreateKey { name: name.parse().unwrap(), description: Description::default(), reach };
        self.kms().create_key(&self.live().caller, request).await
    }

    pub(crate) async fn change(&self, id: KeyId, command: Command) -> Result<Arc<Key>, KmsError> {
        self.kms().change_key(&self.live().caller, id, command).await
    }

    pub(crate) async fn replicate(&self, id: KeyId, target: &str) -> Result<Arc<Key>, KmsError> {
        let replicated = self.kms().replicate_key(&self.live().caller, id, target.parse().unwrap()).await?;
        Ok(replicated.key)
    }

    /// A new key of this zone, registered for the two other zones.
    pub(crate) async fn create_everywhere(&self, name: &str) -> KeyId {
        let id = self.create(name, Reach::MultiZone).await.unwrap().id();
        for (other, target) in NAMES.iter().enumerate() {
            if other != self.number {
                self.replicate(id, target).await.unwrap();
            }
        }
        id
    }

    pub(crate) fn replica_status(&self, id: KeyId) -> Vec<ReplicaStatus> {
        self.kms().replica_status(&self.live().caller, id).unwrap()
    }

    fn all_status(&self) -> Vec<(Arc<Key>, Vec<ReplicaStatus>)> {
        let keys = self.kms().list_keys(&self.live().caller);
        keys.unwrap().into_iter().map(|key| (Arc::clone(&key), self.replica_status(key.id()))).collect()
    }

    /// Why the replica in `target` is behind.
    pub(crate) fn failure(&self, id: KeyId, target: &str) -> Option<String> {
        let status = self.replica_status(id);
        status.into_iter().find(|one| one.zone.as_str() == target)?.last_failure.map(|failure| failure.error)
    }

    pub(crate) fn encrypt(&self, id: KeyId, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
        let made = self.kms().encrypt(&self.live().caller, id, plaintext, EncryptionContext::None);
        made.map(|made| made.ciphertext)
    }

    pub(crate) fn decrypt(&self, id: KeyId, ciphertext: &[u8]) -> Result<Vec<u8>, KmsError> {
        let opened = self.kms().decrypt(&self.live().caller, id, ciphertext, EncryptionContext::None);
        opened.map(|opened| opened.plaintext.expose().to_vec())
    }
}
