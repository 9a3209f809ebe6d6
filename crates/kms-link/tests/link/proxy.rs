//! What someone on the wire between two zones sees and can do.

use crate::zone::{LONG, Plan, Told};
use kms_link::PeerConfig;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf};
use tokio::time::timeout;

#[tokio::test]
async fn nothing_goes_over_the_wire_in_clear() {
    let (a, b) = (Plan::new("zone-alpha").await, Plan::new("zone-beta").await);
    let wire = Wire::to(b.address(), Tamper::No).await;
    let (a_peer, b_peer) = (a.as_peer(), PeerConfig { address: wire.address.to_string(), ..b.as_peer() });
    let certificates = [a.identity.certificate().clone(), b.identity.certificate().clone()];
    let mut a = a.start(vec![b_peer]);
    let b = b.start(vec![a_peer]);
    a.expect_up("zone-beta").await;
    let secret: Vec<u8> = (0..=255).rev().cycle().take(4096).collect();
    a.ask("zone-beta", &secret).await;

    let seen = wire.seen.lock().unwrap().clone();
    assert!(seen.len() > 2 * secret.len(), "only {} bytes were seen", seen.len());
    let shows = |needle: &[u8]| seen.windows(needle.len()).any(|window| window == needle);
    assert!(shows(b"zonekms-link/1"), "the search finds what is in clear: the protocol's name");
    assert!(secret.chunks(16).all(|part| !shows(part)), "the frame");
    assert!(!shows(b"zone-alpha") && !shows(b"zone-beta"), "the zones' names");
    for certificate in certificates {
        assert!(!shows(&certificate[40..72]), "who they are");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn one_altered_byte_ends_the_connection_and_no_frame_comes_of_it() {
    let (a, b) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    // Behind the handshake: in the middle of the frame.
    let wire = Wire::to(b.address(), Tamper::After(6000)).await;
    let (a_peer, b_peer) = (a.as_peer(), PeerConfig { address: wire.address.to_string(), ..b.as_peer() });
    let mut a = a.start(vec![b_peer]);
    let mut b = b.start(vec![a_peer]);
    a.expect_up("zone-b").await;
    a.send("zone-b", &[7; 9000]).await;
    a.expect_down("zone-b").await;
    a.expect_up("zone-b").await;
    let told = b.told_within(std::time::Duration::from_millis(200)).await;
    assert!(!told.iter().any(|told| matches!(told, Told::Request(..))), "{told:?}");
    a.stop().await;
    b.stop().await;
}

/// What the proxy does to the bytes from client to server of a connection.
#[derive(Clone, Copy)]
enum Tamper {
    No,
    /// One bit of the byte behind so many is changed.
    After(usize),
}

struct Wire {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    async fn to(server: SocketAddr, tamper: Tamper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&wire.seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(Ok(server)) = timeout(LONG, TcpStream::connect(server)).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&seen), tamper));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&seen), Tamper::No));
            }
        });
        wire
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: Arc<Mutex<Vec<u8>>>, tamper: Tamper) {
    let mut buffer = vec![0; 4096];
    let mut passed = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..read]);
        if let Tamper::After(at) = tamper
            && (passed..passed + read).contains(&at)
        {
            buffer[at - passed] ^= 1;
        }
        passed += read;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
