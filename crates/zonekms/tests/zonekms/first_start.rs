//! Several processes that start at once on a zone that is not there yet.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustix::process::Signal;

use crate::program::{PATIENCE, Server, address, run, text, zonekms};

const ROUNDS: usize = 6;
const PROCESSES: usize = 4;
const KEYS: usize = 3;

const ID: &str = "EXO0123456789abcdef01234567";
const SECRET: &str = "kmsTestSecret_0123456789abcdefghijklmnopq";

const CONFIG: &str = r#"
zone = "ch-gva-2"
zones = [{ name = "ch-gva-2", api-endpoint = "http://127.0.0.1:8080/v2" }]
listen.address = "127.0.0.1:0"
store.directory = "state/store"
root-key.file = "root.key"
log.format = "json"

[[organisation]]
name = "example"

[[organisation.api-key]]
id = "EXO0123456789abcdef01234567"
secret = "kmsTestSecret_0123456789abcdefghijklmnopq"
"#;

/// One of them serves, the others are refused, and what the one answered is there after a restart.
#[test]
fn one_of_many_first_starts_serves_and_loses_nothing() {
    for round in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zonekms.toml");
        fs::write(&file, CONFIG).unwrap();
        let root_key = directory.path().join("root.key");
        assert!(run(&["root-key", "new", root_key.to_str().unwrap()]).status.success());
        let start = || Server::start(&mut zonekms(&["serve", "--config", file.to_str().unwrap()]));

        let mut serving = Vec::new();
        let mut refused = Vec::new();
        let started: Vec<Server> = (0..PROCESSES).map(|_| start()).collect();
        for mut server in started {
            match server.serves() {
                Ok(event) => serving.push((server, address(&event))),
                Err(log) => refused.push(log),
            }
        }
        assert_eq!(serving.len(), 1, "round {round}: {refused:#?}");
        for log in refused {
            assert!(log.contains("is in use by another process"), "round {round}: {log}");
        }
        let (mut server, api) = serving.remove(0);
        for number in 0..KEYS {
            let (status, answer) = signed(api, "POST", &format!(r#"{{"name":"key-{number}"}}"#));
            assert_eq!(status, 200, "round {round}: {answer}");
        }
        server.signal(Signal::TERM);
        assert_eq!(server.end().0.code(), Some(0));

        let mut again = start();
        let api = match again.serves() {
            Ok(event) => address(&event),
            Err(log) => panic!("round {round}: it does not start again: {log}"),
        };
        let (status, answer) = signed(api, "GET", "");
        assert_eq!(status, 200);
        for number in 0..KEYS {
            assert!(answer.contains(&format!("\"key-{number}\"")), "round {round}: key-{number} is lost: {answer}");
        }
    }
}

/// Sends a signed request to the collection of keys; the answer's status and body.
#[expect(clippy::disallowed_methods, reason = "a real client signs with the real clock")]
fn signed(api: SocketAddr, method: &str, body: &str) -> (u16, String) {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 300;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{method} /v2/kms-key\n{body}\n\n\n{expires}").as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let length = body.len();
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} /v2/kms-key HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Authorization: EXO2-HMAC-SHA256 credential={ID},expires={expires},signature={signature}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (head, body) = text(&answer).split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
