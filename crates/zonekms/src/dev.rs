//! `zonekms dev`: a whole lab in one process, a real server per zone.

mod banner;
mod credentials;
pub(crate) mod directory;
mod faults;
mod lab;
mod links;
mod plan;

use std::path::Path;
use std::sync::Arc;

use kms_audit::AuditSettings;
use kms_crypto::{Entropy, OsEntropy};
use kms_http::{ConnectionLimits, Handshake, ZoneEntry};
use kms_service::{SHRED_AFTER, ServiceClock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::DevArguments;
use crate::config::{Limits, Transport};
use crate::control::{Control, ControlServer};
use crate::failure::Failure;
use crate::logging::{self, LogSettings};
use crate::root_key::{Environment, RootKeys, RootKeysFrom};
use crate::serve::{bind, runtime};
use crate::signals::Signals;
use crate::status::Status;
use crate::zone_server::{ZonePlan, ZoneServer};
use crate::{operations, print, process};

use banner::{Banner, env_file};
use credentials::ApiKey;
use directory::{DataDirectory, lab_clock_in};
use faults::LabFaults;
use lab::{Lab, LabClock};
use links::open_links;
use plan::DevPlan;

/// Runs the lab until a signal ends it.
pub(crate) fn dev(arguments: DevArguments, environment: Environment<'_>) -> Result<(), Failure> {
    let plan = DevPlan::new(arguments).map_err(Failure::input)?;
    logging::start(LogSettings::default(), logging::override_filter(environment).as_deref()).map_err(Failure::input)?;
    process::raise_file_limit();
    runtime()?.block_on(run(plan))
}

/// A zone's place on the network.
struct Door {
    listed: ZoneEntry,
    listener: TcpListener,
}

async fn run(plan: DevPlan) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::run)?;
    let directory = DataDirectory::lock(&plan.data_dir).map_err(Failure::run)?;
    let doors = open_doors(&plan).await?;
    let lab_listener = bind(plan.lab_address(), "--listen").await?;
    let lab_url = format!("http://{}", lab_listener.local_addr().map_err(Failure::run)?);
    let zones: Vec<ZoneEntry> = doors.iter().map(|door| door.listed.clone()).collect();

    let api_key = ApiKey::find_or_make(&directory.credentials(), &OsEntropy).map_err(Failure::run)?;
    let lab_clock = LabClock::restore(directory.lab_clock(), Arc::new(ServiceClock::system())).map_err(Failure::run)?;
    let status = Arc::new(Status::starting());
    let shutdown = CancellationToken::new();
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let faults = LabFaults::none(zones.iter().map(|zone| zone.name.clone()).collect(), entropy);

    let (mut homes, mut identities) = (Vec::new(), Vec::new());
    for door in doors {
        let zone = directory.zone(&door.listed.name);
        let root_key = zone.find_or_make_root_key(&OsEntropy).map_err(Failure::run)?;
        let identity = zone.find_or_make_identity(&door.listed.name, &OsEntropy).map_err(Failure::run)?;
        identities.push((door.listed.name.clone(), identity));
        homes.push((door, zone, root_key));
    }
    let links = open_links(plan.lab_address().ip(), identities, &faults).await?;

    let mut servers = Vec::new();
    for ((door, zone, root_key), links) in homes.into_iter().zip(links) {
        let call_faults = faults.of_zone(door.listed.name.clone());
        let zone_plan = ZonePlan {
            zone: door.listed.name,
            zones: &zones,
            organisations: vec![api_key.organisation(plan.default_key.clone())?],
            location: &zone.location,
            root_keys: &RootKeys::only(Arc::new(root_key)),
            root_keys_from: RootKeysFrom::KeyFile(zone.root_key_file()),
            limits: &Limits::default(),
            clock: lab_clock.clock(),
            audit: AuditSettings::in_directory(zone.location.beside("audit")),
            shred_after: SHRED_AFTER,
            links: Some(links),
            call_faults: Some(call_faults),
        };
        let starting = ZoneServer::start(zone_plan, door.listener, Transport::Plain, shutdown.clone());
        let started = tokio::select! {
            started = starting => started,
            _ = signals.next() => return Ok(()),
        };
        servers.push(started?);
    }
    let control = Control::new(servers.iter().map(ZoneServer::controlled));
    let control = ControlServer::open(&directory.control_socket(), control).map_err(Failure::run)?;
    let kms: Vec<_> = servers.iter().map(|server| server.kms().clone()).collect();
    status.serving(servers.iter().map(ZoneServer::served).collect());
    servers.iter().for_each(ZoneServer::announce);
    let lab = Lab::new(lab_clock, kms, zones.clone(), faults);
    let router =
        Arc::new(operations::router(Arc::clone(&status), plan.lab_address().ip()).merge(lab::router(Arc::clone(&lab))));
    let limits = ConnectionLimits::default();
    let lab_ending = CancellationToken::new();
    let lab_serving = tokio::spawn(kms_http::serve(lab_listener, Handshake::Plain, router, limits, lab_ending.clone()));

    directory.write_env_file(&env_file(&api_key, &zones, &lab_url)).map_err(Failure::run)?;
    let banner = Banner { data_dir: &plan.data_dir, zones: &zones, lab_url: &lab_url, offset: lab.offset() };
    // Who closed the terminal or the pipe may still want the server.
    let _ = print(&banner.to_string());

    tokio::select! {
        _ = signals.next() => {}
        () = shutdown.cancelled() => {}
    }
    status.stopping();
    signals.end_at_once_on_the_next();
    lab_ending.cancel();
    let _ = lab_serving.await;
    control.stop().await;
    shutdown.cancel();
    let mut stopped = Ok(());
    for server in servers {
        stopped = stopped.and(server.stop().await);
    }
    stopped
}

/// The clock of the lab in `data_dir`, for commands that work on its files while it does not run.
pub(crate) fn clock_of(data_dir: &Path) -> Result<Arc<ServiceClock>, Failure> {
    let clock = LabClock::restore(lab_clock_in(data_dir), Arc::new(ServiceClock::system()));
    Ok(clock.map_err(Failure::run)?.clock())
}

async fn open_doors(plan: &DevPlan) -> Result<Vec<Door>, Failure> {
    let mut doors = Vec::new();
    for (zone, address) in plan.zone_addresses() {
        let listener = bind(address, "--listen").await?;
        let address = listener.local_addr().map_err(Failure::run)?;
        let listed = ZoneEntry { name: zone, api_endpoint: format!("http://{address}/v2") };
        doors.push(Door { listed, listener });
    }
    Ok(doors)
}
