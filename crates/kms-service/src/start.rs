//! Start and end of a zone: read everything, verify everything, serve, and leave nothing half done.

use kms_crypto::{Entropy, Keyring, MacKey, SecretBytes};
use kms_lifecycle::{Kind, Reach};
use kms_storage::{Role, Store, StoreError};
use kms_types::{Description, KeyName, OrganisationName, ZoneName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::audit::{Actor, AuditLog};
use crate::caller::{CredentialConfig, Credentials};
use crate::clock::ServiceClock;
use crate::create::CreateKey;
use crate::directory::Directory;
use crate::epochs::{Epochs, KeyringVault};
use crate::error::{KmsError, StartError};
use crate::kms::{Kms, Zone};
use crate::load::Loading;
use crate::recording::stored_revision;
use crate::records::Records;
use crate::replication::{Replication, ReplicationConfig};
use crate::shredding::Shredder;
use crate::usage_file::Counting;

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
    /// Where that is kept.
    pub keyring_vault: Arc<dyn KeyringVault>,
    /// How long after the first of several final deletions their material is shredded; see [`SHRED_AFTER`](crate::SHRED_AFTER).
    pub shred_after: Duration,
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
    shredding: JoinHandle<()>,
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
        let Parts { store, keyring, keyring_vault, shred_after, entropy, clock, audit } = parts;
        let records = Records::new(Epochs::new(keyring, keyring_vault, Arc::clone(&entropy)));
        let directory = Arc::new(Directory::default());
        let default_keys = default_keys(&config.organisations);
        let loading =
            Loading { records: &records, directory: &directory, default_keys: &default_keys, zone: &config.zone };
        let latest = loading.load(store.as_ref()).await?;
        store.started();
        // What the start needed for a while is more than what stays; nobody waits for its return.
        let _at_leisure = spawn_blocking(kms_heap::give_back);
        clock.not_before(latest);
        let stored = stored_revision(store.as_ref()).await?;

        let fence = store.acquire(Role::Scheduler).await?;
        let organisations = config.organisations.iter().map(|one| one.name.clone()).collect();
        let credentials = credentials(config.organisations, &config.zone, entropy.as_ref())?;
        let counting = Counting::new(clock.now());
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
            counting,
            audit,
            accounts: Accounts::after(stored),
            fence,
            shredder: Shredder::new(shred_after),
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
        let shredding = tokio::spawn(Arc::clone(kms.zone()).drive_shredding());
        let running = Running { zone: Arc::clone(kms.zone()), scheduler, replication, shredding };
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
        if let Err(fault) = self.shredding.await {
            tracing::error!(%fault, "the shredding ended in a panic");
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
