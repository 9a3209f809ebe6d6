//! Where a server is: scheme, host, port and the path that every request begins with.

use std::fmt;
use std::str::FromStr;

/// A server's address, such as `http://127.0.0.1:8080/v2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// Why a text is no address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Another scheme, or none.
    #[error("{0:?} must begin with http:// or https://")]
    Scheme(String),
    /// No host, user information, a fragment, blanks, or not ASCII.
    #[error("{0:?} must be a host, a port if it is not the usual one, and a path, such as http://127.0.0.1:8080/v2")]
    Form(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?}: the port must be a number from 1 to 65535")]
    Port(String),
}

impl Endpoint {
    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What paths begin with: empty, or a `/` and more, without a `/` at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The `Host` header: with the port unless it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => self.host.clone(),
            (Scheme::Http | Scheme::Https, port) => format!("{}:{port}", self.host),
        }
    }

    /// Whether the host is this machine by its address or usual name.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (Scheme::Http, rest),
            (None, Some(rest)) => (Scheme::Https, rest),
            (None, None) => return Err(InvalidEndpoint::Scheme(text.to_owned())),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') || authority.contains(['@', '?']) {
            return Err(InvalidEndpoint::Form(text.to_owned()));
        }
        let (host, port) = match authority.rfind(':') {
            Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..])),
            Some(_) | None => (authority, None),
        };
        if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
            return Err(InvalidEndpoint::Form(text.to_owned()));
        }
        let port = match port {
            None => match scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            },
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(InvalidEndpoint::Port(text.to_owned())),
                Ok(port) => port,
            },
        };
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |text: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            (endpoint.host().to_owned(), endpoint.port(), endpoint.path().to_owned(), endpoint.to_string())
        };
        let owned =
            |host: &str, port, path: &str, shown: &str| (host.to_owned(), port, path.to_owned(), shown.to_owned());
        assert_eq!(of("http://127.0.0.1:8080/v2"), owned("127.0.0.1", 8080, "/v2", "http://127.0.0.1:8080/v2"));
        assert_eq!(of("http://h/"), owned("h", 80, "", "http://h"));
        assert_eq!(of("https://[::1]/a?b=c"), owned("::1", 443, "/a?b=c", "https://[::1]/a?b=c"));
        assert_eq!(of("https://[::1]:8443"), owned("::1", 8443, "", "https://[::1]:8443"));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "127.0.0.1:80",
            "ftp://h",
            "http://",
            "http://:80",
            "http://u@h",
            "http://h h",
            "http://h#f",
            "http://::1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        for text in ["http://h:0", "http://h:65536", "http://h:", "http://h:x"] {
            assert_eq!(text.parse::<Endpoint>(), Err(InvalidEndpoint::Port(text.to_owned())));
        }
    }
}
