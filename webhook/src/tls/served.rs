//! The certificate in use, swapped under the running server.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use certs::{Leaf, Validity};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::error::CertificateError;

/// The certificate that each handshake presents. Without one, every handshake fails.
#[derive(Debug, Default)]
pub(crate) struct ServedCertificate(ArcSwapOption<CertifiedKey>);

impl ServedCertificate {
    pub(super) fn new(key: Option<CertifiedKey>) -> Self {
        Self(key.map(Arc::new).into())
    }

    /// Presents this certificate from the next handshake on.
    pub(crate) fn serve(&self, leaf: &Leaf) -> Result<(), CertificateError> {
        self.replace(certified_key(leaf)?);
        Ok(())
    }

    pub(super) fn replace(&self, key: CertifiedKey) {
        self.0.store(Some(Arc::new(key)));
    }

    /// The end of the certificate's validity; `None` if there is no certificate yet.
    pub(crate) fn expiry(&self) -> Result<Option<OffsetDateTime>, CertificateError> {
        self.0.load().as_deref().map(expiry).transpose()
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Pairs an issued certificate with its key.
pub(super) fn certified_key(leaf: &Leaf) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key_der()));
    CertifiedKey::from_der(vec![leaf.certificate().clone()], key, &provider())
}

/// The end of validity of the chain's first certificate, which is the server's own.
pub(super) fn expiry(key: &CertifiedKey) -> Result<OffsetDateTime, CertificateError> {
    let own = key.end_entity_cert()?;
    Ok(Validity::of_der(own)?.not_after)
}

/// The only provider of cryptography in the tree, named so that users of this library need not install it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
