//! Variables that cannot be used.

use thiserror::Error;

/// All mistakes of one environment, so that a user can correct them together.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the settings have {} mistake(s): {}", .0.len(), join(.0))]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// The messages, one per mistake.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(ToString::to_string)
    }
}

/// A setting that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// HTTP ends the user's name at the first colon.
    #[error(
        "'{variable}' contains a colon, and HTTP ends the user's name there. Fix: use an admin without a colon in the name"
    )]
    ColonInUser {
        /// The variable of the name.
        variable: &'static str,
    },
    /// A user without a password, or a password without a user.
    #[error("'{present}' is set and '{absent}' is not. Fix: set both, or none")]
    HalfCredentials {
        /// The variable that is set.
        present: &'static str,
        /// The variable that is missing or empty.
        absent: &'static str,
    },
    /// The password is a hash as CouchDB stores it.
    #[error(
        "'{variable}' is a password hash, with which no client can log in. Fix: give the agent the plain password in \
         '{variable}', and put the hash into CouchDB's own configuration ([admins] in an ini file)"
    )]
    HashedPassword {
        /// The variable of the password.
        variable: &'static str,
    },
    /// No admin credentials, and no Kubernetes API to read them from.
    #[error(
        "no admin credentials. Fix: set COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS, or COUCHDB_USER and COUCHDB_PASSWORD, \
         on the CouchDB container (the webhook copies them), best from a Secret"
    )]
    NoCredentials,
    /// No size, and no Kubernetes API to read it from.
    #[error(
        "COUCHDB_CLUSTER_SIZE is not set and COUCHDISCOVER_KUBERNETES is 'off', so the number of nodes is unknown. \
         Fix: set COUCHDB_CLUSTER_SIZE"
    )]
    NoSize,
    /// A value that cannot be parsed.
    #[error("'{variable}' is '{value}', expected {expected}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// Its value, without the user and password of a URL.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
}

fn join(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
