//! Why a call brought nothing.

use std::error::Error as _;

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
    /// TLS could not be agreed upon: mostly an unknown authority, or a certificate for another name.
    #[error("'{call}' can't be trusted")]
    Untrusted {
        /// Method and URL.
        call: String,
        /// What the TLS library says.
        source: reqwest::Error,
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
            Self::Untrusted { .. } => "untrusted",
        }
    }

    /// What the client says when there is no answer.
    pub(super) fn unanswered(call: String, source: reqwest::Error) -> Self {
        // The URL stands in `call` already.
        let source = source.without_url();
        match &source {
            error if error.is_dns() => Self::NameUnknown { call, source },
            error if error.is_timeout() => Self::NoAnswer { call, source },
            error if is_tls(error) => Self::Untrusted { call, source },
            error if error.is_decode() => Self::Garbled { call, source: source.into() },
            _ => Self::Unreachable { call, source },
        }
    }
}

/// Whether the TLS library is behind an error. An I/O error hides it from the chain of sources.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}
