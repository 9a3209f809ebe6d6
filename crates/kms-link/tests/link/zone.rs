//! A fake zone behind real links: it writes down what it is told, and answers requests by repeating them.

use crate::logs;
use async_trait::async_trait;
use kms_link::{FrameFaults, LinkConfig, LinkLimits, NoFaults, PeerConfig, TlsIdentity, generate_identity, run};
use kms_service::{BadFrame, FrameSender, LinkEndpoint};
use kms_testkit::ReservedPort;
use kms_types::ZoneName;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What a zone was told, by or about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Up(String),
    Down(String, String),
    Answer(String, Vec<u8>),
    Request(String, Vec<u8>),
}

/// A zone as long as it does not run: it can be listed by others.
pub(crate) struct Plan {
    pub(crate) zone: ZoneName,
    pub(crate) identity: TlsIdentity,
    pub(crate) port: ReservedPort,
    pub(crate) listener: TcpListener,
    pub(crate) limits: LinkLimits,
    pub(crate) faults: Arc<dyn FrameFaults>,
}

pub(crate) struct Zone {
    pub(crate) address: SocketAddr,
    pub(crate) identity: TlsIdentity,
    port: ReservedPort,
    told: mpsc::UnboundedReceiver<Told>,
    endpoint: Arc<Endpoint>,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

impl Plan {
    pub(crate) async fn new(name: &str) -> Self {
        Self::at(ReservedPort::reserve(), name).await
    }

