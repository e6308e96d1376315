//! Failures to obtain a certificate or to serve it.

use std::io;
use std::path::PathBuf;

use rustls::server::VerifierBuilderError;
use thiserror::Error;

/// A failure to obtain a certificate or to serve it.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The authority failed to issue a certificate.
    #[error("failed to issue the server's certificate")]
    Issue(#[from] certs::Error),
    /// A file is unreadable.
    #[error("failed to read '{path}'")]
    Read {
        /// As given on the command line.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file does not contain what its flag promises.
    #[error("'{path}' contains no {expected} in PEM form")]
    Pem {
        /// As given on the command line.
        path: PathBuf,
        /// `certificate` or `private key`.
        expected: &'static str,
        /// The parser's error.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate does not match the key, or is of a kind that rustls does not support.
    #[error("'{certificate}' can't be served with the key '{key}': check that they belong together")]
    Pair {
        /// The value of `--tls-cert`.
        certificate: PathBuf,
        /// The value of `--tls-key`.
        key: PathBuf,
        /// The reason.
        #[source]
        source: rustls::Error,
    },
    /// rustls rejects a certificate that this process has issued, or the TLS settings.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// The certificates of `--client-ca` are no authorities.
    #[error("'{path}' can't be used to verify callers")]
    ClientCa {
        /// The value of `--client-ca`.
        path: PathBuf,
        /// The reason.
        #[source]
        source: VerifierBuilderError,
    },
}
