//! Binding a port.

use std::io;
use std::net::SocketAddr;

use contract::listen::ipv4_instead;
use tokio::net::TcpListener;

/// Binds the address. Without IPv6 in the kernel, `[::]` means every IPv4 address.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => match ipv4_instead(address, &error) {
            Some(address) => TcpListener::bind(address).await,
            None => Err(error),
        },
    }
}
