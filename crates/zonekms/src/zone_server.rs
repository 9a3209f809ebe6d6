//! One zone of this process: its keyring, store, service and front door, started and stopped in order.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kms_audit::{AuditSettings, FileAuditLog, LogKeys};
use kms_crypto::{Entropy, Keyring, OsEntropy};
use kms_http::{FrontDoor, Handshake, OperationFaults, RequestMetrics, ZoneEntry};
use kms_link::{FrameFaults, LinkConfig};
use kms_service::{KeyringVault, Kms, KmsConfig, OrganisationConfig, Parts, ReplicationConfig, Running, ServiceClock};
use kms_storage::{ManifestKey, SledPaths, SledStore};
use kms_types::ZoneName;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Replication, StoreLocation, Transport};
use crate::control::{ControlledZone, ZoneRootKey};
use crate::failure::Failure;
use crate::keyring_file::{KeyringFile, OpenKeyring, ZoneLock};
use crate::root_key::{RootKeys, RootKeysFrom};
use crate::status::ServedZone;
use crate::usage_keeper::UsageKeeper;

/// What one zone is made of.
pub(crate) struct ZonePlan<'a> {
    pub(crate) zone: ZoneName,
    pub(crate) zones: &'a [ZoneEntry],
    pub(crate) organisations: Vec<OrganisationConfig>,
    pub(crate) location: &'a StoreLocation,
    pub(crate) root_keys: &'a RootKeys,
    /// Where the root keys are described, to be read again when the root key is rotated.
    pub(crate) root_keys_from: RootKeysFrom,
    pub(crate) limits: &'a Limits,
    pub(crate) clock: Arc<ServiceClock>,
    pub(crate) audit: AuditSettings,
    /// How long after a deletion became final the material is shredded.
    pub(crate) shred_after: Duration,
    pub(crate) links: Option<LinkPlan>,
    /// Calls that fail on purpose; only in a lab.
    pub(crate) call_faults: Option<Arc<dyn OperationFaults>>,
}

/// How one zone reaches the others.
pub(crate) struct LinkPlan {
    /// Where they reach this one: `replication.listen`, bound.
    pub(crate) listener: TcpListener,
    pub(crate) replication: Replication,
    pub(crate) faults: Arc<dyn FrameFaults>,
}

/// A task that ends when its token is cancelled.
struct Serving {
    task: JoinHandle<io::Result<()>>,
    ending: CancellationToken,
}

/// What the links of a zone need once its service runs.
struct Links {
    listener: TcpListener,
    config: LinkConfig,
    faults: Arc<dyn FrameFaults>,
}

/// A zone that answers requests.
pub(crate) struct ZoneServer {
    kms: Kms,
    root_key: Arc<ZoneRootKey>,
    requests: Arc<RequestMetrics>,
    address: SocketAddr,
    running: Running,
    usage: UsageKeeper,
    serving: JoinHandle<io::Result<()>>,
    links: Option<Serving>,
    /// Kept until the store is closed.
    lock: ZoneLock,
}

impl ZoneServer {
    /// Opens the zone's data, verifies it, and begins to answer on `listener` until `shutdown`. When the listener ends by
    /// itself, `shutdown` is cancelled.
    pub(crate) async fn start(
        mut plan: ZonePlan<'_>,
        listener: TcpListener,
        transport: Transport,
        shutdown: CancellationToken,
    ) -> Result<Self, Failure> {
        let address = listener.local_addr().map_err(|error| zone_failure(&plan.zone, &error))?;
        let (zones, clock, requests, connections) =
            (plan.zones.into(), Arc::clone(&plan.clock), plan.limits.requests, plan.limits.connections);
        let call_faults = plan.call_faults.take();
        let (keys, links) = match plan.links.take() {
            Some(LinkPlan { listener, replication, faults }) => {
                let config = replication.link_config(plan.zone.clone());
                (Some(replication.into_keys()), Some(Links { listener, config, faults }))
            }
            None => (None, None),
        };
        // Before anything of the zone is looked for: two first starts at once would each make a keyring, and one be lost.
        let lock = ZoneLock::take(plan.location).map_err(|error| zone_failure(&plan.zone, &error))?;
        let (root_keys_from, root_clock) = (plan.root_keys_from.clone(), Arc::clone(&clock));
        let keyring_path = &plan.location.keyring;
        let (kms, running, keyring_file) = start_service(plan, keys, &lock).await?;
        let root_key = Arc::new(ZoneRootKey::new(kms.zone_name().clone(), keyring_file, root_keys_from, root_clock));
        let usage = UsageKeeper::start(&kms, keyring_path);
        let wall_clock = Arc::new(move || clock.wall().as_seconds());
        let front_door = FrontDoor::new(kms.clone(), zones, requests, wall_clock);
        let front_door = Arc::new(match call_faults {
            Some(faults) => front_door.with_faults(faults),
            None => front_door,
        });
        let requests = Arc::clone(front_door.metrics());
        let handshake = match transport {
            Transport::Tls(config) => Handshake::Tls(TlsAcceptor::from(config)),
            Transport::Plain => Handshake::Plain,
        };
        let links = links.and_then(|links| links.serve(&kms, shutdown.clone()));
        let serving = tokio::spawn(async move {
            // However the listener ends, the rest of the process ends with it.
            let _guard = shutdown.clone().drop_guard();
            kms_http::serve(listener, handshake, front_door, connections, shutdown).await
        });
        Ok(Self { kms, root_key, requests, address, running, usage, serving, links, lock })
    }

