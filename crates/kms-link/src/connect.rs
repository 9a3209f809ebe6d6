//! From a TCP connection to one between two zones that have proven themselves.

use crate::config::LinkLimits;
use crate::hello::{self, HelloError};
use crate::pinned::NotPinned;
use kms_types::ZoneName;
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{SockRef, TcpKeepalive};
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection: {0}")]
    Tcp(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    NotPinned(NotPinned),
    /// The verifier let it through, so this cannot happen; it is refused all the same.
    #[error("its certificate belongs to no zone")]
    Nobody,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("it took too long to prove itself")]
    TooSlow,
}

impl ConnectError {
    /// Whether the other side is not, or not provably, the zone it should be; otherwise it merely could not be reached.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Tls(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::NotPinned(_) | Self::Nobody => true,
            Self::Hello(error) => match error {
                HelloError::NotSaid(_) => false,
                HelloError::Garbage
                | HelloError::Version(_)
                | HelloError::OtherSender { .. }
                | HelloError::OtherReceiver { .. } => true,
            },
            Self::Tcp(_) | Self::TooSlow => false,
        }
    }
}

/// What stopped a handshake, without the library's wrapping around our own verdict.
fn tls_fault(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref()).and_then(NotPinned::within) {
        Some(not_pinned) => ConnectError::NotPinned(not_pinned.clone()),
        None => ConnectError::Tls(error),
    }
}

/// Dials `peer` at `address`.
pub(crate) async fn dial(
    address: &str,
    connector: &TlsConnector,
    name: ServerName<'static>,
    own: &ZoneName,
    peer: &ZoneName,
    limits: &LinkLimits,
) -> Result<client::TlsStream<TcpStream>, ConnectError> {
    let dialling = async {
        let stream = TcpStream::connect(address).await.map_err(ConnectError::Tcp)?;
        prepare(&stream).map_err(ConnectError::Tcp)?;
        let mut stream = connector.connect(name, stream).await.map_err(tls_fault)?;
        hello::exchange(&mut stream, own, peer, limits.handshake_timeout).await?;
        Ok(stream)
    };
    timeout(limits.handshake_timeout, dialling).await.unwrap_or(Err(ConnectError::TooSlow))
}

/// Lets in who dialled, if its certificate is one of `zones`, and tells which zone that is.
pub(crate) async fn admit(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    zones: &HashMap<CertificateDer<'static>, ZoneName>,
    own: &ZoneName,
    limits: &LinkLimits,
) -> Result<(ZoneName, server::TlsStream<TcpStream>), ConnectError> {
    let admitting = async {
        prepare(&stream).map_err(ConnectError::Tcp)?;
        let mut stream = match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                let _ = timeout(GOODBYE, turn_away(stream)).await;
                return Err(tls_fault(error));
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = certificate.and_then(|certificate| zones.get(certificate)).ok_or(ConnectError::Nobody)?.clone();
        hello::exchange(&mut stream, own, &peer, limits.handshake_timeout).await?;
        Ok((peer, stream))
    };
    timeout(limits.handshake_timeout, admitting).await.unwrap_or(Err(ConnectError::TooSlow))
}

/// Lets the other side read why: closing with its bytes unread would reset the connection, and TLS's alert might be lost.
async fn turn_away(mut stream: TcpStream) -> io::Result<u64> {
    const MOST: u64 = 4096;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MOST), &mut tokio::io::sink()).await
}

const GOODBYE: Duration = Duration::from_secs(1);

/// Frames go out at once, and a dead connection is noticed though nothing is sent.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
