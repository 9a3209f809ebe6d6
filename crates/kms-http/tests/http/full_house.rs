//! More connections than places: who is served, who makes way, and who never does.

use crate::client::{Answer, Client, PATIENCE};
use crate::connections::{Server, Setup, ZONES, running, waiting};
use crate::zone::ACME;
use kms_http::ConnectionLimits;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// No deadline of the server passes within a test: who is served is so by another's making way.
const DEADLINE: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

/// Long after somebody has made way, and long before a deadline.
const SOON: Duration = Duration::from_secs(30);

fn limits(places: usize) -> ConnectionLimits {
    ConnectionLimits {
        connections: places,
        header_timeout: DEADLINE,
        idle_timeout: DEADLINE,
        ..ConnectionLimits::default()
    }
}

async fn house_of(places: usize) -> Server {
    running(Setup { limits: limits(places), request_timeout: DEADLINE, ..Setup::default() }).await
}

async fn crowd(server: &Server, size: usize, says: &[u8]) -> Vec<Client<TcpStream>> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        let mut client = server.client().await;
        client.send(says).await;
        crowd.push(client);
    }
    crowd
}

async fn from_another_address(server: &Server) -> Client<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    Client::over(socket.connect(server.address).await.unwrap())
}

#[tokio::test]
async fn silent_and_half_sent_connections_keep_nobody_out() {
    let unfinished = ACME.request("POST", "/v2/kms-key", r#"{"name":"never"}"#);
    for says in [&b""[..], b"GET /v2/zone HTTP/1.1\r\nHo", &unfinished[..unfinished.len() - 1]] {
        let server = house_of(100).await;
        let _crowd = crowd(&server, 120, says).await;
        let answer = timeout(SOON, async { server.client().await.call(&ACME.request("GET", "/v2/kms-key", "")).await });
        let answer = answer.await.unwrap_or_else(|_| panic!("kept out by {:?}", String::from_utf8_lossy(says)));
        assert_eq!(answer.text(), r#"{"kms-keys":[]}"#, "and none of the crowd made a key");
    }
}

#[tokio::test]
async fn an_address_with_few_connections_keeps_them() {
    let server = house_of(10).await;
    let mut few = from_another_address(&server).await;
    assert_eq!(few.call(ZONES).await.status, 200);
    // Twice as many as there are places, so that the house changes its guests; `few` waits longest of all.
    let mut many = crowd(&server, 20, b"").await;
    for client in &mut many[..11] {
        assert!(client.is_closed().await);
    }
    assert_eq!(few.call(ZONES).await.status, 200);
}

#[tokio::test]
async fn the_longest_idle_goes_first_and_a_request_in_flight_never() {
    let (router, begun, finish) = waiting();
    let server = running(Setup { router: Some(router), limits: limits(3), ..Setup::default() }).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut busy = server.client().await;
    busy.send(request).await;
    begun.await.unwrap();
    let mut idle = server.client().await;
    assert_eq!(idle.call(request).await.text(), "done");
    let mut idle_later = server.client().await;
    assert_eq!(idle_later.call(request).await.text(), "done");

    let full = Instant::now();
    let mut next = server.client().await;
    assert_eq!(next.call(request).await.text(), "done");
    assert!(full.elapsed() < SOON, "idle only after the time to take an answer");
    assert!(idle.is_closed().await);
    assert_eq!(idle_later.call(request).await.text(), "done");
    for _ in 0..3 {
        assert_eq!(server.client().await.call(request).await.text(), "done");
    }
    finish.send(()).unwrap();
    assert_eq!(busy.answer().await.map(|answer: Answer| answer.text()), Some("done".into()));
}

#[tokio::test]
async fn a_connection_waits_while_requests_are_in_flight_on_all() {
    let (router, begun, finish) = waiting();
    let server = running(Setup { router: Some(router), limits: limits(1), ..Setup::default() }).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut busy = server.client().await;
    busy.send(request).await;
    begun.await.unwrap();
    let mut next = server.client().await;
    next.send(request).await;
    assert!(timeout(Duration::from_millis(600), next.answer()).await.is_err(), "served over the limit");
    finish.send(()).unwrap();
    assert_eq!(busy.answer().await.map(|answer: Answer| answer.text()), Some("done".into()));
    assert_eq!(next.answer().await.map(|answer: Answer| answer.text()), Some("done".into()));
    assert!(busy.is_closed().await);
}
