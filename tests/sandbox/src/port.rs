//! Loopback ports that stay reserved while a stand-in is down.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Binds a socket to an address: with port 0 to any free port, else to a port that another of our sockets already
/// holds. While none of these sockets listens, the port refuses connections and no other process can bind it.
pub(crate) fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // Several sockets of this process share the port: one holds it, another listens from time to time.
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
