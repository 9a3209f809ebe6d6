//! Log lines about those who were turned away, of whom there may be very many.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// At most [`LINES`] lines in every [`SPAN`]; the first one after that says how many are missing.
pub(crate) struct RefusalLog(Mutex<Span>);

struct Span {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

const SPAN: Duration = Duration::from_secs(10);
const LINES: u32 = 20;

impl RefusalLog {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Span { began: Instant::now(), lines: 0, suppressed: 0 }))
    }

    /// `remote`, which dialled this zone, was turned away for `reason`.
    pub(crate) fn refused(&self, remote: SocketAddr, reason: &str) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            tracing::warn!(event = "peer-refused", %remote, reason, suppressed, "a connection to this zone was refused");
        }
    }

    /// How many lines were left out before this one; `None` when it is to be left out as well.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(span.began) >= SPAN {
            span.began = now;
            span.lines = 0;
        }
        if span.lines == LINES {
            span.suppressed += 1;
            return None;
        }
        span.lines += 1;
        Some(std::mem::take(&mut span.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_not_written_out() {
        let log = RefusalLog::new();
        let begin = Instant::now();
        let written = (0..1000).filter(|_| log.admit(begin).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(log.admit(begin + SPAN), Some(980));
        assert_eq!(log.admit(begin + SPAN), Some(0));
    }
}
