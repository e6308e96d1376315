//! Loopback ports that stay ours while nobody listens on them.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A socket bound to an address: with port 0 to any, else to one that another of our sockets holds. While none of them listens, the port
/// refuses connections, and no other process gets it.
pub(crate) fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