    /// The zone's service.
    pub(crate) fn kms(&self) -> &Kms {
        &self.kms
    }

    /// What operators' commands work on.
    pub(crate) fn controlled(&self) -> ControlledZone {
        ControlledZone { kms: self.kms.clone(), root_key: Arc::clone(&self.root_key) }
    }

    /// The zone as the process's status shows it.
    pub(crate) fn served(&self) -> ServedZone {
        ServedZone { kms: self.kms.clone(), requests: Arc::clone(&self.requests) }
    }

    /// Says in the log that the zone is served, and where.
    pub(crate) fn announce(&self) {
        tracing::info!(zone = %self.kms.zone_name(), address = %self.address, "serving");
    }

    /// After `shutdown`: waits for the requests under way, ends the links, finishes changes, closes the store, wipes keys.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let zone = self.kms.zone_name().clone();
        let failure = |error: &dyn Display| zone_failure(&zone, error);
        let served = match self.serving.await {
            Ok(served) => served.map_err(|error| failure(&error)),
            Err(error) => Err(failure(&error)),
        };
        let linked = match self.links {
            Some(links) => links.end().await.map_err(|error| failure(&format!("links to other zones: {error}"))),
            None => Ok(()),
        };
        self.usage.stop().await;
        let stopped = self.running.stop().await;
        drop(self.lock);
        served
            .and(linked)
            .and(stopped.map_err(|error| failure(&format!("the store did not close in good order: {error}"))))
    }
}

impl Links {
    /// Connects the zone with the others until told to end; if that ends by itself, `shutdown` is cancelled.
    fn serve(self, kms: &Kms, shutdown: CancellationToken) -> Option<Serving> {
        let endpoint = kms.link_endpoint()?;
        let Self { listener, config, faults } = self;
        let ending = CancellationToken::new();
        let until = ending.clone();
        let task = tokio::spawn(async move {
            let _guard = shutdown.drop_guard();
            kms_link::run(listener, config, endpoint, faults, until).await
        });
        Some(Serving { task, ending })
    }
}

impl Serving {
    async fn end(self) -> io::Result<()> {
        self.ending.cancel();
        self.task.await.map_err(io::Error::other)?
    }
}

/// Keyring, store, service: each verified before the next begins.
async fn start_service(
    plan: ZonePlan<'_>,
    replication: Option<ReplicationConfig>,
    lock: &ZoneLock,
) -> Result<(Kms, Running, Arc<KeyringFile>), Failure> {
    let zone = plan.zone.clone();
    let failure = |error: &dyn Display| zone_failure(&zone, error);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let now = plan.clock.wall().as_seconds();
    let opened = OpenKeyring::open(lock, &plan.zone, plan.root_keys, &entropy, now).await;
    let OpenKeyring { keyring, for_manifest, file, first_start } = opened.map_err(|error| failure(&error))?;
    let paths = SledPaths { store: plan.location.directory.clone(), manifest: plan.location.manifest.clone() };
    let tags = Arc::new(ManifestTags(for_manifest));
    let store = SledStore::open(paths, *keyring.store_id(), tags).await.map_err(|error| failure(&error))?;
    if let Some(first_start) = first_start {
        first_start.settle().map_err(|error| failure(&error))?;
    }
    let log_keys = LogKeys::derive(&keyring, &zone).map_err(|error| failure(&error))?;
    let audit = FileAuditLog::open(plan.audit, log_keys, Arc::clone(&plan.clock)).map_err(|error| failure(&error))?;
    let config = KmsConfig {
        zone: plan.zone,
        zones: plan.zones.iter().map(|zone| zone.name.clone()).collect(),
        organisations: plan.organisations,
        keys_per_organisation: plan.limits.keys_per_organisation,
        replication,
    };
    let parts = Parts {
        store: Arc::new(store),
        keyring,
        keyring_vault: Arc::clone(&file) as Arc<dyn KeyringVault>,
        shred_after: plan.shred_after,
        entropy,
        clock: plan.clock,
        audit: Arc::new(audit),
    };
    let (kms, running) = Kms::start(config, parts).await.map_err(|error| failure(&error))?;
    Ok((kms, running, file))
}

fn zone_failure(zone: &ZoneName, error: &dyn Display) -> Failure {
    Failure::run(format!("zone {zone}: {error}"))
}

/// The store's manifest is authenticated under the keyring's manifest key.
pub(crate) struct ManifestTags(pub(crate) Keyring);

impl ManifestKey for ManifestTags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.manifest_key().tag(parts)
    }
}
