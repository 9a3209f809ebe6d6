//! Plain requests are read without hyper, all others by it: who reads a request makes no difference.

use crate::client::{Answer, Client};
use crate::connections::{Server, Setup, ZONES, running};
use crate::zone::{ACME, NOW, OTHER};
use kms_http::ConnectionLimits;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Not plain, and harmless: from here on hyper reads the connection.
const ODD: &[u8] = b"GET /v2/zone HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\n\r\n";

/// Connections of each kind: one whose requests have been plain so far, and one that is hyper's.
async fn both(server: &Server) -> [Client<TcpStream>; 2] {
    let (plain, mut odd) = (server.client().await, server.client().await);
    assert_eq!(odd.call(ODD).await.status, 200);
    [plain, odd]
}

/// What must be the same of two answers: all but what differs from one request to the next.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    status: u16,
    fields: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Text(String),
    /// Sealed anew each time: only its length is compared.
    Sealed(usize),
}

fn shown(answer: &Answer, sealed: bool) -> Shown {
    let mut fields: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name != "date")
        .map(|(name, value)| if name == "x-request-id" { (name, value.len().to_string()) } else { (name, value) })
        .collect();
    fields.sort();
    let sealed = sealed && answer.status == 200;
    let body = if sealed { Body::Sealed(answer.body.len()) } else { Body::Text(answer.text()) };
    Shown { status: answer.status, fields, body }
}

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    target: String,
    body: String,
    signed: bool,
    fields: Vec<&'static str>,
    cut: usize,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let path = self.target.split(['?', '#']).next().unwrap();
        let credential = if self.signed { ACME } else { OTHER };
        let mut authorization = credential.authorization(self.method, path, self.body.as_bytes(), NOW + 600);
        if !self.signed {
            authorization.insert(40, 'x');
        }
        let fields: String = self.fields.iter().map(|field| format!("{field}\r\n")).collect();
        let (method, target, length, body) = (self.method, &self.target, self.body.len(), &self.body);
        format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn requests(id: &str, ciphertext: &str) -> impl Strategy<Value = Sent> + use<> {
    let key = |action: &str| format!("/v2/kms-key/{id}/{action}");
    let target = prop_oneof![
        4 => Just(key("encrypt")),
        4 => Just(key("decrypt")),
        1 => Just(key("generate-data-key")),
        1 => Just(format!("/v2/kms-key/{id}")),
        1 => Just("/v2/kms-key".to_owned()),
        1 => Just("//v2//zone".to_owned()),
        1 => Just(key("encrypt?a=b")),
        1 => Just(key("encrypt#a")),
        1 => Just(key("%65ncrypt")),
        1 => Just(key("nothing")),
        1 => "/[a-z0-9/._~-]{0,30}",
        1 => "/[ -~]{0,20}".prop_filter("one word", |target| !target.contains(' ')),
    ];
    let body = prop_oneof![
        4 => Just(format!(r#"{{"ciphertext":"{ciphertext}"}}"#)),
        4 => "[A-Za-z0-9+/]{0,40}".prop_map(|text| format!(r#"{{"plaintext":"{}"}}"#, &text[..text.len() / 4 * 4])),
        1 => (1..30_000_usize).prop_map(|length| format!(r#"{{"plaintext":"{}"}}"#, "A".repeat(length * 4))),
        1 => Just(String::new()),
        1 => Just("{}".to_owned()),
        1 => "[ -~]{0,60}",
    ];
    let field = proptest::sample::select(vec![
        "Connection: keep-alive",
        "connection: Keep-Alive",
        "Connection: close",
        "Connection: Upgrade",
        "Accept: */*",
        "Content-Type: application/json",
        "Content-Type:",
        "Content-Type: text/plain; charset=latin1",
        "Content-Encoding: identity",
        "Content-Encoding: gzip",
        "Expect: something",
        "Host: b",
        "Authorization: again",
        "Content-Length: 3",
        "Transfer-Encoding: identity",
        "X-Empty:   ",
        "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "X-Text: \u{fc}ml\u{e4}ut",
        "X-Control: \u{1}",
        "X Space: a",
        " folded",
    ]);
    let method = prop_oneof![6 => Just("POST"), 3 => Just("GET"), 1 => Just("PUT"), 1 => Just("post")];
    let fields = proptest::collection::vec(field, 0..3);
    (method, target, body, prop::bool::weighted(0.8), fields, 0..4000_usize)
        .prop_map(|(method, target, body, signed, fields, cut)| Sent { method, target, body, signed, fields, cut })
}

#[test]
fn both_readers_give_the_same_answers() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(running(Setup::default()));
    let (id, ciphertext) = runtime.block_on(async {
        let id = server.zone.create("k1").await;
        let sealed = server.zone.on(&id, "encrypt", r#"{"plaintext":"aGVsbG8="}"#).await;
        (id, sealed.json()["ciphertext"].as_str().unwrap().to_owned())
    });
    let mut seen = std::collections::BTreeMap::<u16, u32>::new();
    let counted = std::cell::RefCell::new(&mut seen);
    let mut runner = TestRunner::new(Config { cases: 1500, ..Config::default() });
    let outcome = runner.run(&requests(&id, &ciphertext), |sent| {
        let bytes = sent.bytes();
        let (first, second) = bytes.split_at(sent.cut.min(bytes.len()));
        let [plain, odd] = runtime.block_on(async {
            let mut answers = Vec::new();
            for mut client in both(&server).await {
                client.send(first).await;
                tokio::task::yield_now().await;
                client.send(second).await;
                let answer = client.answer().await;
                // Whether the connection goes on is part of it.
                let goes_on = match &answer {
                    Some(answer) if answer.header("connection") != Some("close") => {
                        client.send(ZONES).await;
                        client.answer().await.map(|answer| answer.status)
                    }
                    _ => None,
                };
                let sealed = sent.target.ends_with("/encrypt") || sent.target.contains("generate");
                answers.push((answer.as_ref().map(|answer| shown(answer, sealed)), goes_on));
            }
            <[_; 2]>::try_from(answers).unwrap()
        });
        prop_assert_eq!(&plain, &odd);
        if let Some(shown) = plain.0 {
            *counted.borrow_mut().entry(shown.status).or_default() += 1;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    for status in [200, 400, 403, 404, 415] {
        assert!(seen.get(&status).is_some_and(|count| *count > 5), "few of {status}: {seen:?}");
    }
}

/// What is put in place of some bytes of a good request: whatever could end a line, a field, a head or a body somewhere else.
fn alterations() -> impl Strategy<Value = &'static [u8]> {
    proptest::sample::select(vec![
        &b""[..],
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\0",
        b" ",
        b"\t",
        b"\x0b",
        b"\x0c",
        b"\x7f",
        b"\xff",
        b":",
        b"0",
        b"+",
        b",",
        b"#",
        b"?",
        b"%",
        b"\r\nContent-Length: 0",
        b"\r\nContent-Length: 00000000000000000000005",
        b"\r\nTransfer-Encoding:\x0bchunked",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nConnection: close",
        b"\r\nHost:",
        b"\r\n: x",
        b"\r\nX",
    ])
}

/// All answers up to the end of the connection, shortly.
async fn answers(mut client: Client<TcpStream>, first: &[u8], second: &[u8]) -> Vec<Shown> {
    client.send(first).await;
    tokio::task::yield_now().await;
    // It may have been closed because of the first part.
    let _ = client.try_send(second).await;
    let mut all = Vec::new();
    while let Some(answer) = client.answer().await {
        all.push(shown(&answer, false));
    }
    all
}

#[test]
fn both_readers_see_the_same_requests_in_the_same_bytes() {
    const LAST: &[u8] = b"GET /v2/zone HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let runtime = Runtime::new().unwrap();
    // What an alteration leaves unfinished is not waited for long.
    let limits = ConnectionLimits { header_timeout: Duration::from_millis(500), ..ConnectionLimits::default() };
    let setup = Setup { limits, request_timeout: Duration::from_millis(300), ..Setup::default() };
    let server = runtime.block_on(running(setup));
    let good = ACME.request("POST", "/v2/kms-key", r#"{"name":"a name that is bad "}"#);
    let alteration = (0..good.len(), 0..3_usize, alterations());
    let altered = (proptest::collection::vec(alteration, 0..3), 0..good.len());
    let mut runner = TestRunner::new(Config { cases: 1000, ..Config::default() });
    let outcome = runner.run(&altered, |(alterations, cut)| {
        let mut bytes = good.clone();
        for (at, taken, put) in alterations {
            let at = at.min(bytes.len());
            let end = (at + taken).min(bytes.len());
            bytes.splice(at..end, put.iter().copied());
        }
        let bytes = [&bytes, ZONES, LAST].concat();
        let (first, second) = bytes.split_at(cut);
        let (plain, odd) = runtime.block_on(async {
            let [plain, odd] = both(&server).await;
            tokio::join!(answers(plain, first, second), answers(odd, first, second))
        });
        prop_assert_eq!(plain, odd, "{}", bytes.escape_ascii());
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test]
async fn requests_of_both_kinds_are_answered_in_order() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let (first, wrong) =
        (ACME.request("POST", "/v2/kms-key", r#"{"name":"k1"}"#), ACME.request("POST", "/v2/kms-key", ""));
    let chunked = b"GET /v2/zone HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    client.send(&[&first[..], &wrong, ODD, &first, chunked].concat()).await;
    let mut statuses = Vec::new();
    while let Some(answer) = client.answer().await {
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 400, 200, 409, 200], "and the connection closes after chunks");
}

#[tokio::test]
async fn a_body_that_is_late_or_breaks_off_is_told_by_both() {
    let server = running(Setup { request_timeout: Duration::from_millis(200), ..Setup::default() }).await;
    let unfinished = b"POST /v2/kms-key HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{";
    for mut client in both(&server).await {
        let answer = client.call(unfinished).await;
        assert_eq!(answer.told(), (408, "Request Timeout".into()));
        assert!(client.is_closed().await);
    }
    for first in [&b""[..], ODD] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[first, unfinished].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert_eq!(told.matches("\r\n\r\n").count(), 1 + usize::from(!first.is_empty()), "{told}");
        assert!(told.contains("the request body is incomplete or malformed"), "{told}");
    }
}

#[tokio::test]
async fn both_keep_the_deadlines() {
    let (header_timeout, idle_timeout) = (Duration::from_millis(300), Duration::from_millis(1500));
    let limits = ConnectionLimits { header_timeout, idle_timeout, ..ConnectionLimits::default() };
    let server = running(Setup { limits, ..Setup::default() }).await;
    for mut client in both(&server).await {
        assert_eq!(client.call(ZONES).await.status, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(client.call(ZONES).await.status, 200, "an idle connection has its own deadline");
        let begun = tokio::time::Instant::now();
        client.send(b"GET /v2/zone HT").await;
        assert!(client.is_closed().await);
        assert!(begun.elapsed() >= header_timeout && begun.elapsed() < idle_timeout, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_no_half_of_a_head() {
    let limits = ConnectionLimits { header_timeout: Duration::from_secs(60), ..ConnectionLimits::default() };
    let mut server = running(Setup { limits, ..Setup::default() }).await;
    let mut clients = both(&server).await;
    for client in &mut clients {
        assert_eq!(client.call(ZONES).await.status, 200);
        client.send(b"GET /v2/zone HT").await;
    }
    let begun = tokio::time::Instant::now();
    server.shut_down();
    for client in &mut clients {
        assert!(client.is_closed().await);
    }
    server.ended().await;
    assert!(begun.elapsed() < limits.shutdown_grace, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_shutdown_lets_both_answer_what_has_begun() {
    for first in 0..2 {
        let mut server = running(Setup::default()).await;
        let mut clients = both(&server).await;
        let request = ACME.request("POST", "/v2/kms-key", r#"{"name":"k1"}"#);
        let busy = &mut clients[first];
        busy.send(&request[..request.len() - 1]).await;
        // The other's answer comes after this connection's bytes were seen, most likely; it is closed either way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.shut_down();
        busy.send(&request[request.len() - 1..]).await;
        let answer = busy.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        for client in &mut clients {
            assert!(client.is_closed().await);
        }
        server.ended().await;
    }
}
