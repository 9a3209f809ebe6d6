//! Deadlines, limits and the end of connections, on real sockets.

use crate::client::{Answer, Client, PATIENCE};
use crate::zone::{ACME, Zone};
use axum::Router;
use axum::routing::get;
use kms_http::{ConnectionLimits, Handshake, RequestLimits, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) struct Setup {
    pub(crate) limits: ConnectionLimits,
    pub(crate) request_timeout: Duration,
    pub(crate) handshake: Handshake,
    pub(crate) router: Option<Router>,
}

impl Default for Setup {
    fn default() -> Self {
        let request_timeout = RequestLimits::default().request_timeout;
        Self { limits: ConnectionLimits::default(), request_timeout, handshake: Handshake::Plain, router: None }
    }
}

/// A server on a free port of loopback; stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) zone: Zone,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<std::io::Result<()>>>,
}

pub(crate) async fn running(setup: Setup) -> Server {
    let limits = RequestLimits { request_timeout: setup.request_timeout, ..RequestLimits::default() };
    let zone = Zone::with(limits, 1000).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (handshake, limits) = (setup.handshake, setup.limits);
    let serving = match setup.router {
        Some(router) => tokio::spawn(serve(listener, handshake, Arc::new(router), limits, shutdown.clone())),
        None => tokio::spawn(serve(listener, handshake, Arc::clone(&zone.front_door), limits, shutdown.clone())),
    };
    let serving = Some(serving);
    Server { address, zone, shutdown, serving }
}

impl Server {
    pub(crate) async fn client(&self) -> Client<tokio::net::TcpStream> {
        Client::connect(self.address).await
    }

    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn ended(&mut self) {
        let serving = self.serving.take().expect("a server ends once");
        timeout(PATIENCE, serving).await.expect("the server did not end").unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) const ZONES: &[u8] = b"GET /v2/zone HTTP/1.1\r\nHost: a\r\n\r\n";

/// Deadlines to wait for. A slow machine must still send a request's head within the first, and rest for no longer than the second.
fn short() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(5),
        ..ConnectionLimits::default()
    }
}

