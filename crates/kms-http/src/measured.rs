//! Parts of the front door by themselves, for benches. Not an interface.

use crate::answers;
use crate::connections::Connection;
use crate::exchange::Answering;
use crate::limits::{ConnectionLimits, RequestLimits};
use crate::progress::Progress;
use crate::requests;
use crate::watch::Ending;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one connection that needs no socket, until its client leaves.
pub async fn serve_stream<A: Answering>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    answering: Arc<A>,
    limits: ConnectionLimits,
) {
    let connection = Connection { answering, limits, ending: Ending::default() };
    connection.serve(stream, Progress::new(), None).await;
}

/// Reads the body of an encrypt call; the length of its plaintext, if it is good.
#[must_use]
pub fn read_encrypt(body: &[u8]) -> Option<usize> {
    requests::encrypt(body, &RequestLimits::default()).ok().map(|message| message.data.len())
}

/// Writes the answer to an encrypt call; its length.
#[must_use]
pub fn write_ciphertext(ciphertext: &[u8]) -> Option<usize> {
    answers::ciphertext(ciphertext).map(|answer| answer.expose().len())
}
