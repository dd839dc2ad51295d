//! Free ports without races: the port stays reserved from the moment it is chosen until it is given up.
//!
//! On Linux two sockets may be bound to one port when both set SO_REUSEADDR and neither listens yet (socket(7)).
//! So redrill keeps a bound, never listening socket: the kernel gives the port to nobody who asks for a free one,
//! and the server started for it (Postgres and Redis set SO_REUSEADDR) can still bind it and listen.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Doing, Error, Result};

/// A port of the loopback interface that is ours until dropped.
#[derive(Debug)]
pub struct HeldPort {
    _socket: Socket,
    port: u16,
}

impl HeldPort {
    /// Reserves any free port on 127.0.0.1.
    pub fn take() -> Result<Self> {
        let socket =
            Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).doing("open a socket")?;
        socket
            .set_reuse_address(true)
            .doing("share a port with the server to come")?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket
            .bind(&any.into())
            .doing("reserve a port on 127.0.0.1")?;
        let port = socket
            .local_addr()
            .doing("read the reserved port")?
            .as_socket()
            .map(|address| address.port())
            .ok_or_else(|| Error::defect("a bound IPv4 socket has no port"))?;
        Ok(Self {
            _socket: socket,
            port,
        })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_given_to_nobody_else_and_its_server_can_still_listen() {
        let held = HeldPort::take().expect("a port");
        let others: Vec<_> = (0..200)
            .map(|_| HeldPort::take().expect("a port"))
            .collect();
        assert!(others.iter().all(|other| other.number() != held.number()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, held.number()));
        let server = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        server.set_reuse_address(true).expect("reuse");
        server
            .bind(&address.into())
            .expect("bind beside the holder");
        server.listen(1).expect("listen");
        std::net::TcpStream::connect(address).expect("reach the server");
    }
}
