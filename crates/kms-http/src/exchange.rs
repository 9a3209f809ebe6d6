//! From requests to answers on one connection, noting how far each has come.

use crate::head::Framing;
use crate::progress::Progress;
use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;

/// Hands the requests of one connection to the router.
pub(crate) struct Requests {
    pub(crate) router: Router,
    pub(crate) progress: Progress,
    /// Where the connection came from.
    pub(crate) address: Option<PeerAddress>,
}

/// The address of a connection's other end. In a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Leaving>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Some(framing) = self.progress.begin_request() else {
            // The connection closes at any instant.
            return Box::pin(pending());
        };
        let progress = self.progress.clone();
        let address = self.address;
        let mut router = self.router.clone();
        Box::pin(async move {
            if request.body().is_end_stream() && !progress.body_complete() {
                pending::<()>().await;
            }
            let mut request = request.map(|body| Body::new(Arriving { body, progress: progress.clone() }));
            if let Framing::Ambiguous(ambiguity) = framing {
                request.extensions_mut().insert(ambiguity);
            }
            if let Some(address) = address {
                request.extensions_mut().insert(address);
            }
            let mut response = Service::call(&mut router, request).await?;
            match framing {
                Framing::Length(_) => {}
                Framing::Chunked | Framing::Ambiguous(_) => {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            progress.end_request();
            Ok(response.map(|body| Leaving { body, progress }))
        })
    }
}

/// A request's body. Its end is let through only if the connection is not making way.
struct Arriving {
    body: Incoming,
    progress: Progress,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() && !self.progress.body_complete() {
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Whoever reads it has to come for the end.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // Read to its end or not: the router goes on without it.
        self.progress.body_complete();
    }
}

/// An answer's body, dropped by hyper as soon as it has all of it.
pub(crate) struct Leaving {
    body: Body,
    progress: Progress,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.progress.answer_handed_over();
    }
}
