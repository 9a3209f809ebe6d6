//! The same over TLS.

use crate::client::Client;
use crate::connections::{Setup, running};
use crate::zone::ACME;
use kms_http::{ConnectionLimits, Handshake};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn endpoints() -> (TlsAcceptor, TlsConnector) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn requests_are_served_over_tls_while_handshakes_hang() {
    let (acceptor, connector) = endpoints();
    let limits = ConnectionLimits { header_timeout: Duration::from_secs(5), ..ConnectionLimits::default() };
    let server = running(Setup { handshake: Handshake::Tls(acceptor), limits, ..Setup::default() }).await;
    let mut silent = server.client().await;
    let mut plain = server.client().await;
    plain.send(b"GET /v2/zone HTTP/1.1\r\nHost: a\r\n\r\n").await;

    let stream = TcpStream::connect(server.address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let mut client = Client::over(stream);
    let large = format!(r#"{{"name":"k1","description":"{}"}}"#, "d".repeat(1024));
    assert_eq!(client.call(&ACME.request("POST", "/v2/kms-key", &large)).await.status, 200);
    assert!(client.call(&ACME.request("GET", "/v2/kms-key", "")).await.text().contains("\"k1\""));
    assert!(silent.is_closed().await, "a handshake that never began");
    assert!(plain.answer().await.is_none_or(|answer| answer.status != 200), "plain HTTP on a TLS listener");
}
