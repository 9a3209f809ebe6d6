//! The body of an answer: whole, in one piece, and wiped after sending when it holds a plaintext.

use bytes::Buf;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use kms_crypto::SecretBytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer of the [`FrontDoor`](crate::FrontDoor).
pub struct AnswerBody(Option<AnswerBytes>);

/// The bytes of an answer, of which hyper has taken some.
pub struct AnswerBytes {
    content: Content,
    taken: usize,
}

/// What an answer is made of.
pub(crate) enum Content {
    Public(Vec<u8>),
    /// Holds a plaintext; wiped when dropped.
    Secret(SecretBytes),
}

impl AnswerBody {
    pub(crate) const fn new(content: Content) -> Self {
        Self(Some(AnswerBytes { content, taken: 0 }))
    }

    /// What it is made of, unless that was taken.
    pub(crate) fn into_content(self) -> Option<Content> {
        self.0.map(|bytes| bytes.content)
    }

    /// The whole body, copied out: for callers without a connection.
    pub async fn to_vec(self) -> Vec<u8> {
        match self.collect().await {
            Ok(collected) => collected.to_bytes().to_vec(),
            Err(never) => match never {},
        }
    }
}

impl Body for AnswerBody {
    type Data = AnswerBytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<AnswerBytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.remaining() as u64))
    }
}

impl Content {
    pub(crate) fn expose(&self) -> &[u8] {
        match self {
            Self::Public(bytes) => bytes,
            Self::Secret(bytes) => bytes.expose(),
        }
    }
}

impl Buf for AnswerBytes {
    fn remaining(&self) -> usize {
        self.content.expose().len() - self.taken
    }

    fn chunk(&self) -> &[u8] {
        &self.content.expose()[self.taken..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "only what there is can be taken");
        self.taken += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_one_frame_that_is_taken_bit_by_bit() {
        for content in [Content::Public(b"answer".to_vec()), Content::Secret(SecretBytes::copy_from(b"answer"))] {
            let mut body = AnswerBody::new(content);
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(6), false));
            let mut bytes = body.frame().await.unwrap().unwrap().into_data().ok().unwrap();
            assert!(body.is_end_stream() && body.frame().await.is_none());
            bytes.advance(2);
            assert_eq!((bytes.remaining(), bytes.chunk()), (4, &b"swer"[..]));
        }
        assert_eq!(AnswerBody::new(Content::Public(b"whole".to_vec())).to_vec().await, b"whole");
    }
}
