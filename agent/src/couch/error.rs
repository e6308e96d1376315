//! Why a call brought nothing.

use reqwest::StatusCode;
use thiserror::Error;

/// Why a call brought nothing.
#[derive(Debug, Error)]
pub enum CouchError {
    /// The answer is not what CouchDB says to this call.
    #[error("'{call}' answered something that CouchDB doesn't say")]
    Garbled {
        /// Method and URL.
        call: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// CouchDB has locked the user out for this address, for 5 minutes from the first wrong password.
    #[error("'{call}' is locked: too many wrong passwords of '{user}' came from this address")]
    LockedOut {
        /// Method and URL.
        call: String,
        /// The admin's name.
        user: String,
    },
    /// The host's name does not resolve.
    #[error("the name in '{call}' is not in DNS")]
    NameUnknown {
        /// Method and URL.
        call: String,
        /// What the resolver says.
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("'{call}' got no answer in time")]
    NoAnswer {
        /// Method and URL.
        call: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// CouchDB answered with an error.
    #[error("'{call}' was refused with {status} {error}: {reason}")]
    Refused {
        /// Method and URL.
        call: String,
        /// The HTTP status.
        status: StatusCode,
        /// CouchDB's word for it.
        error: String,
        /// CouchDB's sentence.
        reason: String,
    },
    /// User or password are wrong; or they were within the last [`QUARANTINE`], and nothing was sent.
    #[error("'{call}' rejects user '{user}' or the password from {origin}")]
    Rejects {
        /// Method and URL.
        call: String,
        /// The admin's name.
        user: String,
        /// The variables that the credentials come from.
        origin: String,
    },
    /// Nothing listens, or there is no way.
    #[error("'{call}' can't be reached")]
    Unreachable {
        /// Method and URL.
        call: String,
        /// What the client says.
        source: reqwest::Error,
    },
}

impl CouchError {
    /// A word for it, for counters.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Garbled { .. } => "garbled",
            Self::LockedOut { .. } => "locked_out",
            Self::NameUnknown { .. } => "name_unknown",
            Self::NoAnswer { .. } => "no_answer",
            Self::Refused { .. } => "refused",
            Self::Rejects { .. } => "rejected",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// What the client says when there is no answer.
    pub(super) fn unanswered(call: String, source: reqwest::Error) -> Self {
        // The URL stands in `call` already.
        let source = source.without_url();
        match &source {
            error if error.is_dns() => Self::NameUnknown { call, source },
            error if error.is_timeout() => Self::NoAnswer { call, source },
            error if error.is_decode() => Self::Garbled { call, source: source.into() },
            _ => Self::Unreachable { call, source },
        }
    }
}
