//! Certificates as PEM, as DER and parsed.

use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::Error;

/// One certificate as PEM. Equal certificates have equal texts, even if one was read from a text with other line breaks.
pub(crate) fn encode_pem(certificate: &CertificateDer<'_>) -> String {
    // The crate's default is CRLF. Published caBundles have LF, and a change of bytes would be a change of the caBundle.
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    encode_config(&Pem::new("CERTIFICATE", certificate.as_ref()), config)
}

pub(crate) fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::Certificate)
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(Error::X509)
}
