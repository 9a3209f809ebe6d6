//! Start and end of a zone: read everything, verify everything, serve, and leave nothing half done.

use kms_crypto::{Entropy, Keyring, MacKey, SecretBytes};
use kms_lifecycle::{Kind, Reach};
use kms_storage::{Body, KEY_PREFIX, RecordKey, RecordKind, Role, ScanError, Store, StoreError, Stored};
use kms_types::{Description, KeyId, KeyName, OrganisationName, Timestamp, ZoneName};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::audit::{Actor, AuditLog};
use crate::caller::{CredentialConfig, Credentials};
use crate::clock::ServiceClock;
use crate::create::CreateKey;
use crate::directory::{Deleted, Directory};
use crate::error::{KmsError, StartError};
use crate::kms::{Kms, Zone};
use crate::recording::stored_revision;
use crate::records::{Opened, Records, Unusable};
use crate::replication::{Replication, ReplicationConfig};

/// Records read from the store at a time.
const PAGE: usize = 1_000;

/// What one zone serves, and to whom.
pub struct KmsConfig {
    /// This zone.
    pub zone: ZoneName,
    /// All zones there are, this one included.
    pub zones: Vec<ZoneName>,
    /// Who has keys here.
    pub organisations: Vec<OrganisationConfig>,
    /// The most keys an organisation may have in this zone.
    pub keys_per_organisation: u32,
    /// How other zones are reached; without it, no key can be replicated.
    pub replication: Option<ReplicationConfig>,
}

/// An organisation and its API keys.
pub struct OrganisationConfig {
    /// Its name.
    pub name: OrganisationName,
    /// The name of its default key, which is made at start when it is not there.
    pub default_key: Option<KeyName>,
    /// Its API keys.
    pub credentials: Vec<CredentialConfig>,
}

/// What a zone runs on.
pub struct Parts {
    /// Where records are kept.
    pub store: Arc<dyn Store>,
    /// What they are sealed with.
    pub keyring: Keyring,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// Where time comes from.
    pub clock: Arc<ServiceClock>,
    /// Where it is recorded who did what.
    pub audit: Arc<dyn AuditLog>,
}

/// A zone that runs, to be stopped in good order.
pub struct Running {
    zone: Arc<Zone>,
    scheduler: JoinHandle<()>,
    replication: JoinHandle<()>,
}

