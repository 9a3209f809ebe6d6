//! Requests whose end can be read in two ways, and the odd forms that official clients send.

use crate::client::Client;
use crate::connections::{Setup, running};
use crate::zone::ACME;

#[tokio::test]
async fn ambiguous_bodies_are_refused_and_the_connection_closed() {
    let server = running(Setup::default()).await;
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content-Length : 5\r\n",
        "X: 1\r\n folded\r\n",
        "X: 1\nY: 2\r\n",
    ] {
        let mut client = server.client().await;
        let smuggled = "GET /v2/zone HTTP/1.1\r\nHost: a\r\n\r\n";
        let request = format!("POST /v2/kms-key HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n{smuggled}");
        client.send(request.as_bytes()).await;
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(400), "{fields:?}");
        assert!(client.answer().await.is_none(), "{fields:?}: a second answer");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let twice = b"GET /v2/zone HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let answer = client.call(twice).await;
    assert_eq!(answer.json()["detail"], "the request has more than one Host header");
    assert!(client.answer().await.is_none(), "the connection is closed");
}

#[tokio::test]
async fn a_fragment_in_the_target_is_refused_and_the_connection_closed() {
    let server = running(Setup::default()).await;
    // Signed as it would be verified if the fragment were dropped.
    let signed = ACME.authorization("GET", "/v2/kms-key", b"", crate::zone::NOW + 600);
    for target in ["/v2/kms-key#a", "/v2/kms-key#", "/v2/kms-key#?a=b", "/v2/kms-key?#"] {
        let mut client = server.client().await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {signed}\r\n\r\n");
        let answer = client.call(request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.json()["detail"], "the request target must be a path", "{target}");
        assert!(client.is_closed().await, "{target}");
    }
}

#[tokio::test]
async fn a_body_is_not_the_next_request() {
    let server = running(Setup::default()).await;
    let mut client = server.client().await;
    let inner = "GET /v2/zone HTTP/1.1\r\nHost: a\r\n\r\n";
    let outer = ACME.request("POST", "/v2/kms-key", inner);
    assert_eq!(client.call(&outer).await.told(), (400, "Bad Request".into()));
    assert_eq!(client.call(inner.as_bytes()).await.status, 200);
}

/// A signed request with these header fields in place of `Content-Length`.
async fn with_fields(
    client: &mut Client<tokio::net::TcpStream>,
    target: &str,
    fields: &str,
    sent: &str,
    body: &str,
) -> (u16, String) {
    let authorization = ACME.authorization("POST", target, body.as_bytes(), crate::zone::NOW);
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n{fields}\r\n{sent}");
    let answer = client.call(head.as_bytes()).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn bodies_may_be_absent_empty_or_in_chunks() {
    let server = running(Setup::default()).await;
    let id = server.zone.create("k1").await;
    let rotate = format!("/v2/kms-key/{id}/rotate");
    let encrypt = format!("/v2/kms-key/{id}/encrypt");
    for (target, fields, sent, body) in [
        (&rotate, "", "", ""),
        (&rotate, "Content-Length: 0\r\n", "", ""),
        (&rotate, "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""),
        (&rotate, "Content-Type:\r\nContent-Length: 2\r\n", "{}", "{}"),
        (&encrypt, "Transfer-Encoding: chunked\r\n", "10\r\n{\"plaintext\":\"\"}\r\n0\r\n\r\n", "{\"plaintext\":\"\"}"),
        (
            &encrypt,
            "Transfer-Encoding: Chunked\r\n",
            "1\r\n{\r\nf\r\n\"plaintext\":\"\"}\r\n0\r\nX: 1\r\n\r\n",
            "{\"plaintext\":\"\"}",
        ),
    ] {
        let mut client = server.client().await;
        let (status, text) = with_fields(&mut client, target, fields, sent, body).await;
        assert_eq!(status, 200, "{fields:?}: {text}");
    }
    let mut client = server.client().await;
    let (status, _) = with_fields(&mut client, &rotate, "Transfer-Encoding: chunked\r\n", "zz\r\n\r\n", "").await;
    assert_eq!(status, 400, "malformed chunks");
}
