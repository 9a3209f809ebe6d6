//! From requests to answers on one connection, noting how far each has come.

use crate::front_door::FrontDoor;
use crate::head::Framing;
use crate::progress::Progress;
use axum::Router;
use axum::body::Body;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::ServiceExt;

/// Whatever answers the requests of a listener: a [`FrontDoor`](crate::FrontDoor), or an axum router.
pub trait Answering: Send + Sync + 'static {
    /// The bodies of its answers.
    type Body: HttpBody<Data: Buf + Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// Answers one request, given as its head and its body. How long it may take is up to the implementation.
    fn answer(&self, head: &Parts, body: RequestBody) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The front door that answers plain requests without hyper; `None` if hyper reads all.
    fn plain(&self) -> Option<&FrontDoor> {
        None
    }
}

impl Answering for Router {
    type Body = Body;

    async fn answer(&self, head: &Parts, body: RequestBody) -> Response<Body> {
        match self.clone().oneshot(Request::from_parts(head.clone(), Body::new(body))).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Answers one request of the connection that `progress` is about.
///
/// What comes back is put into a box for each request, so it is kept small: an `async fn` would hold a second place for each of its
/// parameters, and each further one around it a third.
pub(crate) fn exchange<A: Answering>(
    answering: Arc<A>,
    progress: Progress,
    from: Option<IpAddr>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Leaving<A::Body>>, Infallible>> + Send {
    let begun = progress.begin_request();
    let (mut head, body) = request.into_parts();
    if let Some(Framing::Ambiguous(ambiguity)) = begun {
        head.extensions.insert(ambiguity);
    }
    let framing = begun.filter(|_| !body.is_end_stream() || progress.body_complete());
    let body = RequestBody { body, incomplete: Some(progress.clone()), from };
    // Two small blocks are had sooner than a large one.
    let head = Box::new(head);
    async move {
        let Some(framing) = framing else {
            // The connection closes at any instant.
            return pending().await;
        };
        let mut response = answering.answer(&head, body).await;
        match framing {
            Framing::Length(_) => {}
            Framing::Chunked | Framing::Ambiguous(_) => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        progress.end_request();
        Ok(response.map(|body| Leaving { body, progress }))
    }
}

/// A request's body as it arrives. Its end is let through only if the connection is not making way.
pub struct RequestBody {
    body: Incoming,
    /// Told when the body is complete, once.
    incomplete: Option<Progress>,
    /// Here rather than among the request's extensions, which are a map of their own for each request.
    from: Option<IpAddr>,
}

impl RequestBody {
    /// The address that the connection came from, as far as it is known.
    pub(crate) const fn from(&self) -> Option<IpAddr> {
        self.from
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // Of a body with a length the last piece is its end, and nobody asks further.
        if frame.is_none() || self.body.is_end_stream() {
            let goes_on = self.incomplete.take().is_none_or(|progress| progress.body_complete());
            if !goes_on {
                return Poll::Pending;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Read to its end or not: the answer goes on without it.
        if let Some(progress) = self.incomplete.take() {
            progress.body_complete();
        }
    }
}

/// An answer's body, dropped by hyper as soon as it has all of it.
pub(crate) struct Leaving<B> {
    body: B,
    progress: Progress,
}

impl<B: HttpBody + Unpin> HttpBody for Leaving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Leaving<B> {
    fn drop(&mut self) {
        self.progress.answer_handed_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what `make` gives.
    fn size_of_result<A, B, C, D, R>(_make: impl FnOnce(A, B, C, D) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn the_state_of_a_request_is_small_enough_for_the_allocator_to_keep_its_memory_at_hand() {
        // glibc: the largest of a thread's own lists of free blocks. What is larger is looked for in lists that are sorted and merged.
        const KEPT_AT_HAND: usize = 1032;
        let size = size_of_result(exchange::<FrontDoor>);
        assert!(size <= KEPT_AT_HAND, "{size} bytes");
    }
}
