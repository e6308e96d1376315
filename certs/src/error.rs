//! The error of everything that generates, signs or reads certificates.

use thiserror::Error;
use time::OffsetDateTime;

/// A certificate could not be generated, signed or read.
#[derive(Debug, Error)]
pub enum Error {
    /// The certificate must not sign others.
    #[error(
        "the certificate is not a certificate authority's: 'CA:TRUE' is missing in its basic constraints"
    )]
    NotAnAuthority,
    /// The text contains no certificate in PEM form.
    #[error("unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----'")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    /// The DER of a certificate could not be parsed.
    #[error("unable to parse the certificate: it is not X.509")]
    X509(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The text contains no private key in PEM form.
    #[error(
        "unable to read the private key: expected PKCS #8 in PEM that starts with '-----BEGIN PRIVATE KEY-----'"
    )]
    Key(#[source] rcgen::Error),
    /// The public keys of private key and certificate differ.
    #[error("the private key does not belong to the certificate: use a pair that was generated together")]
    Mismatch,
    /// A name is not allowed in a certificate.
    #[error("'{name}' can't be a name in a certificate: expected a DNS name or an IP address")]
    Name {
        /// The name as given by the caller.
        name: String,
        /// The rule that it breaks.
        #[source]
        source: rcgen::Error,
    },
    /// A leaf was requested without names. No client would accept it.
    #[error("a server certificate needs at least one name")]
    NoNames,
    /// The authority's validity is over, so it can't sign.
    #[error("the authority's certificate expired at {not_after} and must be replaced")]
    Expired {
        /// The end of its validity.
        not_after: OffsetDateTime,
    },
    /// The crypto library failed.
    #[error("failed to generate a key or a signature")]
    Crypto(#[source] rcgen::Error),
}
