//! The generator's own limit: the same requests to a server in this process that does next to nothing.

use crate::connection::{HttpVersion, Wire};
use crate::endpoint::Endpoint;
use crate::requests::Requests;
use crate::schedule::Pace;
use crate::visit::{VisitSettings, visit};
use crate::worker::{Check, pin_to};
use rustix::thread::sched_getaffinity;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Each ceiling is measured for this long at most.
const LONGEST: Duration = Duration::from_secs(1);

/// How many requests a second the generator and a minimal responder reach together, with a warm-up of a fifth of a second.
/// None for HTTP/2 and TLS, which the responder does not speak.
pub(crate) fn ceiling(
    requests: &Arc<Requests>,
    answer_bytes: usize,
    settings: &VisitSettings,
) -> io::Result<Option<f64>> {
    let wire = requests.wire();
    if wire.version() != HttpVersion::Http1 || wire.endpoint().scheme() != crate::endpoint::Scheme::Http {
        return Ok(None);
    }
    let responder = Responder::start(answer_bytes, others(&settings.cpus)?)?;
    let to = Wire::new(&responder.endpoint, HttpVersion::Http1, wire.keep_alive(), None).map_err(io::Error::other)?;
    let settings = VisitSettings {
        pace: Pace::Closed,
        warm_up: Duration::from_millis(200),
        duration: settings.duration.min(LONGEST),
        server: None,
        ..settings.clone()
    };
    let (visit, _) = visit(requests, &Arc::new(to), Check::StatusOnly, &settings, &mut |_| {})?;
    Ok(Some(visit.per_second))
}

/// The processors that the generator leaves free; empty if it is on none in particular, or leaves none.
fn others(cpus: &[usize]) -> io::Result<Vec<usize>> {
    if cpus.is_empty() {
        return Ok(Vec::new());
    }
    let allowed = sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu) && !cpus.contains(cpu)).collect())
}

/// A server of constant answers on a thread of its own, until it is dropped.
struct Responder {
    endpoint: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Responder {
    fn start(answer_bytes: usize, cpus: Vec<usize>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?).parse().map_err(io::Error::other)?;
        let (stop, stopped) = oneshot::channel();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {answer_bytes}\r\n\r\n{}",
            "x".repeat(answer_bytes)
        );
        let serve = move || {
            if !cpus.is_empty() {
                pin_to(&cpus)?;
            }
            let answer: Arc<[u8]> = Arc::from(answer.into_bytes());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    result = accept(&listener, &answer) => result,
                    _ = stopped => Ok(()),
                }
            })
        };
        let thread = thread::Builder::new().name("ceiling".to_owned()).spawn(serve)?;
        Ok(Self { endpoint, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Gone already if the thread has failed: then its visit shows failures.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

async fn accept(listener: &TcpListener, answer: &Arc<[u8]>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = Arc::clone(answer);
        // A connection that breaks is its client's business.
        tokio::spawn(async move { drop(answer_all(stream, &answer).await) });
    }
}

async fn answer_all(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut wanted = None;
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if wanted.is_none() {
            wanted = length(&buffer)?;
        }
        if let Some((length, last)) = wanted
            && buffer.len() >= length
        {
            stream.write_all(answer).await?;
            if last {
                return stream.shutdown().await;
            }
            buffer.clear();
            wanted = None;
        }
    }
}

/// How long the request is as a whole, and whether it is the connection's last.
fn length(bytes: &[u8]) -> io::Result<Option<(usize, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(head) => head,
    };
    let value = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let body = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Some((head.saturating_add(body), value("connection") == Some("close"))))
}
