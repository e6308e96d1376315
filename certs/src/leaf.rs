//! A server certificate.

use std::fmt;

use rcgen::{Certificate, KeyPair};
use rustls_pki_types::CertificateDer;

use crate::validity::Validity;

/// A server certificate with its private key, signed by an [`Authority`](crate::Authority).
pub struct Leaf {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
    validity: Validity,
}

impl Leaf {
    pub(crate) fn new(certificate: &Certificate, key: KeyPair, validity: Validity) -> Self {
        Self { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key, validity }
    }

    /// The certificate as PEM, for `tls.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key as PKCS #8 in PEM, for `tls.key`. Secret.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The private key as PKCS #8 in DER. Secret.
    pub fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// The period in which the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// Without the key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("validity", &self.validity).finish_non_exhaustive()
    }
}
