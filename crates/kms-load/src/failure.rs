//! Why a request counts as failed.

use serde::{Serialize, Serializer};
use std::fmt;

/// The kinds of failure that are counted apart. Failures never enter the latencies of successes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The connection was not made: refused, unreachable, no such host.
    Connect,
    /// TLS was not agreed, or the certificate is not trusted.
    Tls,
    /// The connection ended before the answer was whole.
    Closed,
    /// Bytes that are no HTTP answer, or more than the limit.
    Malformed,
    /// An answer with a status other than 2xx.
    Status(u16),
    /// Status 2xx, but the answer does not hold what it must.
    WrongAnswer,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Tls => f.write_str("no TLS"),
            Self::Closed => f.write_str("closed early"),
            Self::Malformed => f.write_str("not HTTP"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::WrongAnswer => f.write_str("wrong answer"),
        }
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A failed exchange with what is known of the reason.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct ExchangeFailure {
    /// The kind, as counted.
    pub kind: FailureKind,
    /// For people: an error text, or the beginning of an answer.
    pub reason: String,
}

impl ExchangeFailure {
    pub(crate) fn new(kind: FailureKind, reason: impl fmt::Display) -> Self {
        Self { kind, reason: reason.to_string() }
    }
}
