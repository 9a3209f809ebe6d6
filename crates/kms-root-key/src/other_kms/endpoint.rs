//! Where another key management service is reached.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// An address of the API, such as `https://api-ch-gva-2.exoscale.com/v2`.
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// Where the paths of the API begin: `/v2`.
    pub(super) base: String,
    pub(super) transport: Transport,
    shown: String,
}

pub(super) enum Transport {
    Tls { config: Arc<ClientConfig>, name: ServerName<'static> },
    Plain,
}

/// Why an address is not one to send a root key to.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not an address of the API.
    #[error("must be a URL such as \"https://kms.example.org/v2\", without a slash at its end")]
    Url,
    /// In the clear over a network.
    #[error("must begin with https://, because the root key travels there; http:// is for loopback addresses only")]
    Plaintext,
    /// The certificates that are to be trusted cannot be used.
    #[error("the certificates to be trusted cannot be used: {0}")]
    Certificates(rustls::Error),
}

impl Endpoint {
    /// The API at `url`. Of `authorities`, one must have signed the server's certificate, where the address is `https`.
    ///
    /// # Errors
    /// When it is no such address, when it is one without TLS beyond this machine, or when TLS cannot be set up.
    pub fn new(url: &str, authorities: &[CertificateDer<'static>]) -> Result<Self, InvalidEndpoint> {
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let host = uri.host().ok_or(InvalidEndpoint::Url)?.trim_matches(['[', ']']).to_owned();
        if uri.query().is_some() || url.ends_with('/') || url.contains(['@', '#']) {
            return Err(InvalidEndpoint::Url);
        }
        let (transport, usual_port) = match uri.scheme_str() {
            Some("https") => (tls(&host, authorities)?, 443),
            Some("http") if is_loopback(&host) => (Transport::Plain, 80),
            Some("http") => return Err(InvalidEndpoint::Plaintext),
            Some(_) | None => return Err(InvalidEndpoint::Url),
        };
        let base = if uri.path() == "/" { String::new() } else { uri.path().to_owned() };
        Ok(Self { host, port: uri.port_u16().unwrap_or(usual_port), base, transport, shown: url.to_owned() })
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn tls(host: &str, authorities: &[CertificateDer<'static>]) -> Result<Transport, InvalidEndpoint> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| InvalidEndpoint::Url)?;
    let mut trusted = RootCertStore::empty();
    let (added, _) = trusted.add_parsable_certificates(authorities.iter().cloned());
    if added == 0 {
        return Err(InvalidEndpoint::Certificates(rustls::Error::General("there is none".to_owned())));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(InvalidEndpoint::Certificates)?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(Transport::Tls { config: Arc::new(config), name })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, host, port, base, authority) in [
            ("http://127.0.0.1:8080/v2", "127.0.0.1", 8080, "/v2", "127.0.0.1:8080"),
            ("http://[::1]:8080/v2", "::1", 8080, "/v2", "[::1]:8080"),
            ("http://localhost", "localhost", 80, "", "localhost:80"),
        ] {
            let endpoint = Endpoint::new(url, &[]).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((&*endpoint.host, endpoint.port, &*endpoint.base), (host, port, base));
            assert_eq!((endpoint.authority(), endpoint.to_string()), (authority.to_owned(), url.to_owned()));
        }
    }

    #[test]
    fn a_root_key_is_not_sent_in_the_clear() {
        for url in ["http://kms.example.org/v2", "http://10.0.0.1/v2", "http://127.0.0.1.example.org/v2"] {
            assert!(matches!(Endpoint::new(url, &[]), Err(InvalidEndpoint::Plaintext)), "{url}");
        }
        for url in ["", "kms.example.org", "ftp://127.0.0.1/v2", "http://127.0.0.1/v2/", "http://127.0.0.1/v2?a=b"] {
            assert!(matches!(Endpoint::new(url, &[]), Err(InvalidEndpoint::Url)), "{url}");
        }
        let no_authority = Endpoint::new("https://kms.example.org/v2", &[]);
        assert!(matches!(no_authority, Err(InvalidEndpoint::Certificates(_))));
    }
}
