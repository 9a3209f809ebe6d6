//! P4, P5: what a caller may take of the server's time and memory.

use crate::quirks::{call, lab};
use crate::{program, scratch_in_memory};
use serde_json::json;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::client::{Client, Connection, Request};
use zonekms_tests::configuration::{Configuration, credential};
use zonekms_tests::problem::document;
use zonekms_tests::server::{Dev, Serve, wait_for};

/// Deadlines of two and three seconds, so that a slow machine keeps them where it should; and 50 connections.
fn impatient(directory: &std::path::Path) -> (Serve, Client) {
    let owner = credential("owner");
    let configuration = Configuration::new(program(), directory)
        .limits("header-timeout = \"2s\"\nrequest-timeout = \"3s\"\nidle-timeout = \"2s\"\nconnections = 50")
        .organisation("red", &[(&owner, &[])]);
    (configuration.serve(), configuration.client(&owner))
}

/// Bounds for what those deadlines end. Each is less than the deadline that would end it if none were set: 10 seconds for a head, 30
/// for a request, 75 for an idle connection.
const HEAD: Duration = Duration::from_secs(9);
const REQUEST: Duration = Duration::from_secs(25);
const IDLE: Duration = Duration::from_secs(60);

#[test]
fn slow_callers_are_told_or_let_go() {
    let directory = scratch_in_memory();
    let (server, client) = impatient(directory.path());
    let open = || Connection::open(client.address()).unwrap();

    let mut half_a_header = open();
    half_a_header.send(b"GET /v2/zone HTTP/1.1\r\nHost: x\r\nX: ").unwrap();
    assert!(half_a_header.closes_within(HEAD), "half a header is not waited for");

    let begin = Instant::now();
    let mut half_a_body = open();
    let body = br#"{"name":"slow"}"#;
    let request = Request::new("POST", "/v2/kms-key", body).signed(client.credential()).bytes();
    half_a_body.send(&request[..request.len() - 5]).unwrap();
    let answer = half_a_body.receive("POST").unwrap();
    assert_eq!((answer.status, answer.title().as_str()), (408, "Request Timeout"));
    assert!(begin.elapsed() < REQUEST, "half a body is not waited for: {:?}", begin.elapsed());
    assert!(half_a_body.closes_within(HEAD), "and its connection is closed");

    // A byte now and then does not help.
    let begin = Instant::now();
    let mut drop_by_drop = open();
    for byte in &request {
        if drop_by_drop.send(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
        assert!(begin.elapsed() < HEAD, "a caller that sends a byte now and then is let in");
    }
    assert!(begin.elapsed() < HEAD);

    let mut idle = open();
    idle.call(&Request::new("GET", "/v2/zone", b"")).unwrap().ok();
    assert!(idle.closes_within(IDLE), "an idle connection is closed");
    let keys = client.another().get("/v2/kms-key").ok();
    assert_eq!(keys["kms-keys"], json!([]), "none of them made a key");
    server.stop();
}

/// More connections than allowed wait; they are served as others end.
#[test]
fn connections_beyond_the_limit_wait() {
    let directory = scratch_in_memory();
    let (server, client) = impatient(directory.path());
    // Fifty half-open ones fill the house; each is closed after two seconds.
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
    assert!(begin.elapsed() < HEAD);
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
    assert!(begin.elapsed() < REQUEST);
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

/// P5: connections that never finish a request keep nobody else out, and are closed in time.
#[test]
fn half_open_connections_do_not_stop_others() {
    let (_directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let pace = |client: &mut Client| {
        let begin = Instant::now();
        for _ in 0..50 {
            client.encrypt(&key, b"x");
        }
        begin.elapsed()
    };
    let alone = pace(&mut client);
    let halves: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut half = TcpStream::connect(client.address()).unwrap();
            let start: &[u8] =
                if number % 2 == 0 { b"POST /v2/kms-key HTT" } else { b"GET /v2/kms-key HTTP/1.1\r\nX: " };
            half.write_all(start).unwrap();
            half
        })
        .collect();
    let among_them = pace(&mut client);
    println!("50 calls alone {alone:?}, among 200 half-open connections {among_them:?}");
    call(client.address(), &Request::new("GET", "/v2/zone", b"")).ok();
    assert!(halves.iter().all(is_open), "others are served beside them, not after them");
    let closed = wait_for(IDLE, || {
        let open = halves.iter().filter(|half| is_open(half)).count();
        (open == 0).then_some(())
    });
    assert!(closed.is_some(), "half-open connections are closed at the header deadline");
    server.stop();
}

/// A server that is asked to stop finishes what it has begun.
#[test]
fn an_orderly_stop_answers_what_it_has_begun() {
    let (directory, server) = lab();
    let mut client = server.client();
    let key = client.create("k");
    let path = format!("/v2/kms-key/{key}/rotate");
    let answers = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, path) = (client.another(), &path);
                scope.spawn(move || {
                    let mut made = 0;
                    while let Ok(answer) = client.try_send("POST", path, b"") {
                        if answer.status != 200 {
                            break;
                        }
                        made += 1;
                    }
                    made
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5));
        server.stop();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum::<u64>()
    });
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).default_key("default-key");
    let server = dev.start();
    let seen = server.client().get(&format!("/v2/kms-key/{key}")).ok();
    assert_eq!(seen["rotation"]["manual-count"], answers, "what was answered was made, and nothing else");
    server.stop();
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut rest = [0; 512];
    loop {
        match std::io::Read::read(&mut &*stream, &mut rest) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
