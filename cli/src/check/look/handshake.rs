//! A handshake with the webhook, as an API server would do it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use certs::Validity;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::facts::{Seen, Serving, Unseen};

/// Connects, and verifies what is served with this CA bundle in PEM form.
pub(super) async fn shake(host: &str, port: u16, ca_bundle: &[u8]) -> Seen<Serving> {
    let unseen = |error: &dyn std::fmt::Display| {
        Unseen(format!("'{host}:{port}' can't be reached from here: {error}"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_bundle).flatten() {
        // What can't be a root verifies nothing, and that is what will be seen.
        let _ = roots.add(certificate);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unseen(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| unseen(&error))?;
    let connect = timeout(PATIENCE, TcpStream::connect((host, port))).await;
    let stream = connect.map_err(|late| unseen(&late))?.map_err(|error| unseen(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    match timeout(PATIENCE, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let validity = leaf.and_then(|leaf| Validity::of_der(leaf).ok());
            validity.map(Serving::Verified).ok_or_else(|| unseen(&"it serves no certificate"))
        }
        // What rustls says is within; what the network says is not about the certificate.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Ok(Serving::Refused(error.to_string()))
        }
        Ok(Err(error)) => Err(unseen(&error)),
        Err(late) => Err(unseen(&late)),
    }
}

/// Of `https://host:port/path`.
pub(super) fn host_and_port(url: &str) -> Seen<(String, u64)> {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host());
    let host = host.ok_or_else(|| Unseen(format!("'{url}' is no URL")))?;
    let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(443);
    Ok((host.trim_matches(['[', ']']).to_owned(), port.into()))
}

const PATIENCE: Duration = Duration::from_secs(3);
