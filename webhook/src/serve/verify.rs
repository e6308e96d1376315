//! The server's check of itself: a handshake through its port, with the published authorities, as an API server makes
//! it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::readiness::Readiness;
use crate::metrics::Metrics;
use crate::tls::{CallerTrust, TrustError};
use contract::error::chain;

/// The name and the address that API servers call.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// A reason for which API servers are not served.
#[derive(Debug, Error)]
enum VerifyError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// `--service` and `--namespace` form no DNS name.
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("the TLS port does not answer with a certificate that callers accept")]
    Handshake(#[source] io::Error),
}

/// Keeps `readiness` up to date until `stop`.
pub(crate) async fn verify(
    mut trust: watch::Receiver<CallerTrust>,
    endpoint: Endpoint,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut logged = None;
    loop {
        let trusted = trust.borrow_and_update().clone();
        let problem = check(trusted, &endpoint).await.err().map(|error| chain(&error));
        metrics.is_ready(problem.is_none());
        readiness.set(problem.clone());
        let pause = if problem.is_none() { CHECK_INTERVAL } else { RETRY_INTERVAL };
        // A problem is checked every second, and logged once.
        if logged.as_ref() != Some(&problem) {
            match &problem {
                None => info!("ready: callers accept the certificate"),
                Some(error) => warn!(error, "not ready"),
            }
            logged = Some(problem);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = trust.changed() => {}
            () = sleep(pause) => {}
            // At most one check a second, however many connections are refused.
            () = async { sleep(RETRY_INTERVAL).await; readiness.doubted().await } => {}
        }
    }
}

/// Checks that every caller accepts the certificate: each entry of the webhook configuration has a bundle of its own.
async fn check(trust: CallerTrust, endpoint: &Endpoint) -> Result<(), VerifyError> {
    let bundles = match trust {
        CallerTrust::Missing(error) => return Err(error.into()),
        // Assumed to be accepted: not being ready would take a working webhook out of its Service.
        CallerTrust::Unknown => return Ok(()),
        CallerTrust::Bundles(bundles) => bundles,
    };
    for bundle in bundles {
        let probe = Probe::new(&bundle, endpoint)?;
        probe.handshake().await.map_err(VerifyError::Handshake)?;
    }
    Ok(())
}

/// A client that verifies the server as an API server does.
struct Probe {
    connector: TlsConnector,
    name: ServerName<'static>,
    addresses: Vec<SocketAddr>,
}

impl Probe {
    fn new(ca_bundle: &str, endpoint: &Endpoint) -> Result<Self, VerifyError> {
        let mut roots = RootCertStore::empty();
        // API servers, as programs in Go, skip the certificates that they can't parse.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca_bundle.as_bytes()).flatten());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(endpoint.name.clone())?,
            addresses: reachable(endpoint.address),
        })
    }

    async fn handshake(&self) -> io::Result<()> {
        let handshake = async {
            let stream = TcpStream::connect(self.addresses.as_slice()).await?;
            self.connector.connect(self.name.clone(), stream).await.map(drop)
        };
        timeout(HANDSHAKE_TIMEOUT, handshake).await?
    }
}

/// The addresses to connect to, in this order, where the server listens on `address`. The unspecified address can be listened
/// on but not connected to.
///
/// `[::]` takes connections of both families. With IPv6 switched off by sysctl it can still be bound, and `::1` does not exist.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    let ips = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => vec![ip],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect()
}

/// Changes of the trust are checked at once. This is for changes without a notice, such as an expired certificate.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any handshake within one process.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_of_any_address_is_reached_in_whatever_family_there_is() {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = v4.local_addr().unwrap().port();
        for any in [IpAddr::V6(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()] {
            // Nothing listens on `[::1]`, as where IPv6 is switched off by sysctl.
            let addresses = reachable(SocketAddr::new(any, port));
            TcpStream::connect(addresses.as_slice()).await.unwrap();
        }
        let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), v6.local_addr().unwrap().port());
        TcpStream::connect(reachable(any).as_slice()).await.unwrap();
    }

    #[test]
    fn a_specific_address_is_the_only_one() {
        let address = SocketAddr::from(([127, 0, 0, 2], 8443));
        assert_eq!(reachable(address), [address]);
    }
}
