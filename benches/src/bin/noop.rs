//! The least that an axum server can do: it takes a request with its body and gives a constant answer.
//!
//! `POST /answer/<bytes>` is answered with that many bytes of JSON. What a full KMS call costs is read as its ratio to this, with the
//! same request and an answer of the same size.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use clap::Parser;

/// The longest answer, in bytes.
const LONGEST: usize = 1024 * 1024;

#[derive(Parser)]
#[command(about = "An axum server that answers POST /answer/<bytes> with that many bytes")]
struct Arguments {
    /// Where to listen; with port 0 the system chooses one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads that answer.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

fn main() -> std::io::Result<()> {
    let Arguments { listen, workers } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers.max(1)).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let listener = listener.tap_io(|stream| {
            // Without it the answers still arrive, only later.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router()).await
    })
}

fn router() -> Router {
    // Any run of digits is JSON: a number.
    let longest = Bytes::from(vec![b'1'; LONGEST]);
    Router::new().route("/answer/{bytes}", post(answer)).with_state(Arc::new(longest))
}

/// The body is read whole, as any server has to, and dropped.
async fn answer(State(longest): State<Arc<Bytes>>, Path(bytes): Path<usize>, _body: Bytes) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("cache-control"), "no-store"),
        (HeaderName::from_static("x-request-id"), "0000000000000000"),
    ];
    (headers, longest.slice(..bytes.min(LONGEST)))
}