    /// On the port of a zone that was stopped.
    pub(crate) async fn at(port: ReservedPort, name: &str) -> Self {
        let zone = name.parse().unwrap();
        let identity = generate_identity(&zone).unwrap();
        let listener = TcpListener::bind(port.address()).await.unwrap();
        Self { zone, identity, port, listener, limits: limits(), faults: Arc::new(NoFaults) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// This zone as others list it.
    pub(crate) fn as_peer(&self) -> PeerConfig {
        PeerConfig {
            zone: self.zone.clone(),
            address: self.address().to_string(),
            certificates: vec![self.identity.certificate().clone()],
        }
    }

    pub(crate) fn start(self, peers: Vec<PeerConfig>) -> Zone {
        logs::record();
        let (sender, told) = mpsc::unbounded_channel();
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let endpoint = Arc::new(Endpoint { told: sender, links: Mutex::default(), gate });
        let shutdown = CancellationToken::new();
        let address = self.address();
        let identity = self.identity.clone();
        let config = LinkConfig { zone: self.zone, identity: self.identity, peers, limits: self.limits };
        let shared: Arc<dyn LinkEndpoint> = Arc::clone(&endpoint) as _;
        let running = tokio::spawn(run(self.listener, config, shared, self.faults, shutdown.clone()));
        Zone { address, identity, port: self.port, told, endpoint, shutdown, running }
    }
}

impl Zone {
    /// What it is told next.
    pub(crate) async fn next(&mut self) -> Told {
        timeout(LONG, self.told.recv()).await.expect("nothing happened").unwrap()
    }

    /// Waits for exactly this, whatever comes before.
    pub(crate) async fn expect(&mut self, expected: Told) {
        while self.next().await != expected {}
    }

    pub(crate) async fn expect_up(&mut self, peer: &str) {
        self.expect(Told::Up(peer.to_owned())).await;
    }

    /// Waits until it is told that `peer` is down, and why.
    pub(crate) async fn expect_down(&mut self, peer: &str) -> String {
        loop {
            if let Told::Down(zone, why) = self.next().await
                && zone == peer
            {
                return why;
            }
        }
    }

    /// The next `count` requests, of whomever.
    pub(crate) async fn requests(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        while requests.len() < count {
            if let Told::Request(_, frame) = self.next().await {
                requests.push(frame);
            }
        }
        requests
    }

    /// What it is told within a short time.
    pub(crate) async fn told_within(&mut self, span: Duration) -> Vec<Told> {
        let mut all = Vec::new();
        let _ = timeout(span, async {
            while let Some(told) = self.told.recv().await {
                all.push(told);
            }
        })
        .await;
        all
    }

    /// Where frames to `peer` go.
    pub(crate) fn link(&self, peer: &str) -> FrameSender {
        self.endpoint.links.lock().unwrap()[peer].clone()
    }

    pub(crate) async fn send(&self, peer: &str, frame: &[u8]) {
        timeout(LONG, self.link(peer).send(frame.to_vec())).await.expect("no room").unwrap();
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, peer: &str, frame: &[u8]) {
        self.send(peer, frame).await;
        self.expect(Told::Answer(peer.to_owned(), [b"re:", frame].concat())).await;
    }

    /// Takes in no more requests until it is given leave.
    pub(crate) fn close_gate(&self) {
        self.endpoint.gate.forget_permits(usize::MAX);
    }

    pub(crate) fn open_gate(&self) {
        self.endpoint.gate.add_permits(1 << 20);
    }

    /// Stops its links; gives the port for another.
    pub(crate) async fn stop(self) -> ReservedPort {
        self.shutdown.cancel();
        timeout(LONG, self.running).await.expect("does not stop").unwrap().unwrap();
        self.port
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(60);

fn limits() -> LinkLimits {
    LinkLimits {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
        ..LinkLimits::default()
    }
}

/// Starts zones that all list each other.
pub(crate) async fn linked<const N: usize>(names: [&str; N], faults: Arc<dyn FrameFaults>) -> [Zone; N] {
    let mut plans = Vec::new();
    for name in names {
        plans.push(Plan { faults: Arc::clone(&faults), ..Plan::new(name).await });
    }
    let all: Vec<_> = plans.iter().map(Plan::as_peer).collect();
    let zones = plans.into_iter().map(|plan| {
        let peers = all.iter().filter(|peer| peer.zone != plan.zone).cloned().collect();
        plan.start(peers)
    });
    let Ok(mut zones) = <[Zone; N]>::try_from(zones.collect::<Vec<_>>()) else { panic!("as many as names") };
    for (zone, name) in zones.iter_mut().zip(names) {
        let mut missing: Vec<_> = names.into_iter().filter(|other| *other != name).collect();
        while !missing.is_empty() {
            if let Told::Up(peer) = zone.next().await {
                missing.retain(|name| *name != peer);
            }
        }
    }
    zones
}

struct Endpoint {
    told: mpsc::UnboundedSender<Told>,
    links: Mutex<HashMap<String, FrameSender>>,
    gate: Semaphore,
}

#[async_trait]
impl LinkEndpoint for Endpoint {
    fn origin_up(&self, peer: &ZoneName, outgoing: FrameSender) {
        self.links.lock().unwrap().insert(peer.to_string(), outgoing);
        let _ = self.told.send(Told::Up(peer.to_string()));
    }

    fn origin_down(&self, peer: &ZoneName, why: &str) {
        let _ = self.told.send(Told::Down(peer.to_string(), why.to_owned()));
    }

    fn refused(&self, _remote: std::net::IpAddr, _why: &str) {}

    async fn origin_received(&self, peer: &ZoneName, frame: Vec<u8>) -> Result<(), BadFrame> {
        let _ = self.told.send(Told::Answer(peer.to_string(), frame));
        Ok(())
    }

    async fn replica_received(&self, peer: &ZoneName, frame: Vec<u8>, outgoing: &FrameSender) -> Result<(), BadFrame> {
        self.gate.acquire().await.unwrap().forget();
        if frame == b"bad" {
            return Err(BadFrame::new("it says that it is bad"));
        }
        let _ = self.told.send(Told::Request(peer.to_string(), frame.clone()));
        let _ = outgoing.try_send([b"re:", &frame[..]].concat());
        Ok(())
    }
}
