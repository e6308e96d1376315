//! The HTTP client for CouchDB, and whom it trusts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::StartError;
use crate::settings::Scheme;

/// A client that goes straight to the pods: a proxy from the environment is for the world outside the cluster.
pub(crate) fn client(scheme: Scheme, ca_file: Option<&Path>) -> Result<reqwest::Client, StartError> {
    builder(scheme, ca_file)?.build().map_err(StartError::Client)
}

fn builder(scheme: Scheme, ca_file: Option<&Path>) -> Result<ClientBuilder, StartError> {
    let roots = match (scheme, ca_file) {
        (Scheme::Http, _) => RootCertStore::empty(),
        (Scheme::Https, Some(path)) => read_ca(path)?,
        (Scheme::Https, None) => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::Trust)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("couchdiscover-agent/", env!("CARGO_PKG_VERSION")));
    Ok(builder)
}

fn read_ca(path: &Path) -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    let ca = |source| StartError::Ca { path: path.to_owned(), source };
    for certificate in CertificateDer::pem_file_iter(path).map_err(ca)? {
        roots.add(certificate.map_err(ca)?).map_err(StartError::Trust)?;
    }
    match roots.is_empty() {
        true => Err(ca(rustls_pki_types::pem::Error::NoItemsFound)),
        false => Ok(roots),
    }
}

fn system_roots() -> Result<RootCertStore, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        roots.add(certificate).map_err(StartError::Trust)?;
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
            let client = builder(Scheme::Http, None).unwrap().resolve_to_addrs("db-0.db", &addresses);
            let said = client.build().unwrap().get(format!("http://db-0.db:{port}")).send().await.unwrap();
            assert_eq!(said.status(), 204, "{addresses:?}");
            answer.await.unwrap();
        }
    }
}
