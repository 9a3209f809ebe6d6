//! One HTTP/2 connection and the streams that share it.

use super::{ANSWER_LIMIT, Wire};
use crate::failure::{ExchangeFailure, FailureKind};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A connection that is opened by the first stream that needs it, and anew after it broke.
pub(crate) struct Http2 {
    wire: Arc<Wire>,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Http2 {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        Self { wire, sender: Mutex::new(None) }
    }

    /// Sends a request; its answer's body replaces what is in `buffer`. Gives the status.
    pub(super) async fn exchange(
        &self,
        head: &http::Request<()>,
        body: &Bytes,
        buffer: &mut Vec<u8>,
    ) -> Result<u16, ExchangeFailure> {
        let closed = |error: hyper::Error| ExchangeFailure::new(FailureKind::Closed, whole(&error));
        let mut sender = self.sender().await?;
        let request = head.clone().map(|()| Full::new(body.clone()));
        let answer = sender.send_request(request).await.map_err(closed)?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        buffer.clear();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(closed)?.into_data() {
                buffer.extend_from_slice(&data);
            }
            if buffer.len() > ANSWER_LIMIT {
                return Err(ExchangeFailure::new(FailureKind::Malformed, "the answer is larger than 16 MiB"));
            }
        }
        Ok(status)
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, ExchangeFailure> {
        let mut place = self.sender.lock().await;
        if let Some(sender) = place.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.wire.dialer.dial().await?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| ExchangeFailure::new(FailureKind::Malformed, whole(&error)))?;
        // Its end is seen by the streams; the task ends with the connection or with the runtime.
        drop(tokio::spawn(connection));
        *place = Some(sender.clone());
        Ok(sender)
    }
}

/// With what is behind it: hyper itself says no more than "http2 error".
fn whole(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
