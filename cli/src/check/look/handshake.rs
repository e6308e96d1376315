//! A TLS handshake with the webhook, with the verification of an API server.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use certs::Validity;
use http::Uri;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::check::facts::Handshake;
use crate::cluster::{Lookup, LookupError};

/// The address of the webhook.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// The address in `https://host:port/path`.
    pub(super) fn of_url(url: &str) -> Lookup<Self> {
        let uri: Option<Uri> = url.parse().ok();
        let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
            return Err(LookupError::Url(url.to_owned()));
        };
        // The host of a URL contains the brackets of an IPv6 address, which a socket address does not.
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port: uri.port_u16().unwrap_or(443) })
    }

    fn unreachable(&self, cause: impl Display) -> LookupError {
        let Self { host, port } = self;
        LookupError::Unreachable { address: format!("{host}:{port}"), cause: cause.to_string() }
    }
}

/// Connects, and verifies the served certificate with a caBundle in PEM form.
pub(super) async fn shake_hands(address: &Address, ca_bundle: &[u8]) -> Lookup<Handshake> {
    let config = client_config(ca_bundle).map_err(|error| address.unreachable(error))?;
    let name = ServerName::try_from(address.host.clone()).map_err(|error| address.unreachable(error))?;
    // Each step may hang: behind a firewall the connection, at a port of another protocol the handshake.
    let connected = timeout(STEP_TIMEOUT, TcpStream::connect((address.host.as_str(), address.port))).await;
    let stream = connected
        .map_err(|elapsed| address.unreachable(elapsed))?
        .map_err(|error| address.unreachable(error))?;
    let connector = TlsConnector::from(Arc::new(config));
    match timeout(STEP_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let validity = leaf.and_then(|leaf| Validity::of_der(leaf).ok());
            validity
                .map(Handshake::Verified)
                .ok_or_else(|| address.unreachable("the server sent no certificate"))
        }
        // rustls wraps its own errors in this kind. Other kinds are errors of the network, not of the certificate.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Ok(Handshake::Rejected(error.to_string()))
        }
        Ok(Err(error)) => Err(address.unreachable(error)),
        Err(elapsed) => Err(address.unreachable(elapsed)),
    }
}

fn client_config(ca_bundle: &[u8]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle).flatten() {
        // A certificate that is not a root verifies nothing, so the handshake reports the problem.
        let _ = roots.add(certificate);
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Time limit of the TCP connection and of the TLS handshake, each. Within a cluster both take milliseconds; from outside
/// of it the webhook is usually out of reach.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
