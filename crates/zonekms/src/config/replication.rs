//! The sections about other zones: this zone's identity, its listener for them, and each of them.

use std::net::SocketAddr;

use kms_http::ZoneEntry;
use kms_types::ZoneName;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::load::{Source, read_address};
use super::report::Report;
use super::section::{Section, Text};
use super::{Peer, Replication};
use crate::zone_identity::{PeerIdentity, ZoneIdentity, read_hpke_public_key};

/// Reads `[identity]`, `[peers]` and every `[[peer]]`: all of them are there, or none.
pub(super) fn read_replication(
    root: &mut Section<'_>,
    own: Option<&ZoneName>,
    zones: &[ZoneEntry],
    source: &Source<'_>,
    report: &mut Report,
) -> Option<Replication> {
    let identity = root.optional_section("identity", report);
    let listen = root.optional_section("peers", report);
    let sections = root.sections("peer", report);
    if identity.is_none() && listen.is_none() && sections.is_empty() {
        return None;
    }
    if identity.is_none() {
        root.missing("[identity]", report);
    }
    if listen.is_none() {
        root.missing("[peers]", report);
    }
    if sections.is_empty() {
        root.missing("[[peer]]", report);
    }
    let identity = identity.and_then(|section| read_identity(section, source, report));
    let listen = listen.and_then(|section| read_listen(section, report));
    let mut peers: Vec<Peer> = Vec::new();
    let mut seen: Vec<ZoneName> = Vec::new();
    for section in sections {
        peers.extend(read_peer(section, own, zones, &mut seen, report));
    }
    let replication = Replication { listen: listen?, identity: identity?, peers };
    if let (Some(own), true) = (own, report.is_clean())
        && let Err(fault) = replication.link_config(own.clone()).check()
    {
        report.fault(None, format!("peer: {fault}"));
    }
    Some(replication)
}

fn read_identity(mut section: Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<ZoneIdentity> {
    let text = section.text("directory", report);
    let previous_text = section.optional_text("previous-directory", report);
    section.finish(report);
    let text = text?;
    let directory = text.path(source.base, report)?;
    let previous = match &previous_text {
        Some(text) => Some(text.path(source.base, report)?),
        None => None,
    };
    if previous.as_deref() == Some(directory.as_path()) {
        text.fault(report, "is also previous-directory");
    }
    ZoneIdentity::load(&directory, previous.as_deref()).map_err(|fault| text.fault(report, fault)).ok()
}

fn read_listen(mut section: Section<'_>, report: &mut Report) -> Option<SocketAddr> {
    let address = section.text("listen", report).and_then(|text| read_address(&text, report));
    section.finish(report);
    address
}

fn read_peer(
    mut section: Section<'_>,
    own: Option<&ZoneName>,
    zones: &[ZoneEntry],
    seen: &mut Vec<ZoneName>,
    report: &mut Report,
) -> Option<Peer> {
    let zone = section.text("zone", report).and_then(|text| read_zone(&text, own, zones, seen, report));
    let address = section.text("address", report).and_then(|text| read_host_and_port(&text, report));
    let certificates = match section.optional_texts("certificates", report) {
        Some(texts) => {
            if texts.is_empty() {
                report.fault(section.place(), "peer.certificates: must hold at least one certificate");
            }
            texts.iter().filter_map(|text| read_certificate(text, report)).collect()
        }
        None => {
            section.missing("certificates", report);
            Vec::new()
        }
    };
    let hpke_public_key = section.text("hpke-public-key", report).and_then(|text| {
        let key = read_hpke_public_key(text.as_str());
        if key.is_none() {
            text.fault(report, "must be the key that `zonekms zone-identity new` printed for that zone");
        }
        key
    });
    section.finish(report);
    let identity = PeerIdentity { certificates, hpke_public_key: hpke_public_key? };
    Some(Peer { zone: zone?, address: address?, identity })
}

fn read_zone(
    text: &Text<'_>,
    own: Option<&ZoneName>,
    zones: &[ZoneEntry],
    seen: &mut Vec<ZoneName>,
    report: &mut Report,
) -> Option<ZoneName> {
    let name: ZoneName = text.parse(report)?;
    if own == Some(&name) {
        text.fault(report, "is this zone itself");
    } else if !zones.is_empty() && !zones.iter().any(|zone| zone.name == name) {
        text.fault(report, format!("{name} is not in the list of zones ([[zones]])"));
    } else if seen.contains(&name) {
        text.fault(report, format!("{name} has two [[peer]] sections"));
    }
    seen.push(name.clone());
    Some(name)
}

fn read_host_and_port(text: &Text<'_>, report: &mut Report) -> Option<String> {
    let good = text.as_str().rsplit_once(':').is_some_and(|(host, port)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let known_host = match literal {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(plain),
        };
        known_host && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !good {
        text.fault(report, "must be a host and a port, such as \"kms-dk.example.org:7443\" or \"[2001:db8::1]:7443\"");
        return None;
    }
    Some(text.as_str().to_owned())
}

fn read_certificate(text: &Text<'_>, report: &mut Report) -> Option<CertificateDer<'static>> {
    let mut found = CertificateDer::pem_slice_iter(text.as_str().as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(certificate)), None) => Some(certificate),
        _ => {
            text.fault(report, "must be one certificate in PEM form, as `zonekms zone-identity new` printed it");
            None
        }
    }
}
