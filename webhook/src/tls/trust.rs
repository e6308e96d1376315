//! The authorities that API servers verify the webhook's certificate with.

use thiserror::Error;

/// The authorities that callers trust, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerTrust {
    /// Callers accept no certificate of this server.
    Missing(TrustError),
    /// One bundle in PEM per entry of the webhook configuration. Each must verify the server on its own.
    Bundles(Vec<String>),
    /// Not known here: the certificate comes from files, and their owner publishes the authority.
    Unknown,
}

/// A reason for which callers accept no certificate of this server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TrustError {
    #[error("the certificate authority has not been read yet")]
    AuthorityNotRead,
    #[error("the Kubernetes API has not been reached yet")]
    KubernetesNotReached,
    /// No certificate is served, for want of an authority. `cause` is the last failure, causes included.
    #[error("there is no certificate authority: {cause}")]
    NoAuthority { cause: String },
    #[error(
        "there is no MutatingWebhookConfiguration '{name}': apply the manifests, or set --config-name \
         (COUCHDISCOVER_CONFIG_NAME)"
    )]
    NoConfiguration { name: String },
    /// The configuration publishes nothing, or is unreadable. `cause` is as above.
    #[error("MutatingWebhookConfiguration '{name}': {cause}")]
    NotPublished { name: String, cause: String },
}
