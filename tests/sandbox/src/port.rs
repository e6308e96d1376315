//! Loopback ports that stay ours while nobody listens on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A socket bound to a port: any, or one that another of our sockets holds. While none of them listens, the port
/// refuses connections, and no other process gets it.
pub(crate) fn reserve(addr: Option<SocketAddr>) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(addr.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    Ok(socket)
}
