//! The TLS side of the API's listener: certificates from PEM files, TLS 1.2 and 1.3.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use zeroize::Zeroizing;

use crate::private_files::{Guard, UnreadableSecret, read_secret};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    /// The path is not repeated: it may be the key itself, put there by mistake.
    #[error("cannot be opened: {0}")]
    NotOpened(std::io::Error),
    #[error("{0}")]
    Unreadable(String),
    #[error("{file}: {reason}")]
    NotPem { file: String, reason: String },
    #[error("certificate and key do not work together: {0}")]
    Mismatch(rustls::Error),
}

/// The largest private key file, in bytes.
const KEY_FILE_LIMIT: usize = 65_536;

/// Reads a chain of certificates, the server's own first.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let content = std::fs::read(path).map_err(TlsFault::NotOpened)?;
    let file = path.display().to_string();
    let chain = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsFault::NotPem { file: file.clone(), reason: error.to_string() })?;
    if chain.is_empty() {
        return Err(TlsFault::NotPem { file, reason: "has no PEM section CERTIFICATE".to_owned() });
    }
    Ok(chain)
}

/// Reads a private key (PKCS#8, PKCS#1 or SEC1) from a file that only its owner may read.
pub(crate) fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let content = read_secret(path, KEY_FILE_LIMIT, Guard::Owner).map_err(|error| match error {
        UnreadableSecret::NotOpened(error) => TlsFault::NotOpened(error),
        UnreadableSecret::Unfit(unfit) => TlsFault::Unreadable(unfit.to_string()),
    })?;
    let content = Zeroizing::new(content.expose().to_vec());
    PrivateKeyDer::from_pem_slice(&content).map_err(|_| TlsFault::NotPem {
        file: path.display().to_string(),
        reason: "has no PEM section with a private key".to_owned(),
    })
}

/// A server with that certificate, whose key must match.
pub(crate) fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsFault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsFault::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsFault::Mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
