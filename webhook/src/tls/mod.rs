//! The server's certificate, and the authorities that its callers trust.
//!
//! ```text
//! source    memory, files, or the Secret that the replicas share
//! served    the certificate in use, swapped under the running server
//! trust     what API servers verify it with
//! ```

mod error;
mod served;
mod source;
mod trust;

pub use error::CertificateError;
pub(crate) use served::ServedCertificate;
pub(crate) use source::{CertificateSource, Refresh};
pub(crate) use trust::{CallerTrust, TrustError};
