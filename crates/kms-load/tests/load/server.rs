//! A small server for tests: Exoscale's answers over HTTP/1.1, with faults on demand.

use base64::prelude::{BASE64_STANDARD, Engine};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does beside answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every tenth encrypt call is answered with status 429.
    TooMany,
    /// The wrong plaintext.
    WrongPlaintext,
    /// All connections stand still for half a second, once, after so many encrypt calls.
    OneStall {
        after: usize,
    },
    /// Encrypt calls are never answered.
    Silent,
}

/// A server that runs until the test ends.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Arc<Seen>,
}

/// What the server was asked.
#[derive(Default)]
pub(crate) struct Seen {
    /// How often each path was posted to.
    pub(crate) paths: Mutex<BTreeMap<String, usize>>,
    pub(crate) connections: AtomicUsize,
    keys: AtomicUsize,
    encrypts: AtomicUsize,
    stalled: AtomicBool,
    standing: Mutex<()>,
}

impl Seen {
    /// How many requests had a path that ends so.
    pub(crate) fn count(&self, ending: &str) -> usize {
        let paths = self.paths.lock().unwrap();
        paths.iter().filter(|(path, _)| path.ends_with(ending)).map(|(_, count)| count).sum()
    }

    /// How many different paths end so.
    pub(crate) fn different(&self, ending: &str) -> usize {
        self.paths.lock().unwrap().keys().filter(|path| path.ends_with(ending)).count()
    }
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/v2", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let own = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen) = (stream.unwrap(), Arc::clone(&own));
                seen.connections.fetch_add(1, Ordering::Relaxed);
                // A connection that breaks is its client's business.
                thread::spawn(move || drop(serve(&stream, &seen, fault)));
            }
        });
        Self { url, seen }
    }
}

fn serve(stream: &TcpStream, seen: &Seen, fault: Fault) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some((path, body, last)) = request(&mut reader)? {
        assert!(path.starts_with("/v2/kms-key"), "{path}");
        *seen.paths.lock().unwrap().entry(path.clone()).or_default() += 1;
        let member = |name: &str| {
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            value[name].as_str().unwrap().to_owned()
        };
        let mut status = "200 OK";
        let answer = match path.rsplit('/').next().unwrap() {
            "encrypt" => {
                let number = seen.encrypts.fetch_add(1, Ordering::Relaxed);
                stand(seen, fault, number);
                if fault == Fault::Silent {
                    thread::sleep(Duration::from_secs(60));
                }
                if fault == Fault::TooMany && number % 10 == 9 {
                    status = "429 Too Many Requests";
                }
                // "Encrypted" is reversed.
                let plaintext: Vec<u8> = BASE64_STANDARD.decode(member("plaintext")).unwrap();
                let reversed: Vec<u8> = plaintext.into_iter().rev().collect();
                format!("{{\"ciphertext\":\"{}\"}}", BASE64_STANDARD.encode(reversed))
            }
            "decrypt" => {
                let ciphertext: Vec<u8> = BASE64_STANDARD.decode(member("ciphertext")).unwrap();
                let mut plaintext: Vec<u8> = ciphertext.into_iter().rev().collect();
                if fault == Fault::WrongPlaintext {
                    plaintext[0] ^= 1;
                }
                format!("{{\"plaintext\":\"{}\"}}", BASE64_STANDARD.encode(plaintext))
            }
            "generate-data-key" => "{\"plaintext\":\"eA==\",\"ciphertext\":\"eQ==\"}".to_owned(),
            "schedule-deletion" => "{\"status\":\"success\"}".to_owned(),
            _ => format!("{{\"id\":\"key-{}\"}}", seen.keys.fetch_add(1, Ordering::Relaxed)),
        };
        write!(&mut &*stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())?;
        if last {
            return Ok(());
        }
    }
    Ok(())
}

/// Holds every encrypt call back while one of them stands still.
fn stand(seen: &Seen, fault: Fault, number: usize) {
    let standing = seen.standing.lock().unwrap();
    if let Fault::OneStall { after } = fault
        && number >= after
        && !seen.stalled.swap(true, Ordering::Relaxed)
    {
        thread::sleep(Duration::from_millis(500));
    }
    drop(standing);
}

/// The path and the body of the next request, and whether the connection ends with it.
fn request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<(String, Vec<u8>, bool)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let (mut length, mut last, mut signed) = (0, false, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        match header.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", value)) => last = value == "close",
            Some(("authorization", value)) => {
                signed = value.starts_with("exo2-hmac-sha256 credential=exotest,expires=");
            }
            Some(_) => {}
        }
    }
    assert!(signed, "{path} is not signed");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((path, body, last)))
}
