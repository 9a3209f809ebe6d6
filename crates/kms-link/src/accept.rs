//! Running a zone's links: the listener for those who dial this zone, and one dialler for each peer.

use crate::carry::{Lane, Part};
use crate::config::{LinkConfig, LinkLimits};
use crate::connect::admit;
use crate::crowd::Crowd;
use crate::dial::Dialler;
use crate::ended::Ended;
use crate::faults::FrameFaults;
use crate::refusal_log::RefusalLog;
use crate::tls;
use kms_service::{FrameSender, LinkEndpoint};
use kms_types::ZoneName;
use rustls_pki_types::CertificateDer;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Links this zone with its peers until `shutdown`: answers on `listener` who dials it, and dials each peer.
///
/// `endpoint` is told what happens and given every frame. Its futures are dropped, at whatever point they are, when their
/// connection ends: what must be finished belongs into a task of its own.
///
/// Returns when all connections are closed. To change identity, peers or limits, stop it and run another.
///
/// # Errors
///
/// When `config` cannot work ([`ConfigFault`](crate::ConfigFault), kind `InvalidInput`). What goes wrong later is logged, and tried again.
pub async fn run(
    listener: TcpListener,
    config: LinkConfig,
    endpoint: Arc<dyn LinkEndpoint>,
    faults: Arc<dyn FrameFaults>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    config.check().map_err(invalid)?;
    let lane = |peer: &ZoneName| Lane {
        own: config.zone.clone(),
        peer: peer.clone(),
        limits: config.limits,
        endpoint: Arc::clone(&endpoint),
        faults: Arc::clone(&faults),
    };
    let diallers = config
        .peers
        .iter()
        .map(|peer| {
            Ok(Dialler {
                lane: lane(&peer.zone),
                address: peer.address.clone(),
                name: tls::server_name(&peer.zone)?,
                connector: tls::connector(&config.identity, peer)?,
            })
        })
        .collect::<Result<Vec<_>, tokio_rustls::rustls::Error>>()
        .map_err(invalid)?;
    let porter = Porter {
        zone: config.zone.clone(),
        limits: config.limits,
        acceptor: tls::acceptor(&config.identity, &config.peers).map_err(invalid)?,
        zones: config
            .peers
            .iter()
            .flat_map(|peer| peer.certificates.iter().map(|certificate| (certificate.clone(), peer.zone.clone())))
            .collect(),
        unproven: Crowd::new(config.limits.unauthenticated),
        peers: config
            .peers
            .iter()
            .map(|peer| (peer.zone.clone(), (lane(&peer.zone), Crowd::new(config.limits.connections_per_peer))))
            .collect(),
        refusals: RefusalLog::new(),
        endpoint: Arc::clone(&endpoint),
    };

    // If this future is dropped, so is everything it began.
    let stop = shutdown.child_token();
    let _stop = stop.clone().drop_guard();
    let tasks = TaskTracker::new();
    for dialler in diallers {
        tasks.spawn(dialler.run(stop.clone()));
    }
    Arc::new(porter).receive(&listener, &tasks, &stop).await;
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn invalid(fault: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, fault)
}

/// Decides who of those who dial this zone comes in.
struct Porter {
    zone: ZoneName,
    limits: LinkLimits,
    acceptor: TlsAcceptor,
    zones: HashMap<CertificateDer<'static>, ZoneName>,
    /// Those who have not yet proven who they are.
    unproven: Crowd,
    /// Those who have, by zone.
    peers: HashMap<ZoneName, (Lane, Crowd)>,
    refusals: RefusalLog,
    endpoint: Arc<dyn LinkEndpoint>,
}

impl Porter {
    async fn receive(self: Arc<Self>, listener: &TcpListener, tasks: &TaskTracker, stop: &CancellationToken) {
        // Who was sent away leaves only when its task runs: twice the number, so that this is the exception, and no more.
        let handshakes = Arc::new(Semaphore::new(self.limits.unauthenticated.max(1).saturating_mul(2)));
        while let Some((stream, remote, handshake)) = next_connection(listener, &handshakes, stop).await {
            let porter = Arc::clone(&self);
            let stop = stop.clone();
            tasks.spawn(async move {
                if let Some(Some((peer, stream))) =
                    stop.run_until_cancelled(porter.prove(stream, remote, handshake)).await
                {
                    porter.serve(&peer, stream, remote, &stop).await;
                }
            });
        }
    }

    /// Who it is that dialled; `None` when it may not come in.
    async fn prove(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        _handshake: OwnedSemaphorePermit,
    ) -> Option<(ZoneName, tokio_rustls::server::TlsStream<TcpStream>)> {
        let place = self.unproven.enter();
        let admitted = tokio::select! {
            admitted = admit(stream, &self.acceptor, &self.zones, &self.zone, &self.limits) => admitted,
            () = place.evicted() => {
                self.refused(remote, "too many connections that had not proven who they are; it was the oldest");
                return None;
            }
        };
        admitted.inspect_err(|error| self.refused(remote, &error.to_string())).ok()
    }

    fn refused(&self, remote: SocketAddr, why: &str) {
        self.refusals.refused(remote, why);
        self.endpoint.refused(remote.ip(), why);
    }

    async fn serve(
        &self,
        peer: &ZoneName,
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        remote: SocketAddr,
        stop: &CancellationToken,
    ) {
        let Some((lane, crowd)) = self.peers.get(peer) else { return };
        let place = crowd.enter();
        let (sender, receiver) = FrameSender::channel(self.limits.outgoing_frames);
        tracing::debug!(event = "peer-connected", %peer, %remote, "another zone linked itself to this one");
        let part = Part::Replica(sender);
        let ended = tokio::select! {
            ended = lane.carry(stream, &part, receiver) => ended,
            () = place.evicted() => Ended::Replaced,
            () = stop.cancelled() => Ended::Stopped,
        };
        match ended {
            Ended::BadFrame(_) | Ended::Frame(crate::frame::FrameError::TooLong { .. }) => {
                tracing::warn!(event = "peer-refused", %peer, %remote, reason = %ended, "a zone sent what cannot be taken");
                self.endpoint.refused(remote.ip(), &ended.to_string());
            }
            Ended::Stopped | Ended::Replaced | Ended::Released | Ended::Cut | Ended::Frame(_) => {
                tracing::debug!(event = "peer-disconnected", %peer, %remote, reason = %ended, "a link to this zone ended");
            }
        }
    }
}

/// The next connection, as soon as it may begin to prove itself; `None` after `stop`.
async fn next_connection(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepting = async {
        let handshake = Arc::clone(handshakes).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => return Some((stream, remote, handshake)),
                Err(error) => {
                    // Either of that one connection, or no file descriptors are left: some come back.
                    tracing::debug!(%error, "accepting a link failed; trying again");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await.flatten()
}
