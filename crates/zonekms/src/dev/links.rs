//! The links between the zones of a lab: real ones, each on a port of the system's choice.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kms_link::FrameFaults;
use kms_types::ZoneName;
use tokio::net::TcpListener;

use super::faults::LabFaults;
use crate::config::{Peer, Replication};
use crate::failure::Failure;
use crate::serve::bind;
use crate::zone_identity::ZoneIdentity;
use crate::zone_server::LinkPlan;

/// A zone's listener for the others, with what the others know of it.
struct Place {
    listener: TcpListener,
    listen: SocketAddr,
    identity: ZoneIdentity,
    known: Peer,
}

/// Opens a listener on `ip` for each zone, and tells each zone of the others. The links are in the order of `identities`.
pub(super) async fn open_links(
    ip: IpAddr,
    identities: Vec<(ZoneName, ZoneIdentity)>,
    faults: &Arc<LabFaults>,
) -> Result<Vec<LinkPlan>, Failure> {
    let mut places = Vec::new();
    for (zone, identity) in identities {
        let listener = bind(SocketAddr::new(ip, 0), "--listen").await?;
        let listen = listener.local_addr().map_err(Failure::run)?;
        let known = Peer { zone, address: listen.to_string(), identity: identity.for_peers() };
        places.push(Place { listener, listen, identity, known });
    }
    let all: Vec<Peer> = places.iter().map(|place| place.known.clone()).collect();
    let link = |Place { listener, listen, identity, known }: Place| {
        let peers = all.iter().filter(|peer| peer.zone != known.zone).cloned().collect();
        let faults: Arc<dyn FrameFaults> = Arc::clone(faults) as Arc<_>;
        LinkPlan { listener, replication: Replication { listen, identity, peers }, faults }
    };
    Ok(places.into_iter().map(link).collect())
}
