//! The configuration of `zonekms serve`: what it says, once it is known to be without a fault.
//!
//! A file is read whole and every fault in it is reported at once, with its place. Everything the file points to (the
//! root key, certificates, secrets) is read and checked too, so that a [`Config`] that exists can be started with.

mod audit;
mod load;
mod organisations;
mod replication;
mod report;
mod root_key;
mod section;
mod shred;
mod summary;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kms_audit::AuditSettings;
use kms_http::{ConnectionLimits, RequestLimits, ZoneEntry};
use kms_link::{LinkConfig, LinkLimits, PeerConfig};
use kms_service::{CredentialConfig, ReplicationConfig};
use kms_types::{KeyName, OrganisationName, ZoneName};
use tokio_rustls::rustls::ServerConfig;

pub use load::{Places, load, places};
pub(crate) use load::{root_keys, token};
pub use report::Report;

use crate::logging::LogSettings;
use crate::root_key::RootKeys;
use crate::zone_identity::{PeerIdentity, ZoneIdentity};

/// What one server runs with. Secrets are loaded and wiped on drop; nothing here can be printed by accident.
pub struct Config {
    /// The zone this server is.
    pub zone: ZoneName,
    /// All zones, as `GET /v2/zone` lists them; this server's own is among them.
    pub zones: Vec<ZoneEntry>,
    /// Where the API is served.
    pub listen: Listen,
    /// Where health is served, if anywhere.
    pub operations: Option<SocketAddr>,
    /// Where operators' commands reach the running server.
    pub control_socket: PathBuf,
    /// Where the data lies.
    pub store: StoreLocation,
    /// What gives the key that wraps the keyring.
    pub(crate) root_keys: RootKeys,
    /// How keys reach other zones; without it they do not.
    pub replication: Option<Replication>,
    /// Who may use this server.
    pub organisations: Vec<Organisation>,
    /// Sizes, counts and deadlines.
    pub limits: Limits,
    /// How to log.
    pub log: LogSettings,
    /// How the audit log is kept.
    pub audit: AuditSettings,
    /// How long after a deletion became final the material is shredded.
    pub shred_after: Duration,
}

/// The API's listener.
pub struct Listen {
    /// The address to bind.
    pub address: SocketAddr,
    /// What is spoken on it.
    pub transport: Transport,
}

/// What is spoken on a listener.
pub enum Transport {
    /// HTTP over TLS 1.2 or 1.3.
    Tls(Arc<ServerConfig>),
    /// Plain HTTP: on loopback, or because the configuration says so.
    Plain,
}

/// The places of one zone's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    /// The directory of the store.
    pub directory: PathBuf,
    /// The file that shows when the store was lost or put back.
    pub manifest: PathBuf,
    /// The file of the wrapped keyring.
    pub keyring: PathBuf,
}

/// This zone among the others.
pub struct Replication {
    /// The address to bind for the connections of other zones.
    pub listen: SocketAddr,
    /// What this zone proves itself with.
    pub identity: ZoneIdentity,
    /// The other zones that keys are exchanged with.
    pub peers: Vec<Peer>,
}

impl Replication {
    /// The links of `zone`.
    pub(crate) fn link_config(&self, zone: ZoneName) -> LinkConfig {
        let peer = |peer: &Peer| PeerConfig {
            zone: peer.zone.clone(),
            address: peer.address.clone(),
            certificates: peer.identity.certificates.clone(),
        };
        LinkConfig {
            zone,
            identity: self.identity.tls.clone(),
            peers: self.peers.iter().map(peer).collect(),
            limits: LinkLimits::default(),
        }
    }

    /// What the service needs of this: what opens records, and what seals them.
    pub(crate) fn into_keys(self) -> ReplicationConfig {
        let ZoneIdentity { private_key, previous_private_key, .. } = self.identity;
        ReplicationConfig {
            private_keys: [private_key].into_iter().chain(previous_private_key).collect(),
            peers: self.peers.into_iter().map(|peer| (peer.zone, peer.identity.hpke_public_key)).collect(),
        }
    }
}

/// Another zone.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub zone: ZoneName,
    /// The host and port of its listener for zones.
    pub address: String,
    /// How it is known.
    pub identity: PeerIdentity,
}

/// An organisation and its API keys.
pub struct Organisation {
    /// Its name.
    pub name: OrganisationName,
    /// The name of its default key, made at start if missing.
    pub default_key: Option<KeyName>,
    /// The API keys that act for it.
    pub api_keys: Vec<CredentialConfig>,
}

/// Sizes, counts and deadlines. Defaults are those of the commented example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What one request may hold, and how long it may take.
    pub requests: RequestLimits,
    /// How many connections there may be, and how long each may be silent.
    pub connections: ConnectionLimits,
    /// The most keys an organisation may have in this zone.
    pub keys_per_organisation: u32,
}

impl StoreLocation {
    /// The directory that the store, its manifest and its keyring lie in unless the configuration names other places.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.parent().unwrap_or(&self.directory).join(name)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: RequestLimits::default(),
            connections: ConnectionLimits::default(),
            keys_per_organisation: 1_000,
        }
    }
}
