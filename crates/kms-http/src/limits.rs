//! How much a client may send, and how long it may take.

use kms_crypto::OVERHEAD;
use std::time::Duration;

/// What one request may hold and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest plaintext, in bytes before base64.
    pub plaintext: usize,
    /// The longest encryption context, in bytes before base64.
    pub context: usize,
    /// The time from the end of a request's head to its answer.
    pub request_timeout: Duration,
}

/// Room in a body for member names, key ids, names and descriptions.
const BODY_ALLOWANCE: usize = 16 * 1024;

impl RequestLimits {
    /// The longest ciphertext, in bytes before base64: the longest plaintext with the envelope around it.
    #[must_use]
    pub const fn ciphertext(&self) -> usize {
        self.plaintext.saturating_add(OVERHEAD)
    }

    /// The longest request body, in bytes: the longest ciphertext and two contexts in base64, and 16 KiB for the rest, rounded
    /// up to a whole KiB. No request within the other limits is longer.
    #[must_use]
    pub const fn body_limit(&self) -> usize {
        let data = base64_length(self.ciphertext());
        let contexts = base64_length(self.context).saturating_mul(2);
        let sum = data.saturating_add(contexts).saturating_add(BODY_ALLOWANCE);
        sum.div_ceil(1024).saturating_mul(1024)
    }
}

impl Default for RequestLimits {
    /// Plaintexts of 64 KiB, contexts of 8 KiB, 30 seconds.
    fn default() -> Self {
        Self { plaintext: 65_536, context: 8192, request_timeout: Duration::from_secs(30) }
    }
}

const fn base64_length(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// What one listener's connections may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections served at once. For a further one, a connection without a request in flight is closed: of the address (IPv6: /64
    /// network) that has most connections, the one that waits longest for its client. With a request in flight on all, it waits.
    pub connections: usize,
    /// From the start of the connection to its first byte, from the first byte of a request's head to its end, and for a TLS handshake.
    pub header_timeout: Duration,
    /// From an answer to the first byte of the next request, and for the client to take the answer.
    pub idle_timeout: Duration,
    /// The longest request head in bytes, request line included; at least 8192.
    pub header_bytes: usize,
    /// The most header fields in one request.
    pub headers: usize,
    /// How long connections may go on after a shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for ConnectionLimits {
    /// 1024 connections; 10 s for a head, 75 s idle; heads of 16 KiB and 100 fields; 10 s of grace.
    fn default() -> Self {
        Self {
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_bytes: 16 * 1024,
            headers: 100,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_limit_follows_from_the_other_limits() {
        assert_eq!(RequestLimits::default().body_limit(), 123 * 1024);
        let none = RequestLimits { plaintext: 0, context: 0, ..RequestLimits::default() };
        assert_eq!(none.body_limit(), 17 * 1024);
    }
}
