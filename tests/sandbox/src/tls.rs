//! Certificate authorities that belong to the stand-ins, and TLS clients that trust exactly one CA bundle.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A failure to generate a certificate or to set up TLS with one.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate generator failed.
    #[error("failed to generate a certificate")]
    Make(#[from] rcgen::Error),
    /// The TLS library rejected the certificate or its key.
    #[error("failed to set up TLS")]
    Setup(#[from] rustls::Error),
    /// The private key has an encoding that the TLS library does not know.
    #[error("failed to parse the private key: {0}")]
    Key(&'static str),
    /// The `caBundle` contains no PEM certificate.
    #[error("the caBundle contains no certificate")]
    EmptyBundle,
}

/// A server certificate with its key, and the authority that signed it.
#[derive(Debug)]
pub(crate) struct ServerTls {
    pub(crate) ca_pem: String,
    pub(crate) config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Generates an authority with this common name, and a certificate for these DNS names and IP addresses.
    pub(crate) fn new(authority: &str, names: &[&str]) -> Result<Self, TlsError> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, authority);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(TlsError::Key)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)?;
        Ok(Self { ca_pem: ca_certificate.pem(), config: Arc::new(config) })
    }
}

/// A TLS client configuration that trusts only the certificates of this bundle.
pub(crate) fn client_for(bundle_pem: &[u8]) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(bundle_pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    // With an empty store every call would fail with a less specific error.
    if roots.is_empty() {
        return Err(TlsError::EmptyBundle);
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The `ring` provider, passed explicitly so that no process-wide default must be installed.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
