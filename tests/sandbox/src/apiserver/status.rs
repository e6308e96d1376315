//! Errors as the API server words them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::path::Resource;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// No such object.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// Of this resource.
        resource: Resource,
        /// Of this name.
        name: String,
    },
    /// No such path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// It is there already.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists {
        /// Of this resource.
        resource: Resource,
        /// Of this name.
        name: String,
    },
    /// It was changed since it was read.
    #[error(
        "Operation cannot be fulfilled on {resource} \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
    )]
    Conflict {
        /// Of this resource.
        resource: Resource,
        /// Of this name.
        name: String,
    },
    /// The token isn't known.
    #[error("Unauthorized")]
    Unauthorized,
    /// The user may not.
    #[error("{message}")]
    Forbidden {
        /// The whole sentence.
        message: String,
    },
    /// The object breaks a rule.
    #[error("{kind} \"{name}\" is invalid: {what}")]
    Invalid {
        /// `StatefulSet.apps`
        kind: String,
        /// The object's name.
        name: String,
        /// The rule.
        what: String,
    },
    /// The request makes no sense.
    #[error("{message}")]
    BadRequest {
        /// Why.
        message: String,
    },
    /// The verb isn't for this.
    #[error("the server does not allow this method on the requested resource")]
    NotAllowed,
    /// A webhook said no; its own status, completed.
    #[error("{message}")]
    Denied {
        /// 400 or more.
        code: u16,
        /// The webhook's reason, or none.
        reason: String,
        /// The whole sentence.
        message: String,
    },
    /// A webhook failed, or its answer is no good.
    #[error("Internal error occurred: {message}")]
    Internal {
        /// What failed.
        message: String,
    },
    /// The resource version is no longer known.
    #[error("too old resource version: {asked} ({oldest})")]
    Expired {
        /// The version that was asked for.
        asked: u64,
        /// The oldest that is known.
        oldest: u64,
    },
    /// A pod that was to be asked doesn't answer.
    #[error("error trying to reach service: {}{why}", dial(pod, why))]
    Unreachable {
        /// Its address and port.
        pod: SocketAddr,
        /// In Go's words.
        why: String,
    },
    /// Switched on by a test.
    #[error("{message}")]
    Injected {
        /// The HTTP status.
        code: u16,
        /// The whole sentence.
        message: String,
    },
}

/// What stands before the cause where no connection came about.
fn dial(pod: &SocketAddr, why: &str) -> String {
    if why.starts_with("connect: ") { format!("dial tcp {pod}: ") } else { String::new() }
}

impl ApiError {
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => 404,
            Self::AlreadyExists { .. } | Self::Conflict { .. } => 409,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } => 403,
            Self::Invalid { .. } => 422,
            Self::BadRequest { .. } => 400,
            Self::NotAllowed => 405,
            Self::Internal { .. } => 500,
            Self::Expired { .. } => 410,
            Self::Unreachable { .. } => 503,
            Self::Denied { code, .. } | Self::Injected { code, .. } => *code,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } => "Forbidden",
            Self::Invalid { .. } => "Invalid",
            Self::BadRequest { .. } => "BadRequest",
            Self::NotAllowed => "MethodNotAllowed",
            Self::Internal { .. } => "InternalError",
            Self::Expired { .. } => "Expired",
            Self::Denied { reason, .. } => reason,
            Self::Injected { .. } | Self::Unreachable { .. } => "ServiceUnavailable",
        }
    }

    /// A `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
        });
        if !self.reason().is_empty() {
            status["reason"] = json!(self.reason());
        }
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name } => {
                status["details"] = json!({"name": name, "group": resource.group, "kind": resource.plural});
            }
            Self::NoSuchPath
            | Self::Unauthorized
            | Self::Forbidden { .. }
            | Self::Invalid { .. }
            | Self::BadRequest { .. }
            | Self::NotAllowed
            | Self::Denied { .. }
            | Self::Internal { .. }
            | Self::Expired { .. }
            | Self::Unreachable { .. }
            | Self::Injected { .. } => {}
        }
        status["code"] = json!(self.code());
        status
    }
}
