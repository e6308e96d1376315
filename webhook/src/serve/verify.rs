//! The server looking at itself as an API server does: through its port, with the CA that it publishes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// What an API server would verify the server with.
pub(crate) struct Caller {
    connector: TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
}

/// Longer than any handshake with oneself.
const PATIENCE: Duration = Duration::from_secs(5);

impl Caller {
    /// One that trusts `ca_bundle` and expects `name` at `address`.
    pub(crate) fn new(ca_bundle: &str, name: &str, address: SocketAddr) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, address: reachable(address) })
    }

    /// Shakes hands once.
    pub(crate) async fn try_once(&self) -> io::Result<()> {
        let shake = async {
            let stream = TcpStream::connect(self.address).await?;
            self.connector.connect(self.name.clone(), stream).await.map(drop)
        };
        timeout(PATIENCE, shake).await?
    }
}

/// "Any address" is one to listen on, not to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
