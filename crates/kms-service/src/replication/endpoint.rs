//! What a zone's links see of it.

use async_trait::async_trait;
use kms_replication::Message;
use kms_types::ZoneName;
use std::net::IpAddr;
use std::sync::Arc;

use crate::kms::Zone;
use crate::link::{BadFrame, FrameSender, LinkEndpoint};

pub(super) struct Endpoint(Arc<Zone>);

impl Endpoint {
    pub(super) fn new(zone: Arc<Zone>) -> Self {
        Self(zone)
    }
}

#[async_trait]
impl LinkEndpoint for Endpoint {
    fn origin_up(&self, peer: &ZoneName, outgoing: FrameSender) {
        self.0.origin_up(peer, outgoing);
    }

    fn origin_down(&self, peer: &ZoneName, why: &str) {
        self.0.origin_down(peer, why);
    }

    fn refused(&self, remote: IpAddr, why: &str) {
        self.0.record_stranger(remote, why);
    }

    async fn origin_received(&self, peer: &ZoneName, frame: Vec<u8>) -> Result<(), BadFrame> {
        let zone = &self.0;
        let replication = zone.replication_with(peer)?;
        match Message::decode(&frame).map_err(bad)? {
            Message::Answer(answer) => {
                replication.outbox.received(peer, &answer, zone.moment());
                Ok(())
            }
            Message::Request(_) => Err(BadFrame::new("a request came where answers are due")),
        }
    }

    async fn replica_received(&self, peer: &ZoneName, frame: Vec<u8>, outgoing: &FrameSender) -> Result<(), BadFrame> {
        let zone = &self.0;
        let replication = zone.replication_with(peer)?;
        match Message::decode(&frame).map_err(bad)? {
            Message::Request(request) => zone.requested(replication, peer, request, outgoing).await,
            Message::Answer(_) => Err(BadFrame::new("an answer came where requests are due")),
        }
    }
}

fn bad(cause: impl std::fmt::Display) -> BadFrame {
    BadFrame::new(cause.to_string())
}
