//! `zonekms serve`: one zone, from a configuration file.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kms_http::{ConnectionLimits, Handshake};
use kms_link::NoFaults;
use kms_service::{OrganisationConfig, ServiceClock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Listen, Organisation};
use crate::control::{Control, ControlServer};
use crate::failure::Failure;
use crate::root_key::{Environment, RootKeysFrom};
use crate::signals::Signals;
use crate::status::Status;
use crate::zone_server::{LinkPlan, ZonePlan, ZoneServer};
use crate::{logging, operations, process};

/// Freed memory that each core keeps for further requests, in bytes: several times what the largest takes.
const KEPT_FREED: u32 = 4 << 20;

/// Serves the zone of the configuration `file` until a signal ends it.
pub(crate) fn serve(file: &Path, environment: Environment<'_>) -> Result<(), Failure> {
    let (config, report) = config::load(file, environment).map_err(Failure::input)?;
    logging::start(config.log, logging::override_filter(environment).as_deref()).map_err(Failure::input)?;
    for warning in report.warnings() {
        tracing::warn!("{warning}");
    }
    process::raise_file_limit();
    process::lock_memory();
    runtime()?.block_on(run(file, config))
}

/// The runtime that everything asynchronous runs on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::run)
}

/// Binds `address`; the error says what to do when something else listens there.
pub(crate) async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            let port = address.port();
            Failure::run(format!(
                "port {port} of {} is in use: end what listens there, or change {setting}",
                address.ip()
            ))
        } else {
            Failure::run(format!("{address} ({setting}): {error}"))
        }
    })
}

async fn run(file: &Path, config: Config) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::run)?;
    let Listen { address, transport } = config.listen;
    let listener = bind(address, "listen.address").await?;
    let links = match config.replication {
        Some(replication) => {
            let listener = bind(replication.listen, "peers.listen").await?;
            let address = listener.local_addr().map_err(Failure::run)?;
            tracing::info!(%address, "peer listener open");
            Some(LinkPlan { listener, replication, faults: Arc::new(NoFaults) })
        }
        None => None,
    };
    let status = Arc::new(Status::starting());
    let watching = CancellationToken::new();
    if let Some(address) = config.operations {
        let listener = bind(address, "operations.address").await?;
        let address = listener.local_addr().map_err(Failure::run)?;
        tracing::info!(%address, "operations listener open");
        let router = Arc::new(operations::router(Arc::clone(&status), address.ip()));
        let limits = ConnectionLimits::default();
        tokio::spawn(kms_http::serve(listener, Handshake::Plain, router, limits, watching.child_token()));
    }

    let shutdown = CancellationToken::new();
    let plan = ZonePlan {
        zone: config.zone,
        zones: &config.zones,
        organisations: config.organisations.into_iter().map(organisation_config).collect(),
        location: &config.store,
        root_keys: &config.root_keys,
        root_keys_from: RootKeysFrom::Config(file.to_owned()),
        limits: &config.limits,
        clock: Arc::new(ServiceClock::system()),
        audit: config.audit,
        shred_after: config.shred_after,
        links,
        call_faults: None,
    };
    let zone = plan.zone.clone();
    let server = tokio::select! {
        started = ZoneServer::start(plan, listener, transport, shutdown.clone()) => started?,
        // Nothing was answered yet, and the store stands a crash at any instant.
        _ = signals.next() => return Ok(()),
    };
    kms_heap::keep_freed(KEPT_FREED);
    // Passphrases, PINs and the like are not needed again until a rotation reads them anew.
    drop(config.root_keys);
    let control = Control::new([server.controlled()]);
    let control = match ControlServer::open(&config.control_socket, control) {
        Ok(control) => control,
        Err(fault) => {
            shutdown.cancel();
            return server.stop().await.and(Err(Failure::run(fault)));
        }
    };
    status.serving(vec![server.served()]);
    server.announce();
    process::warn_of_unlocked_keys();

    tokio::select! {
        _ = signals.next() => {}
        () = shutdown.cancelled() => {}
    }
    status.stopping();
    tracing::info!(%zone, "stopping");
    signals.end_at_once_on_the_next();
    control.stop().await;
    shutdown.cancel();
    let stopped = server.stop().await;
    watching.cancel();
    tracing::info!(%zone, "stopped");
    stopped
}

fn organisation_config(organisation: Organisation) -> OrganisationConfig {
    OrganisationConfig {
        name: organisation.name,
        default_key: organisation.default_key,
        credentials: organisation.api_keys,
    }
}
