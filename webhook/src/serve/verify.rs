//! The server looking at itself as an API server does: through its port, with the CA that is published.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::readiness::Readiness;
use crate::error::chain;
use crate::metrics::Metrics;
use crate::tls::Trust;

/// Keeps saying whether a caller would be served, until `stop`.
pub(crate) async fn verify(
    mut trust: watch::Receiver<Trust>,
    name: String,
    https: SocketAddr,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut before = None;
    loop {
        let now = trust.borrow_and_update().clone();
        let why_not = served(&now, &name, https).await.err();
        metrics.is_ready(why_not.is_none());
        readiness.set(why_not.clone());
        if before.as_ref() != Some(&why_not) {
            match &why_not {
                None => info!("ready: callers accept the certificate"),
                Some(why) => warn!(why, "not ready"),
            }
        }
        let pause = if why_not.is_none() { LOOK } else { LOOK_AGAIN };
        before = Some(why_not);
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = trust.changed() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn served(trust: &Trust, name: &str, https: SocketAddr) -> Result<(), String> {
    let bundles = match trust {
        Trust::Nobody(why) => return Err(why.clone()),
        Trust::Unknown => return Ok(()),
        Trust::Bundles(bundles) => bundles,
    };
    for bundle in bundles {
        let caller = Caller::new(bundle, name, https).map_err(|error| chain(&error))?;
        caller.try_once().await.map_err(|error| {
            format!("the TLS port does not answer with a certificate that callers accept: {}", chain(&error))
        })?;
    }
    Ok(())
}

/// What changes is told at once; this is for what nobody tells, such as the end of a certificate's life.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an API server would verify the server with.
struct Caller {
    connector: TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
}

/// Longer than any handshake with oneself.
const PATIENCE: Duration = Duration::from_secs(5);

impl Caller {
    /// One that trusts `ca_bundle` and expects `name` at `address`.
    fn new(ca_bundle: &str, name: &str, address: SocketAddr) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        // As Go does, which skips what it can't read.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca_bundle.as_bytes()).flatten());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, address: reachable(address) })
    }

    /// Shakes hands once.
    async fn try_once(&self) -> io::Result<()> {
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
