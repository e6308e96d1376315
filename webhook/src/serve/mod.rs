//! The admission server: a TLS port for reviews, a plain port for probes, and a shutdown that loses no call.
//!
//! ```text
//! server       binds, starts the background tasks, drains
//! accept       connections: limits and timeouts
//! pool         the open connections, and which of them gives way to a new one
//! app          routes
//! body         reading a review's body
//! budget       the memory that all bodies together may take
//! readiness    the state behind `/readyz`
//! tasks        the background tasks, and the end of the server when one panics
//! verify       the check behind it: a handshake with the server itself, as an API server makes it
//! renew        replacing the certificate in use
//! ```

mod accept;
mod app;
mod body;
mod budget;
mod pool;
mod readiness;
mod renew;
mod server;
mod tasks;
mod verify;

pub use server::{Bound, Error, bind};

pub use crate::kubernetes::Kubernetes;
pub use crate::settings::{Args, CertMode, LogFormat, LogLevel, Provide};
pub use crate::tls::CertificateError;
