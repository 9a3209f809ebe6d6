//! Clients with full control of every byte, and a signer written apart from the product's verifier.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use serde_json::Value;
use sha2::Sha256;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An API key.
#[derive(Clone, Copy)]
pub(crate) struct Credential {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
}

impl Credential {
    /// The header of a client that signs this request, without listing any of its query parameters.
    pub(crate) fn authorization(&self, method: &str, target: &str, body: &[u8], expires: i64) -> String {
        let path = target.split('?').next().unwrap();
        let message = [format!("{method} {path}\n").as_bytes(), body, format!("\n\n\n{expires}").as_bytes()].concat();
        format!("EXO2-HMAC-SHA256 credential={},expires={expires},signature={}", self.id, self.signature(&message))
    }

    /// The signature of a message.
    pub(crate) fn signature(&self, message: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(message);
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// A whole signed request as bytes.
    pub(crate) fn request(&self, method: &str, target: &str, body: &str) -> Vec<u8> {
        let authorization = self.authorization(method, target, body.as_bytes(), crate::zone::NOW + 600);
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n");
        format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    }
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and title, to compare.
    pub(crate) fn told(&self) -> (u16, String) {
        (self.status, self.json()["title"].as_str().unwrap_or("").to_owned())
    }
}

/// A connection that sends what it is told and reads answers one by one.
pub(crate) struct Client<S> {
    stream: S,
    received: Vec<u8>,
}

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Client<TcpStream> {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // What is sent in pieces arrives in pieces, and at once.
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap();
    }

    /// To a server that may have closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next answer, or `None` when the server closed the connection without one.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let head_end = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.received[..head_end].to_vec()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HeaderMap = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| line.split_once(':').unwrap()))
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(http::HeaderName, http::HeaderValue)>>()
            .into_iter()
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        while self.received.len() < head_end + length {
            self.more().await?;
        }
        let body = self.received[head_end..head_end + length].to_vec();
        self.received.drain(..head_end + length);
        Some(Answer { status, headers, body })
    }

    pub(crate) async fn call(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).await;
        self.answer().await.expect("an answer")
    }

    /// Whether the server closed the connection and sent nothing more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.more().await.is_none() && self.received.is_empty()
    }

    async fn more(&mut self) -> Option<()> {
        let mut buf = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut buf)).await.expect("the server neither answered nor closed");
        match read {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.received.extend_from_slice(&buf[..read]);
                Some(())
            }
        }
    }
}
