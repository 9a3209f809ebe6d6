//! TLS and HTTP/2, against a server made of other libraries.

use crate::measuring::{kind, settings};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kms_load::{
    Endpoint, Exoscale, FailureKind, HttpVersion, KeepAlive, LoadKind, Pace, Secret, Session, SessionError, Trust,
    Visit, VisitSettings, Wire,
};
use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// A server in HTTP/1.1 or HTTP/2, with TLS or not, until the test ends.
struct Server {
    address: SocketAddr,
    /// The server's certificate, in PEM.
    certificate: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(version: HttpVersion, tls: bool) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let acceptor = tls.then(|| {
            let key = made.signing_key.serialize_der().try_into().unwrap();
            let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
            config.alpn_protocols = vec![match version {
                HttpVersion::Http1 => b"http/1.1".to_vec(),
                HttpVersion::Http2 => b"h2".to_vec(),
            }];
            TlsAcceptor::from(Arc::new(config))
        });
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    seen.fetch_add(1, Ordering::Relaxed);
                    match acceptor.clone() {
                        None => drop(tokio::spawn(serve(stream, version))),
                        Some(acceptor) => drop(tokio::spawn(async move {
                            // A client that trusts nobody goes away.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, version).await;
                            }
                        })),
                    }
                }
            });
        });
        Self { address, certificate, connections }
    }

    fn session(&self, version: HttpVersion, trust: Option<&Trust>) -> Session {
        let scheme = if trust.is_some() { "https" } else { "http" };
        let endpoint: Endpoint = format!("{scheme}://{}", self.address).parse().unwrap();
        let protocol = Exoscale::new(&endpoint, "EXOtest".to_owned(), Secret::new("secret".to_owned()));
        let wire = Wire::new(&endpoint, version, KeepAlive::On, trust).unwrap();
        Session::new("test".to_owned(), Arc::new(protocol), wire, Vec::new(), "test".to_owned())
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: HttpVersion) {
    let stream = TokioIo::new(stream);
    // A connection that breaks is its client's business.
    match version {
        HttpVersion::Http1 => {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(answer)).await);
        }
        HttpVersion::Http2 => {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(stream, service_fn(answer)).await);
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert!(head.headers["authorization"].to_str().unwrap().starts_with("EXO2-HMAC-SHA256 "));
    let answer = match head.uri.path().rsplit('/').next().unwrap() {
        "encrypt" => String::from_utf8(body.to_vec()).unwrap().replace("plaintext", "ciphertext"),
        _ => "{\"id\":\"key\"}".to_owned(),
    };
    Ok(Response::new(Full::from(answer)))
}

fn visit(session: &mut Session, connections: usize, streams: usize) -> Result<Visit, SessionError> {
    // More than one frame of HTTP/2 and one record of TLS.
    let kind = LoadKind { size: 40_000, ..kind("encrypt", 1) };
    let duration = Duration::from_secs(3);
    let settings = VisitSettings { streams, duration, ..settings(Pace::Closed, connections) };
    session.visit(&kind, &settings, &mut |_| {})
}

fn good(visit: &Visit) {
    assert_eq!((visit.failed, visit.unanswered), (0, 0), "{:?}", visit.failures);
    assert!(visit.answered > 10, "{}", visit.answered);
    assert!(visit.answer_bytes > 53_000.0, "{}", visit.answer_bytes);
}

#[test]
fn http2_streams_share_a_connection() {
    let server = Server::start(HttpVersion::Http2, false);
    let mut session = server.session(HttpVersion::Http2, None);
    good(&visit(&mut session, 2, 4).unwrap());
    // One in set-up, two for the load.
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[test]
fn tls_with_a_certificate_that_is_trusted() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let server = Server::start(version, true);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(server.certificate.as_bytes()).unwrap();
        let trust = Trust::from_file(file.path()).unwrap();
        good(&visit(&mut server.session(version, Some(&trust)), 2, 2).unwrap());
    }
}

#[test]
fn tls_with_a_certificate_that_is_not() {
    let server = Server::start(HttpVersion::Http1, true);
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(other.cert.pem().as_bytes()).unwrap();
    let trust = Trust::from_file(file.path()).unwrap();
    let refused = visit(&mut server.session(HttpVersion::Http1, Some(&trust)), 1, 1);
    let Err(SessionError::SetUp { failure, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.kind, FailureKind::Tls);
    good(&visit(&mut server.session(HttpVersion::Http1, Some(&Trust::Anything)), 1, 1).unwrap());
}
