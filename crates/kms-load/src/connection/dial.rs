//! Opening a connection: TCP, and TLS where the endpoint wants it.

use super::HttpVersion;
use crate::endpoint::{Endpoint, Scheme};
use crate::failure::{ExchangeFailure, FailureKind};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Which certificates of servers are good.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that lead to one of these roots.
    Roots(Arc<RootCertStore>),
    /// All: for servers of one's own with a certificate nobody signed. Anyone on the way can read and change everything.
    Anything,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file has no certificate, or one that is broken.
    #[error("{0}: {1}")]
    NotCertificates(PathBuf, String),
    /// https without anything to trust.
    #[error(
        "{0} needs --ca-file with the certificates to trust (often /etc/ssl/certs/ca-certificates.crt), or --insecure"
    )]
    NothingTrusted(Endpoint),
    /// A host that cannot be in a certificate.
    #[error("{0}: the host is no name that a certificate can have")]
    Name(Endpoint),
    /// rustls refuses.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// The certificates in a PEM file.
    ///
    /// # Errors
    /// When it cannot be read or has none.
    pub fn from_file(path: &Path) -> Result<Self, TrustFault> {
        let content = std::fs::read(path).map_err(|error| TrustFault::Unreadable(path.to_owned(), error))?;
        let not = |reason: String| TrustFault::NotCertificates(path.to_owned(), reason);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&content) {
            let certificate = certificate.map_err(|error| not(error.to_string()))?;
            roots.add(certificate).map_err(|error| not(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(not("has no PEM section CERTIFICATE".to_owned()));
        }
        Ok(Self::Roots(Arc::new(roots)))
    }
}

/// Opens connections to one endpoint.
#[derive(Clone)]
pub(super) struct Dialer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    pub(super) fn new(endpoint: &Endpoint, version: HttpVersion, trust: Option<&Trust>) -> Result<Self, TrustFault> {
        let tls = match endpoint.scheme() {
            Scheme::Http => None,
            Scheme::Https => {
                let trust = trust.ok_or_else(|| TrustFault::NothingTrusted(endpoint.clone()))?;
                let name = ServerName::try_from(endpoint.host().to_owned());
                let name = name.map_err(|_| TrustFault::Name(endpoint.clone()))?;
                Some((TlsConnector::from(Arc::new(client_config(trust, version)?)), name))
            }
        };
        Ok(Self { host: endpoint.host().to_owned(), port: endpoint.port(), tls })
    }

    pub(super) async fn dial(&self) -> Result<Stream, ExchangeFailure> {
        let connect = |error: std::io::Error| ExchangeFailure::new(FailureKind::Connect, error);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Ok(Stream::Tls(Box::new(stream.map_err(|error| ExchangeFailure::new(FailureKind::Tls, error))?)))
            }
        }
    }
}

fn client_config(trust: &Trust, version: HttpVersion) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let mut config = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)),
        Trust::Anything => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    }
    .with_no_client_auth();
    config.alpn_protocols = match version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    // Without keep-alive every request is to pay for a whole handshake.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// `--insecure`: any certificate, but whoever shows it must have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
