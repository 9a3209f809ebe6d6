//! P4, P5: what a caller may take of the server's time and memory.

use crate::{program, scratch_in_memory};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::client::{Client, Connection, Request};
use zonekms_tests::configuration::{Configuration, credential};
use zonekms_tests::problem::document;
use zonekms_tests::server::{Dev, Serve};

fn impatient(directory: &std::path::Path) -> (Serve, Client) {
    let owner = credential("owner");
    let configuration = Configuration::new(program(), directory)
        .limits("header-timeout = \"1s\"\nrequest-timeout = \"2s\"\nidle-timeout = \"1s\"\nconnections = 50")
        .organisation("red", &[(&owner, &[])]);
    (configuration.serve(), configuration.client(&owner))
}

#[test]
fn slow_callers_are_told_or_let_go() {
    let directory = scratch_in_memory();
    let (server, client) = impatient(directory.path());
    let open = || Connection::open(client.address()).unwrap();

    let mut half_a_header = open();
    half_a_header.send(b"GET /v2/zone HTTP/1.1\r\nHost: x\r\nX: ").unwrap();
    assert!(half_a_header.closes_within(Duration::from_secs(5)), "half a header is not waited for");

    let begin = Instant::now();
    let mut half_a_body = open();
    let body = br#"{"name":"slow"}"#;
    let request = Request::new("POST", "/v2/kms-key", body).signed(client.credential()).bytes();
    half_a_body.send(&request[..request.len() - 5]).unwrap();
    let answer = half_a_body.receive("POST").unwrap();
    assert_eq!((answer.status, answer.title().as_str()), (408, "Request Timeout"));
    assert!(begin.elapsed() < Duration::from_secs(5), "half a body is not waited for: {:?}", begin.elapsed());
    assert!(half_a_body.closes_within(Duration::from_secs(5)), "and its connection is closed");

    // A byte now and then does not help.
    let begin = Instant::now();
    let mut drop_by_drop = open();
    for byte in &request {
        if drop_by_drop.send(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
        if begin.elapsed() > Duration::from_secs(8) {
            panic!("a caller that sends a byte now and then is let in");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(8));

    let mut idle = open();
    idle.call(&Request::new("GET", "/v2/zone", b"")).unwrap().ok();
    assert!(idle.closes_within(Duration::from_secs(5)), "an idle connection is closed");
    let keys = client.another().get("/v2/kms-key").ok();
    assert_eq!(keys["kms-keys"], json!([]), "none of them made a key");
    server.stop();
}

/// More connections than allowed wait; they are served as others end.
#[test]
fn connections_beyond_the_limit_wait() {
    let directory = scratch_in_memory();
    let (server, client) = impatient(directory.path());
    // Fifty half-open ones fill the house; each is closed after a second.
    let _fifty: Vec<Connection> = (0..50)
        .map(|_| {
            let mut half = Connection::open(client.address()).unwrap();
            half.send(b"GET /v2/zone HTT").unwrap();
            half
        })
        .collect();
    let begin = Instant::now();
    client.another().get("/v2/kms-key").ok();
    println!("a caller behind a full house was served after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10));
    server.stop();
}

/// A stop waits for what is being answered, not for callers that say nothing.
#[test]
fn a_stop_does_not_wait_for_the_silent() {
    let directory = scratch_in_memory();
    let mut server = Dev::new(program(), directory.path()).start();
    let client = server.client();
    client.another().create("k");
    let half = Request::new("POST", "/v2/kms-key", br#"{"name":"half"}"#).signed(client.credential()).bytes();
    let mut silent: Vec<Connection> = (0..40).map(|_| Connection::open(client.address()).unwrap()).collect();
    for (number, connection) in silent.iter_mut().enumerate() {
        let sent: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /v2/zone HT",
            2 => &half[..half.len() - 3],
            _ => b"GET /v2/zone HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        connection.send(sent).unwrap();
    }
    let begin = Instant::now();
    let status = server.process.stop();
    println!("stopped among 40 silent callers in {:?}", begin.elapsed());
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(15));
}

/// A body without end is refused at the limit, and never held in memory.
#[test]
fn a_body_without_end_is_not_taken_in() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let client = server.client();
    client.another().create("k");
    let memory = |server: &zonekms_tests::server::Server| {
        let pid = server.process.pid().as_raw_pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = memory(&server);
    let wanted = document(413, "Payload Too Large", "the request body is larger than 125952 bytes", &[]);
    for _ in 0..4 {
        let mut connection = Connection::open(client.address()).unwrap();
        let head = Request::new("POST", "/v2/kms-key", b"").signed(client.credential());
        connection.send(&head.with("Transfer-Encoding", "chunked").bytes()).unwrap();
        let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 0x10_0000], b"\r\n"].concat();
        // 256 MB, unless the server closes first.
        let taken = (0..256).take_while(|_| connection.send(&chunk).is_ok()).count();
        assert!(taken < 64, "the server took {taken} MB");
        match connection.receive("POST") {
            Ok(answer) => assert_eq!(answer.text(), wanted),
            // The answer may be lost to the reset that ends a connection with unread bytes in it.
            Err(error) => println!("after {taken} MB: {error}"),
        }
    }
    let grown = memory(&server) - before;
    println!("peak memory grew by {grown} kB");
    assert!(grown < 16 * 1024, "memory grew by {grown} kB");
    server.stop();
}

/// L15: a thousand callers at once are all answered.
#[test]
fn a_thousand_calls_at_once() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).quiet().start();
    let mut client = server.client();
    let key = client.create("k");
    let served = thread::scope(|scope| {
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (mut client, key) = (client.another(), &key);
                scope.spawn(move || (0..5).map(|_| client.encrypt(key, b"x").0).filter(|text| !text.is_empty()).count())
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>()
    });
    assert_eq!(served, 1000);
    server.stop();
}

/// A whole organisation's worth of keys: made, listed, found again after a restart, and not one more.
#[test]
fn a_thousand_keys_and_not_one_more() {
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).quiet();
    let server = dev.start();
    thread::scope(|scope| {
        for part in 0..20 {
            let mut client = server.client();
            scope.spawn(move || {
                for number in 0..50 {
                    client.create(&format!("k{}", part * 50 + number));
                }
            });
        }
    });
    let refused = server.client().post("/v2/kms-key", json!({ "name": "one more" }));
    let detail = "the organisation has 1000 keys in this zone, the most it may have";
    assert_eq!(refused.text(), document(400, "Key Quota Exceeded", detail, &[]));
    let begin = Instant::now();
    let before = server.client().get("/v2/kms-key");
    println!("a list of 1000 keys, {} bytes, in {:?}", before.body.len(), begin.elapsed());
    server.kill();
    let begin = Instant::now();
    let server = dev.start();
    println!("a start with 1000 keys in {:?}", begin.elapsed());
    assert_eq!(server.client().get("/v2/kms-key").text(), before.text(), "the list is the same after a kill");
    assert_eq!(server.client().post("/v2/kms-key", json!({ "name": "one more" })).status, 400);
    server.stop();
}
