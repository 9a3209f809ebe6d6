//! The seam between a zone and its connections to other zones: what a link carries, and what it tells the zone.
//!
//! A link proves who is at its other end and moves frames. What is in a frame, the messages of `kms-replication`, it does
//! not know. The zone is a [`LinkEndpoint`]; [`Kms::link_endpoint`](crate::Kms::link_endpoint) gives it.

use async_trait::async_trait;
use kms_types::ZoneName;
use std::net::IpAddr;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// The most bytes of a frame. A link refuses a longer one before it allocates.
pub const MAX_FRAME_LEN: usize = kms_replication::message::MAX_MESSAGE_LEN;

/// What a link tells a zone. A link calls it with the name that the other end proved to have, never with one it claims.
#[async_trait]
pub trait LinkEndpoint: Send + Sync + 'static {
    /// This zone dialled `peer`, who proved to be that zone. Requests about the keys of this zone go through `outgoing`
    /// until [`LinkEndpoint::origin_down`]; a later call replaces an earlier one.
    fn origin_up(&self, peer: &ZoneName, outgoing: FrameSender);

    /// The connection that this zone dialled is lost, or could not be made; to be called for every attempt that fails.
    fn origin_down(&self, peer: &ZoneName, why: &str);

    /// A connection from `remote` was refused: who dialled proved to be no peer, or sent what no peer sends. For the audit log.
    fn refused(&self, remote: IpAddr, why: &str);

    /// `peer`, whom this zone dialled, sent this frame: an answer.
    ///
    /// # Errors
    ///
    /// [`BadFrame`]; the connection is to be closed.
    async fn origin_received(&self, peer: &ZoneName, frame: Vec<u8>) -> Result<(), BadFrame>;

    /// `peer`, who dialled this zone and proved to be that zone, sent this frame: a request. Its answer goes through
    /// `outgoing` once what it says is durable. Not to be called for the next frame of the connection before this ends.
    ///
    /// # Errors
    ///
    /// [`BadFrame`]; the connection is to be closed.
    async fn replica_received(&self, peer: &ZoneName, frame: Vec<u8>, outgoing: &FrameSender) -> Result<(), BadFrame>;
}

/// A frame that no zone of this version sends, or one from a zone that is no peer; the text is fit for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFrame(String);

impl BadFrame {
    /// For that reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Where the frames for one connection go. Bounded; clones lead to the same connection.
#[derive(Clone, Debug)]
pub struct FrameSender(mpsc::Sender<Vec<u8>>);

/// Where a link takes the frames of one connection from, in the order in which they were sent.
#[derive(Debug)]
pub struct FrameReceiver(mpsc::Receiver<Vec<u8>>);

/// A frame that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameNotSent {
    /// As many frames wait as may.
    #[error("too many frames wait for the connection")]
    Full,
    /// The connection is gone.
    #[error("the connection is closed")]
    Closed,
}

impl FrameSender {
    /// A sender and its receiver, with room for `capacity` frames, at least one.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, FrameReceiver) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self(sender), FrameReceiver(receiver))
    }

    /// Hands over `frame`, waiting for room.
    ///
    /// # Errors
    ///
    /// [`FrameNotSent::Closed`].
    pub async fn send(&self, frame: Vec<u8>) -> Result<(), FrameNotSent> {
        self.0.send(frame).await.map_err(|_| FrameNotSent::Closed)
    }

    /// Hands over `frame` if there is room at once.
    ///
    /// # Errors
    ///
    /// [`FrameNotSent`].
    pub fn try_send(&self, frame: Vec<u8>) -> Result<(), FrameNotSent> {
        self.0.try_send(frame).map_err(|refused| match refused {
            TrySendError::Full(_) => FrameNotSent::Full,
            TrySendError::Closed(_) => FrameNotSent::Closed,
        })
    }

    /// Ends when the connection is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl FrameReceiver {
    /// The next frame; `None` when every sender is gone.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_bounded_and_the_end_is_told() {
        let (sender, mut receiver) = FrameSender::channel(1);
        assert_eq!(sender.try_send(vec![1]), Ok(()));
        assert_eq!(sender.try_send(vec![2]), Err(FrameNotSent::Full));
        assert_eq!(receiver.receive().await, Some(vec![1]));
        assert_eq!(sender.send(vec![3]).await, Ok(()));
        drop(receiver);
        assert_eq!(sender.try_send(vec![4]), Err(FrameNotSent::Closed));
        assert_eq!(sender.send(vec![4]).await, Err(FrameNotSent::Closed));
        sender.closed().await;
    }
}
