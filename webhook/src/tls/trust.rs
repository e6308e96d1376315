//! The authorities that callers trust.

/// Whom API servers trust when they call the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody, or nobody knows; why.
    Nobody(String),
    /// The authorities of these bundles in PEM form, each on its own: every entry of the configuration must be served.
    Bundles(Vec<String>),
    /// Whoever gave the certificate knows.
    Unknown,
}
