//! Errors, in the words of a real API server.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::path::{Resource, Target};

/// A reason for a request to fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// The object does not exist.
    #[error("{resource} \"{name}\" not found")]
    NotFound { resource: Resource, name: String },
    /// The path names no resource.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// An object of this name exists.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists { resource: Resource, name: String },
    /// The object has changed since the client read it.
    #[error(
        "Operation cannot be fulfilled on {resource} \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
    )]
    Conflict { resource: Resource, name: String },
    /// The token is missing or unknown.
    #[error("Unauthorized")]
    Unauthorized,
    /// The user does not have the permission.
    #[error("{message}")]
    Forbidden { message: String },
    /// The object breaks a rule of its kind, such as `StatefulSet.apps`.
    #[error("{kind} \"{name}\" is invalid: {reason}")]
    Invalid { kind: String, name: String, reason: String },
    /// The request cannot be understood.
    #[error("{message}")]
    BadRequest { message: String },
    /// The resource does not support the method.
    #[error("the server does not allow this method on the requested resource")]
    NotAllowed,
    /// A webhook denied the request: its status, completed with a code of at least 400.
    #[error("{message}")]
    Denied { code: u16, reason: String, message: String },
    /// A webhook failed, or its answer is invalid.
    #[error("Internal error occurred: {message}")]
    Internal { message: String },
    /// The history of changes no longer reaches back to the requested version.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired { requested: u64, oldest: u64 },
    /// A pod does not answer a request through the API server; the reason is worded as in Go.
    #[error("error trying to reach service: {}{reason}", dial(pod, reason))]
    Unreachable { pod: SocketAddr, reason: String },
    /// Injected by a test.
    #[error("{message}")]
    Injected { code: u16, message: String },
}

/// The words that Go puts before the reason if the connection failed.
fn dial(pod: &SocketAddr, reason: &str) -> String {
    if reason.starts_with("connect: ") { format!("dial tcp {pod}: ") } else { String::new() }
}

impl ApiError {
    pub(crate) fn not_found(target: &Target, name: &str) -> Self {
        Self::NotFound { resource: target.resource.clone(), name: name.to_owned() }
    }

    pub(crate) fn conflict(target: &Target, name: &str) -> Self {
        Self::Conflict { resource: target.resource.clone(), name: name.to_owned() }
    }

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

    /// The `Status` object that is the body of the answer.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
        });
        // A webhook's denial has no reason unless the webhook gave one.
        if !self.reason().is_empty() {
            status["reason"] = json!(self.reason());
        }
        if let Self::NotFound { resource, name }
        | Self::AlreadyExists { resource, name }
        | Self::Conflict { resource, name } = self
        {
            status["details"] = json!({"name": name, "group": resource.group, "kind": resource.plural});
        }
        status["code"] = json!(self.code());
        status
    }
}
