//! A client that knows TLS and the wire, and keeps to no rule: it believes every server.

use kms_link::{TlsIdentity, parse_certificates};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::zone::LONG;

pub(crate) struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Dials `address`, with that identity or none.
    pub(crate) async fn dial(
        address: SocketAddr,
        identity: Option<&TlsIdentity>,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believe));
        let config = match identity {
            Some(identity) => builder.with_client_cert_resolver(certified(identity, identity)),
            None => builder.with_no_client_auth(),
        };
        Self::connect(address, config).await
    }

    /// Dials `address` with the certificate of one and the private key of another.
    pub(crate) async fn dial_with_stolen(
        address: SocketAddr,
        certificate: &TlsIdentity,
        key: &TlsIdentity,
    ) -> std::io::Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believe))
            .with_client_cert_resolver(certified(certificate, key));
        Self::connect(address, config).await
    }

    async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("anything").unwrap();
        timeout(LONG, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap().map(Self)
    }

    /// Dials with TLS 1.3 and says hello as zone `from` to zone `to`, and takes in the hello it gets.
    pub(crate) async fn link(address: SocketAddr, identity: &TlsIdentity, from: &str, to: &str) -> Self {
        let mut raw = Self::dial(address, Some(identity), &version::TLS13).await.unwrap();
        raw.send(&hello(1, from, to)).await;
        assert_eq!(raw.receive().await.unwrap(), hello(1, to, from));
        raw
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.send_bytes(&[&length[..], frame].concat()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The other side may have closed already; what it made of the bytes is seen elsewhere.
        let _ = timeout(LONG, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
        .unwrap();
    }

    /// The next frame; `None` when the connection is closed.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        let reading = async {
            let len = self.0.read_u32().await.ok()?;
            let mut frame = vec![0; usize::try_from(len).unwrap()];
            self.0.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        timeout(LONG, reading).await.expect("the connection is still open")
    }

    /// Waits for the end of the connection.
    pub(crate) async fn expect_closed(mut self) {
        while self.receive().await.is_some() {}
    }
}

/// A server that shows the certificate of one zone and has the private key of another.
pub(crate) async fn impostor(certificate: &TlsIdentity, key: &TlsIdentity) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certified(certificate, key));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let _ = stream.write_all(b"\0\0\0\x0f").await;
                let _ = stream.write_all(&hello(1, "zone-b", "zone-a")).await;
                let _ = stream.read(&mut [0; 64]).await;
            }
        }
    });
    address
}

fn certified(certificate: &TlsIdentity, key: &TlsIdentity) -> Arc<SingleCertAndKey> {
    let chain = parse_certificates(certificate.certificates_pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.expose_key_pem().as_bytes()).unwrap();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, any_supported_type(&key).unwrap())))
}

/// A hello as the protocol has it.
pub(crate) fn hello(version: u8, from: &str, to: &str) -> Vec<u8> {
    let mut hello = vec![version];
    for name in [from, to] {
        hello.push(u8::try_from(name.len()).unwrap());
        hello.extend_from_slice(name.as_bytes());
    }
    hello
}

#[derive(Debug)]
struct Believe;

impl ServerCertVerifier for Believe {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
