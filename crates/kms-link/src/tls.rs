//! TLS between zones: version 1.3 alone, both sides with a pinned certificate, every session anew.

use crate::config::PeerConfig;
use crate::identity::TlsIdentity;
use crate::pinned::Pinned;
use kms_types::ZoneName;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Accepts the certificates of every peer; which zone it is follows from the certificate.
pub(crate) fn acceptor(identity: &TlsIdentity, peers: &[PeerConfig]) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = peers.iter().flat_map(|peer| peer.certificates.iter().cloned()).collect();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Pinned::new(certificates, provider))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would not show its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts the certificates of `peer` and no others.
pub(crate) fn connector(identity: &TlsIdentity, peer: &PeerConfig) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Pinned::new(peer.certificates.clone(), provider))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    // The one place where a name would go over the wire in clear, and nobody needs it.
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that the library wants to be given. It is not sent, and nobody looks at it: the certificate is pinned.
pub(crate) fn server_name(zone: &ZoneName) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(zone.as_str().to_owned()).map_err(|error| rustls::Error::General(error.to_string()))
}

const PROTOCOL: &[u8] = b"zonekms-link/1";
