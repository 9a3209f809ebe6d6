//! Connections to a server: HTTP/1.1 by hand, so that the generator's own cost is small, HTTP/2 by hyper.

mod dial;
mod http1;
mod http2;

pub use dial::{Trust, TrustFault};

use crate::call::{Call, KeepAlive};
use crate::endpoint::Endpoint;
use crate::failure::{ExchangeFailure, FailureKind};
use bytes::Bytes;
use dial::Dialer;
use http1::Http1;
use http2::Http2;
use serde::Serialize;
use std::sync::Arc;

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HttpVersion {
    /// HTTP/1.1, one request at a time on a connection.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge without.
    #[serde(rename = "2")]
    Http2,
}

/// How connections are made and used.
#[derive(Clone)]
pub struct Wire {
    dialer: Dialer,
    endpoint: Endpoint,
    version: HttpVersion,
    keep_alive: KeepAlive,
}

/// A request in the form its connection sends.
pub(crate) enum Encoded {
    Http1(Box<[u8]>),
    Http2(Box<http::Request<()>>, Bytes),
}

/// One place for one request at a time: a connection, or a stream of an HTTP/2 connection that is shared.
pub(crate) enum Lane {
    Http1 { wire: Arc<Wire>, open: Option<Http1> },
    Http2 { shared: Arc<Http2> },
}

/// A whole answer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Wire {
    /// Connections to `endpoint`. `trust` is needed for https.
    ///
    /// # Errors
    /// When the endpoint wants TLS and nothing is trusted, or its host is no name for TLS.
    pub fn new(
        endpoint: &Endpoint,
        version: HttpVersion,
        keep_alive: KeepAlive,
        trust: Option<&Trust>,
    ) -> Result<Self, TrustFault> {
        Ok(Self { dialer: Dialer::new(endpoint, version, trust)?, endpoint: endpoint.clone(), version, keep_alive })
    }

    /// The server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// Whether connections are used again.
    #[must_use]
    pub fn keep_alive(&self) -> KeepAlive {
        self.keep_alive
    }

    /// The bytes of `call`.
    pub(crate) fn encode(&self, call: &Call) -> Encoded {
        match self.version {
            HttpVersion::Http1 => Encoded::Http1(call.to_http1(&self.endpoint, self.keep_alive)),
            HttpVersion::Http2 => {
                let (head, body) =
                    call.to_http2(&self.endpoint).expect("paths and headers of protocols are fit for HTTP");
                Encoded::Http2(Box::new(head), body)
            }
        }
    }

    /// `streams` lanes that are one connection, or one lane if the version knows no streams.
    pub(crate) fn lanes(self: &Arc<Self>, streams: usize) -> Vec<Lane> {
        match self.version {
            HttpVersion::Http1 => vec![Lane::Http1 { wire: Arc::clone(self), open: None }],
            HttpVersion::Http2 => {
                let shared = Arc::new(Http2::new(Arc::clone(self)));
                (0..streams.max(1)).map(|_| Lane::Http2 { shared: Arc::clone(&shared) }).collect()
            }
        }
    }
}

impl Lane {
    /// Sends `request` and reads the whole answer into `buffer`. After a failure, and without keep-alive, the next exchange
    /// begins with a new connection.
    pub(crate) async fn exchange<'a>(
        &mut self,
        request: &Encoded,
        buffer: &'a mut AnswerBuffer,
    ) -> Result<Answer<'a>, ExchangeFailure> {
        match (self, request) {
            (Self::Http1 { wire, open }, Encoded::Http1(bytes)) => {
                // Taken out while it is in use: an exchange that fails or is dropped half-way leaves no connection behind.
                let mut connection = match open.take() {
                    Some(connection) => connection,
                    None => Http1::new(wire.dialer.dial().await?),
                };
                let (status, body, reusable) = connection.exchange(bytes, &mut buffer.bytes).await?;
                if reusable && wire.keep_alive == KeepAlive::On {
                    *open = Some(connection);
                }
                Ok(Answer { status, body: &buffer.bytes[body] })
            }
            (Self::Http2 { shared }, Encoded::Http2(head, body)) => {
                let status = shared.exchange(head, body, &mut buffer.bytes).await?;
                Ok(Answer { status, body: &buffer.bytes })
            }
            (Self::Http1 { .. }, Encoded::Http2(..)) | (Self::Http2 { .. }, Encoded::Http1(_)) => {
                Err(ExchangeFailure::new(FailureKind::Malformed, "a request encoded for another version of HTTP"))
            }
        }
    }
}

/// Where answers are read into; used again and again, so that it grows once.
#[derive(Default)]
pub(crate) struct AnswerBuffer {
    bytes: Vec<u8>,
}

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
