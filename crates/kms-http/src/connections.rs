//! From a listening socket to requests: accepts, limits and ends connections.
//!
//! HTTP/1 only. A client that sends half a head, half a handshake or nothing at all holds its place until a deadline, and only as long as
//! nobody else needs it (`places`); one that offers an upgrade to HTTP/2 is answered as if it had not.

use crate::ahead::Ahead;
use crate::exchange::{Answering, exchange};
use crate::limits::ConnectionLimits;
use crate::places::{Place, Places};
use crate::plain_connection::{Ended, PlainConnection, Unread};
use crate::progress::Progress;
use crate::stream::WatchedStream;
use crate::watch::{Ending, watched};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What happens on a new connection before its first request.
#[derive(Clone)]
pub enum Handshake {
    /// Nothing: plain HTTP, for loopback or behind a proxy that ends TLS.
    Plain,
    /// A TLS handshake, within the deadline for a request's head.
    Tls(TlsAcceptor),
}

/// Serves `answering` on `listener` until `shutdown` is cancelled.
///
/// From then on nothing is accepted, requests in flight get their answers, idle connections close. Returns when all connections are
/// gone, or have been dropped after [`ConnectionLimits::shutdown_grace`].
///
/// How long a request may take is up to `answering`.
///
/// # Errors
///
/// None at present: errors of `accept` are logged, and accepting goes on after a pause.
pub async fn serve<A: Answering>(
    listener: TcpListener,
    handshake: Handshake,
    answering: Arc<A>,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Places::new(&limits));
    let connections = TaskTracker::new();
    let ending = Ending::default();
    while let Some((stream, place)) = next_connection(&listener, &places, &shutdown).await {
        let connection = Connection { answering: Arc::clone(&answering), limits, ending: ending.clone() };
        let (handshake, progress) = (handshake.clone(), place.progress().clone());
        place.run(&connections, connection.run(stream, handshake, progress));
    }
    drop(listener);
    ending.begin();
    connections.close();
    if timeout(limits.shutdown_grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections dropped: their time to finish is over");
        places.clear();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, as soon as there is a place for it; `None` after a shutdown began.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Places>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Place)> {
    let accepting = async {
        let (stream, address) = accept(listener).await;
        (stream, places.take(address).await)
    };
    shutdown.run_until_cancelled(accepting).await
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    let mut pause = Duration::from_millis(50);
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address.ip()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Most likely no file descriptors are left: some come back when connections end.
                tracing::warn!(%error, "accepting connections failed; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// What a connection is served with.
pub(crate) struct Connection<A> {
    pub(crate) answering: Arc<A>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) ending: Ending,
}

impl<A: Answering> Connection<A> {
    async fn run(self, stream: TcpStream, handshake: Handshake, progress: Progress) {
        let from = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
        // Answers are small and awaited. Without it they still arrive, only later.
        let _ = stream.set_nodelay(true);
        match handshake {
            Handshake::Plain => self.serve(stream, progress, from).await,
            Handshake::Tls(acceptor) => match timeout(self.limits.header_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    progress.handshake_complete();
                    self.serve(stream, progress, from).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }

    /// Serves `stream` to its end: without hyper as long as requests are plain, and if `answering` can do that.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self,
        mut stream: S,
        progress: Progress,
        from: Option<IpAddr>,
    ) {
        let mut ahead = Ahead::new();
        if let Some(front_door) = self.answering.plain() {
            let (limits, ending, progress) = (&self.limits, &self.ending, &progress);
            let ended = {
                let (stream, ahead) = (&mut stream, &mut ahead);
                let plain = PlainConnection { front_door, limits, progress, ending, from, stream, ahead };
                let mut serving = pin!(plain.serve());
                watched(progress, limits, ending, |cx| serving.as_mut().poll(cx)).await
            };
            match ended {
                Some(Ok(Ended::NotPlain)) => {}
                Some(Ok(Ended::Over(unread))) => return close(stream, unread).await,
                Some(Err(error)) => return tracing::debug!(%error, "connection ended"),
                None => return tracing::debug!("connection closed: it waited too long"),
            }
        }
        let stream = WatchedStream::new(stream, ahead, progress.clone(), self.limits.header_bytes);
        self.serve_any(stream, progress, from).await;
    }

    /// Serves whatever comes, by hyper.
    async fn serve_any<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self,
        stream: WatchedStream<S>,
        progress: Progress,
        from: Option<IpAddr>,
    ) {
        let (answering, of_requests) = (self.answering, progress.clone());
        let service = service_fn(move |request| {
            // hyper gives the stream back only if the future can be moved.
            Box::pin(exchange(Arc::clone(&answering), of_requests.clone(), from, request))
        });
        let mut connection = builder(&self.limits).serve_connection(TokioIo::new(stream), service);
        let ending = self.ending;
        let mut draining = false;
        let ended = watched(&progress, &self.limits, &ending, |cx| {
            if !draining && ending.has_begun() {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        });
        match ended.await {
            Some(result) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                let stream = connection.into_parts().io.into_inner();
                let body = if stream.has_unread_body() { Unread::Body } else { Unread::Nothing };
                close(stream.into_inner(), body).await;
            }
            None => tracing::debug!("connection closed: it waited too long"),
        }
    }
}

fn builder(limits: &ConnectionLimits) -> http1::Builder {
    /// What hyper allows unasked.
    const HEADERS: usize = 100;

    let mut builder = http1::Builder::new();
    // The stream below keeps the time: hyper's own timer cannot tell an idle connection from a slow head.
    builder.max_header_size(limits.header_bytes).header_read_timeout(None);
    // Asked for its own number, hyper would prepare all those fields anew for every request.
    if limits.headers != HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// Says goodbye, and takes in what the client is still sending of a body that was refused: closing at once would reset the connection,
/// and the client might never see its answer.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, unread: Unread) {
    const LONGEST: Duration = Duration::from_secs(2);
    const MOST: u64 = 4 * 1024 * 1024;
    let closing = async {
        stream.shutdown().await?;
        match unread {
            Unread::Nothing => {}
            Unread::Body => drop(tokio::io::copy(&mut stream.take(MOST), &mut tokio::io::sink()).await?),
        }
        io::Result::Ok(())
    };
    // However it ends, the connection is over.
    let _ended = timeout(LONGEST, closing).await;
}
