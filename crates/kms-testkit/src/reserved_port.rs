//! Ports whose numbers must be known before their server runs, or stay the same while it is restarted.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// A TCP port of 127.0.0.1 that nobody is given by chance as long as this value lives, whether a server listens on it or not.
///
/// A port that was only free a moment ago is given to others: to whoever binds port 0, and as the source of an outgoing
/// connection. Even a client that calls a server which does not listen yet can be given the very port it calls, and is then
/// connected with itself. Linux gives none of them a port that a socket is bound to. And it lets a server bind it all the same,
/// by its number, if that socket does not listen and both have `SO_REUSEADDR`, which listeners of std, tokio and Python
/// have: once while none listens, and again after each end (`ip(7)`; `ip_autobind_reuse` must have its default, 0).
#[derive(Debug)]
pub struct ReservedPort {
    /// Bound, and never listening.
    _socket: Socket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a port that is free.
    ///
    /// # Panics
    /// If loopback has no free port.
    #[must_use]
    pub fn reserve() -> Self {
        Self::try_reserve().expect("loopback has a free port")
    }

    fn try_reserve() -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { _socket: socket, address })
    }

    /// Where a server can listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn nobody_answers_on_a_reserved_port() {
        let port = ReservedPort::reserve();
        assert_eq!(TcpStream::connect(port.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_server_listens_beside_the_reservation_and_again_after_its_end() {
        let port = ReservedPort::reserve();
        for round in 0..3_u8 {
            let listener = TcpListener::bind(port.address()).unwrap();
            assert_eq!(TcpListener::bind(port.address()).unwrap_err().kind(), ErrorKind::AddrInUse, "by a second one");
            let mut client = TcpStream::connect(port.address()).unwrap();
            let (mut served, _) = listener.accept().unwrap();
            // The server closes first: its end of the connection lingers on the port when the next one binds it.
            served.write_all(&[round]).unwrap();
            drop((served, listener));
            let mut told = Vec::new();
            client.read_to_end(&mut told).unwrap();
            assert_eq!(told, [round]);
        }
    }

    #[test]
    fn two_reservations_are_of_two_ports() {
        let ports: Vec<_> = (0..100).map(|_| ReservedPort::reserve()).collect();
        let numbers: std::collections::BTreeSet<_> = ports.iter().map(|port| port.address().port()).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