impl Kms {
    /// Reads the whole store, verifies the check value of every key version, makes missing default keys, does the work
    /// that fell due meanwhile, and starts the scheduler. A record that does not open is named in the log and refused to
    /// its callers; everything else is served.
    ///
    /// # Errors
    ///
    /// [`StartError`], whose message says what to do. Nothing is left running.
    pub async fn start(config: KmsConfig, parts: Parts) -> Result<(Self, Running), StartError> {
        let Parts { store, keyring, entropy, clock, audit } = parts;
        let records = Records::new(Arc::new(keyring), Arc::clone(&entropy));
        let directory = Arc::new(Directory::default());
        let default_keys = default_keys(&config.organisations);
        let latest = load(store.as_ref(), &records, &directory, &default_keys, &config.zone).await?;
        clock.not_before(latest);
        let stored = stored_revision(store.as_ref()).await?;

        let fence = store.acquire(Role::Scheduler).await?;
        let organisations = config.organisations.iter().map(|one| one.name.clone()).collect();
        let credentials = credentials(config.organisations, &config.zone, entropy.as_ref())?;
        let kms = Self::new(Zone {
            name: config.zone,
            known_zones: config.zones,
            keys_per_organisation: config.keys_per_organisation,
            organisations,
            credentials,
            directory,
            records,
            store,
            entropy,
            clock,
            replication: config.replication.map(Replication::new),
            audit,
            accounts: Accounts::after(stored),
            fence,
            due_pass: Mutex::new(()),
            due_changed: Notify::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        kms.zone().record_start(stored).await?;
        kms.zone().announce_all();
        for (organisation, name) in default_keys {
            kms.ensure_default_key(organisation, name).await?;
        }
        kms.run_due_work().await;
        let scheduler = tokio::spawn(Arc::clone(kms.zone()).schedule());
        let replication = tokio::spawn(Arc::clone(kms.zone()).drive_replication());
        let running = Running { zone: Arc::clone(kms.zone()), scheduler, replication };
        Ok((kms, running))
    }

    async fn ensure_default_key(&self, organisation: OrganisationName, name: KeyName) -> Result<(), StartError> {
        if self.zone().directory.id_of(&organisation, &name).is_some() {
            return Ok(());
        }
        let request = CreateKey { name, description: Description::default(), reach: Reach::MultiZone };
        match self.zone().create(organisation.clone(), request, Kind::Default, Actor::Server).await {
            Ok(key) => {
                tracing::info!(key = %key.id(), %organisation, "default key created");
                Ok(())
            }
            Err(KmsError::NameConflict) => {
                tracing::error!(%organisation, "the record of the default key is damaged; no other takes its place");
                Ok(())
            }
            Err(cause) => Err(StartError::DefaultKey { organisation: organisation.to_string(), cause }),
        }
    }
}

impl Running {
    /// Takes no more changes, waits for those under way, closes the store and wipes all material.
    ///
    /// # Errors
    ///
    /// When the store did not close in good order; what was answered is safe all the same.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.zone.stopping.cancel();
        if let Err(fault) = self.scheduler.await {
            tracing::error!(%fault, "the scheduler ended in a panic");
        }
        if let Err(fault) = self.replication.await {
            tracing::error!(%fault, "the replication ended in a panic");
        }
        self.zone.tasks.close();
        self.zone.tasks.wait().await;
        if self.zone.record_act("stop", Actor::Server, None).await.is_err() {
            tracing::error!("the audit log could not be written, and does not have the end of this run");
        }
        self.zone.audit.close().await;
        let closed = self.zone.store.close().await;
        self.zone.directory.clear();
        closed
    }
}

fn default_keys(organisations: &[OrganisationConfig]) -> HashMap<OrganisationName, KeyName> {
    let default_key = |one: &OrganisationConfig| Some((one.name.clone(), one.default_key.clone()?));
    organisations.iter().filter_map(default_key).collect()
}

fn credentials(
    organisations: Vec<OrganisationConfig>,
    zone: &ZoneName,
    entropy: &dyn Entropy,
) -> Result<Credentials, StartError> {
    let decoy = SecretBytes::random(32, entropy).map_err(|_| StartError::NoEntropy)?;
    let mut credentials = Credentials::new(MacKey::new(decoy.expose()));
    for organisation in organisations {
        for config in organisation.credentials {
            credentials.add(&organisation.name, config, zone)?;
        }
    }
    Ok(credentials)
}

/// Reads all keys into the directory; answers with the latest time found in them.
async fn load(
    store: &dyn Store,
    records: &Records,
    directory: &Directory,
    default_keys: &HashMap<OrganisationName, KeyName>,
    zone: &ZoneName,
) -> Result<Timestamp, StartError> {
    let mut latest = Timestamp::EPOCH;
    let mut after: Option<RecordKey> = None;
    let mut at = None;
    loop {
        let page = store.scan(KEY_PREFIX, after.as_ref(), at, PAGE).await.map_err(|cause| match cause {
            ScanError::Store(cause) => cause,
            ScanError::Superseded => StoreError::Unavailable("another process changes the store".into()),
        })?;
        at = Some(page.at);
        for (place, stored) in page.entries {
            let Some((organisation, id)) = key_place(&place) else {
                tracing::error!(record = %place, "a record has no known place and is left alone");
                continue;
            };
            match open(records, &organisation, id, &stored) {
                Ok(Some(Opened::Key(snapshot))) => {
                    latest = latest.max(snapshot.key().revision().at);
                    let snapshot = if default_keys.get(&organisation) == Some(snapshot.key().name()) {
                        snapshot
                            .into_default_key()
                            .map_err(|cause| StartError::UnfitDefaultKey { place: place.clone(), cause })?
                    } else {
                        snapshot
                    };
                    if !directory.load(snapshot) {
                        return Err(StartError::RepeatedKey { record: place });
                    }
                }
                Ok(Some(Opened::Tombstone(tombstone))) => {
                    // Another zone's clock is no measure of this one's.
                    if tombstone.origin_zone == *zone {
                        latest = latest.max(tombstone.deleted_at);
                    }
                    if !directory.load_tombstone(id, Deleted::from(&tombstone)) {
                        return Err(StartError::RepeatedKey { record: place });
                    }
                }
                Ok(None) => {}
                Err(cause) => match cause.newer_format() {
                    Some(found) => return Err(StartError::NewerFormat { record: place, found }),
                    None => {
                        tracing::error!(record = %place, %cause, "a record is damaged; its key is refused, all others are served");
                        directory.load_damaged(organisation, id);
                    }
                },
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(latest);
        }
    }
}

fn key_place(place: &RecordKey) -> Option<(OrganisationName, KeyId)> {
    match place.kind() {
        RecordKind::Key { organisation, id } => Some((organisation.clone(), *id)),
        RecordKind::Name { .. } => None,
    }
}

fn open(
    records: &Records,
    organisation: &OrganisationName,
    id: KeyId,
    stored: &Stored,
) -> Result<Option<Opened>, Unusable> {
    match &stored.body {
        Body::Live(sealed) => records.open_key(organisation, id, stored.version, sealed).map(Some),
        Body::Absent | Body::Tombstone => Ok(None),
    }
}
