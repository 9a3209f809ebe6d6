//! A plain TCP proxy between two zones: it ends nothing, understands nothing, and keeps a copy of every byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens from the start; connections are led on once it is known where to.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    recorded: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
}

impl Relay {
    /// A relay on a loopback port, which closes every connection until [`Relay::lead_to`] is called.
    #[must_use]
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for inbound in listener.incoming() {
                let target = *accepting.target.lock().expect("no relay thread panicked");
                let (Ok(inbound), Some(target)) = (inbound, target) else { continue };
                let Ok(outbound) = TcpStream::connect(target) else { continue };
                accepting.carry(&inbound, &outbound);
                accepting.carry(&outbound, &inbound);
            }
        });
        Self { address, shared }
    }

    /// From now on connections go on to `target`.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().expect("no relay thread panicked") = Some(target);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes that went through so far: one entry for each direction of each connection.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        let streams = self.shared.recorded.lock().expect("no relay thread panicked");
        streams.iter().map(|stream| stream.lock().expect("no relay thread panicked").clone()).collect()
    }
}

impl Shared {
    fn carry(&self, from: &TcpStream, to: &TcpStream) {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
        let record = Arc::new(Mutex::new(Vec::new()));
        self.recorded.lock().expect("no relay thread panicked").push(Arc::clone(&record));
        thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                record.lock().expect("no relay thread panicked").extend_from_slice(&buffer[..count]);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
