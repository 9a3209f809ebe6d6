//! A TCP relay: an address that stays, in front of a server whose address changes with every start.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// It passes bytes on as they are, and keeps a copy of all of them.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    /// On a free port; connections are closed until there is a target.
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Self { address, target: Arc::default(), seen: Arc::default() };
        let (target, seen) = (Arc::clone(&relay.target), Arc::clone(&relay.seen));
        std::thread::spawn(move || {
            for inbound in listener.incoming().map_while(Result::ok) {
                let Some(target) = *target.lock().unwrap() else { continue };
                let Ok(outbound) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&inbound, &outbound), (&outbound, &inbound)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let seen = Arc::clone(&seen);
                    std::thread::spawn(move || pass(from, to, &seen));
                }
            }
        });
        relay
    }

    /// Where connections go from now on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = Some(target);
    }

    /// Everything that passed so far, both ways.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buf = [0; 16_384];
    loop {
        let read = match io::Read::read(&mut from, &mut buf) {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        seen.lock().unwrap().extend_from_slice(&buf[..read]);
        if io::Write::write_all(&mut to, &buf[..read]).is_err() {
            break;
        }
    }
    // Both halves: what is lost here is lost for both.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
