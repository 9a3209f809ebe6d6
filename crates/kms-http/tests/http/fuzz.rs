//! Input that nobody foresaw: always an answer in JSON, never a 5xx, and nothing changed.

use crate::client::Client;
use crate::connections::{Setup, running};
use crate::zone::{ACME, NOW, Zone};
use axum::body::Body;
use http::{Method, Request, Uri};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use tokio::runtime::Runtime;

const ACTIONS: [&str; 14] = [
    "",
    "enable",
    "disable",
    "rotate",
    "enable-key-rotation",
    "disable-key-rotation",
    "schedule-deletion",
    "cancel-deletion",
    "replicate",
    "encrypt",
    "decrypt",
    "re-encrypt",
    "generate-data-key",
    "list-key-rotations",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        Just("name"),
        Just("description"),
        Just("usage"),
        Just("multi-zone"),
        Just("id"),
        Just("rotation-period"),
        Just("delay-days"),
        Just("zone"),
        Just("plaintext"),
        Just("ciphertext"),
        Just("encryption-context"),
        Just("source"),
        Just("destination"),
        Just("key"),
        Just("key-spec"),
        Just("bytes-count"),
        Just("\\ud800"),
        Just("\\u0000"),
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0".to_owned()),
        Just("1e999".to_owned()),
        Just("[[[]]]".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("\"\"".to_owned()),
        "-?[0-9]{1,25}",
        "\"[A-Za-z0-9+/]{0,90}={0,2}\"",
        "\"[^\"\\\\\\x00-\\x1f]{0,30}\"",
    ];
    let object = leaf.prop_recursive(3, 12, 4, move |inner| {
        proptest::collection::vec((member.clone(), inner), 0..4).prop_map(|members| {
            let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    });
    prop_oneof![
        2 => prop_oneof![Just(""), Just("{}"), Just(r#"{"plaintext":"aGVsbG8="}"#), Just(r#"{"bytes-count":7}"#)]
            .prop_map(|body| body.as_bytes().to_vec()),
        5 => object.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => "[\\[\\]{}\":,0-9a-z\\\\ ]{0,80}".prop_map(String::into_bytes),
    ]
}

#[test]
fn any_signed_request_gets_an_answer_below_500() {
    let runtime = Runtime::new().unwrap();
    let zone = runtime.block_on(Zone::start());
    let id = runtime.block_on(zone.create("k1"));
    let key = id.clone();
    let served = Cell::new(0_u32);
    let method =
        prop_oneof![4 => Just("POST"), 2 => Just("GET"), 1 => Just("PUT"), 1 => Just("HEAD"), 1 => Just("CONNECT")];
    let target = prop_oneof![
        4 => proptest::sample::select(&ACTIONS[..]).prop_map(move |action| match action {
            "" => format!("/v2/kms-key/{id}"),
            action => format!("/v2/kms-key/{id}/{action}"),
        }),
        2 => Just("/v2/kms-key".to_owned()),
        1 => "/[a-z0-9/%.;?=&+~-]{0,40}",
    ];
    let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
    let outcome = runner.run(&(method, target, body()), |(method, target, body)| {
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        // What hyper hands over is the parsed target; so that is what is signed.
        let authorization = ACME.authorization(method, uri.path(), &body, NOW + 600);
        let request = Request::builder().method(Method::try_from(method).unwrap()).uri(uri);
        let request = request.header("authorization", authorization).body(Body::from(body.clone())).unwrap();
        let answer = runtime.block_on(async {
            // Whatever an earlier request did to the key, this one meets it enabled.
            zone.on(&key, "cancel-deletion", "").await;
            zone.on(&key, "enable", "").await;
            zone.send(request).await
        });
        served.set(served.get() + u32::from(answer.status == 200));
        prop_assert!(answer.status < 500, "{}: {}", answer.status, answer.text());
        prop_assert_ne!(answer.status, 403);
        if method != "HEAD" {
            let json = answer.json();
            prop_assert!(json.is_object());
            prop_assert_eq!(answer.status == 200, json.get("title").is_none());
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(served.get() > 10, "only {} requests were good", served.get());
}

#[test]
fn no_unsigned_request_gets_past_the_signature() {
    let runtime = Runtime::new().unwrap();
    let zone = runtime.block_on(Zone::start());
    runtime.block_on(zone.create("k1"));
    let before = runtime.block_on(zone.visible_state());
    let header = prop_oneof![
        1 => proptest::option::of("[ -~]{0,120}"),
        1 => "EXO2-HMAC-SHA256 credential=EXOacme,expires=[0-9]{1,20},signature=[A-Za-z0-9+/]{43}=".prop_map(Some),
    ];
    let mut runner = TestRunner::new(Config { cases: 1000, ..Config::default() });
    let outcome = runner.run(&(header, "/[a-z0-9/%.-]{0,30}", body()), |(header, target, body)| {
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        let mut request = Request::post(uri);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let answer = runtime.block_on(zone.send(request.body(Body::from(body)).unwrap()));
        prop_assert_eq!(answer.status, 403);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(runtime.block_on(zone.visible_state()), before);
}

#[test]
fn bytes_that_are_no_http_do_not_stop_the_server() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let server = running(Setup::default()).await;
        const ALPHABET: &[u8] = b"GET /v2zonePOS\r\n: HT1.0\0\xff{}";
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..300 {
            let mut bytes = Vec::new();
            for _ in 0..seed % 200 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                bytes.push(ALPHABET[usize::try_from(seed).unwrap() % ALPHABET.len()]);
            }
            seed = seed.wrapping_add(0x9e37_79b9);
            let mut client = Client::connect(server.address).await;
            client.send(&bytes).await;
        }
        let mut client = Client::connect(server.address).await;
        assert_eq!(client.call(b"GET /v2/zone HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
    });
}
