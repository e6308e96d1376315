//! Failures to obtain a certificate or to serve it.

use std::io;
use std::path::PathBuf;

use rustls::server::VerifierBuilderError;
use thiserror::Error;

/// Why there is no certificate to serve.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// It could not be minted.
    #[error("failed to mint the server's certificate")]
    Mint(#[from] certs::Error),
    /// A file can't be read.
    #[error("failed to read '{path}'")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("'{path}' holds no {expected} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What the parser says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key don't belong together, or are of no use.
    #[error("certificate and key can't be served: do '{certificate}' and '{key}' belong together?")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The certificate that was minted can't be served.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// The CA for callers can't be used.
    #[error("'{path}' can't be used to verify callers")]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: VerifierBuilderError,
    },
}
