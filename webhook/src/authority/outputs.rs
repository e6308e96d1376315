//! The keeper's configuration, and the receivers of its results.

use std::sync::Arc;

use certs::Lifetimes;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::tls::{CallerTrust, ServedCertificate};

/// The names and lifetimes of the certificates, and where their authority is published.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityConfig {
    /// The webhook's own namespace.
    pub(crate) namespace: String,
    /// The MutatingWebhookConfiguration.
    pub(crate) config_name: String,
    /// The common name of authorities.
    pub(crate) service: String,
    /// The DNS names and addresses of certificates.
    pub(crate) names: Vec<String>,
    pub(crate) lifetimes: Lifetimes,
}

/// The receivers of the keeper's results.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    pub(crate) served: Arc<ServedCertificate>,
    pub(crate) trust: watch::Sender<CallerTrust>,
    pub(crate) metrics: Arc<Metrics>,
}
