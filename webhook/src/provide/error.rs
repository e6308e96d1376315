//! Failures to provide an object.

use rand::rngs::SysError;
use thiserror::Error;

use super::needs::Key;
use crate::kubernetes::ApiError;

/// A kind of object that is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProvidedKind {
    RoleBinding,
    Secret,
}

/// An object that is needed and could not be created.
#[derive(Debug, Error)]
#[error("{} '{name}'", .kind.as_str())]
pub(crate) struct ProvideError {
    pub(crate) kind: ProvidedKind,
    pub(crate) name: String,
    #[source]
    pub(crate) cause: ProvideCause,
}

/// The reason of a [`ProvideError`].
#[derive(Debug, Error)]
pub(crate) enum ProvideCause {
    /// Another field manager owns fields of the RoleBinding, with other values.
    #[error("conflicts with an existing object; not modified")]
    Conflict(#[source] ApiError),
    /// A RoleBinding's role can't be changed, only the whole object replaced.
    #[error(
        "an existing RoleBinding binds another role; not modified. Fix: kubectl -n {namespace} delete rolebinding \
         {name} ({message})"
    )]
    OtherRole { namespace: String, name: String, message: String },
    /// The operating system returned no random bytes for a Secret.
    #[error("no randomness")]
    Randomness(#[from] SysError),
    /// Any other failure of the call.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ProvidedKind {
    /// The kind in Kubernetes, which is also the label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RoleBinding => "RoleBinding",
            Self::Secret => "Secret",
        }
    }
}

impl ProvideCause {
    /// Explains why the RoleBinding `name` was not applied.
    pub(crate) fn of_binding(error: ApiError, key: &Key, name: &str) -> Self {
        match error.code() {
            409 => Self::Conflict(error),
            422 => Self::OtherRole {
                namespace: key.namespace.clone(),
                name: name.to_owned(),
                message: error.to_string(),
            },
            _ => Self::Api(error),
        }
    }
}
