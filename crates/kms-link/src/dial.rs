//! This zone's own connection to one peer, made again whenever it is lost.

use crate::backoff::Backoff;
use crate::carry::{Lane, Part};
use crate::connect::dial;
use crate::ended::Ended;
use kms_service::FrameSender;
use rustls_pki_types::ServerName;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// How to reach one peer.
pub(crate) struct Dialler {
    pub(crate) lane: Lane,
    pub(crate) address: String,
    pub(crate) name: ServerName<'static>,
    pub(crate) connector: TlsConnector,
}

impl Dialler {
    /// Keeps a connection to the peer until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Lane { own, peer, limits, .. } = &self.lane;
        let mut backoff = Backoff::new(own, peer, limits.first_pause, limits.longest_pause);
        let mut last_fault = String::new();
        while !stop.is_cancelled() {
            if self.lane.is_cut() {
                let _ = stop.run_until_cancelled(self.lane.until_not_cut()).await;
                continue;
            }
            let attempt = dial(&self.address, &self.connector, self.name.clone(), own, peer, limits);
            match stop.run_until_cancelled(attempt).await {
                None => return,
                Some(Ok(stream)) => {
                    last_fault.clear();
                    let since = Instant::now();
                    let ended = self.carry(stream, &stop).await;
                    if matches!(ended, Ended::Cut) || since.elapsed() >= limits.longest_pause {
                        backoff.reset();
                    }
                }
                Some(Err(error)) => {
                    let fault = error.to_string();
                    self.lane.endpoint.origin_down(peer, &fault);
                    // Said once, not with every attempt.
                    if fault != last_fault {
                        let event = if error.is_refusal() { "peer-refused" } else { "peer-unreachable" };
                        tracing::warn!(event, %peer, address = self.address, reason = fault, "no link to another zone");
                    }
                    last_fault = fault;
                }
            }
            let _ = stop.run_until_cancelled(sleep(backoff.pause())).await;
        }
    }

    async fn carry(
        &self,
        stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
        stop: &CancellationToken,
    ) -> Ended {
        let Lane { peer, limits, endpoint, .. } = &self.lane;
        let (sender, receiver) = FrameSender::channel(limits.outgoing_frames);
        // The endpoint says it to operators; here it stands among the details.
        tracing::debug!(event = "link-up", %peer, "linked to another zone");
        endpoint.origin_up(peer, sender);
        let ended = tokio::select! {
            ended = self.lane.carry(stream, &Part::Origin, receiver) => ended,
            () = stop.cancelled() => Ended::Stopped,
        };
        tracing::debug!(event = "link-down", %peer, reason = %ended, "the link to another zone ended");
        endpoint.origin_down(peer, &ended.to_string());
        ended
    }
}
