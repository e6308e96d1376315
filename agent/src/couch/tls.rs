//! The HTTP client for CouchDB, and the certificate authorities that it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::PodFqdn;
use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use thiserror::Error;

use crate::settings::{Endpoint, Scheme};

/// The certificate authorities can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The CA file can't be read or holds no usable certificate.
    #[error("failed to read a certificate from the CA file '{}'", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: pem::Error,
    },
    /// The HTTP client can't be built.
    #[error("failed to make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// An authority of the CA file or of the system is not a valid certificate.
    #[error("failed to trust a certificate")]
    Trust(#[source] rustls::Error),
}

/// Builds clients for CouchDB with the authorities of the CA file, which may change while the agent runs.
#[derive(Debug)]
pub struct Trust {
    me: PodFqdn,
    endpoint: Endpoint,
    ca_file: Option<PathBuf>,
    /// The content of the file when the last client was built.
    read: Vec<u8>,
}

impl Trust {
    /// For the CouchDB at `endpoint` in the pod `me`, and its peers. Without a file the system's authorities count.
    pub fn new(me: PodFqdn, endpoint: Endpoint, ca_file: Option<PathBuf>) -> Self {
        Self { me, endpoint, ca_file, read: vec![] }
    }

    /// A client that trusts the authorities now in the file.
    pub fn client(&mut self) -> Result<Client, TlsError> {
        let roots = match &self.ca_file {
            // Plain HTTP needs no authority.
            _ if self.endpoint.scheme == Scheme::Http => RootCertStore::empty(),
            Some(path) => {
                self.read = read(path)?;
                authorities(path, &self.read)?
            }
            None => system_roots()?,
        };
        let client = builder(roots)?;
        let client = match self.endpoint.loopback() {
            // The port is that of each URL.
            Some(address) => client.resolve(&self.me.to_string(), (address, 0).into()),
            None => client,
        };
        client.build().map_err(TlsError::Client)
    }

    /// A new client, if the CA file has changed since the last one was built.
    pub fn reload(&mut self) -> Result<Option<Client>, TlsError> {
        match &self.ca_file {
            Some(path) if self.endpoint.scheme == Scheme::Https && read(path)? != self.read => {
                self.client().map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// A client for plain HTTP.
pub(crate) fn plain() -> Result<Client, TlsError> {
    builder(RootCertStore::empty())?.build().map_err(TlsError::Client)
}

/// A client that goes straight to the pods: a proxy from the environment is for the world outside the cluster.
fn builder(roots: RootCertStore) -> Result<ClientBuilder, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Trust)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("couchdiscover-agent/", env!("CARGO_PKG_VERSION")));
    Ok(builder)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Ca { path: path.to_owned(), source: pem::Error::Io(error) })
}

fn authorities(path: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let ca = |source| TlsError::Ca { path: path.to_owned(), source };
    for certificate in CertificateDer::pem_slice_iter(text) {
        roots.add(certificate.map_err(ca)?).map_err(TlsError::Trust)?;
    }
    // A file without a certificate would make every node untrusted.
    if roots.is_empty() { Err(ca(pem::Error::NoItemsFound)) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        roots.add(certificate).map_err(TlsError::Trust)?;
    }
    Ok(roots)
}

/// A pod on the same network answers a SYN in well under 1 ms; one retransmission comes after 1 s.
const CONNECT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// In a cluster of two address families DNS knows two addresses of each pod, and CouchDB listens on `0.0.0.0`.
    #[tokio::test]
    async fn of_a_pods_two_addresses_the_one_is_found_that_listens() {
        let v4: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let v6: SocketAddr = (Ipv6Addr::LOCALHOST, 0).into();
        for (listens, first, second) in [(v4, v6, v4), (v4, v4, v6), (v6, v4, v6), (v6, v6, v4)] {
            let listener = TcpListener::bind(listens).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let answer = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            });
            let addresses = [first, second];
            let client = builder(RootCertStore::empty()).unwrap().resolve_to_addrs("db-0.db", &addresses);
            let said = client.build().unwrap().get(format!("http://db-0.db:{port}")).send().await.unwrap();
            assert_eq!(said.status(), 204, "{addresses:?}");
            answer.await.unwrap();
        }
    }
}
