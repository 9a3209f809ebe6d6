//! Cosmian's REST API, spoken to a responder that takes nothing but what that API documents, and to Cosmian's own server.

use crate::peer::{self, Peer};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kms_load::{CosmianJose, Endpoint, Secret, SessionError};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

const MIX: &str = "encrypt=2,decrypt=2,create-key=1";

#[test]
fn every_request_is_as_documented() {
    let responder = Responder::start();
    let endpoint = responder.endpoint();
    let mut session = peer::session(CosmianJose::new(&endpoint, Some(Secret::new("token".to_owned()))), &endpoint);
    peer::works(&mut session, MIX);
    let keys = responder.keys.lock().unwrap();
    assert!(keys.made > 2 && keys.alive.is_empty(), "{keys:?}");
}

#[test]
fn data_keys_are_refused_before_anything_is_made() {
    let responder = Responder::start();
    let endpoint = responder.endpoint();
    let mut session = peer::session(CosmianJose::new(&endpoint, Some(Secret::new("token".to_owned()))), &endpoint);
    let refused = peer::visit(&mut session, "encrypt=1,data-key=1");
    let Err(error @ SessionError::NotOffered { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("no data-key call in what cosmian offers"), "{error}");
    assert_eq!(responder.keys.lock().unwrap().made, 0);
}

#[test]
#[ignore = "needs a Cosmian KMS: ZONEKMS_TEST_COSMIAN=/path/to/cosmian_kms cargo test -p kms-load -- --ignored cosmian"]
fn a_cosmian_server() {
    let Some(program) = peer::program("ZONEKMS_TEST_COSMIAN") else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Peer::start(|address| {
        let mut command = Command::new(program);
        command.args(["--database-type", "sqlite", "--sqlite-path"]).arg(directory.path());
        command.args(["--hostname", "127.0.0.1", "--port", &address.port().to_string()]).current_dir(directory.path());
        command
    });
    let endpoint: Endpoint = format!("http://{}", server.address).parse().unwrap();
    peer::works(&mut peer::session(CosmianJose::new(&endpoint, None), &endpoint), MIX);
}

/// Answers as Cosmian does, and refuses every request that is not, to the byte, what its API documents.
struct Responder {
    address: SocketAddr,
    keys: Arc<Mutex<Keys>>,
}

#[derive(Debug, Default)]
struct Keys {
    made: usize,
    alive: BTreeSet<String>,
}

impl Responder {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Arc::new(Mutex::new(Keys::default()));
        let own = Arc::clone(&keys);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let keys = Arc::clone(&own);
                    tokio::spawn(async move {
                        let service = service_fn(move |request| answer(request, Arc::clone(&keys)));
                        let connection = hyper::server::conn::http1::Builder::new();
                        // A connection that breaks is its client's business.
                        drop(connection.serve_connection(TokioIo::new(stream), service).await);
                    });
                }
            });
        });
        Self { address, keys }
    }

    fn endpoint(&self) -> Endpoint {
        format!("http://{}", self.address).parse().unwrap()
    }
}

async fn answer(request: Request<Incoming>, keys: Arc<Mutex<Keys>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let known = head.headers.get("authorization").is_some_and(|value| value == "Bearer token");
    let json = head.headers.get("content-type").is_some_and(|value| value == "application/json");
    let mut keys = keys.lock().unwrap();
    let (status, answer) = match (head.method.as_str(), head.uri.path()) {
        _ if !known => (StatusCode::UNAUTHORIZED, String::new()),
        ("POST", "/v1/crypto/keys") if json => made(&body, &mut keys),
        ("POST", "/v1/crypto/encrypt") if json => encrypted(&body, &keys),
        ("POST", "/v1/crypto/decrypt") if json => decrypted(&body, &keys),
        ("DELETE", path) => match path.strip_prefix("/v1/crypto/keys/").map(|kid| keys.alive.remove(kid)) {
            Some(true) => (StatusCode::NO_CONTENT, String::new()),
            Some(false) | None => (StatusCode::NOT_FOUND, path.to_owned()),
        },
        (method, path) => (StatusCode::NOT_FOUND, format!("{method} {path}")),
    };
    Ok(Response::builder().status(status).body(Full::from(answer)).unwrap())
}

fn made(body: &str, keys: &mut Keys) -> (StatusCode, String) {
    if body != r#"{"kty":"oct","alg":"A256GCM"}"# {
        return (StatusCode::BAD_REQUEST, body.to_owned());
    }
    let kid = format!("key-{}", keys.made);
    keys.made += 1;
    keys.alive.insert(kid.clone());
    let answer = format!(r#"{{"kid":"{kid}","kty":"oct","alg":"A256GCM","key_ops":["encrypt","decrypt"]}}"#);
    (StatusCode::OK, answer)
}

/// "Encrypted" is reversed.
fn encrypted(body: &str, keys: &Keys) -> (StatusCode, String) {
    let (kid, data) = (text(body, "kid"), text(body, "data"));
    let documented = format!(r#"{{"kid":"{kid}","alg":"dir","enc":"A256GCM","data":"{data}"}}"#);
    let Ok(plaintext) = BASE64_URL_SAFE_NO_PAD.decode(data) else { return (StatusCode::BAD_REQUEST, body.to_owned()) };
    if body != documented || !keys.alive.contains(&kid) {
        return (StatusCode::UNPROCESSABLE_ENTITY, body.to_owned());
    }
    let ciphertext: Vec<u8> = plaintext.into_iter().rev().collect();
    let (protected, iv, tag) = beside(&kid);
    let ciphertext = BASE64_URL_SAFE_NO_PAD.encode(ciphertext);
    let jwe = format!(
        r#"{{"protected":"{protected}","encrypted_key":"","iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}"}}"#
    );
    (StatusCode::OK, jwe)
}

fn decrypted(body: &str, keys: &Keys) -> (StatusCode, String) {
    let ciphertext = text(body, "ciphertext");
    let header = BASE64_URL_SAFE_NO_PAD.decode(text(body, "protected")).unwrap_or_default();
    let kid = text(&String::from_utf8(header).unwrap(), "kid");
    let (protected, iv, tag) = beside(&kid);
    let documented = format!(r#"{{"protected":"{protected}","iv":"{iv}","ciphertext":"{ciphertext}","tag":"{tag}"}}"#);
    if body != documented || !keys.alive.contains(&kid) {
        return (StatusCode::UNPROCESSABLE_ENTITY, body.to_owned());
    }
    let plaintext: Vec<u8> = BASE64_URL_SAFE_NO_PAD.decode(ciphertext).unwrap().into_iter().rev().collect();
    let data = BASE64_URL_SAFE_NO_PAD.encode(plaintext);
    (StatusCode::OK, format!(r#"{{"kid":"{kid}","data":"{data}"}}"#))
}

/// What a JWE made with this key has beside its ciphertext: protected header, IV and tag, the two latter of this key alone.
fn beside(kid: &str) -> (String, String, String) {
    let text = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    let header = format!(r#"{{"alg":"dir","enc":"A256GCM","kid":"{kid}"}}"#);
    (text(header), text(format!("iv of {kid}")), text(format!("tag of {kid}")))
}

/// One member's text; empty if there is none.
fn text(json: &str, member: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    value[member].as_str().unwrap_or_default().to_owned()
}
