//! The operator's side of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::socket::ShortPath;
use crate::private_files::directory_of;

/// The largest JSON answer, in bytes; streams have no limit.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The user who may do everything anyway.
const ROOT: u32 = 0;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientFault {
    /// Nobody listens: some commands can do without a server.
    #[error("no server runs on {directory}: {socket} {state}", directory = directory.display(), socket = socket.display())]
    NoServer { directory: PathBuf, socket: PathBuf, state: &'static str },
    #[error("permission denied to {socket}: run this as user {owner}, as whom the server runs, or as root", socket = socket.display())]
    Denied { socket: PathBuf, owner: u32 },
    #[error("{socket} belongs to a process of user {user}, who runs no server here; nothing was sent", socket = socket.display())]
    Stranger { socket: PathBuf, user: u32 },
    #[error("{socket}: {source}", socket = socket.display())]
    Io { socket: PathBuf, source: io::Error },
    #[error("the server closed the connection before it answered: see its log")]
    CutOff,
    #[error("{0}")]
    Refused(String),
}

/// A connection to a running server. It takes one command after the other.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<Body>,
}

impl Client {
    /// Connects to the control socket at `socket`, and to nobody but a server of its owner.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, ClientFault> {
        let stream = open(socket).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| ClientFault::CutOff)?;
        // It ends with the sender, or tells it that the server is gone.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// The answer to `GET path`.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, ClientFault> {
        let answer = self.send(Method::GET, path, None).await?;
        read_value(answer).await
    }

    /// The answer to `POST path` with the JSON `body`.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, ClientFault> {
        let answer = self.stream(path, body).await?;
        read_value(answer).await
    }

    /// The answer to `POST path` as it comes, for answers that may be larger than memory. A stream that a stopping server cut
    /// short ends with an error.
    pub(crate) async fn stream(&mut self, path: &str, body: &Value) -> Result<Incoming, ClientFault> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Incoming, ClientFault> {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header(header::HOST, "zonekms").body(body);
        let request = request.map_err(|error| ClientFault::Refused(error.to_string()))?;
        // After one answer the connection takes a moment until it takes the next request, and refuses it before.
        self.sender.ready().await.map_err(|_| ClientFault::CutOff)?;
        let answer = self.sender.send_request(request).await.map_err(|_| ClientFault::CutOff)?;
        if answer.status() == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let status = answer.status();
        let told = read_value(answer.into_body()).await.unwrap_or_else(|_| json!({}));
        let told = told["detail"].as_str().map_or_else(|| format!("the server answers {status}"), str::to_owned);
        Err(ClientFault::Refused(told))
    }
}

async fn read_value(answer: Incoming) -> Result<Value, ClientFault> {
    let bytes = http_body_util::Limited::new(answer, ANSWER_LIMIT).collect().await.map_err(|_| ClientFault::CutOff)?;
    serde_json::from_slice(&bytes.to_bytes())
        .map_err(|_| ClientFault::Refused("the server's answer is not JSON".to_owned()))
}

async fn open(socket: &Path) -> Result<UnixStream, ClientFault> {
    let directory = directory_of(socket).to_owned();
    let fault = |error: io::Error| fault_of(socket, &directory, error);
    let short = ShortPath::of(socket).map_err(fault)?;
    let stream = UnixStream::connect(short.path()).await.map_err(fault)?;
    let server = stream.peer_cred().map_err(fault)?.uid();
    let owner = fs::metadata(&directory).map_err(fault)?.uid();
    // Into a directory such as /tmp anyone could have put a socket.
    if [owner, rustix::process::geteuid().as_raw(), ROOT].contains(&server) {
        Ok(stream)
    } else {
        Err(ClientFault::Stranger { socket: socket.to_owned(), user: server })
    }
}

fn fault_of(socket: &Path, directory: &Path, error: io::Error) -> ClientFault {
    let no_server = |state| ClientFault::NoServer { directory: directory.to_owned(), socket: socket.to_owned(), state };
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        return no_server("is not there");
    }
    if kind == io::ErrorKind::ConnectionRefused {
        return no_server("was left behind by a server that is gone");
    }
    // Who may not look into the directory may at least see whose it is.
    let owner = fs::symlink_metadata(socket).or_else(|_| fs::metadata(directory)).map(|found| found.uid());
    match owner {
        Ok(owner) if kind == io::ErrorKind::PermissionDenied => {
            ClientFault::Denied { socket: socket.to_owned(), owner }
        }
        Ok(_) | Err(_) => ClientFault::Io { socket: socket.to_owned(), source: error },
    }
}
