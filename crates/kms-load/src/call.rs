//! One request as a protocol makes it, and its bytes on the wire.

use crate::endpoint::{Endpoint, Scheme};
use bytes::Bytes;
use std::fmt::{self, Write as _};

/// A request without its framing. Signed, its headers prove who sends it: its `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    pub(crate) method: Method,
    /// The whole path with the query, as on the wire.
    pub(crate) path: String,
    /// Names in lower case. `host` and `content-length` are added by the framing.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// The methods that key management services use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Delete,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether a connection is used for more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepAlive {
    /// Connections stay open.
    On,
    /// A new connection, and a new TLS handshake, for every request.
    Off,
}

impl Call {
    pub(crate) fn post(path: String, content_type: &str, body: Vec<u8>) -> Self {
        Self { method: Method::Post, path, headers: vec![("content-type", content_type.to_owned())], body }
    }

    /// The request in HTTP/1.1, complete.
    pub(crate) fn to_http1(&self, endpoint: &Endpoint, keep_alive: KeepAlive) -> Box<[u8]> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method.name(), self.path, endpoint.authority());
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("writing to a String cannot fail");
        }
        match keep_alive {
            KeepAlive::On => {}
            KeepAlive::Off => head.push_str("Connection: close\r\n"),
        }
        write!(head, "Content-Length: {}\r\n\r\n", self.body.len()).expect("writing to a String cannot fail");
        [head.as_bytes(), &self.body].concat().into_boxed_slice()
    }

    /// The request for an HTTP/2 client.
    ///
    /// # Errors
    /// When a path or a header cannot be on the wire.
    pub(crate) fn to_http2(&self, endpoint: &Endpoint) -> Result<(http::Request<()>, Bytes), http::Error> {
        let scheme = match endpoint.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let uri = format!("{scheme}://{}{}", endpoint.authority(), self.path);
        let mut request = http::Request::builder().method(self.method.name()).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok((request.body(())?, Bytes::copy_from_slice(&self.body)))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with {} bytes", self.method.name(), self.path, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http1_bytes() {
        let mut call = Call::post("/v2/x".to_owned(), "application/json", b"{}".to_vec());
        call.headers.push(("authorization", "A b".to_owned()));
        let endpoint = "http://h:81".parse().unwrap();
        let text = "POST /v2/x HTTP/1.1\r\nHost: h:81\r\ncontent-type: application/json\r\nauthorization: A b\r\n\
                    Content-Length: 2\r\n\r\n{}";
        assert_eq!(&*call.to_http1(&endpoint, KeepAlive::On), text.as_bytes());
        let closing = String::from_utf8(call.to_http1(&endpoint, KeepAlive::Off).into_vec()).unwrap();
        assert!(closing.contains("\r\nConnection: close\r\n"), "{closing}");
    }
}
