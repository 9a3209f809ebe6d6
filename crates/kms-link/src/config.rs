//! What a zone needs to know to talk to its peers.

use crate::identity::TlsIdentity;
use kms_types::ZoneName;
use rustls_pki_types::CertificateDer;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// One zone's side of its links.
pub struct LinkConfig {
    /// This zone.
    pub zone: ZoneName,
    /// What proves to others that this is that zone.
    pub identity: TlsIdentity,
    /// The zones it talks to.
    pub peers: Vec<PeerConfig>,
    /// What is bounded, and how.
    pub limits: LinkLimits,
}

/// Another zone.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name.
    pub zone: ZoneName,
    /// Where it listens: host and port, `zone-b.example.org:7443`.
    pub address: String,
    /// The end-entity certificates that are that zone, byte for byte; at least one, more while one is being replaced. Nothing else
    /// in them counts, neither names nor dates: to stop trusting one, take it out of the list.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Bounds on time and number.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// For everything before the first frame: connecting, TLS and hello.
    pub handshake_timeout: Duration,
    /// For one frame, once it has begun, to arrive or to be taken by the other side.
    pub frame_timeout: Duration,
    /// Connections that have not yet proven who they are. One more, and the oldest of them is closed.
    pub unauthenticated: usize,
    /// Connections that one zone may hold to this one. One more, and the oldest of them is closed.
    pub connections_per_peer: usize,
    /// Frames that may wait for one connection.
    pub outgoing_frames: usize,
    /// The pause before the first attempt to connect anew; it doubles with each.
    pub first_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            unauthenticated: 64,
            connections_per_peer: 2,
            outgoing_frames: 16,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// A zone is no peer of its own.
    #[error("zone {0} is this zone itself")]
    OwnZone(ZoneName),
    /// Which of the two would count?
    #[error("zone {0} is listed twice")]
    RepeatedZone(ZoneName),
    /// It could never be believed.
    #[error("zone {0} has no certificate")]
    NoCertificate(ZoneName),
    /// A certificate says which zone it is.
    #[error("zones {0} and {1} have a certificate in common")]
    SharedCertificate(ZoneName, ZoneName),
}

impl LinkConfig {
    /// Checks what the types leave open.
    ///
    /// # Errors
    ///
    /// The first fault found.
    pub fn check(&self) -> Result<(), ConfigFault> {
        let mut zones = HashSet::new();
        let mut owners: HashMap<&[u8], &ZoneName> = HashMap::from([(self.identity.certificate().as_ref(), &self.zone)]);
        for peer in &self.peers {
            if peer.zone == self.zone {
                return Err(ConfigFault::OwnZone(peer.zone.clone()));
            }
            if !zones.insert(&peer.zone) {
                return Err(ConfigFault::RepeatedZone(peer.zone.clone()));
            }
            if peer.certificates.is_empty() {
                return Err(ConfigFault::NoCertificate(peer.zone.clone()));
            }
            for certificate in &peer.certificates {
                let owner = owners.entry(certificate.as_ref()).or_insert(&peer.zone);
                if *owner != &peer.zone {
                    return Err(ConfigFault::SharedCertificate((*owner).clone(), peer.zone.clone()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::generate_identity;

    fn zone(name: &str) -> ZoneName {
        name.parse().unwrap()
    }

    fn identity(name: &str) -> TlsIdentity {
        generate_identity(&zone(name)).unwrap()
    }

    fn peer(name: &str, identities: &[&TlsIdentity]) -> PeerConfig {
        let certificates = identities.iter().map(|identity| identity.certificate().clone()).collect();
        PeerConfig { zone: zone(name), address: "127.0.0.1:1".to_owned(), certificates }
    }

    fn check(own: &TlsIdentity, peers: Vec<PeerConfig>) -> Result<(), ConfigFault> {
        LinkConfig { zone: zone("a"), identity: own.clone(), peers, limits: LinkLimits::default() }.check()
    }

    #[test]
    fn each_fault_is_found() {
        let [a, b, c] = ["a", "b", "c"].map(identity);
        assert_eq!(check(&a, vec![]), Ok(()));
        assert_eq!(check(&a, vec![peer("b", &[&b]), peer("c", &[&c])]), Ok(()));
        // The same certificate twice for the same zone is only untidy.
        assert_eq!(check(&a, vec![peer("b", &[&b, &c, &b])]), Ok(()));
        assert_eq!(check(&a, vec![peer("a", &[&b])]), Err(ConfigFault::OwnZone(zone("a"))));
        let twice = vec![peer("b", &[&b]), peer("b", &[&c])];
        assert_eq!(check(&a, twice), Err(ConfigFault::RepeatedZone(zone("b"))));
        assert_eq!(check(&a, vec![peer("b", &[])]), Err(ConfigFault::NoCertificate(zone("b"))));
        let shared = vec![peer("b", &[&b]), peer("c", &[&c, &b])];
        assert_eq!(check(&a, shared), Err(ConfigFault::SharedCertificate(zone("b"), zone("c"))));
        let own = vec![peer("b", &[&a])];
        assert_eq!(check(&a, own), Err(ConfigFault::SharedCertificate(zone("a"), zone("b"))));
    }
}
