//! P15, P17: signed requests with bodies, ids and targets bent at random: every answer is a problem document or a
//! success, none is a 5xx, and the server is whole afterwards.

use crate::bad_requests::wrong_headers;
use crate::{program, scratch_in_memory};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use zonekms_tests::client::{Answer, Client, Connection, Request};
use zonekms_tests::random::Choices;
use zonekms_tests::server::Dev;

const REQUESTS: u64 = 12_000;
const CALLERS: u64 = 3;

/// What a mutation puts into a body or a target.
const TOKENS: [&str; 36] = [
    "null",
    "true",
    "-1",
    "0",
    "7",
    "30",
    "365",
    "1e9",
    "-0",
    "9223372036854775808",
    "\"\"",
    "\"YQ==\"",
    "[]",
    "{}",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "é",
    "\"id\":",
    "\"name\":",
    "\"plaintext\":",
    "\"ciphertext\":",
    "\"encryption-context\":null",
    "\"delay-days\":",
    "\"rotation-period\":",
    "\"zone\":\"ch-dk-2\"",
    "%00",
    "//",
];

#[test]
fn no_bent_request_breaks_the_server() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).default_key("default-key").quiet();
    let server = dev.start();
    let mut client = server.client();
    let keep = client.create("kept aside");
    let (ciphertext, _) = client.encrypt(&keep, b"kept");
    let untouched = client.get(&format!("/v2/kms-key/{keep}")).body;
    let keys: Vec<String> = (0..8).map(|number| client.create(&format!("k{number}"))).collect();
    let sealed: Vec<String> = keys.iter().map(|key| client.encrypt(key, b"x").0).collect();

    let statuses = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (client, keys, sealed, statuses) = (client.another(), &keys, &sealed, &statuses);
            scope.spawn(move || {
                let mut choices = Choices::new(seed, caller);
                let mut connection = None;
                for number in 0..REQUESTS / CALLERS {
                    let request = bent(&mut choices, keys, sealed, &client);
                    let answer = ask(&mut connection, &client, &request)
                        .unwrap_or_else(|| panic!("caller {caller}, request {number}: no answer to {request:?}"));
                    // What the HTTP library refuses itself, such as a quote in a target, has no body.
                    let sound = match answer.status {
                        200 => is_success(&answer),
                        400 if answer.body.is_empty() => true,
                        status => status < 500 && is_problem(&answer, &request.method),
                    };
                    assert!(sound, "caller {caller}, request {number}: {request:?} gives {answer:?}");
                    *statuses.lock().unwrap().entry(answer.status).or_insert(0) += 1;
                }
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    println!("{REQUESTS} bent requests: {statuses:?}");
    assert!(statuses.get(&200).is_some_and(|served| *served > 100), "some requests survive the bending");
    assert!(statuses.get(&400).is_some_and(|refused| *refused > 1000), "most do not");
    assert_eq!(client.get(&format!("/v2/kms-key/{keep}")).body, untouched, "a key that nobody named is unchanged");
    client.decrypt(&keep, &ciphertext).ok();
    assert!(!server.process.log().contains("panic"), "nothing panicked:\n{}", server.process.log());
    server.stop();
}

/// A request that was right, bent a few times before it is signed.
fn bent(choices: &mut Choices, keys: &[String], sealed: &[String], client: &Client) -> Request {
    let index = usize::try_from(choices.below(keys.len() as u64)).unwrap();
    let (key, other, sealed) = (&keys[index], choices.pick(keys).clone(), &sealed[index]);
    let (operation, body) = choices
        .pick(&[
            ("", json!({ "name": format!("made {}", choices_name(key)) })),
            ("", json!({ "name": "n", "description": "d", "usage": "encrypt-decrypt", "multi-zone": true })),
            ("encrypt", json!({ "plaintext": "aGVsbG8=", "encryption-context": "Y3R4" })),
            ("decrypt", json!({ "ciphertext": sealed })),
            ("generate-data-key", json!({ "key-spec": "AES-256", "bytes-count": 32 })),
            ("re-encrypt", json!({ "source": { "key": key, "ciphertext": sealed }, "destination": { "key": other } })),
            ("enable-key-rotation", json!({ "rotation-period": 90 })),
            ("schedule-deletion", json!({ "delay-days": 7 })),
            ("replicate", json!({ "zone": "ch-dk-2" })),
            ("enable", json!({ "id": key })),
            ("cancel-deletion", json!({})),
            ("rotate", json!({})),
        ])
        .clone();
    let mut target = match operation {
        "" => "/v2/kms-key".to_owned(),
        operation => format!("/v2/kms-key/{key}/{operation}"),
    };
    let mut body = body.to_string().into_bytes();
    for _ in 0..choices.below(4) {
        bend(choices, &mut body);
    }
    if choices.below(8) == 0 {
        let mut bytes = target.clone().into_bytes();
        bend(choices, &mut bytes);
        // A target is one line of printable ASCII: anything else never reaches the service.
        bytes.retain(|byte| byte.is_ascii_graphic() && *byte != b'#');
        target = format!("/{}", String::from_utf8(bytes).unwrap().trim_start_matches('/'));
    }
    let method =
        if choices.below(12) == 0 { *choices.pick(&["GET", "PUT", "DELETE", "HEAD", "PATCH"]) } else { "POST" };
    Request::new(method, &target, &body).signed(client.credential())
}

fn choices_name(key: &str) -> &str {
    &key[30..]
}

fn bend(choices: &mut Choices, bytes: &mut Vec<u8>) {
    let length = bytes.len() as u64;
    let at = usize::try_from(choices.below(length + 1)).unwrap();
    let end = bytes.len().min(at + usize::try_from(choices.below(12)).unwrap());
    match choices.below(6) {
        0 => drop(bytes.drain(at..end)),
        1 => drop(bytes.splice(at..at, choices.pick(&TOKENS).bytes())),
        2 => drop(bytes.splice(at..end, choices.pick(&TOKENS).bytes())),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        4 if at < bytes.len() => bytes[at] ^= 1 << choices.below(8),
        _ => bytes.truncate(at),
    }
}

fn ask(connection: &mut Option<Connection>, client: &Client, request: &Request) -> Option<Answer> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(client.address()).ok()?,
    };
    let answer = open.call(request).ok()?;
    if answer.header("connection") != Some("close") {
        *connection = Some(open);
    }
    Some(answer)
}

fn is_success(answer: &Answer) -> bool {
    answer.json().is_object() && wrong_headers(answer).is_none()
}

fn is_problem(answer: &Answer, method: &str) -> bool {
    if method == "HEAD" {
        return answer.status >= 400 && answer.body.is_empty();
    }
    let problem = answer.json();
    problem["status"] == answer.status
        && problem["message"] == problem["detail"]
        && ["type", "title", "detail"].iter().all(|member| problem[member].is_string())
        && wrong_headers(answer).is_none()
}