/// Deadlines of heads to wait for, and one of idle connections that no test waits for.
fn short_for_heads() -> ConnectionLimits {
    ConnectionLimits { idle_timeout: PATIENCE, ..short() }
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let created = client.call(&ACME.request("POST", "/v2/kms-key", r#"{"name":"k1"}"#)).await;
    assert_eq!(created.status, 200);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let large = format!(r#"{{"plaintext":"{}"}}"#, "A".repeat(87_380));
    for body in [r#"{"plaintext":""}"#, &large, "", &large] {
        let answer = client.call(&ACME.request("POST", &format!("/v2/kms-key/{id}/encrypt"), body)).await;
        assert_eq!(answer.status, if body.is_empty() { 400 } else { 200 }, "{}", answer.text());
    }
    assert!(client.call(ZONES).await.header("date").is_some());
}

#[tokio::test]
async fn the_answer_to_head_is_its_head() {
    let server = running(Setup::default()).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"HEAD /v2/zone HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let names: Vec<_> = head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    let expected = ["content-type", "cache-control", "x-request-id", "connection", "content-length", "date"];
    assert_eq!((names.as_slice(), body), (expected.as_slice(), ""));
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n") && head.contains("\r\ncontent-length: 148\r\n"), "{head}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let first = ACME.request("POST", "/v2/kms-key", r#"{"name":"k1"}"#);
    let second = ACME.request("POST", "/v2/kms-key", r#"{"name":"k1"}"#);
    client.send(&[&first[..], &second, ZONES].concat()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.answer().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 409, 200]);
}

#[tokio::test]
async fn half_open_connections_are_closed_by_their_deadline_while_others_are_served() {
    let limits = short_for_heads();
    let server = running(Setup { limits, ..Setup::default() }).await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    let mut halfway = Vec::new();
    for _ in 0..100 {
        silent.push(server.client().await);
        let mut client = server.client().await;
        client.send(b"GET /v2/zone HTTP/1.1\r\nHo").await;
        halfway.push(client);
    }
    assert_eq!(server.client().await.call(ZONES).await.status, 200);
    for client in &mut halfway {
        assert!(client.is_closed().await);
    }
    assert!(begun.elapsed() >= limits.header_timeout);
    for client in &mut silent {
        assert!(client.is_closed().await);
    }
    assert!(begun.elapsed() < limits.idle_timeout, "a connection that was never used had the deadline of idle ones");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let limits = short_for_heads();
    let server = running(Setup { limits, ..Setup::default() }).await;
    let mut client = server.client().await;
    let begun = Instant::now();
    let mut trickle = tokio::time::interval(Duration::from_millis(50));
    client.send(b"GET /v2/zone HTTP/1.1\r\nX: ").await;
    let trickling = async {
        loop {
            trickle.tick().await;
            let closed = timeout(Duration::from_millis(1), client.is_closed()).await == Ok(true);
            // It may also be closed just now.
            if closed || client.try_send(b"a").await.is_err() {
                break;
            }
        }
    };
    timeout(PATIENCE, trickling).await.expect("a slow head held its connection");
    assert!(begun.elapsed() < limits.idle_timeout, "by the idle deadline, not the head's");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_heads() {
    let server = running(Setup { limits: short(), ..Setup::default() }).await;
    let mut client = server.client().await;
    assert_eq!(client.call(ZONES).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.call(ZONES).await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_slow_body_gets_a_408() {
    let server = running(Setup { request_timeout: Duration::from_millis(200), ..Setup::default() }).await;
    let mut client = server.client().await;
    let answer = client.call(b"POST /v2/kms-key HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{").await;
    assert_eq!(answer.told(), (408, "Request Timeout".into()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_refused_before_it_comes() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let head = b"POST /v2/kms-key HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n";
    let answer = client.call(head).await;
    assert_eq!(answer.told(), (413, "Payload Too Large".into()));
    assert_eq!(answer.json()["detail"], "the request body is larger than 125952 bytes");
}

#[tokio::test]
async fn a_client_that_is_still_sending_sees_why_it_was_refused() {
    let server = running(Setup::default()).await;
    let length = "POST /v2/kms-key HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n";
    let chunked = "POST /v2/kms-key HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\n";
    for head in [length, chunked] {
        let mut told = None;
        for _ in 0..20 {
            let begun = Instant::now();
            told = status_after_sending(server.client().await, head).await;
            if told.is_some() || begun.elapsed() < TAKEN_IN {
                break;
            }
        }
        assert_eq!(told, Some(413), "{head}");
    }
}

/// For so long the server takes in what comes after its refusal. A client that was slower has shown nothing.
const TAKEN_IN: Duration = Duration::from_secs(2);

/// The status of the answer, if it can still be read once two million bytes were sent bit by bit.
async fn status_after_sending(mut client: Client<tokio::net::TcpStream>, head: &str) -> Option<u16> {
    client.try_send(head.as_bytes()).await.ok()?;
    for _ in 0..40 {
        client.try_send(&[b' '; 50_000]).await.ok()?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    client.answer().await.map(|answer| answer.status)
}

#[tokio::test]
async fn heads_over_their_limits_get_a_431() {
    let server = running(Setup::default()).await;
    for head in [
        format!("GET /v2/zone HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(16 * 1024)),
        format!("GET /v2/zone HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1_000_000)),
        format!("GET /v2/zone HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(101)),
    ] {
        let mut client = server.client().await;
        client.send(head.as_bytes()).await;
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(431));
    }
    let mut client = server.client().await;
    let fits = format!("GET /v2/zone HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(16_000));
    assert_eq!(client.call(fits.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn an_offer_to_upgrade_is_answered_as_if_it_was_not_made() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let offer = b"GET /v2/zone HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\nHost: a\r\n\
        HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.call(offer).await.status, 200);
    }
    let mut prior_knowledge = server.client().await;
    prior_knowledge.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_ne!(prior_knowledge.answer().await.map(|answer| answer.status), Some(200));
}

/// A router whose one answer waits until it is told.
pub(crate) fn waiting() -> (Router, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (begin, begun) = oneshot::channel();
    let (finish, finished) = oneshot::channel();
    let once = Arc::new(std::sync::Mutex::new(Some((begin, finished))));
    let wait = move || {
        let taken = once.lock().unwrap().take();
        async move {
            if let Some((begin, finished)) = taken {
                begin.send(()).unwrap();
                let _ = finished.await;
            }
            "done"
        }
    };
    (Router::new().route("/", get(wait)), begun, finish)
}

#[tokio::test]
async fn a_shutdown_waits_for_the_request_in_flight() {
    let (router, begun, finish) = waiting();
    let mut server = running(Setup { router: Some(router), ..Setup::default() }).await;
    let mut idle = server.client().await;
    let mut busy = server.client().await;
    busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.await.unwrap();
    server.shutdown.cancel();
    assert!(idle.is_closed().await);
    finish.send(()).unwrap();
    let answer = busy.answer().await.unwrap();
    assert_eq!(answer.text(), "done");
    assert!(busy.is_closed().await);
    server.ended().await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_ends_when_its_grace_is_over() {
    let (router, begun, _never_finished) = waiting();
    let limits = ConnectionLimits { shutdown_grace: Duration::from_millis(200), ..ConnectionLimits::default() };
    let mut server = running(Setup { router: Some(router), limits, ..Setup::default() }).await;
    let mut client = server.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.await.unwrap();
    server.shutdown.cancel();
    server.ended().await;
    assert!(client.answer().await.is_none());
}

#[tokio::test]
async fn a_request_in_flight_outlives_the_deadlines_around_it() {
    let (router, begun, finish) = waiting();
    let server = running(Setup { router: Some(router), limits: short(), ..Setup::default() }).await;
    let mut client = server.client().await;
    // The beginning of the next head is there already: its deadline must not end the request before it.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT").await;
    begun.await.unwrap();
    tokio::time::sleep(Duration::from_millis(5500)).await;
    finish.send(()).unwrap();
    assert_eq!(client.answer().await.map(|answer: Answer| answer.text()), Some("done".into()));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_its_change() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    client.send(&ACME.request("POST", "/v2/kms-key", r#"{"name":"left"}"#)).await;
    drop(client);
    let mut other = server.client().await;
    let mut seen = false;
    for _ in 0..2000 {
        seen = other.call(&ACME.request("GET", "/v2/kms-key", "")).await.text().contains("\"left\"");
        if seen {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(seen);
}
