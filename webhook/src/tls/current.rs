//! The certificate that is served, swapped under a running server.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use certs::Leaf;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::IdentityError;

/// The certificate that is served. Until there is one, every handshake fails.
#[derive(Debug, Default)]
pub(crate) struct Current(pub(super) ArcSwapOption<CertifiedKey>);

impl Current {
    /// Serves this one from now on.
    pub(crate) fn serve(&self, leaf: &Leaf) -> Result<(), IdentityError> {
        self.0.store(Some(Arc::new(pair(leaf)?)));
        Ok(())
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

pub(super) fn pair(leaf: &Leaf) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key_der()));
    CertifiedKey::from_der(vec![leaf.certificate().clone()], key, &provider())
}

/// The one provider of cryptography in the tree. Named here, so that a library user need not install it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
