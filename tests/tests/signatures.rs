//! Forged requests in numbers: every bit of a signature, every byte of a body, and what a refusal gives away.

use crate::{program, scratch_in_memory};
use std::collections::BTreeSet;
use zonekms_tests::client::{Client, Connection, Request, base64};
use zonekms_tests::exo2::{Credential, Signed, unix_now, usual_expires};
use zonekms_tests::server::Dev;

const BODY: &[u8] = br#"{"plaintext":"YXR0YWNrIGF0IGRhd24=","encryption-context":"Y3R4"}"#;

/// S5, S8: all 256 one-bit changes of a signature, and a change of every byte of the signed body.
#[test]
fn no_altered_request_is_accepted() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let path = format!("/v2/kms-key/{}/encrypt", client.create("k"));
    let mut connection = Connection::open(client.address()).unwrap();

    let expires = usual_expires();
    let signed = Signed { method: "POST", path: &path, body: BODY, query_values: "", expires: &expires };
    let right = signed.signature(&client.credential().secret);
    let mut ask = |signature: &[u8], body: &[u8]| {
        let id = &client.credential().id;
        let header = format!("EXO2-HMAC-SHA256 credential={id},expires={expires},signature={}", base64(signature));
        connection.call(&Request::new("POST", &path, body).with("Authorization", &header)).unwrap()
    };
    assert_eq!(ask(&right, BODY).status, 200, "the unaltered request is accepted");

    let mut answers = BTreeSet::new();
    let mut forged = 0;
    for bit in 0..256 {
        let mut signature = right;
        signature[bit / 8] ^= 1 << (bit % 8);
        answers.insert(ask(&signature, BODY).distinguishable());
        forged += 1;
    }
    for index in 0..BODY.len() {
        for change in [1, 0x20, 0x80] {
            let mut body = BODY.to_vec();
            body[index] ^= change;
            answers.insert(ask(&right, &body).distinguishable());
            forged += 1;
        }
    }
    println!("{forged} forged requests, {} kinds of answer", answers.len());
    assert_eq!(answers.len(), 1, "every refusal is the same: {answers:?}");
    assert!(answers.first().unwrap().contains("403 "), "{answers:?}");
    server.stop();
}

/// S7: an unknown credential and a wrong secret cannot be told apart.
#[test]
fn an_unknown_credential_looks_like_a_wrong_secret() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let client = server.client();
    let known = Credential { id: client.credential().id.clone(), secret: "wrong".into() };
    let unknown = Credential { id: "EXO0123456789abcdef01234567".into(), secret: client.credential().secret.clone() };
    let answers: Vec<String> = [known, unknown]
        .iter()
        .map(|credential| Client::new(client.address(), credential).get("/v2/kms-key").distinguishable())
        .collect();
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("403 "), "{answers:?}");
    server.stop();
}

/// S2, S3: the first and last second of a signature's validity, both ways.
#[test]
fn a_signature_is_valid_until_a_minute_after_expires() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let client = server.client();
    let mut connection = Connection::open(client.address()).unwrap();
    // Two seconds of tolerance on either side: the request travels in real time.
    for (offset, status) in [(-70, 403), (-62, 403), (-57, 200), (0, 200), (600, 200), (657, 200), (663, 403)] {
        let expires = (unix_now() + offset).to_string();
        let request = Request::new("GET", "/v2/kms-key", b"").signed_until(client.credential(), &expires);
        assert_eq!(connection.call(&request).unwrap().status, status, "expires = now{offset:+}");
    }
    server.stop();
}

/// S1: a signature is no nonce, and a rotation that is repeated counts as often as it is asked for: at most ten times.
#[test]
fn a_repeated_request_is_a_request() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).start();
    let mut client = server.client();
    let key = client.create("k");
    let request = Request::new("POST", &format!("/v2/kms-key/{key}/disable"), b"").signed(client.credential());
    let mut connection = Connection::open(client.address()).unwrap();
    let first = connection.call(&request).unwrap();
    let second = connection.call(&request).unwrap();
    assert_eq!((first.status, &first.body), (200, &second.body), "a repeated disable is a disable");
    let seen = client.get(&format!("/v2/kms-key/{key}")).ok();
    assert_eq!(seen["revision"]["seq"], 2, "the repetition wrote nothing");
    server.stop();
}

/// S4: a request signed for one zone is valid in another, which a credential's list of zones can prevent; without such
/// a list the same bytes are accepted by both.
#[test]
fn the_host_is_not_signed() {
    let directory = scratch_in_memory();
    let server = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).start();
    let request = Request::new("GET", "/v2/kms-key", b"").signed(&server.environment.credential);
    for zone in ["ch-gva-2", "ch-dk-2"] {
        let answer = Connection::open(server.zones[zone]).unwrap().call(&request).unwrap();
        assert_eq!(answer.status, 200, "{zone}");
    }
    server.stop();
}
