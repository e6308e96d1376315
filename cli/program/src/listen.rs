//! Binding a port, also on `[::]` where the kernel has no IPv6.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

/// Binds the address. Without IPv6 in the kernel, `[::]` means every IPv4 address.
///
/// # Errors
///
/// The system's error, such as a port that is taken.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => match ipv4_instead(address, &error) {
            Some(address) => TcpListener::bind(address).await,
            None => Err(error),
        },
    }
}

/// Returns the address to bind instead of `address`, after binding it failed with `error`.
fn ipv4_instead(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    // A taken port is taken for IPv4 as well, and must be reported.
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    (is_any && has_no_ipv6(error)).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

fn has_no_ipv6(error: &io::Error) -> bool {
    // The first is what a kernel returns that has IPv6 and no address of it.
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Linux's error for an IPv6 socket if it was booted with `ipv6.disable=1`.
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_any_address_and_only_a_missing_ipv6_have_an_alternative() {
        let any = SocketAddr::from(([0_u16; 8], 8443));
        let no_ipv6 = io::Error::from_raw_os_error(EAFNOSUPPORT);
        assert_eq!(ipv4_instead(any, &no_ipv6), Some(SocketAddr::from(([0, 0, 0, 0], 8443))));
        assert_eq!(ipv4_instead(any, &io::ErrorKind::AddrNotAvailable.into()).unwrap().port(), 8443);
        assert_eq!(ipv4_instead(any, &io::ErrorKind::AddrInUse.into()), None);
        let local = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 8443));
        assert_eq!(ipv4_instead(local, &no_ipv6), None);
    }
}
