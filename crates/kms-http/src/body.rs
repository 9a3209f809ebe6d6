//! Reading a request's body within its limit, into memory that is wiped.

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use kms_crypto::SecretBytes;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is longer than the limit.
    TooLarge,
    /// It ended early, or its chunks are malformed.
    Broken,
}

/// The capacity to begin with when a body's length is not announced.
const FIRST_CAPACITY: usize = 4096;

/// The whole body, of at most `limit` bytes. One whose announced length is over the limit is refused before any of it is read.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<SecretBytes, Unreadable> {
    let announced = body.size_hint();
    if announced.lower() > limit as u64 {
        return Err(Unreadable::TooLarge);
    }
    let exact = announced.exact().and_then(|length| usize::try_from(length).ok());
    let mut capacity = exact.unwrap_or(FIRST_CAPACITY).min(limit);
    let mut whole = SecretBytes::with_capacity(capacity);
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body, and no client sends any.
        let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() else { continue };
        let needed = whole.len() + data.len();
        if needed > limit {
            return Err(Unreadable::TooLarge);
        }
        if needed > capacity {
            capacity = needed.saturating_mul(2).min(limit);
            let mut larger = SecretBytes::with_capacity(capacity);
            larger.try_extend(whole.expose()).map_err(|_| Unreadable::TooLarge)?;
            whole = larger;
        }
        whole.try_extend(&data).map_err(|_| Unreadable::TooLarge)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body of many pieces whose length is not announced.
    struct Pieces(Vec<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(piece))))
        }
    }

    #[tokio::test]
    async fn pieces_are_joined_up_to_the_limit() {
        for (pieces, piece, limit, expected) in [
            (10, 1000, 10_000, Ok(10_000)),
            (10, 1000, 9_999, Err(Unreadable::TooLarge)),
            (0, 0, 0, Ok(0)),
            (1, 1, 0, Err(Unreadable::TooLarge)),
        ] {
            let body = Body::new(Pieces(vec![Bytes::from(vec![7; piece]); pieces]));
            let read = read(body, limit).await;
            assert!(read.as_ref().map_or(true, |body| body.expose().iter().all(|byte| *byte == 7)));
            assert_eq!(read.map(|body| body.len()), expected, "{pieces} of {piece}, limit {limit}");
        }
    }

    #[tokio::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        assert_eq!(read(Body::from(vec![0; 11]), 10).await.err(), Some(Unreadable::TooLarge));
        assert_eq!(read(Body::from(vec![0; 10]), 10).await.map(|body| body.len()), Ok(10));
    }
}
