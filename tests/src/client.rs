//! An HTTP/1.1 client that sends exactly the bytes it is told to.

use crate::exo2::{Credential, Signed, usual_expires};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for one answer before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// One answer of the server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names in lower case and their values, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body, of the length that the headers promised.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that appears at most once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "the header {name} is sent twice");
        value
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the answer {self:?} is not JSON: {error}"),
        }
    }

    /// The title of a problem document, or `success` for a 2xx.
    #[must_use]
    pub fn title(&self) -> String {
        if (200..300).contains(&self.status) {
            return "success".to_owned();
        }
        self.json()["title"].as_str().expect("a problem has a title").to_owned()
    }

    /// The JSON of an answer that must be a 200.
    #[expect(clippy::must_use_candidate, reason = "often called for the check alone")]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "unexpected answer: {}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Everything that a caller can see of the answer but the headers that differ each time: what must be the same when
    /// two cases must not be told apart.
    #[must_use]
    pub fn distinguishable(&self) -> String {
        let changing = ["x-request-id", "date"];
        let headers: Vec<_> = self.headers.iter().filter(|(name, _)| !changing.contains(&name.as_str())).collect();
        format!("{} {headers:?} {}", self.status, self.text())
    }

    /// The key version that a crypto call says it used.
    #[must_use]
    pub fn key_version(&self) -> u64 {
        let version = self.header("zonekms-key-version").expect("crypto answers name the key version");
        version.parse().expect("a version is a number")
    }
}

/// A request as bytes: method, target, headers in order, body.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target as it goes on the wire.
    pub target: String,
    /// All headers but `host` and, unless given here, the framing of the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers.
    #[must_use]
    pub fn new(method: &str, target: &str, body: &[u8]) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: body.to_vec() }
    }

    /// The request with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request with the signature that official clients would give it.
    #[must_use]
    pub fn signed(self, credential: &Credential) -> Self {
        let expires = usual_expires();
        self.signed_until(credential, &expires)
    }

    /// The request signed with this `expires`.
    #[must_use]
    pub fn signed_until(self, credential: &Credential, expires: &str) -> Self {
        let path = self.target.split('?').next().unwrap_or_default();
        let signed = Signed { method: &self.method, path, body: &self.body, query_values: "", expires };
        let header = signed.header(credential);
        self.with("Authorization", &header)
    }

    /// The bytes on the wire. `Content-Length` is added unless a header already says how the body is framed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let framed = self.headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: kms.test\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One TCP connection to a server.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Whether the server has not closed this connection so far.
    fn is_open(&self) -> bool {
        let stream = self.reader.get_ref();
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let has_end = match looked {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        !has_end && stream.set_nonblocking(false).is_ok()
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Waits for one answer. `method` is that of the request: an answer to HEAD has no body.
    ///
    /// # Errors
    /// The system's, `UnexpectedEof` if the server closed before a whole answer, `InvalidData` if it is not HTTP/1.1.
    pub fn receive(&mut self, method: &str) -> io::Result<Answer> {
        let mut line = self.line()?;
        let status = loop {
            let status = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            match status {
                Some(code) if line.starts_with("HTTP/1.1 ") && code >= 200 => break code,
                // 1xx: interim answers carry headers only.
                Some(_) => {
                    while !self.line()?.is_empty() {}
                    line = self.line()?;
                }
                None => return Err(invalid(&line)),
            }
        };
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if method != "HEAD" {
            answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
                (Some("chunked"), None) => self.chunks()?,
                (None, Some(length)) => {
                    let mut body = vec![0; length.parse().map_err(|_| invalid(length))?];
                    self.reader.read_exact(&mut body)?;
                    body
                }
                (None, None) => {
                    let mut body = Vec::new();
                    self.reader.read_to_end(&mut body)?;
                    body
                }
                (Some(_), _) => return Err(invalid("both framings")),
            };
        }
        Ok(answer)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn call(&mut self, request: &Request) -> io::Result<Answer> {
        self.send(&request.bytes())?;
        self.receive(&request.method)
    }

    /// Whether the server closes this connection within `limit`, sending nothing more.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut rest = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.reader.get_ref().set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.reader.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return false;
                }
                Err(_) => return true,
            }
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| invalid(&line))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while matches!(line.last(), Some(b'\r' | b'\n')) {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| invalid("a header that is not UTF-8"))
    }
}

/// A caller with one API key and one kept-alive connection, which is reopened when the server has closed it between
/// two calls (never to repeat a request that was sent).
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    credential: Credential,
    connection: Option<Connection>,
}

impl Client {
    /// A client of the server at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, credential: &Credential) -> Self {
        Self { address, credential: credential.clone(), connection: None }
    }

    /// The API key in use.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of the same server with the same API key and a connection of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.address, &self.credential)
    }

    /// Sends this request, signed, and gives the answer.
    ///
    /// # Errors
    /// What the connection reported; the outcome of the request is then unknown.
    pub fn try_send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let request = Request::new(method, path, body).signed(&self.credential);
        // On a machine that let this test wait, the server may have closed what was idle for too long.
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        let answer = connection.call(&request)?;
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Sends this request, signed, and gives the answer; no answer fails the test.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        match self.try_send(method, path, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: no answer: {error}"),
        }
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    /// POST of a JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!({..}) in place")]
    pub fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body.to_string().as_bytes())
    }

    /// POST without a body.
    pub fn post_empty(&mut self, path: &str) -> Answer {
        self.send("POST", path, b"")
    }

    /// Creates a key with this name; gives its id.
    pub fn create(&mut self, name: &str) -> String {
        let created = self.post("/v2/kms-key", serde_json::json!({ "name": name })).ok();
        created["id"].as_str().expect("a key has an id").to_owned()
    }

    /// Encrypts under a key; gives the ciphertext in base64 and the answer's key version.
    pub fn encrypt(&mut self, key: &str, plaintext: &[u8]) -> (String, u64) {
        let answer =
            self.post(&format!("/v2/kms-key/{key}/encrypt"), serde_json::json!({ "plaintext": base64(plaintext) }));
        let version = (answer.status == 200).then(|| answer.key_version());
        (answer.ok()["ciphertext"].as_str().expect("a ciphertext").to_owned(), version.unwrap_or_default())
    }

    /// Asks to decrypt.
    pub fn decrypt(&mut self, key: &str, ciphertext: &str) -> Answer {
        self.post(&format!("/v2/kms-key/{key}/decrypt"), serde_json::json!({ "ciphertext": ciphertext }))
    }
}

/// Standard padded base64.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of standard padded base64.
#[must_use]
pub fn unbase64(text: &str) -> Vec<u8> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.decode(text).expect("standard padded base64")
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
