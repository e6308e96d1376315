//! Calls without a usable answer.

use std::error::Error as _;

use reqwest::StatusCode;
use thiserror::Error;

/// A call to CouchDB without a usable answer.
#[derive(Debug, Error)]
pub enum CouchError {
    /// The answer is not one that CouchDB gives to this call.
    #[error("the answer to '{call}' is not one of CouchDB 3.x")]
    Garbled {
        /// Method and URL.
        call: String,
        /// The error of the parser.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// None of CouchDB's authentication handlers reads passwords or session cookies.
    #[error(
        "'{call}' was refused: CouchDB ignores basic authentication and session cookies ([chttpd] authentication_handlers)"
    )]
    LoginIgnored {
        /// Method and URL.
        call: String,
    },
    /// CouchDB has locked out the user for this address, for 5 minutes from the first wrong password.
    #[error(
        "'{call}' was refused: CouchDB has locked out '{user}' for 5 minutes after too many wrong passwords from this address"
    )]
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
        /// The error of the resolver.
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("'{call}' got no answer in time")]
    NoAnswer {
        /// Method and URL.
        call: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// CouchDB answered with an error.
    #[error("'{call}' was refused with {status} {error}: {reason}")]
    Refused {
        /// Method and URL.
        call: String,
        /// The HTTP status.
        status: StatusCode,
        /// CouchDB's `error`, such as `not_found`.
        error: String,
        /// CouchDB's `reason`, a sentence.
        reason: String,
    },
    /// User or password are wrong; or they were wrong within the last [`QUARANTINE`], and nothing was sent.
    #[error("'{call}' was refused: CouchDB rejects user '{user}' or the password from {origin}")]
    Rejects {
        /// Method and URL.
        call: String,
        /// The admin's name.
        user: String,
        /// The variables that the credentials come from.
        origin: String,
    },
    /// The answer is longer than any answer of CouchDB to this call.
    #[error("the answer to '{call}' has more than {limit} bytes")]
    TooLong {
        /// Method and URL.
        call: String,
        /// The length up to which it is read, in bytes.
        limit: usize,
    },
    /// The TLS handshake failed, mostly because of an unknown authority or a certificate for another name.
    #[error("the TLS certificate for '{call}' is not trusted")]
    Untrusted {
        /// Method and URL.
        call: String,
        /// The error of the TLS library.
        source: reqwest::Error,
    },
    /// The call was not sent, because it contains the password and its host is not known to be a node that may get it.
    #[error("'{call}' was not sent: its host is no node that gets the password")]
    Withheld {
        /// Method and URL.
        call: String,
    },
    /// The port is closed, or there is no route.
    #[error("'{call}' can't be reached")]
    Unreachable {
        /// Method and URL.
        call: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
}

impl CouchError {
    /// The value of the counter's label `outcome`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Garbled { .. } | Self::TooLong { .. } => "garbled",
            Self::LockedOut { .. } => "locked_out",
            Self::NameUnknown { .. } => "name_unknown",
            Self::NoAnswer { .. } => "no_answer",
            Self::Refused { .. } => "refused",
            Self::LoginIgnored { .. } | Self::Rejects { .. } => "rejected",
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Withheld { .. } => "withheld",
        }
    }

    /// Returns `true` if CouchDB refused a write because its volume has no space left.
    pub(crate) fn is_about_space(&self) -> bool {
        let Self::Refused { status, error, reason, .. } = self else { return false };
        // 507 is the disk monitor's, since 3.4. Erlang's word for a full file system is in errors of all releases.
        *status == StatusCode::INSUFFICIENT_STORAGE || error.contains("enospc") || reason.contains("enospc")
    }

    /// The kind of error of a call without an answer.
    pub(super) fn unanswered(call: String, source: reqwest::Error) -> Self {
        // `call` contains the URL already.
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

/// `true` if the error comes from the TLS library. An I/O error hides it from the chain of sources.
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

/// `None` for a 404.
pub(super) fn unless_missing<T>(answer: Result<T, CouchError>) -> Result<Option<T>, CouchError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CouchError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
