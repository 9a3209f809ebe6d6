//! Reading a request's body within its limit.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use kms_crypto::SecretBytes;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is longer than the limit.
    TooLarge,
    /// It ended early, or its chunks are malformed.
    Broken,
}

/// All of a request's body.
pub(crate) enum WholeBody {
    /// It came in one piece, and is read where it came: no copy of it is made.
    InPlace(Bytes),
    /// Its pieces, joined in memory that is wiped.
    Joined(SecretBytes),
}

impl WholeBody {
    /// Its bytes, which may hold a plaintext.
    pub(crate) fn expose(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Joined(bytes) => bytes.expose(),
        }
    }
}

/// The capacity to begin with when a body's length is not announced.
const FIRST_CAPACITY: usize = 4096;

/// The whole body, of at most `limit` bytes. One whose announced length is over the limit is refused before any of it is read.
pub(crate) async fn read<B: HttpBody<Data = Bytes> + Unpin>(
    mut body: B,
    limit: usize,
) -> Result<WholeBody, Unreadable> {
    let announced = body.size_hint();
    if announced.lower() > limit as u64 {
        return Err(Unreadable::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(WholeBody::InPlace(Bytes::new()));
    }
    let exact = announced.exact().and_then(|length| usize::try_from(length).ok());
    let mut next = data(&mut body).await?;
    if let Some(only) = next.take_if(|first| exact == Some(first.len())) {
        return Ok(WholeBody::InPlace(only));
    }
    let mut capacity = exact.unwrap_or(FIRST_CAPACITY).min(limit);
    let mut whole = SecretBytes::with_capacity(capacity);
    while let Some(piece) = next {
        let needed = whole.len() + piece.len();
        if needed > limit {
            return Err(Unreadable::TooLarge);
        }
        if needed > capacity {
            capacity = needed.saturating_mul(2).min(limit);
            let mut larger = SecretBytes::with_capacity(capacity);
            larger.try_extend(whole.expose()).map_err(|_| Unreadable::TooLarge)?;
            whole = larger;
        }
        whole.try_extend(&piece).map_err(|_| Unreadable::TooLarge)?;
        next = if exact == Some(whole.len()) { None } else { data(&mut body).await? };
    }
    Ok(WholeBody::Joined(whole))
}

/// The next piece; `None` at the end.
async fn data<B: HttpBody<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, Unreadable> {
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body, and no client sends any.
        if let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
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
            assert_eq!(read.map(|body| body.expose().len()), expected, "{pieces} of {piece}, limit {limit}");
        }
    }

    #[tokio::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        assert_eq!(read(Body::from(vec![0; 11]), 10).await.err(), Some(Unreadable::TooLarge));
        assert_eq!(read(Body::from(vec![0; 10]), 10).await.map(|body| body.expose().len()), Ok(10));
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 1000]);
        let Ok(WholeBody::InPlace(read)) = read(Body::from(piece.clone()), 1000).await else { panic!("copied") };
        assert_eq!(read.as_ptr(), piece.as_ptr());
    }
}
