//! A part of the cluster that was read, or the reason why it could not be.

use thiserror::Error;

/// Reason why a part of the cluster could not be read; most often a permission that the user does not have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// The API server refused the request; its message.
    #[error("{0}")]
    Refused(String),
    /// The request could not be sent or its answer not be read.
    #[error("{0}")]
    Failed(String),
    /// The webhook's configuration excludes the namespace of the dry run.
    #[error("the webhook is never called for namespace '{0}': choose another one with -n")]
    ExcludedNamespace(String),
    /// The webhook's configuration contains neither a Service nor a URL.
    #[error("the webhook's address is unknown")]
    NoAddress,
    /// The webhook's configuration contains a number that is not a port.
    #[error("{0} is not a port")]
    Port(u64),
    /// The webhook's configuration contains a URL without a host.
    #[error("'{0}' is not a URL with a host")]
    Url(String),
    /// The webhook's port is out of reach, as usual outside of the cluster.
    #[error("'{address}' cannot be reached from here: {cause}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Error of the network or of TLS.
        cause: String,
    },
}

/// A part of the cluster, or the reason why it could not be read.
pub(crate) type Lookup<T> = Result<T, LookupError>;
