//! What a keeper is given.

use std::sync::Arc;

use certs::Lifetimes;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::tls::{Current, Trust};

/// Whose certificates, and where they are published.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The webhook's own namespace.
    pub(crate) namespace: String,
    /// The MutatingWebhookConfiguration.
    pub(crate) config_name: String,
    /// What authorities are called.
    pub(crate) service: String,
    /// What a certificate is good for.
    pub(crate) names: Vec<String>,
    pub(crate) terms: Lifetimes,
}

/// Who is told.
#[derive(Clone, Debug)]
pub(crate) struct Outlets {
    /// The certificate that is served.
    pub(crate) current: Arc<Current>,
    /// Whom callers trust.
    pub(crate) trust: watch::Sender<Trust>,
    pub(crate) metrics: Arc<Metrics>,
}
